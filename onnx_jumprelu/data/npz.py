"""Arrays of an `.npz` file, each read only when it is asked for, and only after a look at its size.

The file may come from a stranger: nothing is unpickled, and an array that says it is larger than its member is not
allocated. NumPy's own reader reports damage with some ten types of exceptions and allocates what a header asks for.
"""

from __future__ import annotations

import contextlib
import lzma
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import DataError
from onnx_jumprelu.files.inputs import regular

SUFFIX = ".npy"
PIECE = 2**20  # bytes read at once
# An array above this size that was compressed better than this is not data, but a trap. Deflate reaches 1,000.
LARGEST_PACKED, MOST_PACKED = 2**30, 100
ENCRYPTED = 1  # bit of a member's flags
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# What `zipfile` and the decompressors raise for a damaged file. NotImplementedError: a compression that is unknown.
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError),
    *(ValueError, IndexError, OverflowError, struct.error),
)
# What NumPy raises for a damaged header, whose text it reads as Python.
BAD_HEADER = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError, tokenize.TokenError)


class NpzArrays(Mapping[str, Array]):
    """The arrays of an `.npz` file by name. What is not an array is left out."""

    def __init__(self, path: Path) -> None:
        """Read the list of arrays. Raises DataError."""
        self._path = path
        with self._opened() as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(SUFFIX)]
        self._members = {entry.filename.removesuffix(SUFFIX): entry for entry in entries}

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> Array:
        """Read one array. Raises KeyError where there is none, and DataError."""
        entry = self._members[name]
        if entry.flag_bits & ENCRYPTED:
            raise self._error(f"array '{name}' is encrypted")
        with self._opened() as archive, archive.open(entry) as member:
            return self._array(member, entry, name)

    def _array(self, member: IO[bytes], entry: zipfile.ZipInfo, name: str) -> Array:
        shape, fortran, dtype = self._header(member, name)
        if dtype.hasobject or not dtype.itemsize or dtype.fields is not None:
            raise self._error(f"array '{name}' holds {dtype}, not numbers")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or size > entry.file_size:
            raise self._error(f"array '{name}' is cut short")
        if size > LARGEST_PACKED and size > MOST_PACKED * entry.compress_size:
            raise self._error(f"array '{name}' has {size >> 20} MiB in {entry.compress_size >> 10} KiB; store it anew")
        content = bytearray()
        while len(content) < size:
            piece = member.read(min(PIECE, size - len(content)))
            if not piece:
                raise self._error(f"array '{name}' is cut short")
            content += piece
        array: Array = np.ndarray(shape, dtype, content, order="F" if fortran else "C")
        return array

    def _header(self, member: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NumPy warns of files that Python 2 wrote, and reads them
                shape, fortran, dtype = HEADERS[np.lib.format.read_magic(member)](member)
                return shape, fortran, dtype
        except (*BAD_HEADER, KeyError) as error:
            raise self._error(f"array '{name}' is not in NumPy's format") from error

    @contextlib.contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        """The archive; what goes wrong with it or inside the block becomes a DataError."""
        try:
            with regular(self._path).open("rb") as file:
                if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                    raise DataError(f"{self._path}: is an .npy file of one array; an .npz file is needed")
                with zipfile.ZipFile(file) as archive:
                    yield archive
        except OSError as error:
            raise self._error(error.strerror or "not an .npz file of plain arrays") from error
        except MemoryError as error:
            raise self._error("its arrays do not fit in the memory") from error
        except DAMAGE as error:
            raise self._error("not an .npz file of plain arrays") from error

    def _error(self, reason: str) -> DataError:
        return DataError(f"{self._path}: cannot be read ({reason})")
