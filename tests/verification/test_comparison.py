"""When two arrays count as equal."""

import numpy as np

from onnx_jumprelu.verification.comparison import difference
from tests.models import f32


class TestDifference:
    def test_bits(self) -> None:
        assert difference(f32([1.0]), f32([np.nextafter(f32(1), f32(2))])) is not None

    def test_zero_and_nan(self) -> None:
        assert difference(f32([0.0, np.nan]), f32([-0.0, -np.nan])) is None
        assert difference(f32([0.0]), f32([np.nan])) is not None

    def test_shape_and_type(self) -> None:
        assert difference(f32([1.0]), f32([[1.0]])) is not None
        assert difference(f32([1.0]), np.asarray([1.0])) is not None
