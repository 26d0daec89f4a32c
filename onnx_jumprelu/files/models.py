"""The only door to model files: load and check, save atomically, keep external weights working, hash.

A file is written under a temporary name in the target's folder, flushed to the disk and then moved, so that the target
is either the old file or the whole new one. External weights are never decoded, rewritten or replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError, EncodeError
from onnx import ModelProto

from onnx_jumprelu.errors import ModelFileError, OptionError, naming
from onnx_jumprelu.files.atomic import os_errors, replacing, same
from onnx_jumprelu.files.external_data import (
    LARGEST_MESSAGE,
    WeightsFile,
    checked_weights,
    for_session,
    with_weights,
)
from onnx_jumprelu.files.large_weights import (
    Chunks,
    FileBytes,
    FramingError,
    Stretch,
    is_model,
    with_large_weights,
    without_large_weights,
)
from onnx_jumprelu.files.placing import place_weights
from onnx_jumprelu.files.status import PIECE, Stamp, copy_attributes, open_regular, sha256_of, stamp_of
from onnx_jumprelu.graphs.wellformed import check_wellformed
from onnx_jumprelu.names import ExternalDataMode


@dataclass(frozen=True)
class ModelFile:
    """A model read from a file.

    Attributes:
        path: The file.
        model: Its content; external weights are not loaded.
        sha256: SHA-256 of the file's bytes, in hexadecimal.
        weights: The files that hold its external weights, each once.
        stamp: See `stamp_of`, when the file was read; None for a model in memory.
        large_weights: Where the initializers are in the file whose data `model` lacks, by name; see the module
            `large_weights`.
    """

    path: Path
    model: ModelProto
    sha256: str
    weights: tuple[WeightsFile, ...] = ()
    stamp: Stamp | None = None
    large_weights: Mapping[bytes, Stretch] = field(default_factory=dict)

    def with_external_weights(self, model: ModelProto | None = None) -> ModelProto:
        """A copy of the model, or of one that was made from it, that holds the external weights.

        Raises:
            ModelFileError: a file of weights cannot be read, or was changed after the model had been read.
        """
        return with_weights(self.model if model is None else model, self.weights)

    def for_session(self, model: ModelProto | None = None) -> tuple[ModelProto, Path | None]:
        """The model, or one that was made from it, as `OrtRunner` takes it; see `external_data.for_session`."""
        return for_session(self.model if model is None else model, self.weights)

    def check_weights_unchanged(self) -> None:
        """Raises ModelFileError where external weights are not those that were there when the model was read."""
        for file in self.weights:
            file.check_unchanged()


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
    parsed, large, sha256, stamp = _read(path, weights=weights)
    model = ModelProto()
    try:
        model.ParseFromString(parsed)
    except DecodeError as error:
        raise ModelFileError(f"{path}: is not an ONNX model, or is cut short") from error
    _check(path, model, large)
    return ModelFile(path, model, sha256, checked_weights(path, model), stamp, large)


def _check(path: Path, model: ModelProto, large: Mapping[bytes, Stretch]) -> None:
    with naming(path, ModelFileError):
        check_wellformed(model, {name.decode(errors="replace"): left.raw_size for name, left in large.items()})


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
    return ModelFile(Path("model"), model, hashlib.sha256(content).hexdigest())


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


def _read(path: Path, *, weights: bool) -> tuple[bytes, dict[bytes, Stretch], str, Stamp]:
    """What is to be parsed of a file, where the rest is, the SHA-256 of all of it, and its stamp.

    The file is not mapped into memory, since a program that cuts a mapped file short ends this one.
    """
    with os_errors(path, "read"):
        if path.is_dir():
            raise ModelFileError(f"{path}: is a directory; give an .onnx file")
    with open_regular(path) as file, os_errors(path, "read"):
        stamp = stamp_of(file)
        _, size, _ = stamp
        if not size:
            raise ModelFileError(f"{path}: is empty")
        if size > LARGEST_MESSAGE:
            raise ModelFileError(f"{path}: is larger than 2 GiB; save the model with external data")
        parsed, large = (file.read(), {}) if weights else _light(file, size)
        sha256 = sha256_of(file) if large else hashlib.sha256(parsed).hexdigest()
        if stamp_of(file) != stamp:
            raise _changed(path)
    return parsed, large, sha256, stamp


def _light(file: BinaryIO, size: int) -> tuple[bytes, dict[bytes, Stretch]]:
    try:
        parsed, large = without_large_weights(file, size)
    except FramingError:
        parsed, large = b"", {}
    if not large:  # a small model, or one in an unusual form: protobuf decides whether it can be read
        file.seek(0)
        parsed = file.read()
    return parsed, large


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
        if in_place and target.is_symlink():
            raise ModelFileError(
                f"{target}: is a link to {os.path.realpath(target)}; patch that file in place, or give an output (-o)"
            )
        for weights in source.weights:
            if same(target, weights.path) or same(target, target.parent / weights.location):
                raise ModelFileError(f"{target}: is the name of the weights of {source.path}; give another output")
        if not (force or in_place or _may_be_replaced(target)):
            raise ModelFileError(
                f"{target}: already exists and is not an ONNX model; give another output, or --force to replace it"
            )


def _may_be_replaced(target: Path) -> bool:
    """Whether writing a model there loses nothing but an older model."""
    if not target.exists() or not target.stat().st_size:
        return True
    with open_regular(target) as file:
        _, size, _ = stamp_of(file)
        return is_model(FileBytes(file, 0, size))


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
        mode: How weights get into another folder; see `place_weights`.
        keep_weights: Leave the weights there after a failure, since other models may use them by then.

    Yields:
        The temporary file, complete and with its weights in reach, so that it can be tried before it is moved.

    Raises:
        ModelFileError: something cannot be written, or what would be written is not a valid model; the target is as it
            was.
    """
    target = Path(target)
    _check(source.path, model, source.large_weights)
    made: list[Path] = []
    try:
        for weights in source.weights:
            place_weights(weights, target, mode, made)
        like = target if target.exists() else source.path
        with os_errors(like, "read"):
            permissions = stat.S_IMODE(like.stat().st_mode)
        with replacing(target, permissions) as file:
            with os_errors(target):
                _write(file, _content(model, target, source), source)
                file.flush()
                if target.exists():
                    copy_attributes(target, file)
            yield Path(file.name)
            _check_unchanged(source)
    except BaseException:
        if not keep_weights:
            for path in reversed(made):
                with contextlib.suppress(OSError):
                    path.rmdir() if path.is_dir() else path.unlink()
        raise


def _check_unchanged(source: ModelFile) -> None:
    """What is written belongs to the files that were read."""
    with os_errors(source.path, "read"):
        if source.stamp is not None and stamp_of(source.path) != source.stamp:
            raise _changed(source.path)
    source.check_weights_unchanged()


def _write(file: BinaryIO, chunks: Chunks, source: ModelFile) -> None:
    """Write a model; the large weights come from the file of its source."""
    if not source.large_weights:
        file.writelines(chunk for chunk in chunks if not isinstance(chunk, Stretch))
        return
    with open_regular(source.path) as origin:
        for chunk in chunks:
            if isinstance(chunk, Stretch):
                file.writelines(chunk.pieces(origin, PIECE))
            else:
                file.write(chunk)
        if stamp_of(origin) != source.stamp:
            raise _changed(source.path)


def _changed(path: Path) -> ModelFileError:
    return ModelFileError(f"{path}: was changed by another program in the meantime; nothing was written")


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
