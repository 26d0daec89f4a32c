"""Writing files whole or not at all: under a temporary name in the same folder, flushed to the disk, then moved."""

from __future__ import annotations

import contextlib
import filecmp
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from onnx_jumprelu.errors import ModelFileError

TextKind = Literal["JSON", "HTML", "XML", "Markdown", "CSV", "SVG"]
# How a file of each kind begins. An older result may be replaced by a new one; weights, data or a model never.
BEGINNINGS: Mapping[str, tuple[bytes, ...]] = {
    ".npz": (b"PK",),
    "JSON": (b"{", b"["),
    "HTML": (b"<",),
    "XML": (b"<",),
    "SVG": (b"<",),
    "Markdown": (b"#",),
    "CSV": (b"family",),
}


def same(one: Path, other: Path) -> bool:
    """Whether two paths are, or would be, the same file."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def check_output(path: str | Path, kind: TextKind | Literal[".npz"], others: Iterable[Path] = ()) -> None:
    """Refuse, before any work, to write a result where it cannot be written, or over a file that must not be lost.

    Text may also go into a pipe or a device.

    Args:
        path: Where the result will be written.
        kind: What it will be.
        others: The other files of the same command.

    Raises:
        ModelFileError: it is a folder, its folder does not exist, it is one of `others`, or it holds another kind
            of file.
    """
    target = Path(path)
    with os_errors(target):
        if target.is_dir() or not target.parent.is_dir():
            raise ModelFileError(f"{target}: cannot be written (it is a folder, or its folder does not exist)")
        if any(same(target, other) for other in others):
            raise ModelFileError(f"{target}: is an input or an output of this command; give another output")
        if target.is_file():
            _check_replaceable(target, kind)
        elif target.exists() and kind == ".npz":
            raise ModelFileError(f"{target}: is not a regular file; give another output")


def _check_replaceable(target: Path, kind: str) -> None:
    with target.open("rb") as file:
        beginning = file.read(64).lstrip()
    if beginning and not beginning.startswith(BEGINNINGS[kind]):
        raise ModelFileError(f"{target}: already exists and is not a {kind} file; give another output")


def write_text(path: str | Path, text: str, kind: TextKind) -> None:
    """Write a text whole or not at all; into a pipe or a device as it comes.

    Args:
        path: The file; it may exist if it is of the same kind.
        text: Its content.
        kind: What it is.

    Raises:
        ModelFileError: it cannot be written, or the file that exists is of another kind.
    """
    target = Path(path)
    with os_errors(target):
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")
            return
        if target.exists():
            _check_replaceable(target, kind)
    with replacing(target) as staging, os_errors(target):
        write_flushed(staging, [text.encode()])


def copy_file(origin: Path, target: Path) -> None:
    """Copy a file whole or not at all; a different file at the target is not replaced.

    Raises:
        ModelFileError: it cannot be read or written, or the target is a different file.
    """
    with os_errors(target):
        if target.exists():
            if not filecmp.cmp(origin, target, shallow=False):
                raise ModelFileError(f"{target}: already exists with other content; give another folder")
            return
    with replacing(target) as staging, os_errors(target):
        write_flushed(staging, [origin.read_bytes()])


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a free path in the target's folder; the file written there replaces the target if the block succeeds."""
    with temporary(target.parent) as staging:
        yield staging
        with os_errors(target):
            staging.replace(target)
            _flush_folder(target.parent)


@contextlib.contextmanager
def temporary(folder: Path) -> Iterator[Path]:
    """Yield a free path in a folder; a file that is left there in the end is removed."""
    path = folder / f".onnx_jumprelu-{secrets.token_hex(6)}.tmp"
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def os_errors(path: str | Path, what: str = "written") -> Iterator[None]:
    """Turn an OSError into a ModelFileError of one line that names the file."""
    try:
        yield
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be {what} ({error.strerror or error})") from error


def write_flushed(path: Path, chunks: Sequence[bytes | memoryview], mode: int = 0o666) -> None:
    """Write a new file in pieces, and flush it to the disk."""
    # Not created by tempfile: the new file shall have these permissions minus the user's umask.
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), mode)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the move durable, where the system can flush a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
