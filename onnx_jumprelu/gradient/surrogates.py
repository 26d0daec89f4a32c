"""The derivative at JumpReLU sites is a choice: the true one is 0 below the jump and hides what lies there.

`exact` is 1 above the jump, else 0. `relu` is the derivative of the ReLU that was there (backward pass differentiable
approximation, Athalye et al. 2018, arXiv:1802.00420). `smooth` is that of `x * sigmoid((x - jump) / t)`.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx_jumprelu.gradient.values import Value

# Width of the smooth step as a share of the jump, so that it travels from model to model like a jump per site. Of
# shares from 0.02 to 2, attacks with 0.05 to 0.1 left the fewest examples standing, or within two of 200, on two data
# sets, in both norms, at several eps and jumps: wider steps look past the jump as `relu` does, narrower ones see it
# only when it is near.
TEMPERATURE = 0.1
SMALLEST_TEMPERATURE = 1e-6  # at jump 0 `smooth` is `relu`, as nearly as float32 can tell


def _exact(x: Value, y: Value, jump: Value, g: Value) -> Value:
    del x, jump
    return g * y.positive()  # a jump is not negative: what it lets through is positive


def _relu(x: Value, y: Value, jump: Value, g: Value) -> Value:
    del y, jump
    return g * x.positive()


def _smooth(x: Value, y: Value, jump: Value, g: Value) -> Value:
    del y
    t = (TEMPERATURE * jump).op("Max", jump.like(SMALLEST_TEMPERATURE))
    gate = ((x - jump) / t).op("Sigmoid")
    return g * (gate + x / t * (gate * (1 - gate)))


# Each takes the pre-activation, the output, the jump, and the output's cotangent.
SURROGATES: dict[str, Callable[[Value, Value, Value, Value], Value]] = {
    "exact": _exact,
    "relu": _relu,
    "smooth": _smooth,
}
