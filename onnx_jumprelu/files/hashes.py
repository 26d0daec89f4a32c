"""The hash that identifies a model: of all that it consists of."""

from __future__ import annotations

import hashlib
from pathlib import Path

from onnx import ModelProto

from onnx_jumprelu.files.atomic import os_errors
from onnx_jumprelu.files.models import ModelFile, opened

PIECE = 2**20  # bytes: weights may be larger than the memory


def model_sha256(model: ModelProto | str | Path) -> str:
    """`content_sha256` of a model, or of the file that holds it. Raises ModelFileError."""
    return content_sha256(opened(model, weights=False))


def content_sha256(file: ModelFile) -> str:
    """SHA-256 of a model that has been read, in hexadecimal.

    Without external weights it is the hash of the bytes that were read (or of the serialization of a model in memory).
    With them it is the hash of a text: the hash of those bytes, then the hash of each weights file with the name by
    which the model refers to it.

    Raises:
        ModelFileError: a weights file cannot be read.
    """
    if not file.external_data:
        return file.sha256
    lines = [f"{_file_sha256(file.path.parent / location)}  {location}" for location in sorted(file.external_data)]
    return hashlib.sha256("\n".join([file.sha256, *lines]).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with os_errors(path, "read"), path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()
