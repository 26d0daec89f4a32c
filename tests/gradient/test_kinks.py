"""Where a function has no derivative, the rule's choice is the documented one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from onnx_jumprelu.runtime import OrtRunner
from tests.gradient.harness import Case, ints, with_gradient
from tests.gradient.oracles import gradient

LOW_HIGH = {"low": np.float64(0.0), "high": np.float64(1.0)}

# Nodes, input, gradient of the sum of the outputs, constants.
KINKS: dict[str, tuple[str, ArrayLike, ArrayLike, dict[str, np.ndarray]]] = {
    "ReLU at 0": ("y = Relu(x)", [-1, 0, 1], [0, 0, 1], {}),
    "ReLU of small numbers": ("y = Relu(x)", [-1e-30, 1e-30, 1e-38], [0, 1, 1], {}),
    "ThresholdedRelu at alpha": ("y = ThresholdedRelu <alpha=0.5> (x)", [0.25, 0.5, 0.75], [0, 0, 1], {}),
    "LeakyRelu at 0": ("y = LeakyRelu <alpha=0.25> (x)", [-1, 0, 1], [0.25, 0.25, 1], {}),
    "PRelu at 0": ("y = PRelu(x, s)", [-1, 0, 1], [0.25, 0.25, 1], {"s": np.asarray([0.25])}),
    "Elu at 0": ("y = Elu <alpha=0.5> (x)", [0], [0.5], {}),
    "Abs at 0": ("y = Abs(x)", [-2, 0, 2], [-1, 0, 1], {}),
    "HardSigmoid at its ends": ("y = HardSigmoid <alpha=0.25, beta=0.5> (x)", [-2, 0, 2], [0, 0.25, 0], {}),
    "HardSwish at its ends": ("y = HardSwish(x)", [-3, 0, 3], [0, 0.5, 1], {}),
    "Clip on its bounds": ("y = Clip(x, low, high)", [-0.5, 0, 0.5, 1, 1.5], [0, 1, 1, 1, 0], LOW_HIGH),
    "equal inputs of Max": ("y = Max(x, k, k)", [0, 1, 2], [0, 1 / 3, 1], {"k": np.float64(1)}),
    "equal inputs of Min": ("y = Min(x, k)", [0, 1, 2], [1, 0.5, 0], {"k": np.float64(1)}),
    "equal elements of ReduceMax": ("y = ReduceMax(x)", [3, 1, 3, 2], [0.5, 0, 0.5, 0], {}),
    "equal elements of GlobalMaxPool": ("y = GlobalMaxPool(x)", [[[3, 1, 3, 2]]], [[[0.5, 0, 0.5, 0]]], {}),
    "equal elements of a tile": (
        "y = MaxPool <kernel_shape=[2], strides=[2]> (x)",
        [[[3, 3, 1, 2]]],
        [[[1, 0, 0, 1]]],
        {},
    ),
    "equal elements of windows that overlap": (
        "y = MaxPool <kernel_shape=[3], strides=[2]> (x)",
        [[[3, 3, 1, 1, 0]]],
        [[[1, 0, 1, 0, 0]]],
        {},
    ),
    "ReduceL2 of zeros": ("y = ReduceL2(x)", [0, 0], [0, 0], {}),
    "ReduceL1 of zeros": ("y = ReduceL1(x)", [0, 2], [0, 1], {}),
    "GlobalLpPool of zeros": ("y = GlobalLpPool(x)", [[[0, 0]]], [[[0, 0]]], {}),
    "Sqrt at 0": ("y = Sqrt(x)", [0, 4], [0, 0.25], {}),
    "power 0 at 0": ("y = Pow(x, k)", [0, 0, 0, 2], [0, 1, 0, 4], {"k": np.asarray([0, 1, 2, 2.0])}),
    "Gather of one row twice": ("y = Gather(x, i)", [5, 6], [2, 0], {"i": ints(0, 0)}),
    "a step has slope 0": ("f = Floor(x) y = Add(f, x)", [0.5, 1.5], [1, 1], {}),
}


@pytest.mark.parametrize("name", KINKS)
def test_documented_choice(name: str) -> None:
    nodes, x, expected, constants = KINKS[name]
    case = Case("kink", nodes, np.asarray(x, np.float64), constants)
    plain = case.model(17)
    ones = np.ones_like(OrtRunner(plain).run(None, {"x": case.input().astype(np.float32)})[0])
    model = with_gradient(plain)
    found = gradient(model, OrtRunner(model), case.input(), {"w_y": ones})
    np.testing.assert_allclose(found, np.asarray(expected, np.float32), rtol=1e-6)
