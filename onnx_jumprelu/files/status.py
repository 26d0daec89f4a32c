"""What the system knows of a file: whether it is one, whether it is the same, to whom it belongs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from onnx_jumprelu.files.atomic import os_errors
from onnx_jumprelu.files.inputs import regular

PIECE = 2**20  # bytes that are read at a time: weights may be larger than the memory
Stamp = tuple[int, int, int]  # inode, size in bytes, time of change in nanoseconds


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read it.

    Raises:
        ModelFileError: it cannot be opened, or is a folder, a pipe or a device, which have no end or wait for a writer.
    """
    with contextlib.ExitStack() as stack:
        with os_errors(path, "read"):
            # A pipe that takes the file's place after the check must not block.
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            file = stack.enter_context(os.fdopen(os.open(regular(path), flags), "rb"))
        yield file


def sha256_of(file: BinaryIO) -> str:
    """SHA-256 of an open file, in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()


def stamp_of(file: Path | BinaryIO) -> Stamp:
    """What differs once a file has been replaced or written to. Raises OSError."""
    status = file.stat() if isinstance(file, Path) else os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


def copy_attributes(origin: Path, file: BinaryIO) -> None:
    """Give a new file the owner, the group, the extended attributes and the mode of another one.

    What the system does not allow is left out: only a superuser can give a file away.
    """
    status, name = origin.stat(), file.name
    if hasattr(os, "chown"):
        for owner, group in ((-1, status.st_gid), (status.st_uid, -1)):
            with contextlib.suppress(OSError):
                os.chown(name, owner, group)
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):
            for attribute in os.listxattr(origin):
                with contextlib.suppress(OSError):
                    os.setxattr(name, attribute, os.getxattr(origin, attribute))
    Path(name).chmod(stat.S_IMODE(status.st_mode))  # last, because a new owner clears some of its bits
