"""Fixtures that several test files share."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real network and the real data set, which the project does not ship."""
    if not (SHARED / "models" / "mnist_lenet.onnx").is_file():
        pytest.skip(f"the real network is not here ({SHARED})")
    return SHARED


@pytest.fixture(scope="session")
def samples() -> Path:
    return REPOSITORY / "sample_models"
