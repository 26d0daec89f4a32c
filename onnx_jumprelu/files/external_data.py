"""External weights files: checking that they exist, and bringing them along. They are never decoded or rewritten."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnx import GraphProto, ModelProto, TensorProto

from onnx_jumprelu.errors import ModelFileError
from onnx_jumprelu.files.atomic import temporary
from onnx_jumprelu.graphs.scopes import walk_scopes
from onnx_jumprelu.names import ExternalDataMode


def checked_external_data(path: Path, model: ModelProto) -> tuple[str, ...]:
    """The files that hold weights, after a check that each exists and is long enough."""
    locations: dict[str, int] = {}
    for tensor in _external_tensors(model):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        parts = (*PurePosixPath(location).parts, *PureWindowsPath(location).parts)
        if not location or ".." in parts or PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive:
            raise ModelFileError(
                f"{path}: tensor '{tensor.name}' keeps its data outside the model's folder ('{location}')"
            )
        try:
            end = int(entries.get("offset", 0)) + int(entries.get("length", 0))
        except ValueError as error:
            raise ModelFileError(f"{path}: tensor '{tensor.name}' has a bad offset or length") from error
        locations[location] = max(locations.get(location, 0), end)
    for location, end in locations.items():
        weights = path.parent / location
        if not weights.is_file():
            raise ModelFileError(f"{path}: its external data file is missing; put '{location}' next to the model")
        if weights.stat().st_size < end:
            raise ModelFileError(f"{path}: its external data file '{location}' is cut short")
    return tuple(locations)


def _external_tensors(model: ModelProto) -> Iterator[TensorProto]:
    return (tensor for tensor in _tensors(model) if tensor.data_location == TensorProto.EXTERNAL)


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor that a file stores: initializers and attributes, in all graphs and functions."""
    for scope in walk_scopes(model):
        if isinstance(scope.proto, GraphProto):
            yield from scope.proto.initializer
            for sparse in scope.proto.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in scope.proto.node:
            for entry in node.attribute:
                if entry.HasField("t"):
                    yield entry.t
                yield from entry.tensors
                for sparse in (entry.sparse_tensor, *entry.sparse_tensors):
                    yield from (sparse.values, sparse.indices)


def place_weights(origin: Path, place: Path, mode: ExternalDataMode, placed: list[Path]) -> None:
    """Bring a weights file to the output's folder; a file that already exists there must have the same content."""
    origin = origin.resolve()
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # another job may have been faster
            _link(origin, place) if mode == "link" else _copy(origin, place)
            placed.append(place)
            return
    if not origin.samefile(place) and not filecmp.cmp(origin, place, shallow=False):
        raise ModelFileError(f"{place}: another file has the name that the weights {origin} need; give another folder")


def _link(origin: Path, place: Path) -> None:
    try:
        os.link(origin, place)
    except FileExistsError:
        raise
    except OSError as error:
        raise ModelFileError(f"{place}: cannot be linked ({error.strerror}); use --external-data copy") from error


def _copy(origin: Path, place: Path) -> None:
    """Copy to a temporary file, then link it: unlike a move, a link never replaces a file that appeared in between."""
    with temporary(place.parent) as staging:
        shutil.copy2(origin, staging)
        with staging.open("rb+") as file:
            os.fsync(file.fileno())
        try:
            os.link(staging, place)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            staging.replace(place)
