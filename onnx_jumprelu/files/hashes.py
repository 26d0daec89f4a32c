"""The hash that identifies a model: of all that it consists of."""

from __future__ import annotations

import hashlib
from pathlib import Path

from onnx import ModelProto

from onnx_jumprelu.files.atomic import os_errors
from onnx_jumprelu.files.external_data import WeightsFile
from onnx_jumprelu.files.models import ModelFile, opened
from onnx_jumprelu.files.status import open_regular, sha256_of


def model_sha256(model: ModelProto | str | Path) -> str:
    """`content_sha256` of a model, or of the file that holds it. Raises ModelFileError."""
    return content_sha256(opened(model, weights=False))


def content_sha256(file: ModelFile) -> str:
    """SHA-256 of a model that has been read, in hexadecimal.

    Without external weights it is the hash of the bytes that were read (or of the serialization of a model in memory).
    With them it is the hash of a text: the hash of those bytes, then the hash of each weights file with the name by
    which the model refers to it.

    Raises:
        ModelFileError: a weights file cannot be read, or was changed after the model had been read.
    """
    if not file.weights:
        return file.sha256
    found = sorted((weights.location, _file_sha256(weights)) for weights in file.weights)
    lines = [f"{sha256}  {location}" for location, sha256 in found]
    return hashlib.sha256("\n".join([file.sha256, *lines]).encode()).hexdigest()


def _file_sha256(weights: WeightsFile) -> str:
    with open_regular(weights.path) as file, os_errors(weights.path, "read"):
        sha256 = sha256_of(file)
        weights.check_unchanged(file)
    return sha256
