"""What a command writes: text for people, and files, each checked before the work and written whole after it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import typer

from onnx_jumprelu.cli.options import OUTPUT, OptionGroup
from onnx_jumprelu.cli.streams import complain, put
from onnx_jumprelu.errors import JumpReLUError

if TYPE_CHECKING:
    from onnx_jumprelu.files.kinds import FileKind, TextKind

STDOUT = "-"
# Exit codes. INCOMPLETE: something was written, and something that belongs to it could not be. INTERRUPTED: as a shell
# reports Ctrl-C.
DONE, FAILED, UNUSABLE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130
MOST_NAMED = 3  # files that a message names one by one


class IncompleteError(JumpReLUError):
    """Something went wrong after a part of the result had been written."""


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
    kind: FileKind
    printable: bool = True

    @property
    def to_stdout(self) -> bool:
        """Whether it is printed."""
        return str(self.place) == STDOUT

    @property
    def path(self) -> Path | None:
        """The file, None where there is none to write."""
        return None if self.place is None or self.to_stdout else Path(self.place)


class Made(NamedTuple):
    """What goes into a file: a text, or a function that writes it."""

    file: OutputFile
    content: str | Callable[[Path], None]

    def write(self, path: Path, *, force: bool) -> None:
        """Write it. Raises ModelFileError."""
        if isinstance(self.content, str):
            from onnx_jumprelu.files.atomic import write_text

            write_text(path, self.content, cast("TextKind", self.file.kind), force=force)
        else:
            self.content(path)


@dataclass(frozen=True)
class ResultOptions(OptionGroup):
    """How the result is reported."""

    json: Annotated[
        str | None,
        typer.Option(
            "--json", metavar="FILE|-", help="Write the result as JSON; `-` prints it.", rich_help_panel=OUTPUT
        ),
    ] = None
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace existing files even if they are not results of this tool.",
            rich_help_panel=OUTPUT,
        ),
    ] = False
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
        if printed and sys.stdout is None:
            raise typer.BadParameter(f"{printed[0]} -: the standard output is closed; give a file")
        read = [path for path in inputs if path is not None]
        for file in given:
            if file.path is not None:
                outputs = [other.path for other in given if other.path is not None and other is not file]
                check_output(file.path, file.kind, [*read, *others, *outputs], force=self.force)

    def show(
        self,
        text: str,
        content: Any,  # noqa: ANN401 - any JSON value
        *made: Made,
        written: Iterable[Path] = (),
        advice: str = "",
    ) -> int:
        """Write the files, the JSON result among them, and print what is to be printed: the end of a command.

        What cannot be written does not stop the rest; one line on stderr says what is missing, and what is not.

        Args:
            text: The result for people, not printed with `--quiet` or where something else is printed.
            content: The result as JSON.
            made: The command's other files; those without a place are left out.
            written: What the command has already written.
            advice: What to do if something cannot be written.

        Returns:
            The exit code: DONE; INCOMPLETE if something was written and something else could not be; UNUSABLE if
            nothing was written.
        """
        as_json = json.dumps(content, indent=2, allow_nan=False) + "\n"
        everything = [each for each in (*made, Made(self.json_file, as_json)) if each.file.place is not None]
        done, problems = [str(path) for path in written], list[str]()
        for each in everything:
            if each.file.path is not None:
                try:
                    each.write(each.file.path, force=self.force)
                    done.append(str(each.file.path))
                except JumpReLUError as error:
                    problems.append(str(error))
        asked_for = [str(each.content) for each in everything if each.file.to_stdout]
        try:
            for output in asked_for or ([] if self.quiet else [text]):
                put(output)
            done += ["the printed result"] * len(asked_for)
        except BrokenPipeError as error:
            if not (done or problems or advice):
                return UNUSABLE  # who has stopped reading wants to read nothing more
            problems.append(_of_stdout(error))
        except OSError as error:
            problems.append(_of_stdout(error))
        if not problems:
            return DONE
        complain(_after(done, "; ".join([*problems, *([advice] if advice else [])])))
        return INCOMPLETE if done else UNUSABLE


def _after(done: Sequence[str], problem: str) -> str:
    """A problem, and what was written all the same."""
    if not done:
        return problem
    names = " and ".join([", ".join(done[:-1]), done[-1]] if len(done) > 1 else done)
    if len(done) > MOST_NAMED:
        names = f"{len(done)} files"
    return f"{names} {'was' if len(done) == 1 else 'were'} written, but {problem}"


def check_model_name(output: Path | None) -> None:
    """Refuse `-` as the name of a model. Raises BadParameter."""
    if str(output) == STDOUT:
        raise typer.BadParameter("-o needs a file; a model cannot be printed")


@contextlib.contextmanager
def after_writing(written: Callable[[], str]) -> Iterator[None]:
    """Say in an error of the block what had been written before it.

    Args:
        written: Asked after an error: a clause that says what was written, empty if nothing was.
    """
    try:
        yield
    except JumpReLUError as error:
        if not (what := written()):
            raise
        raise IncompleteError(f"{what}, but {error}") from error


def _of_stdout(error: OSError) -> str:
    return f"the output cannot be written ({error.strerror or error})"
