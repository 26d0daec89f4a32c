"""Fixtures of the tests of tuning."""

from collections.abc import Iterator

import pytest

from onnx_jumprelu.tuning import run as tuning


@pytest.fixture(scope="session", autouse=True)
def few_steps() -> Iterator[None]:
    """Short attacks: the small networks here fall within a few steps or never."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "QUICK_STEPS", 3)
        patch.setattr(tuning, "THOROUGH_STEPS", 6)
        yield
