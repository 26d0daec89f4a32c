"""Every exception that a user can meet. Its message is one line: the file, the node, what is wrong, what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

LONGEST = 1000  # characters of a message; names in a file may be of any length


def escaped(text: str) -> str:
    r"""The text on one line that any terminal can show.

    Line breaks, control characters, invisible characters and what was not valid UTF-8 are written as escapes, such as
    `\n`.
    """
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "backslashreplace").decode() for each in text
    )


def printable(text: str) -> str:
    """The text, `escaped`; of a very long one, its beginning and its end."""
    return escaped(text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 4 :]}")


class JumpReLUError(Exception):
    """Base of all exceptions that this package raises on purpose."""

    def __init__(self, message: str = "") -> None:
        """Take a message; see `printable` for what becomes of names with unusual characters in it."""
        super().__init__(printable(message))


class ModelFileError(JumpReLUError):
    """A file cannot be read, is not a usable ONNX model, or cannot be written."""


class DataError(JumpReLUError):
    """Data do not fit the model or the documented layout."""


class OptionError(JumpReLUError, ValueError):
    """Options are out of range, contradict each other, or name something that does not exist."""


class PatchError(JumpReLUError):
    """A model has nothing that can be patched, or must not be patched."""


class ProvenanceError(JumpReLUError):
    """The record of an earlier patch is missing, damaged, or no longer fits the graph."""


class VerificationError(JumpReLUError):
    """A rewrite could not be proved right."""


class RunError(JumpReLUError):
    """onnxruntime cannot load or run a model."""


class GradientError(JumpReLUError):
    """The gradient of a model cannot be built: an operator has no rule, or a shape is not known."""


@contextlib.contextmanager
def naming(name: str | Path | None, *error_types: type[JumpReLUError]) -> Iterator[None]:
    """Put the name of a file before the message of an error that the block raises, unless it is there already.

    Args:
        name: The file, or another name for what was read; None leaves messages as they are.
        error_types: The errors to name; by default all of this package.
    """
    caught = error_types or (JumpReLUError,)
    try:
        yield
    except caught as error:
        if name is None or str(error).startswith(printable(f"{name}: ")):
            raise
        raise type(error)(f"{name}: {error}") from error
