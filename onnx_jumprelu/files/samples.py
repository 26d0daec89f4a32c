"""Finding the sample models: in the installed package, or next to it in a checkout."""

from __future__ import annotations

from pathlib import Path

from onnx_jumprelu.errors import ModelFileError


def sample_folder() -> Path:
    """The folder with the sample models, their data and their jumps.

    Raises:
        ModelFileError: the installation lacks them.
    """
    package = Path(__file__).parent.parent
    for folder in (package / "sample_models", package.parent / "sample_models"):
        if (folder / "digits.npz").is_file():
            return folder
    raise ModelFileError(f"{package}: the sample models are missing from this installation; install the package again")
