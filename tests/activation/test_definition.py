"""The NumPy definition, against a second one that the tests keep."""

import numpy as np
import pytest
from onnx import TensorProto

from onnx_jumprelu.activation.definition import activate, at_discontinuity, edge_values
from onnx_jumprelu.activation.parameters import Parameters
from tests.models import f32, oracle

HALF = Parameters(0.5)


@pytest.mark.parametrize("cap", [None, 6.0])
@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_agrees(elem_type: int, cap: float | None) -> None:
    x = edge_values(elem_type, HALF, cap, seed=0)
    x = x[~np.isnan(x)]
    y = activate(x, HALF, cap)
    assert y.dtype == x.dtype
    assert np.array_equal(y, oracle(x, 0.5, np.inf if cap is None else cap))


def test_per_channel() -> None:
    x = np.asarray([[[1.0, 2.0], [1.0, 2.0]]])
    assert activate(x, Parameters((0.0, 1.5))).tolist() == [[[1.0, 2.0], [0.0, 2.0]]]


def test_nan() -> None:
    x = f32([np.nan, 1])
    assert activate(x, HALF).tolist() == [0, 1]
    assert np.isnan(activate(x, HALF, keep_nan=True)[0])


def test_edge_values_hold_the_jump_and_its_neighbours() -> None:
    x = edge_values(TensorProto.FLOAT, HALF, None, seed=0)
    assert {0.5, float(np.nextafter(f32(0.5), f32(1))), float(np.nextafter(f32(0.5), f32(0)))} <= set(x.tolist())


@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_edge_values_hold_nan_infinities_and_both_zeros(elem_type: int) -> None:
    x = edge_values(elem_type, HALF, None, seed=0)
    assert np.isnan(x).any()
    assert {np.inf, -np.inf} <= set(x.tolist())
    assert set(np.signbit(x[x == 0]).tolist()) == {False, True}


def test_the_discontinuity_is_the_jump() -> None:
    assert at_discontinuity(np.asarray([[0.5, 0.5, 1.5]]), Parameters((0.5, 1.5, 1.5))).tolist() == [
        [True, False, True]
    ]
