"""Temporary files. What a killed process leaves behind, the next one that writes into that folder removes."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

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
    _remove_abandoned(folder)
    with _created(folder, mode) as file:
        try:
            yield file
        finally:
            with contextlib.suppress(OSError):
                Path(file.name).unlink(missing_ok=True)


def finish(file: BinaryIO) -> None:
    """Bring what was written to a file to the disk, so that the file can be moved. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())
    if os.name == "nt":
        file.close()  # an open file cannot be moved there


def _created(folder: Path, mode: int) -> BinaryIO:
    while True:
        path = folder / f".onnx_jumprelu-{os.getpid()}-{secrets.token_hex(6)}.tmp"
        # Not created by tempfile: the new file shall have these permissions minus the user's umask.
        file = open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        if _locked(file.fileno(), wait=True) is False or os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another run has removed it between these two steps


def _locked(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file. False where another process has locked it, or where the system cannot lock files (Windows)."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of processes that no longer run."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _NAMES.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(entry.path)


def _remove_if_abandoned(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and _locked(descriptor):
            Path(path).unlink()
    finally:
        os.close(descriptor)
