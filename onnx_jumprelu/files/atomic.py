"""Writing files whole or not at all: beside the target under another name, flushed to the disk, then moved."""

from __future__ import annotations

import contextlib
import filecmp
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from onnx_jumprelu.errors import ModelFileError

JSON = (b"{", b"[")  # what such a file begins with


def same(one: Path, other: Path) -> bool:
    """Whether two names stand, or would stand, for one file."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def check_text_target(path: str | Path, others: Iterable[Path]) -> None:
    """Refuse, before any work, a place for a JSON file that cannot be written, or that holds one of `others`.

    Raises:
        ModelFileError: see above.
    """
    target = Path(path)
    check_target(target, others)
    if not target.exists() or target.is_file():  # text may also go into a pipe
        check_replaceable(target, JSON, "JSON")


def check_target(target: Path, others: Iterable[Path]) -> None:
    """Refuse, before any work, a place that cannot be written, or that holds one of `others`.

    Raises:
        ModelFileError: see above.
    """
    with os_errors(target):
        if target.is_dir() or not target.parent.is_dir():
            raise ModelFileError(f"{target}: cannot be written (it is a folder, or its folder does not exist)")
        if any(same(target, other) for other in others):
            raise ModelFileError(
                f"{target}: is an input or an output of this command; give another place for the result"
            )


def check_replaceable(target: Path, beginnings: tuple[bytes, ...], what: str) -> None:
    """An older result may be replaced; a file of another kind (weights, data, a model) or a device never.

    Args:
        target: Where a result is to go.
        beginnings: What a file of the same kind begins with.
        what: The kind.

    Raises:
        ModelFileError: see above.
    """
    with os_errors(target):
        if target.exists() and not target.is_file():
            raise ModelFileError(f"{target}: is no regular file; give another place for the result")
        if target.is_file():
            with target.open("rb") as file:
                beginning = file.read(64).lstrip()
            if beginning and not beginning.startswith(beginnings):
                raise ModelFileError(
                    f"{target}: is there already and is no {what} file; give another place for the result"
                )


def write_text(path: str | Path, text: str) -> None:
    """Write a small JSON file whole or not at all; into a pipe or a device as it comes.

    Raises:
        ModelFileError: it cannot be written.
    """
    target = Path(path)
    with os_errors(target):
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")
            return
    check_replaceable(target, JSON, "JSON")
    with replacing(target) as staging, os_errors(target):
        write_flushed(staging, [text.encode()])


def copy_file(origin: Path, target: Path) -> None:
    """Copy a file whole or not at all; never over another one.

    Raises:
        ModelFileError: it cannot be read or written, or another file has its name.
    """
    with os_errors(target):
        if target.exists():
            if not filecmp.cmp(origin, target, shallow=False):
                raise ModelFileError(f"{target}: another file is there already; give another folder")
            return
    with replacing(target) as staging, os_errors(target):
        write_flushed(staging, [origin.read_bytes()])


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A free name beside the target; what the block wrote there is moved to the target if the block ends well."""
    with temporary(target.parent) as staging:
        yield staging
        with os_errors(target):
            staging.replace(target)
            _flush_folder(target.parent)


@contextlib.contextmanager
def temporary(folder: Path) -> Iterator[Path]:
    """A free name in a folder; what stands there in the end is removed."""
    path = folder / f".onnx_jumprelu-{secrets.token_hex(6)}.tmp"
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def os_errors(path: str | Path, what: str = "written") -> Iterator[None]:
    """What the system refuses, as one line that names the file."""
    try:
        yield
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be {what} ({error.strerror or error})") from error


def write_flushed(path: Path, chunks: Sequence[bytes | memoryview], mode: int = 0o666) -> None:
    """Write a new file in pieces, and have it on the disk."""
    # Created by hand, not by tempfile, so that the new file gets these permissions less the user's umask.
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), mode)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the move itself durable where the system lets a folder be flushed."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
