"""Progress on stderr: bars on a terminal, a plain line now and then elsewhere, nothing with `--quiet`."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from math import inf
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Drawn
from rich.table import Column
from rich.text import Text

from onnx_jumprelu.cli.streams import say

if TYPE_CHECKING:
    from onnx_jumprelu.verdict.progress import RunningAttack

Unit = Literal["attack", "step", "model", "check"]
# In seconds: when a bar appears; when a command that is usually short says that it is at work; how often it does.
PATIENCE, FIRST_LINE, EVERY = 1.0, 10.0, 30.0
NAME_WIDTH, BAR_WIDTH = 28, 20  # in columns; most names fit, so that bars do not move
OTHER_WIDTH = 40  # the bar, the numbers, the time
LEAST_MOVE = 0.001  # rich estimates from at most 1,000 moves: this way they reach back to the attack's beginning


class Progress:
    """What a command reports while it works; this one shows nothing."""

    def takes(self, seconds: float) -> None:
        """An estimate of how long the work takes at most, before it begins."""

    def step(self, count: int = 1, /) -> None:
        """`count` more attacks (or steps, models) are done."""

    def attack(self, name: str, share: float) -> None:
        """An attack has done a share of its work: 0 when it begins, 1 when it ends."""

    def running(self, now: RunningAttack) -> None:
        """The same, for an attack of a verdict."""
        self.attack(str(now), now.share)


@contextlib.contextmanager
def progress(
    what: str, total: int, unit: Unit, *, quiet: bool, long: bool = False, start: str = ""
) -> Iterator[Progress]:
    """Show progress while the block works.

    Args:
        what: What the command does, such as `validating`.
        total: How many units of work there are.
        unit: What a unit is; a single attack has no bar but its own.
        quiet: Whether to show nothing.
        long: Whether the work usually takes long, so that it is announced at its start.
        start: What that line says after `what`.
    """
    if quiet or sys.stderr is None:
        yield Progress()
    elif sys.stderr.isatty():
        with _shown_after_a_second(what, total) as bars:
            yield bars
    else:
        with Lines(what, total, unit, start=start if long else None).written() as lines:
            yield lines


class Lines(Progress):
    """A plain line at the start and every half minute, for logs."""

    def __init__(
        self,
        what: str,
        total: int,
        unit: Unit = "attack",
        *,
        start: str | None = "",
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] | None = None,
    ) -> None:
        """Describe the work.

        Args:
            what: What the command does.
            total: How many units of work there are.
            unit: What a unit is.
            start: What the line at the start says; None for no such line.
            clock: The time in seconds.
            write: Takes each line; None for stderr.
        """
        self._what, self._total, self._unit, self._start = what, total, unit, start
        self._clock, self._write = clock, write or say
        self._began = clock()
        self._done, self._resumed = 0, 0  # all units that are done, and those that an earlier run did
        self._name, self._share = "", 0.0  # the attack at work
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def takes(self, seconds: float) -> None:
        """See `Progress`."""
        with self._lock:
            if self._start is not None:
                self._start = f"{self._start}, at most about {_minutes(seconds)}"

    def step(self, count: int = 1, /) -> None:
        """See `Progress`."""
        self._say_start()
        if self._unit == "attack" and not self._name:
            self._resumed += count
        self._done += count
        self._name, self._share = "", 0.0

    def attack(self, name: str, share: float) -> None:
        """See `Progress`."""
        self._say_start()
        self._name, self._share = name, share

    def line(self) -> str:
        """How far the work is: which attack of how many, percent, time taken, time left."""
        done = min(self._done + self._share, self._total)
        elapsed, made = self._clock() - self._began, done - self._resumed
        parts = [f"{self._what}: {self._where()}", f"{done / self._total:.0%}", f"{_minutes(elapsed)} elapsed"]
        if made > 0 and done < self._total:
            parts.append(f"about {_minutes(elapsed * (self._total - done) / made)} left")
        return ", ".join(parts)

    @contextlib.contextmanager
    def written(self) -> Iterator[Lines]:
        """Write lines while the block works."""
        writer = threading.Thread(target=self._write_lines, daemon=True)
        writer.start()
        try:
            yield self
        finally:
            self._ended.set()
            writer.join()

    def _where(self) -> str:
        if self._total == 1:
            return self._name or "at work"
        current = f"{self._unit} {min(self._done + 1, self._total)} of {self._total}"
        return f"{current} ({self._name})" if self._name else current

    def _say_start(self) -> None:
        """Once the work is under way, for what is wrong with the input is then known."""
        with self._lock:
            if self._start is not None:
                self._write(f"{self._what}: {self._start}")
            self._start = None

    def _write_lines(self) -> None:
        wait = EVERY if self._start is not None else FIRST_LINE
        while not self._ended.wait(wait):
            wait = EVERY
            self._say_start()
            self._write(self.line())


def _minutes(seconds: float) -> str:
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


class Bars(Progress):
    """One line that counts units of work, where there are several, and one below it for the attack at work."""

    def __init__(self, what: str, total: int) -> None:
        console = Console(stderr=True)
        # Where a line is too long, the name is cut, not the time.
        room = max(1, console.width - OTHER_WIDTH)
        names = Column(min_width=min(NAME_WIDTH, room), max_width=room, no_wrap=True)
        self.drawn = Drawn(
            TextColumn("{task.description}", markup=False, table_column=names),  # a file's name may hold brackets
            BarColumn(BAR_WIDTH),
            _ByKind(MofNCompleteColumn(), TaskProgressColumn()),
            _ByKind(TextColumn(""), _TimeLeft()),
            console=console,
            transient=True,
            speed_estimate_period=inf,
        )
        self._all = self.drawn.add_task(what, total=total, counted=True, visible=total > 1)
        self._one = self.drawn.add_task("", total=1.0, counted=False, visible=False)
        self._shown = 0.0

    def step(self, count: int = 1, /) -> None:
        """See `Progress`."""
        self.drawn.advance(self._all, count)
        if self.drawn.finished:
            self.drawn.update(self._one, visible=False)

    def attack(self, name: str, share: float) -> None:
        """See `Progress`."""
        if not share:
            self.drawn.reset(self._one, description=name, visible=True)
        elif share < 1 and share - self._shown < LEAST_MOVE:
            return
        self._shown = share
        self.drawn.update(self._one, completed=share)


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


@contextlib.contextmanager
def _shown_after_a_second(what: str, total: int) -> Iterator[Bars]:
    """Bars that appear once the work has taken a second, and vanish when it ends."""
    bars = Bars(what, total)
    patience = threading.Timer(PATIENCE, bars.drawn.start)
    patience.start()
    try:
        yield bars
    finally:
        patience.cancel()
        patience.join()
        if bars.drawn.live.is_started:  # else rich, on a terminal that cannot move the cursor up, would print a line
            bars.drawn.stop()
