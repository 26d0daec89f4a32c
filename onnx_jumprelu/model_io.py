"""The only door to model files: load and check, save atomically, keep external weights working, hash.

A file is written beside its target under another name, flushed to the disk and then moved, so that a target is either
the old file or the whole new one. External weights are never decoded, rewritten or replaced.
"""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import mmap
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TensorProto

from onnx_jumprelu.errors import ModelFileError
from onnx_jumprelu.graph import walk_scopes
from onnx_jumprelu.wire import Chunks, FramingError, with_large_weights, without_large_weights

Stamp = tuple[int, int, int]
ExternalDataMode = Literal["copy", "link"]
LARGEST_MESSAGE = 2**31 - 1


@dataclass(frozen=True)
class ModelFile:
    """A model read from a file.

    Attributes:
        path: The file.
        model: Its content, external weights not loaded.
        sha256: SHA-256 of the file's bytes, in hexadecimal.
        external_data: Files that hold weights, relative to the model's folder, each once.
        stamp: Inode, size and time of change of the file when it was read.
        large_weights: The serialized initializers whose data `model` was spared, by name; see `wire`.
    """

    path: Path
    model: ModelProto
    sha256: str
    external_data: tuple[str, ...]
    stamp: Stamp | None = None
    large_weights: Mapping[bytes, memoryview] = field(default_factory=dict)


def load(path: str | Path, *, weights: bool = True) -> ModelFile:
    """Read and check a model file.

    Args:
        path: The file.
        weights: False leaves out the data of large initializers, which `staged` puts back: for a model that is only
            rewritten, not run.

    Raises:
        ModelFileError: it is not there, not a whole ONNX model, or its external weights are not.
    """
    path = Path(path)
    content, stamp = _read(path)
    model = ModelProto()
    parsed, large = (bytes(content), {}) if weights else _light(content)
    try:
        model.ParseFromString(parsed)
    except DecodeError as error:
        raise ModelFileError(f"{path}: is not an ONNX model, or is cut short") from error
    if not model.HasField("graph") or not model.ir_version or not model.opset_import:
        raise ModelFileError(f"{path}: is not an ONNX model, or is cut short (no graph, IR version or opset)")
    sha256 = hashlib.sha256(content).hexdigest()
    return ModelFile(path, model, sha256, _checked_external_data(path, model), stamp, large)


def _light(content: memoryview) -> tuple[bytes, dict[bytes, memoryview]]:
    try:
        return without_large_weights(content)
    except FramingError:
        return bytes(content), {}  # protobuf is the judge of what is unusual


def _read(path: Path) -> tuple[memoryview, Stamp]:
    try:
        if path.is_dir():
            raise ModelFileError(f"{path}: is a directory; give an .onnx file")
        stamp = _stamp(path)
        if path.stat().st_size > LARGEST_MESSAGE:
            raise ModelFileError(f"{path}: is larger than 2 GiB; save the model with external data")
        content = _mapped(path)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    if not content:
        raise ModelFileError(f"{path}: is empty")
    return content, stamp


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _mapped(path: Path) -> memoryview:
    """A file's bytes, mapped into memory where that can be: reading them would take as long as hashing them."""
    with path.open("rb") as file:
        if os.name == "nt" or not path.is_file() or not path.stat().st_size:
            return memoryview(file.read())  # Windows replaces no mapped file; pipes and empty files cannot be mapped
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _checked_external_data(path: Path, model: ModelProto) -> tuple[str, ...]:
    """The files that hold weights, after a check that each is there and long enough."""
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
            raise ModelFileError(f"{path}: its external data file is missing; put '{location}' beside the model")
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


def check_target(target: Path, source: ModelFile, *, in_place: bool = False) -> None:
    """Refuse, before any work, a target that must not or cannot be written.

    Raises:
        ModelFileError: the target is the input (unless `in_place`), one of its weights files, a directory or a device,
            or its folder does not exist.
    """
    with _os_errors(target):
        if target.is_dir():
            raise ModelFileError(f"{target}: is a directory; give a file name")
        if not target.parent.is_dir():
            raise ModelFileError(f"{target}: cannot be written, the folder {target.parent} does not exist")
        if target.exists() and not target.is_file():
            raise ModelFileError(f"{target}: is not a regular file; give another output")
        if target.exists() and not os.access(target, os.W_OK):
            raise ModelFileError(f"{target}: is write-protected; give another output")
        if not in_place and _same(target, source.path):
            raise ModelFileError(f"{target}: is the input; give another output, or --in-place to replace it")
        for location in source.external_data:
            if _same(target, source.path.parent / location) or _same(target, target.parent / location):
                raise ModelFileError(f"{target}: is the name of the weights of {source.path}; give another output")


def _same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


@contextlib.contextmanager
def staged(
    model: ModelProto,
    target: str | Path,
    source: ModelFile,
    *,
    mode: ExternalDataMode = "copy",
    keep_weights: bool = False,
) -> Iterator[Path]:
    """Write a model beside its target, and move it there when the block ends without an exception.

    A target that is a link becomes a file; what it pointed to stays as it was.

    Args:
        model: What to write.
        target: Where it is to stand.
        source: The file that the model came from, for its large and its external weights.
        mode: How weights get into another folder: `copy`, or `link` for a hard link (which onnxruntime loads, while
            onnx's own loader refuses weights files that have several).
        keep_weights: Leave the weights there after a failure: other models may use them by then.

    Yields:
        The staged file, complete and with its weights in reach, so that it can be tried before it counts.

    Raises:
        ModelFileError: something cannot be written; the target is as it was.
    """
    target = Path(target)
    placed: list[Path] = []
    try:
        with _replacing(target) as staging:
            with _os_errors(target):
                for location in source.external_data:
                    _place_weights(source.path.parent / location, target.parent / location, mode, placed)
                like = target if target.exists() else source.path
                _write_flushed(staging, _content(model, target, source), stat.S_IMODE(like.stat().st_mode))
                if target.exists():
                    shutil.copymode(target, staging)
            yield staging
            _check_unchanged(source)
    except BaseException:
        if not keep_weights:
            for weights in placed:
                weights.unlink(missing_ok=True)
        raise


def _check_unchanged(source: ModelFile) -> None:
    """Large weights are read from the input only when the output is written."""
    with _os_errors(source.path):
        if source.stamp is not None and _stamp(source.path) != source.stamp:
            raise ModelFileError(f"{source.path}: was changed by another program meanwhile; nothing was written")


def _content(model: ModelProto, target: Path, source: ModelFile) -> Chunks:
    """What to write for a model, in pieces."""
    try:
        chunks = with_large_weights(model.SerializeToString(), source.large_weights)
    except FramingError as error:
        raise ModelFileError(f"{source.path}: its weights cannot be put back ({error}); nothing was written") from error
    if sum(len(chunk) for chunk in chunks) > LARGEST_MESSAGE:
        raise ModelFileError(
            f"{target}: would be larger than 2 GiB, which nothing reads; save the model with external data"
        )
    return chunks


def check_text_target(path: str | Path, models: Iterable[Path]) -> None:
    """Refuse, before any work, a place for a text file that cannot be written, or that holds one of `models`.

    Raises:
        ModelFileError: see above.
    """
    target = Path(path)
    with _os_errors(target):
        if target.is_dir() or not target.parent.is_dir():
            raise ModelFileError(f"{target}: cannot be written (it is a folder, or its folder does not exist)")
        if any(_same(target, model) for model in models):
            raise ModelFileError(f"{target}: is a model; give another place for the result")


def write_text(path: str | Path, text: str) -> None:
    """Write a small text file whole or not at all; into a pipe or a device as it comes.

    Raises:
        ModelFileError: it cannot be written.
    """
    target = Path(path)
    with _os_errors(target):
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")
            return
    with _replacing(target) as staging, _os_errors(target):
        _write_flushed(staging, [text.encode()])


def copy_file(origin: Path, target: Path) -> None:
    """Copy a file whole or not at all.

    Raises:
        ModelFileError: it cannot be read or written.
    """
    with _replacing(target) as staging, _os_errors(target):
        shutil.copyfile(origin, staging)


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A free name beside the target; what the block wrote there is moved to the target if the block ends well."""
    with _temporary(target.parent) as staging:
        yield staging
        with _os_errors(target):
            staging.replace(target)
            _flush_folder(target.parent)


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """A free name in a folder; what stands there in the end is removed."""
    path = folder / f".onnx_jumprelu-{secrets.token_hex(6)}.tmp"
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _os_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written ({error.strerror or error})") from error


def _write_flushed(path: Path, chunks: Chunks, mode: int = 0o666) -> None:
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


def _place_weights(origin: Path, place: Path, mode: ExternalDataMode, placed: list[Path]) -> None:
    """Bring a weights file to the output's folder; a file that stands there already must have the same content."""
    origin = origin.resolve()
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # another job may have been quicker
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
    """Copy beside the place, then link to it: unlike a move, a link never replaces a file that came in between."""
    with _temporary(place.parent) as staging:
        shutil.copy2(origin, staging)
        with staging.open("rb+") as file:
            os.fsync(file.fileno())
        try:
            os.link(staging, place)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            staging.replace(place)
