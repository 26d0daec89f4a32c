"""The only door to model files: load and check, save atomically, keep external weights working, hash.

A file is written under a temporary name in the target's folder, flushed to the disk and then moved, so that the target
is either the old file or the whole new one. External weights are never decoded, rewritten or replaced.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import mmap
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.message import DecodeError, EncodeError
from onnx import ModelProto
from onnx.external_data_helper import load_external_data_for_model

from onnx_jumprelu.errors import ModelFileError, OptionError, naming
from onnx_jumprelu.files.atomic import os_errors, replacing, same, write_flushed
from onnx_jumprelu.files.external_data import checked_external_data, place_weights
from onnx_jumprelu.files.inputs import regular
from onnx_jumprelu.files.large_weights import Chunks, FramingError, with_large_weights, without_large_weights
from onnx_jumprelu.graphs.wellformed import check_wellformed
from onnx_jumprelu.names import ExternalDataMode

Stamp = tuple[int, int, int]
LARGEST_MESSAGE = 2**31 - 1


@dataclass(frozen=True)
class ModelFile:
    """A model read from a file.

    Attributes:
        path: The file.
        model: Its content; external weights are not loaded.
        sha256: SHA-256 of the file's bytes, in hexadecimal.
        external_data: The files that hold weights, relative to the model's folder, each once.
        stamp: Inode, size and time of change of the file when it was read.
        weights_stamps: The same of each file in `external_data`.
        large_weights: The serialized initializers whose data `model` lacks, by name; see the module `large_weights`.
    """

    path: Path
    model: ModelProto
    sha256: str
    external_data: tuple[str, ...]
    stamp: Stamp | None = None
    large_weights: Mapping[bytes, memoryview] = field(default_factory=dict)
    weights_stamps: Mapping[str, Stamp] = field(default_factory=dict)

    def with_external_weights(self) -> ModelProto:
        """A copy of the model that holds its external weights. Raises ModelFileError where they cannot be read."""
        whole = copy.deepcopy(self.model)
        if self.external_data:
            with os_errors(self.path, "read"):
                load_external_data_for_model(whole, str(self.path.resolve().parent))
        return whole


def load(path: str | Path, *, weights: bool = True) -> ModelFile:
    """Read and check a model file.

    Args:
        path: The file.
        weights: False leaves out the data of large initializers; `staged` puts them back. For a model that is rewritten
            but not run.

    Raises:
        ModelFileError: the file cannot be read, is not a whole ONNX model, or lacks its external weights.
    """
    path = Path(path)
    content, stamp = _read(path)
    model = ModelProto()
    parsed, large = (bytes(content), {}) if weights else _light(content)
    try:
        model.ParseFromString(parsed)
    except DecodeError as error:
        raise ModelFileError(f"{path}: is not an ONNX model, or is cut short") from error
    with naming(path, ModelFileError):
        check_wellformed(model, {name.decode(errors="replace") for name in large})
    sha256 = hashlib.sha256(content).hexdigest()
    external = checked_external_data(path, model)
    stamps = {location: _stamp(path.parent / location) for location in external}
    return ModelFile(path, model, sha256, external, stamp, large, stamps)


def opened(model: ModelProto | str | Path, *, weights: bool = True) -> ModelFile:
    """A model, or the file that holds it, as a `ModelFile`; the hash of a `ModelProto` is that of its serialization.

    Args:
        model: A model in memory, or the path of its file.
        weights: See `load`.

    Raises:
        ModelFileError: see `load`; or a model in memory is too large to be serialized.
        OptionError: it is neither a path nor a model.
    """
    if not isinstance(model, ModelProto):
        if not isinstance(model, str | os.PathLike):
            raise OptionError(f"a model is a path or an onnx.ModelProto, not {type(model).__name__}")
        return load(model, weights=weights)
    check_wellformed(model)
    try:
        content = model.SerializeToString()
    except (ValueError, EncodeError) as error:
        raise ModelFileError("the model is larger than 2 GiB; save it with external data and give its path") from error
    return ModelFile(Path("model"), model, hashlib.sha256(content).hexdigest(), ())


def proto_of(model: ModelProto | str | Path) -> ModelProto:
    """The model itself, or what its file holds, external weights included.

    Raises:
        ModelFileError: see `load`.
        OptionError: it is neither a path nor a model.
    """
    if not isinstance(model, ModelProto):
        return opened(model).with_external_weights()
    check_wellformed(model)
    return model


def _light(content: memoryview) -> tuple[bytes, dict[bytes, memoryview]]:
    try:
        return without_large_weights(content)
    except FramingError:
        return bytes(content), {}  # protobuf decides whether it can be read


def _read(path: Path) -> tuple[memoryview, Stamp]:
    try:
        if path.is_dir():
            raise ModelFileError(f"{path}: is a directory; give an .onnx file")
        stamp = _stamp(regular(path))
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
    """A file's bytes, mapped into memory where possible: reading them would take as long as hashing them."""
    with path.open("rb") as file:
        if os.name == "nt" or not path.is_file() or not path.stat().st_size:
            return memoryview(file.read())  # Windows cannot replace a mapped file; pipes cannot be mapped
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def check_model_output(target: Path, source: ModelFile, *, in_place: bool = False, force: bool = False) -> None:
    """Refuse, before any work, an output that must not or cannot be written.

    Raises:
        ModelFileError: the target is the input (unless `in_place`), one of its weights files, a directory or a device,
            a file that is neither empty nor an ONNX model (unless `force`), or its folder does not exist.
    """
    with os_errors(target):
        if target.is_dir():
            raise ModelFileError(f"{target}: is a directory; give a file name")
        if not target.parent.is_dir():
            raise ModelFileError(f"{target}: cannot be written, the folder {target.parent} does not exist")
        if target.exists() and not target.is_file():
            raise ModelFileError(f"{target}: is not a regular file; give another output")
        if target.exists() and not os.access(target, os.W_OK):
            raise ModelFileError(f"{target}: is write-protected; give another output")
        if not in_place and same(target, source.path):
            raise ModelFileError(f"{target}: is the input; give another output, or --in-place to replace it")
        for location in source.external_data:
            if same(target, source.path.parent / location) or same(target, target.parent / location):
                raise ModelFileError(f"{target}: is the name of the weights of {source.path}; give another output")
        if not (force or _may_be_replaced(target)):
            raise ModelFileError(
                f"{target}: already exists and is not an ONNX model; give another output, or --force to replace it"
            )


def _may_be_replaced(target: Path) -> bool:
    """Whether writing a model there loses nothing but an older model."""
    if not target.exists() or not target.stat().st_size:
        return True
    content, model = _mapped(target), ModelProto()
    try:
        model.ParseFromString(_light(content)[0])
    except DecodeError:
        return False
    return model.HasField("graph") and bool(model.ir_version)


@contextlib.contextmanager
def staged(
    model: ModelProto,
    target: str | Path,
    source: ModelFile,
    *,
    mode: ExternalDataMode = "copy",
    keep_weights: bool = False,
) -> Iterator[Path]:
    """Write a model to a temporary file, and move it to its target when the block ends without an exception.

    A target that is a link becomes a file; the file that it pointed to stays as it was.

    Args:
        model: What to write.
        target: Where it goes.
        source: The file that the model came from, which holds its large and its external weights.
        mode: How weights get into another folder: `copy`, or `link` for a hard link (onnxruntime loads it; onnx's own
            loader refuses weights files that have several links).
        keep_weights: Leave the weights there after a failure, since other models may use them by then.

    Yields:
        The temporary file, complete and with its weights in reach, so that it can be tried before it is moved.

    Raises:
        ModelFileError: something cannot be written; the target is as it was.
    """
    target = Path(target)
    placed: list[Path] = []
    try:
        with replacing(target) as staging:
            with os_errors(target):
                for location in source.external_data:
                    place_weights(source.path.parent / location, target.parent / location, mode, placed)
                like = target if target.exists() else source.path
                write_flushed(staging, _content(model, target, source), stat.S_IMODE(like.stat().st_mode))
                if target.exists():
                    shutil.copymode(target, staging)
            yield staging
            _check_unchanged(source)
    except BaseException:
        if not keep_weights:
            for weights in placed:
                weights.unlink(missing_ok=True)
        raise


def check_weights_unchanged(file: ModelFile) -> None:
    """Raises ModelFileError where an external weights file is not the one that was there when the model was loaded."""
    for location, stamp in file.weights_stamps.items():
        weights = file.path.parent / location
        with os_errors(weights, "read"):
            if _stamp(weights) != stamp:
                raise ModelFileError(f"{weights}: was changed after {file.path} had been opened; open it again")


def _check_unchanged(source: ModelFile) -> None:
    """Large weights are read from the input only when the output is written."""
    with os_errors(source.path, "read"):
        if source.stamp is not None and _stamp(source.path) != source.stamp:
            raise ModelFileError(f"{source.path}: was changed by another program in the meantime; nothing was written")


def _content(model: ModelProto, target: Path, source: ModelFile) -> Chunks:
    """The bytes to write for a model, in pieces."""
    try:
        chunks = with_large_weights(model.SerializeToString(), source.large_weights)
    except FramingError as error:
        raise ModelFileError(f"{source.path}: its weights cannot be put back ({error}); nothing was written") from error
    if sum(len(chunk) for chunk in chunks) > LARGEST_MESSAGE:
        raise ModelFileError(
            f"{target}: would be larger than 2 GiB, which no reader accepts; save the model with external data"
        )
    return chunks
