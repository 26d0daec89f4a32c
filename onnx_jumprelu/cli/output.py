"""What a command writes: text for people, and files, each checked before the work and written whole after it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from onnx_jumprelu.cli.options import OUTPUT, OptionGroup

if TYPE_CHECKING:
    from onnx_jumprelu.data.plausibility import Concern
    from onnx_jumprelu.files.atomic import TextKind

STDOUT = "-"


@dataclass(frozen=True)
class OutputFile:
    """A file that an option names.

    Attributes:
        option: The option, for messages.
        place: The file; `-` for the standard output; None where the option is not given.
        kind: What it will be.
        printable: Whether `-` may print it.
    """

    option: str
    place: Path | str | None
    kind: TextKind | Literal[".npz"]
    printable: bool = True

    @property
    def to_stdout(self) -> bool:
        """Whether it is printed."""
        return str(self.place) == STDOUT

    @property
    def path(self) -> Path | None:
        """The file, None where there is none to write."""
        return None if self.place is None or self.to_stdout else Path(self.place)

    def write(self, text: str) -> None:
        """Write or print a text. Raises ModelFileError where the file cannot be written."""
        if self.to_stdout:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
        elif self.path is not None:
            from onnx_jumprelu.files.atomic import write_text

            write_text(self.path, text, cast("TextKind", self.kind))


@dataclass(frozen=True)
class ResultOptions(OptionGroup):
    """How the result is reported."""

    json: Annotated[
        str | None,
        typer.Option(
            "--json", metavar="FILE|-", help="Write the result as JSON; `-` prints it.", rich_help_panel=OUTPUT
        ),
    ] = None
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.", rich_help_panel=OUTPUT)
    ] = False

    @property
    def json_file(self) -> OutputFile:
        """Where the JSON result goes."""
        return OutputFile("--json", self.json, "JSON")

    def check(self, inputs: Iterable[Path | None], *files: OutputFile, others: Sequence[Path] = ()) -> None:
        """Refuse, before any work, an output that cannot be written or would replace something else.

        Args:
            inputs: Files that the command reads; None for options that are not given.
            files: Files that it writes, the JSON result aside.
            others: Files that it writes and checks itself.

        Raises:
            ModelFileError, BadParameter: see above.
        """
        from onnx_jumprelu.files.atomic import check_output

        given = [file for file in (*files, self.json_file) if file.place is not None]
        printed = [file.option for file in given if file.to_stdout]
        for file in given:
            if file.to_stdout and not file.printable:
                raise typer.BadParameter(f"{file.option} needs a file; it cannot be printed")
        if len(printed) > 1:
            raise typer.BadParameter(
                f"only one result can go to the standard output, not {' and '.join(printed)}; give a file for the other"
            )
        read = [path for path in inputs if path is not None]
        for file in given:
            if file.path is not None:
                outputs = [other.path for other in given if other.path is not None and other is not file]
                check_output(file.path, file.kind, [*read, *others, *outputs])

    def show(self, text: str, content: Any, *files: OutputFile) -> None:  # noqa: ANN401 - any JSON value
        """Print a result, unless `--quiet` is given or something else is printed; write it as JSON where asked to.

        Args:
            text: The result for people.
            content: The result as JSON.
            files: The command's other outputs, which may be printed instead.
        """
        if self.json is not None:
            self.json_file.write(json.dumps(content, indent=2, allow_nan=False) + "\n")
        if not self.quiet and not any(file.to_stdout for file in (*files, self.json_file)):
            typer.echo(text)


def in_color() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def warn(concerns: Iterable[Concern]) -> None:
    """What is implausible, one line each on stderr; `--quiet` does not silence it."""
    for concern in concerns:
        warn_of(concern.message)


def warn_of(message: str) -> None:
    """One line on stderr."""
    typer.echo(f"onnx-jumprelu: warning: {message}", err=True)
