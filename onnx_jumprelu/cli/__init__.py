"""The command line: parse, call one function, print, exit code.

0: done, and every gate passed. 1: a gate or a verification failed, or one of several models. 2: wrong usage or unusable
input; nothing was written. 3: something was written, and something that belongs to it could not be. With 2 and 3, one
line on stderr says what is wrong. onnx, onnxruntime and numpy are imported inside the commands, so that `--help` is
quick.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from onnx_jumprelu.cli import attack, demo, inspect, patch, revert, tune, validate, verify
from onnx_jumprelu.cli.options import OUTPUT
from onnx_jumprelu.cli.output import DONE, FAILED, INCOMPLETE, UNUSABLE, IncompleteError
from onnx_jumprelu.cli.streams import PROGRAM, abandon, claim_descriptors, complain
from onnx_jumprelu.errors import JumpReLUError, VerificationError
from onnx_jumprelu.version import __version__

# typer's usage errors (a wrong option, a missing argument); typer exports only this one of the family.
UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])


def _without_flag_types(parameters: list[Any]) -> list[Any]:
    """The parameters, where a flag takes no value and so shows none in the help, where typer prints `<bool>`."""
    for each in parameters:
        if isinstance(each, TyperOption) and each.is_flag:
            each.metavar = ""
    return parameters


class _Group(TyperGroup):
    """The program, with flags as in `_Command`."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer hides the type
        return _without_flag_types(super().get_params(ctx))


app = typer.Typer(
    name=PROGRAM,
    cls=_Group,
    help="Retrofit trained ONNX classifiers with JumpReLU: `x if x > jump else 0` (arXiv:1904.03750).",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    del version  # its callback has done the work


class _Command(TyperCommand):
    """A command whose `--help` is listed with the output options, not in a panel of its own above all others."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer hides the type
        return _without_flag_types(super().get_params(ctx))

    def get_help_option(self, ctx: typer.Context) -> TyperOption | None:  # type: ignore[override]
        option = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel = OUTPUT
        return option


for command in (inspect, patch, revert, verify, attack, tune, validate, demo):
    app.command(name=command.__name__.rpartition(".")[2], cls=_Command)(command.run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    claim_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names may hold what the terminal's encoding lacks
    try:
        code = app(args=None if arguments is None else list(arguments), prog_name=PROGRAM, standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except UsageError as error:
        message = _message(error)  # none where the help was shown because there were no arguments
        return _fail(f"{message} (see '{_command(error)} --help')", UNUSABLE) if message else UNUSABLE
    except IncompleteError as error:
        return _fail(str(error), INCOMPLETE)
    except VerificationError as error:
        return _fail(str(error), FAILED)
    except JumpReLUError as error:
        return _fail(str(error), UNUSABLE)
    except OSError as error:
        if sys.stdout is not None:
            abandon(sys.stdout)
        return _fail(f"the output cannot be written ({error.strerror})", UNUSABLE)
    return code if isinstance(code, int) else DONE


def _fail(message: str, code: int) -> int:
    complain(message)
    return code


def _message(error: BaseException) -> str:
    describe = getattr(error, "format_message", None)
    return str(describe() if describe else error).rstrip(".").replace("Value error, ", "")


def _command(error: BaseException) -> str:
    return str(getattr(getattr(error, "ctx", None), "command_path", PROGRAM))
