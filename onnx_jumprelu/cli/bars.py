"""Progress of attacks on stderr: how many are done, and how far the one at work is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from math import inf

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from onnx_jumprelu.cli.common import shown_after_a_second, watched
from onnx_jumprelu.verdict.progress import RunningAttack

NAME_WIDTH, BAR_WIDTH = 28, 20  # in columns; most names fit, so that bars stay where they are
OTHER_WIDTH = 40  # the bar, the numbers, the time
LEAST_MOVE = 0.001  # rich estimates from at most 1,000 moves: so they reach back to the attack's beginning


class Bars:
    """Bars that nobody looks at."""

    def step(self, count: int = 1, /) -> None:
        """So many more attacks are done."""

    def attack(self, name: str, share: float) -> None:
        """This attack has done a share of its work: 0 when it begins, 1 when it ends."""

    def running(self, now: RunningAttack) -> None:
        """The same, of an attack in a verdict."""
        self.attack(str(now), now.share)


@contextlib.contextmanager
def attack_progress(description: str, total: int, *, quiet: bool) -> Iterator[Bars]:
    """Bars on stderr, under the rules of `common.progress`.

    Args:
        description: What all attacks together are for.
        total: How many attacks there are; a single one has no bar but its own.
        quiet: Whether to show nothing.
    """
    if not watched(quiet=quiet):
        yield Bars()
        return
    bars = DrawnBars(description, total)
    with shown_after_a_second(bars.progress):
        yield bars


class DrawnBars(Bars):
    """One line that counts attacks, where there are several, and one beneath it for the attack at work."""

    def __init__(self, description: str, total: int) -> None:
        console = Console(stderr=True)
        # Where a line is too long, the name is cut, not the time.
        room = max(1, console.width - OTHER_WIDTH)
        names = Column(min_width=min(NAME_WIDTH, room), max_width=room, no_wrap=True)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=names),  # a file's name may hold brackets
            BarColumn(BAR_WIDTH),
            _ByKind(MofNCompleteColumn(), TaskProgressColumn()),
            _ByKind(TextColumn(""), _TimeLeft()),
            console=console,
            transient=True,
            speed_estimate_period=inf,
        )
        self._all = self.progress.add_task(description, total=total, counted=True, visible=total > 1)
        self._one = self.progress.add_task("", total=1.0, counted=False, visible=False)
        self._drawn = 0.0

    def step(self, count: int = 1, /) -> None:
        """See `Bars`."""
        self.progress.advance(self._all, count)
        if self.progress.finished:
            self.progress.update(self._one, visible=False)

    def attack(self, name: str, share: float) -> None:
        """See `Bars`."""
        if not share:
            self.progress.reset(self._one, description=name, visible=True)
        elif share < 1 and share - self._drawn < LEAST_MOVE:
            return
        self._drawn = share
        self.progress.update(self._one, completed=share)


class _ByKind(ProgressColumn):
    """One column for what is counted, another for what has a share."""

    def __init__(self, counted: ProgressColumn, shared: ProgressColumn) -> None:
        super().__init__()
        self._counted, self._shared = counted, shared

    def render(self, task: Task) -> Text:
        column = self._counted if task.fields["counted"] else self._shared
        text = column(task)
        return text if isinstance(text, Text) else Text(str(text))


class _TimeLeft(TimeRemainingColumn):
    """Rich's time left, with a word that says so."""

    def render(self, task: Task) -> Text:
        return super().render(task).append(" left")
