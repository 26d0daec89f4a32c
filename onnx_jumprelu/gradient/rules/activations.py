"""Derivatives of activation functions.

At a kink the derivative is that of the lower side: 0 for ReLU at 0. At the ends of the ramps of HardSigmoid and
HardSwish it is that of the flat side.
"""

from __future__ import annotations

import math

import numpy as np

from onnx_jumprelu.gradient.core.registry import ALL, Cotangents, Node, vjp
from onnx_jumprelu.gradient.core.values import Value

SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875  # ONNX's defaults
LARGEST_SOFTPLUS_INPUT = 80.0


@vjp("Relu", since=6)
def _relu(at: Node, g: Value) -> Value:
    return g * at.y().positive()


@vjp("ThresholdedRelu", since=10)
def _thresholded_relu(at: Node, g: Value) -> Value:
    alpha = at.number("alpha", 1.0)
    if alpha >= 0:
        return g * at.y().positive()
    return (at.x() > alpha).where(g, 0)


@vjp("LeakyRelu", since=6)
def _leaky_relu(at: Node, g: Value) -> Value:
    return (at.x() > 0).where(g, g * at.number("alpha", 0.01))


@vjp("PRelu", since=7, broadcasts=ALL)
def _prelu(at: Node, g: Value) -> Cotangents:
    above = at.x() > 0
    return above.where(g, g * at.x(1)), above.where(0, g * at.x())


@vjp("Elu", since=6)
def _elu(at: Node, g: Value) -> Value:
    return (at.x() > 0).where(g, g * (at.y() + at.number("alpha", 1.0)))


@vjp("Selu", since=6)
def _selu(at: Node, g: Value) -> Value:
    gamma, alpha = at.number("gamma", SELU_GAMMA), at.number("alpha", SELU_ALPHA)
    return (at.x() > 0).where(g * gamma, g * (at.y() + gamma * alpha))


@vjp("Celu", since=12)
def _celu(at: Node, g: Value) -> Value:
    return (at.x() > 0).where(g, g * (at.y() / at.number("alpha", 1.0) + 1))


@vjp("Gelu", since=20)
def _gelu(at: Node, g: Value) -> Value:
    x = at.x()
    if at.attribute("approximate", "none") == "tanh":
        scale = math.sqrt(2 / math.pi)
        tanh = (scale * (x + 0.044715 * x * x * x)).op("Tanh")
        slope = scale * (1 + 3 * 0.044715 * x * x)
        return g * (0.5 * (1 + tanh) + 0.5 * x * (1 - tanh * tanh) * slope)
    distribution = 0.5 * (1 + (x / math.sqrt(2)).op("Erf"))
    density = (-0.5 * x * x).op("Exp") / math.sqrt(2 * math.pi)
    return g * (distribution + x * density)


@vjp("Sigmoid", since=6)
def _sigmoid(at: Node, g: Value) -> Value:
    return g * (at.y() * (1 - at.y()))


@vjp("HardSigmoid", since=6)
def _hard_sigmoid(at: Node, g: Value) -> Value:
    inside = at.to.op("And", at.y() > 0, at.y() < 1)
    return inside.where(g * at.number("alpha", 0.2), 0)


@vjp("HardSwish", since=14)
def _hard_swish(at: Node, g: Value) -> Value:
    x = at.x()
    return (x > -3).where((x < 3).where(g * (x / 3 + 0.5), g), 0)


@vjp("Tanh", since=6)
def _tanh(at: Node, g: Value) -> Value:
    return g * (1 - at.y() * at.y())


@vjp("Softplus", since=1)
def _softplus(at: Node, g: Value) -> Value:
    return g * at.x().op("Sigmoid")


@vjp("Softsign", since=1)
def _softsign(at: Node, g: Value) -> Value:
    below = 1 + at.x().op("Abs")
    return g / (below * below)


@vjp("Mish", since=18)
def _mish(at: Node, g: Value) -> Value:
    x = at.x()
    tanh = x.op("Softplus").op("Tanh")
    return g * (tanh + x * (1 - tanh * tanh) * x.op("Sigmoid"))


@vjp("Swish", since=24)
def _swish(at: Node, g: Value) -> Value:
    alpha = at.number("alpha", 1.0)
    gate = (alpha * at.x()).op("Sigmoid")
    return g * (gate + alpha * at.y() * (1 - gate))


@vjp("Clip", since=6)
def _clip(at: Node, g: Value) -> Value:
    """1 between the bounds and on them: a pixel on the border of the model's Clip(0, 1) can still move inwards."""
    result = g
    for index, name, outside in ((1, "min", -np.inf), (2, "max", np.inf)):
        if at.opset >= 11:  # opset 11 makes the bounds inputs
            bound: Value | float | None = at.x(index) if at.has(index) else None
        else:
            bound = at.number(name, outside)
            bound = bound if math.isfinite(bound) else None
        if bound is not None:
            inside = at.x() >= bound if index == 1 else at.x() <= bound
            result = inside.where(result, 0)
    return result
