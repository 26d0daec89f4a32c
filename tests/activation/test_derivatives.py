"""The derivatives in float64 NumPy, against central differences of the definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnx_jumprelu.activation.definition import activate
from onnx_jumprelu.activation.derivatives import SMALLEST_TEMPERATURE, SOFTER, SURROGATES, TEMPERATURE
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.values import Jump
from onnx_jumprelu.arrays import Array

STEP = 1e-6
JUMPS: list[Jump] = [0.0, 0.5, 2.0, (0.0, 0.5, 2.0)]


class Numbers(np.ndarray):
    """A NumPy array as the formulas calculate with it."""

    def positive(self) -> Numbers:
        return (self > 0).astype(self.dtype)  # type: ignore[return-value]

    def sigmoid(self) -> Numbers:
        return 1 / (1 + np.exp(-np.clip(self, -500, 500)))  # type: ignore[no-any-return]

    def at_least(self, lowest: float) -> Numbers:
        return np.maximum(self, lowest)  # type: ignore[return-value]


def points(jump: Jump) -> Array:
    """Pre-activations of shape (N, 3, 1) around 0 and the jump, none of them within a step of either."""
    around = np.concatenate([np.linspace(-3.013, 4.017, 58), np.ravel(jump) + 0.01, np.ravel(jump) - 0.01])
    return np.repeat(around[:, None, None], 3, axis=1)


def derivative(surrogate: str, x: Array, parameters: Parameters) -> Array:
    operands = {name: value.view(Numbers) for name, value in parameters.arrays(x.ndim).items()}
    y = activate(x, parameters)
    g = np.full_like(x, 2.0).view(Numbers)
    return np.asarray(SURROGATES[surrogate](x.view(Numbers), y.view(Numbers), operands, g)) / 2


def smooth_step(x: Array, parameters: Parameters) -> Array:
    """`x * sigmoid((x - jump) / t)`."""
    jump = parameters.arrays(x.ndim)["jump"]
    t = np.maximum(TEMPERATURE * jump, SMALLEST_TEMPERATURE)
    return np.asarray(x / (1 + np.exp(-np.clip((x - jump) / t, -500, 500))))


# What each surrogate is the derivative of.
FUNCTIONS = {
    "exact": activate,
    "relu": lambda x, _: np.maximum(x, 0),
    "smooth": smooth_step,
}


def test_every_derivative_is_tested() -> None:
    assert set(FUNCTIONS) == set(SURROGATES)


@pytest.mark.parametrize("jump", JUMPS, ids=str)
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_is_the_derivative(surrogate: str, jump: Jump) -> None:
    parameters, x = Parameters(jump), points(jump)
    function = FUNCTIONS[surrogate]
    expected = (function(x + STEP, parameters) - function(x - STEP, parameters)) / (2 * STEP)
    found = derivative(surrogate, x, parameters)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("soft", [Parameters(0.0, 0.3), Parameters(0.5, 0.1), Parameters((0.0, 0.5, 2.0), 0.2, 0.1)])
def test_of_a_soft_site(soft: Parameters) -> None:
    """`exact` is the derivative of the soft form, `smooth` that of a softer one, `relu` is as ever."""
    x = points(soft.jump)
    softer = replace(soft, softness=SOFTER * np.mean(soft.softness))
    for surrogate, function in (("exact", soft), ("smooth", softer)):
        expected = (activate(x + STEP, function) - activate(x - STEP, function)) / (2 * STEP)
        np.testing.assert_allclose(derivative(surrogate, x, soft), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(derivative("relu", x, soft), x > 0)


@pytest.mark.parametrize("jump", [0.0, 0.5])
def test_exact_at_the_jump_is_0(jump: float) -> None:
    assert derivative("exact", np.full((1, 3, 1), jump), Parameters(jump)).tolist() == [[[0.0]] * 3]


def test_smooth_sees_a_jump_from_below() -> None:
    """Just below the jump the exact derivative is 0, the smooth one large."""
    x = np.full((1, 3, 1), 0.49)
    assert not derivative("exact", x, Parameters(0.5)).any()
    assert (derivative("smooth", x, Parameters(0.5)) > 1).all()
