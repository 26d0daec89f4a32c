"""External weights: which file holds the data of a tensor, and how they get into memory or into a session.

Everything that reads external weights finds them here, by the rule of onnxruntime (`weights_path`).
"""

from __future__ import annotations

import copy
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

from onnx import FunctionProto, GraphProto, ModelProto, TensorProto, helper
from onnx.checker import ValidationError
from onnx.external_data_helper import load_external_data_for_tensor

from onnx_jumprelu.errors import ModelFileError, naming
from onnx_jumprelu.files.atomic import os_errors
from onnx_jumprelu.files.status import Stamp, open_regular, stamp_of
from onnx_jumprelu.graphs.scopes import walk_scopes
from onnx_jumprelu.runtime import one_line

LARGEST_MESSAGE = 2**31 - 1
_KEYS = re.compile("location|offset|length|checksum|prepacked.*")  # onnxruntime refuses others
_NUMBER = re.compile("[0-9]{1,19}")
_IN_MEMORY = "*/_ORT_MEM_ADDR_/*"  # the location by which onnxruntime refers to its own memory
_SUB_BYTE_BITS = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}


@dataclass(frozen=True)
class WeightsFile:
    """A file that holds weights.

    Attributes:
        model: The model's file.
        location: How the model refers to the weights.
        path: The file itself, all links followed.
        stamp: See `stamp_of`, when the model was read.
    """

    model: Path
    location: str
    path: Path
    stamp: Stamp

    def check_unchanged(self, opened: BinaryIO | None = None) -> None:
        """Check that the file, or what was opened as such, is what it was. Raises ModelFileError."""
        with os_errors(self.path, "read"):
            if stamp_of(opened or self.path) != self.stamp:
                raise ModelFileError(f"{self.path}: was changed after {self.model} had been opened; open it again")


@dataclass(frozen=True)
class _Extent:
    """Where a tensor's data lie: from `offset` to `end`, in bytes, in the file at `location`."""

    location: str
    offset: int
    end: int


def weights_path(model: Path, location: str) -> Path:
    """The file that holds data of a model: the one that onnxruntime reads.

    A location is relative to the folder in which the model was named, even if that is a link to a file elsewhere. With
    all links followed, it must be a file below that folder, or below the folder of the model's own file. (In package
    caches, the model and its weights are links into a folder of blobs.)

    Raises:
        ModelFileError: the location leads elsewhere, or to no file.
    """
    if not location or location == _IN_MEMORY or Path(location).is_absolute() or PureWindowsPath(location).drive:
        raise ModelFileError(f"{model}: keeps weights outside the model's folder ({shown(location)})")
    place = os.path.join(model.parent, location)  # noqa: PTH118 - a Path would drop a slash at the end
    try:
        real = Path(os.path.realpath(place))
        folders = (os.path.realpath(model.parent), os.path.dirname(os.path.realpath(model)))  # noqa: PTH120
        if not any(real.is_relative_to(folder) for folder in folders):
            raise ModelFileError(
                f"{model}: keeps weights outside the model's folder ({shown(location)} leads to {real}), which "
                "onnxruntime refuses; put a copy of that file next to the model"
            )
        os.stat(place)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a zero byte
        raise ModelFileError(
            f"{model}: its external data file is missing; put {shown(location)} next to the model"
        ) from error
    except OSError as error:
        raise ModelFileError(
            f"{model}: its external data file {shown(location)} cannot be read ({error.strerror})"
        ) from error
    return real


def shown(location: str) -> str:
    """A location as messages quote it."""
    return f"'{location}'" if len(location) <= 100 else f"'{location[:60]}...' ({len(location)} characters)"  # noqa: PLR2004


def checked_weights(path: Path, model: ModelProto) -> tuple[WeightsFile, ...]:
    """The files that hold a model's weights, each once, after a check that all of its tensors' data are there.

    Args:
        path: The model's file.
        model: What it holds.

    Raises:
        ModelFileError: a file is missing or refused, or a tensor's data are not within it; onnxruntime loads none of
            these models.
    """
    files: dict[str, WeightsFile] = {}
    for tensor, in_subgraph in _external_tensors(model):
        extent = _extent(path, tensor)
        if extent.location not in files:
            real = weights_path(path, extent.location)
            with naming(path, ModelFileError), open_regular(real) as file:
                files[extent.location] = WeightsFile(path, extent.location, real, stamp_of(file))
            problem = refusal(path.parent, extent.location) if in_subgraph else None
            if problem is not None:
                raise ModelFileError(
                    f"{path}: the weights {shown(extent.location)} of a subgraph {problem}, which onnxruntime refuses "
                    "there; put a copy of that file in its place"
                )
        _, size, _ = files[extent.location].stamp
        if extent.end > size:
            raise ModelFileError(
                f"{path}: its external data file {shown(extent.location)} is cut short: tensor '{tensor.name}' needs "
                f"bytes {extent.offset} to {extent.end} of it, and it has {size}"
            )
    return tuple(files.values())


def _extent(path: Path, tensor: TensorProto) -> _Extent:
    """Where the data of a tensor lie, by the rules of onnxruntime."""

    def refused(reason: str) -> ModelFileError:
        return ModelFileError(f"{path}: tensor '{tensor.name}' {reason}; export the model again")

    entries: dict[str, str] = {}
    for entry in tensor.external_data:
        if not isinstance(entry.key, str) or not isinstance(entry.value, str):
            raise refused(f"names its external data in something that is not UTF-8 ({entry.value!r:.80})")
        if not _KEYS.fullmatch(entry.key) or (entry.key == "location" and entry.key in entries):
            raise refused(f"describes its external data with an unknown or a second entry '{entry.key}'")
        entries[entry.key] = entry.value
    for key in ("offset", "length"):
        if not _NUMBER.fullmatch(entries.setdefault(key, "0")):
            raise refused(f"has the {key} {shown(entries[key])} in its external data file, which is not a byte count")
    offset, length, needed = int(entries["offset"]), int(entries["length"]), n_bytes(tensor)
    if needed is None:
        raise refused("has no size in bytes (its element type is not one of numbers, or a dimension is negative)")
    if length not in (0, needed):  # 0: as if left out
        raise refused(f"needs {needed} bytes, but its length in its external data file is {length}")
    return _Extent(entries.get("location", ""), offset, offset + needed)


def n_bytes(tensor: TensorProto) -> int | None:
    """The size of a tensor's data, from its element type and shape; None where there is no such size."""
    if any(size < 0 for size in tensor.dims):
        return None
    try:
        name = TensorProto.DataType.Name(tensor.data_type)
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError):
        return None
    if dtype.hasobject:
        return None
    return -(-math.prod(tensor.dims) * _SUB_BYTE_BITS.get(name, 8 * dtype.itemsize) // 8)


def refusal(folder: Path, location: str) -> str | None:
    """Why onnx's own loader does not read a weights file, as part of a sentence; None where it does.

    It refuses links, and since version 1.21 files with several hard links.
    """
    place = folder / location
    probe = TensorProto(name=location, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("length", str(min(1, place.stat().st_size)))):
        probe.external_data.add(key=key, value=value)
    try:
        load_external_data_for_tensor(probe, str(folder))
    except TypeError:  # of a path that cannot be encoded
        return "are in a folder whose name is not UTF-8"
    except (ValidationError, RuntimeError, ValueError, OSError) as error:
        if place.is_symlink():
            return "are a link"
        if place.stat().st_nlink > 1:
            return "have several hard links"
        return f"are refused ({one_line(error)})"
    return None


def with_weights(model: ModelProto, files: Sequence[WeightsFile]) -> ModelProto:
    """A copy of a model that holds its external weights.

    Args:
        model: A model that refers to `files`.
        files: Its weights.

    Raises:
        ModelFileError: a file cannot be read, or is not what it was when the model was read.
    """
    whole, paths = copy.deepcopy(model), {file.location: file for file in files}
    left = LARGEST_MESSAGE
    for tensor, _ in _external_tensors(whole):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        file, needed = paths[entries["location"]], n_bytes(tensor) or 0
        left -= needed
        if left < 0:
            raise ModelFileError(
                f"{file.path}: the weights are larger than 2 GiB, which do not fit into a model in memory"
            )
        with open_regular(file.path) as opened, os_errors(file.path, "read"):
            opened.seek(int(entries.get("offset", 0)))
            tensor.raw_data = opened.read(needed)
            file.check_unchanged(opened)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
    return whole


def for_session(model: ModelProto, files: Sequence[WeightsFile]) -> tuple[ModelProto, Path | None]:
    """A model that onnxruntime can load from memory, and the folder that it needs to know.

    The folder alone would not do: what lies behind a link is allowed only to a model in a file. So the copy of the
    model refers to the files themselves.

    Args:
        model: A model that refers to `files`.
        files: Its weights.

    Raises:
        ModelFileError: a file is not what it was when the model was read, or its name is not UTF-8.
    """
    if not files:
        return model, None
    for file in files:
        file.check_unchanged()
    folder = Path(os.path.commonpath([file.path.parent for file in files]))
    names = {file.location: file.path.relative_to(folder).as_posix() for file in files}
    moved = copy.deepcopy(model)
    for tensor, _ in _external_tensors(moved):
        for entry in tensor.external_data:
            if entry.key == "location":
                try:
                    entry.value = names[entry.value]
                except UnicodeEncodeError as error:
                    raise ModelFileError(f"{folder / names[entry.value]}: the name is not UTF-8; rename it") from error
    return moved, folder


def _external_tensors(model: ModelProto) -> Iterator[tuple[TensorProto, bool]]:
    """Every tensor whose data lie in another file, and whether it belongs to a subgraph."""
    for scope in walk_scopes(model):
        in_subgraph = isinstance(scope.proto, GraphProto) and scope.parent is not None
        for tensor in _tensors(scope.proto):
            if tensor.data_location == TensorProto.EXTERNAL:
                yield tensor, in_subgraph


def _tensors(proto: GraphProto | FunctionProto) -> Iterator[TensorProto]:
    """Every tensor that a graph or function stores, without its subgraphs: initializers and attributes."""
    if isinstance(proto, GraphProto):
        yield from proto.initializer
        for sparse in proto.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in proto.node:
        for entry in node.attribute:
            if entry.HasField("t"):
                yield entry.t
            yield from entry.tensors
            for sparse in (entry.sparse_tensor, *entry.sparse_tensors):
                yield from (sparse.values, sparse.indices)
