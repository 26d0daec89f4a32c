"""Writing files whole or not at all: under a temporary name in the same folder, flushed to the disk, then moved."""

from __future__ import annotations

import contextlib
import filecmp
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import ModelFileError
from onnx_jumprelu.files.kinds import EXAMPLES_MARK, FileKind, TextKind, check_replaceable
from onnx_jumprelu.files.temporary import finish, temporary


def same(one: Path, other: Path) -> bool:
    """Whether two paths are, or would be, the same file."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)  # unlike Path.resolve, it ends in a circle of links


def check_output(path: str | Path, kind: FileKind, others: Iterable[Path] = (), *, force: bool = False) -> None:
    """Refuse, before any work, to write a result where it cannot be written, or over a file that must not be lost.

    Text may also go into a pipe or a device.

    Args:
        path: Where the result will be written.
        kind: What it will be.
        others: The other files of the same command.
        force: See `check_replaceable`.

    Raises:
        ModelFileError: it is a folder, its folder does not exist or is write-protected, it is one of `others`, or it
            holds something else than an older result of the same kind.
    """
    target = Path(path)
    with os_errors(target):
        if target.is_dir() or not target.parent.is_dir():
            raise ModelFileError(f"{target}: cannot be written (it is a folder, or its folder does not exist)")
        if any(same(target, other) for other in others):
            raise ModelFileError(f"{target}: is an input or an output of this command; give another output")
        if target.exists() and not os.access(target, os.W_OK):
            raise ModelFileError(f"{target}: is write-protected; give another output")
        if target.exists() and not target.is_file():
            if kind == ".npz":
                raise ModelFileError(f"{target}: is not a regular file; give another output")
            return
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise ModelFileError(f"{target}: cannot be written (the folder {target.parent} is write-protected)")
        if target.exists():
            check_replaceable(target, kind, force=force)


def write_text(path: str | Path, text: str, kind: TextKind, *, force: bool = False) -> None:
    """Write a text whole or not at all; into a pipe or a device as it comes.

    Args:
        path: The file; an older result of the same kind is replaced.
        text: Its content.
        kind: What it is.
        force: See `check_replaceable`.

    Raises:
        ModelFileError: it cannot be written, or the file that exists must not be lost.
    """
    target = Path(path)
    check_output(target, kind, force=force)
    with os_errors(target):
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")
            return
    with replacing(target) as file, os_errors(target):
        file.write(text.encode())


def write_arrays(path: str | Path, arrays: Mapping[str, Array], *, force: bool = False) -> None:
    """Write arrays to an `.npz` file, whole or not at all.

    Args:
        path: The file; an older one that was written here is replaced.
        arrays: The arrays by name.
        force: See `check_replaceable`.

    Raises:
        ModelFileError: it cannot be written, or the file that exists must not be lost.
    """
    target = Path(path)
    check_output(target, ".npz", force=force)
    with replacing(target) as file, os_errors(target):
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type] # no array is called `allow_pickle`
        file.flush()
        with zipfile.ZipFile(file.name, "a") as archive:
            archive.comment = EXAMPLES_MARK


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
    with replacing(target) as file, os_errors(target):
        file.write(origin.read_bytes())


@contextlib.contextmanager
def replacing(target: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a new file in the target's folder; it replaces the target if the block succeeds.

    Args:
        target: The file to replace, or to make.
        mode: The new file's permissions, before the user's umask.

    Raises:
        ModelFileError: it cannot be made or moved; the target is as it was.
    """
    with contextlib.ExitStack() as stack:
        with os_errors(target):
            file = stack.enter_context(temporary(target.parent, mode))
        yield file
        with os_errors(target):
            finish(file)
            Path(file.name).replace(target)
            _flush_folder(target.parent)


@contextlib.contextmanager
def os_errors(path: str | Path, what: str = "written") -> Iterator[None]:
    """Turn an OSError into a ModelFileError of one line that names the file."""
    try:
        yield
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be {what} ({error.strerror or error})") from error


def _flush_folder(folder: Path) -> None:
    """Make the move durable, where the system can flush a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
