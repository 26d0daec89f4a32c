"""The standard streams: what is printed for people, and what becomes of it where nobody can read it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

import typer

if TYPE_CHECKING:
    from onnx_jumprelu.data.plausibility import Concern

PROGRAM = "onnx-jumprelu"


def put(text: str) -> None:
    """Print a text, and see that it arrives. Raises OSError."""
    if sys.stdout is None:
        raise OSError("the standard output is closed")
    try:
        typer.echo(text, nl=not text.endswith("\n"))
        sys.stdout.flush()
    except OSError:
        abandon(sys.stdout)
        raise


def abandon(stream: TextIO) -> None:
    """Let a stream that cannot be written end nowhere: what it still holds would fail again when Python exits."""
    with contextlib.suppress(OSError, ValueError):  # a stream of a test has no descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def claim_descriptors() -> None:
    """Open what is closed of the standard streams: the next file would get the number that libraries print to."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def in_color() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def say(line: str) -> None:
    """One line on stderr; where nobody can read it, the work goes on."""
    if sys.stderr is None:
        return
    try:
        print(line, file=sys.stderr, flush=True)  # noqa: T201
    except OSError:
        abandon(sys.stderr)


def complain(message: str) -> None:
    """What is wrong, in one line on stderr."""
    say(f"{PROGRAM}: {' '.join(message.split())}")


def warn(concerns: Iterable[Concern]) -> None:
    """What is implausible, one line each on stderr; `--quiet` does not silence it."""
    for concern in concerns:
        warn_of(concern.message)


def warn_of(message: str) -> None:
    """One line on stderr."""
    complain(f"warning: {message}")
