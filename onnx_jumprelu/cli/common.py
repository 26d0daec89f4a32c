"""What several commands share: options, output, progress."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from onnx_jumprelu.names import ExternalDataMode

if TYPE_CHECKING:
    from rich.progress import Progress


JsonOption = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE|-", help="Write the result as JSON; `-` prints it and nothing else."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
ExternalDataOption = Annotated[
    ExternalDataMode,
    typer.Option(
        help="How external weights get to an output in another folder. A hard link takes no space; onnxruntime loads "
        "it, onnx's own loader does not."
    ),
]
MeanOption = Annotated[
    str | None,
    typer.Option(help="Subtracted from the data before the model, for all channels or each: 0.5 or 0.48,0.45,0.40."),
]
StdOption = Annotated[str | None, typer.Option(help="Then divided by, for all channels or each.")]
BoundsOption = Annotated[
    tuple[float, float], typer.Option(help="Smallest and largest value of an input, in data space.")
]
InputNameOption = Annotated[str | None, typer.Option("--input", help="Which input, where it has several.")]
OutputNameOption = Annotated[
    str | None, typer.Option("--output", help="Which output holds the logits. [default: the first]")
]
ThreadsOption = Annotated[int | None, typer.Option(help="Threads within an operator.", min=1)]
SeedOption = Annotated[int, typer.Option(help="Seed of all randomness.", min=0)]
FirstOption = Annotated[int | None, typer.Option(help="The first so many examples. [default: all]", min=1)]
InPlaceOption = Annotated[bool, typer.Option("--in-place", help="Replace the input.")]


PATIENCE = 1.0  # seconds


class Step(Protocol):
    """Moves a progress bar forward."""

    def __call__(self, count: int = 1, /) -> None:
        """By so many."""
        ...


def show(text: str, content: Any, json_target: str | None, *, quiet: bool) -> None:  # noqa: ANN401 - any JSON value
    """Print a result: JSON to a file or instead of the text, the text unless told to be quiet."""
    if json_target is not None:
        rendered = json.dumps(content, indent=2, allow_nan=False) + "\n"
        if json_target == "-":
            sys.stdout.write(rendered)
            return
        from onnx_jumprelu.files.atomic import write_text

        write_text(json_target, rendered, "JSON")
    if not quiet:
        typer.echo(text)


def check_json(json_target: str | None, *others: Path) -> None:
    """Refuse, before any work, to write the result where it cannot be, or over a command's other files."""
    if json_target not in (None, "-"):
        from onnx_jumprelu.files.atomic import check_output

        check_output(str(json_target), "JSON", others)


def in_color() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def numbers(text: str | None, option: str) -> list[float] | None:
    """One number, or several with commas between them."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            "give numbers with commas between them, such as 0.5 or 0.48,0.45,0.40", param_hint=option
        ) from None


@contextlib.contextmanager
def progress(description: str, total: int, *, quiet: bool) -> Iterator[Step]:
    """A bar on stderr for what takes longer than a second, where stderr is a terminal; yields the step forward."""
    if not watched(quiet=quiet):
        yield lambda _=1: None
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(description, total=total)
    with shown_after_a_second(bar):
        yield lambda count=1: bar.advance(task, count)


def watched(*, quiet: bool) -> bool:
    """Whether progress is shown at all: someone may look at stderr, and did not ask for quiet."""
    return not quiet and sys.stderr is not None and sys.stderr.isatty()


@contextlib.contextmanager
def shown_after_a_second(bar: Progress) -> Iterator[None]:
    """Start a bar once its work has taken a second; it vanishes with the work's end."""
    patience = threading.Timer(PATIENCE, bar.start)
    patience.start()
    try:
        yield
    finally:
        patience.cancel()
        patience.join()
        if bar.live.is_started:  # else rich, on a terminal that cannot move up, would print a line
            bar.stop()
