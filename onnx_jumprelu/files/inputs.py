"""Opening files that a user names as an input: what would be read without end is refused, in one place.

Both functions raise OSError, whose `strerror` callers put into the error of their own kind.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

LARGEST_TEXT = 2**25  # bytes of a recipe, policy or record; a checkpoint of 100,000 examples has a tenth of it


def regular(path: str | Path) -> Path:
    """The path of a file that can be read to its end.

    Raises:
        OSError: it does not exist, or is a folder, a pipe or a device.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a NUL character, which no file's name has
        raise OSError(errno.EINVAL, "not the name of a file") from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file; save its content to a file and give that")
    return path


def read_text(path: str | Path) -> str:
    """The content of a text file in UTF-8.

    Raises:
        OSError: it cannot be read, is not a regular file, or is too large.
        UnicodeDecodeError: it is not UTF-8.
    """
    path = regular(path)
    if path.stat().st_size > LARGEST_TEXT:
        raise OSError(errno.EFBIG, f"larger than {LARGEST_TEXT >> 20} MiB")
    return path.read_text(encoding="utf-8")
