"""Which model a result is about: a hash of all that it consists of."""

from __future__ import annotations

import hashlib
from pathlib import Path

from onnx_jumprelu.files.atomic import os_errors
from onnx_jumprelu.files.models import load

PIECE = 2**20  # bytes: weights may be larger than the memory


def model_sha256(path: Path) -> str:
    """SHA-256 of a model, in hexadecimal.

    Without external weights it is that of the file. With them it is that of a text with the SHA-256 of the file, and of
    each weights file beside the name by which the model knows it.

    Raises:
        ModelFileError: the model, or one of its weights files, cannot be read.
    """
    file = load(path, weights=False)
    if not file.external_data:
        return file.sha256
    lines = [f"{_file_sha256(path.parent / location)}  {location}" for location in sorted(file.external_data)]
    return hashlib.sha256("\n".join([file.sha256, *lines]).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with os_errors(path, "read"), path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()
