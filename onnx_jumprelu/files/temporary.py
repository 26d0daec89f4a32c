"""Temporary files. What a killed process leaves behind, the next one that writes into that folder removes."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

PATIENCE = 2  # seconds
_NAMES = re.compile(r"\.onnx_jumprelu-[0-9]+-[0-9a-f]{12}\.tmp")


@contextlib.contextmanager
def temporary(folder: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a new file in a folder, open for writing; it is removed in the end, unless it was moved.

    It is locked while it is open. The system drops the lock of a process that dies, in whatever container it ran and
    whatever process has its number by now. So a temporary file that can be locked belongs to nobody any more.

    Args:
        folder: Where to make it.
        mode: Its permissions, before the user's umask.

    Raises:
        OSError: it cannot be made.
    """
    remove_abandoned(folder)
    file = _created(folder, mode)
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            Path(file.name).unlink(missing_ok=True)
        # Of a full disk the writer knows already; what could not be written would fail here again, without a name.
        with contextlib.suppress(OSError):
            file.close()


def finish(file: BinaryIO) -> None:
    """Bring what was written to a file to the disk, so that the file can be moved. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())
    if os.name == "nt":
        file.close()  # an open file cannot be moved there


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of processes that no longer run, where the system allows it."""
    for path in _temporaries(folder):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            try:
                if stat.S_ISREG(os.fstat(descriptor).st_mode) and _lock(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def wait_for_copy(path: Path) -> None:
    """Wait, but not for long, while a process that has just copied a file still has it under a temporary name too."""
    inode, ends = path.stat().st_ino, time.monotonic() + PATIENCE
    while time.monotonic() < ends and inode in _inodes(_temporaries(path.parent)):
        time.sleep(0.01)


def _inodes(paths: list[Path]) -> Iterator[int]:
    for path in paths:
        with contextlib.suppress(OSError):
            yield path.lstat().st_ino


def _temporaries(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if _NAMES.fullmatch(entry.name)]
    return []


def _created(folder: Path, mode: int) -> BinaryIO:
    while True:
        path = folder / f".onnx_jumprelu-{os.getpid()}-{secrets.token_hex(6)}.tmp"
        # Not created by tempfile: the new file shall have these permissions minus the user's umask.
        file = open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        try:
            locked = _lock(file.fileno())
        except OSError:
            return file  # here files cannot be locked, and so none are removed
        if locked and os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # between these two steps, another run has locked it in order to remove it


def _lock(descriptor: int) -> bool:
    """Lock an open file. False where another process has locked it. Raises OSError where files cannot be locked."""
    if sys.platform == "win32":
        raise OSError(errno.ENOLCK, "files are not locked")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
