"""Derivatives of arithmetic, element by element."""

from __future__ import annotations

import math

from onnx_jumprelu.gradient.core.registry import ALL, Cotangents, Node, vjp
from onnx_jumprelu.gradient.core.values import Value, total


@vjp("Add", since=7, broadcasts=ALL)
def _add(_: Node, g: Value) -> Cotangents:
    return g, g


@vjp("Sub", since=7, broadcasts=ALL)
def _sub(at: Node, g: Value) -> Cotangents:
    return g, -g if at.is_active(1) else None


@vjp("Mul", since=7, broadcasts=ALL)
def _mul(at: Node, g: Value) -> Cotangents:
    return g * at.x(1), g * at.x(0)


@vjp("Div", since=7, broadcasts=ALL)
def _div(at: Node, g: Value) -> Cotangents:
    return g / at.x(1), -g * at.y() / at.x(1)


@vjp("Pow", since=7, broadcasts=ALL)
def _pow(at: Node, g: Value) -> Cotangents:
    base, exponent = at.x(0), at.x(1).cast(at.x(0).elem_type)
    slope = g * exponent * base ** (exponent - 1)
    # 0 where the exponent is 0, since 0 * x ** -1 is NaN at x = 0. Also 0 at x = 0 where the slope is infinite, as for
    # Sqrt: after a ReLU the slope would be multiplied by 0, which is NaN.
    infinite = at.to.op("And", base.equals(0), exponent < 1)
    towards_base = at.to.op("Or", exponent.equals(0), infinite).where(0, slope)
    if not at.is_active(1):
        return towards_base, None
    logarithm = (base > 0).where(base, 1).op("Log")
    return towards_base, g * at.y() * logarithm


@vjp("Neg", since=6)
def _neg(_: Node, g: Value) -> Value:
    return -g


@vjp("Sqrt", since=6)
def _sqrt(at: Node, g: Value) -> Value:
    """0 at 0, where the slope is infinite: a channel without variance would turn every gradient into NaN."""
    return at.y().equals(0).where(0, g / (2 * at.y()))


@vjp("Exp", since=6)
def _exp(at: Node, g: Value) -> Value:
    return g * at.y()


@vjp("Log", since=6)
def _log(at: Node, g: Value) -> Value:
    return g / at.x()


@vjp("Abs", since=6)
def _abs(at: Node, g: Value) -> Value:
    return g * at.x().op("Sign")


@vjp("Reciprocal", since=6)
def _reciprocal(at: Node, g: Value) -> Value:
    return -g * at.y() * at.y()


@vjp("Erf", since=9)
def _erf(at: Node, g: Value) -> Value:
    return g * (2 / math.sqrt(math.pi) * (-(at.x() * at.x())).op("Exp"))


@vjp("Max", "Min", since=6, broadcasts=ALL)
def _max(at: Node, g: Value) -> Cotangents:
    """The inputs that attain the extremum share its cotangent evenly."""
    attains = [at.x(index).equals(at.y()).cast(g.elem_type) for index in range(at.n_inputs)]
    share = g / total(attains)
    return [share * one for one in attains]


@vjp("Sum", since=6, broadcasts=ALL)
def _sum(at: Node, g: Value) -> Cotangents:
    return [g] * at.n_inputs


@vjp("Mean", since=6, broadcasts=ALL)
def _mean(at: Node, g: Value) -> Cotangents:
    return [g / at.n_inputs] * at.n_inputs


@vjp("Softmax", since=13)
def _softmax(at: Node, g: Value) -> Value:
    return _softmax_over(at, g, [at.integer("axis", -1)])


@vjp("Softmax", since=1)
def _softmax_flattened(at: Node, g: Value) -> Value:
    return _softmax_over(at, g, flattened_axes(at))


def _softmax_over(at: Node, g: Value, axes: list[int]) -> Value:
    return at.y() * (g - (g * at.y()).sum(axes))


@vjp("LogSoftmax", since=13)
def _log_softmax(at: Node, g: Value) -> Value:
    return g - at.y().op("Exp") * g.sum([at.integer("axis", -1)])


@vjp("LogSoftmax", since=1)
def _log_softmax_flattened(at: Node, g: Value) -> Value:
    return g - at.y().op("Exp") * g.sum(flattened_axes(at))


def flattened_axes(at: Node) -> list[int]:
    """The axes of a Softmax before opset 13: `axis` and all later ones, as one."""
    rank = at.rank()
    return list(range(at.integer("axis", 1) % rank, rank))
