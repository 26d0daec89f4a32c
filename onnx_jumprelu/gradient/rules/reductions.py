"""Derivatives of reductions and of global pooling."""

from __future__ import annotations

from onnx_jumprelu.gradient.core.registry import Node, vjp
from onnx_jumprelu.gradient.core.values import Value

# The first opset in which the axes are an input.
AXES_INPUT = {"ReduceSum": 13}
AXES_INPUT_OTHERS = 18


def _axes(at: Node) -> list[int]:
    """The reduced axes, not negative; all axes where none are given."""
    given, rank = at.axes(AXES_INPUT.get(at.proto.op_type, AXES_INPUT_OTHERS)), at.rank()
    if not given:
        return [] if at.integer("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(axis % rank for axis in given)


def _kept(at: Node, value: Value) -> Value:
    """A value of the output's shape with the reduced axes back, of size 1."""
    return value if at.integer("keepdims", 1) else value.unsqueeze(_axes(at))


def _spread(at: Node, g: Value) -> Value:
    """A value of the output's shape broadcast to the input's."""
    return _kept(at, g).expand(at.x().shape())


def _count(at: Node, axes: list[int]) -> Value:
    """How many elements are reduced to one, as a scalar."""
    sizes = [at.shape()[axis] for axis in axes]
    if all(isinstance(size, int) for size in sizes):
        product = 1.0
        for size in sizes:
            product *= float(size)  # type: ignore[arg-type]
        return at.x().like(product)
    picked = at.x().shape().op("Gather", at.to.ints(axes), axis=0)
    return picked.cast(at.x().elem_type).op("ReduceProd", keepdims=0)


@vjp("ReduceSum", since=1)
def _reduce_sum(at: Node, g: Value) -> Value:
    return _spread(at, g)


@vjp("ReduceMean", since=1)
def _reduce_mean(at: Node, g: Value) -> Value:
    return _spread(at, g / _count(at, _axes(at)))


@vjp("ReduceMax", "ReduceMin", since=1)
def _reduce_max(at: Node, g: Value) -> Value:
    """The elements that attain the extremum share its cotangent evenly."""
    return shared(at.x(), _kept(at, at.y()), _kept(at, g), _axes(at))


@vjp("ReduceL2", since=1)
def _reduce_l2(at: Node, g: Value) -> Value:
    length = _kept(at, at.y())
    return length.equals(0).where(0, _kept(at, g) * at.x() / length)  # not differentiable at 0


@vjp("ReduceSumSquare", since=1)
def _reduce_sum_square(at: Node, g: Value) -> Value:
    return _kept(at, g) * (2 * at.x())


@vjp("ReduceL1", since=1)
def _reduce_l1(at: Node, g: Value) -> Value:
    return _kept(at, g) * at.x().op("Sign")


@vjp("ReduceLogSumExp", since=1)
def _reduce_log_sum_exp(at: Node, g: Value) -> Value:
    return _kept(at, g) * (at.x() - _kept(at, at.y())).op("Exp")


def _spatial(at: Node) -> list[int]:
    """The axes after batch and channel."""
    return list(range(2, at.rank()))


@vjp("GlobalAveragePool", since=1)
def _global_average_pool(at: Node, g: Value) -> Value:
    return (g / _count(at, _spatial(at))).expand(at.x().shape())


@vjp("GlobalMaxPool", since=1)
def _global_max_pool(at: Node, g: Value) -> Value:
    return shared(at.x(), at.y(), g, _spatial(at))


@vjp("GlobalLpPool", since=2)
def _global_lp_pool(at: Node, g: Value) -> Value:
    x, y, p = at.x(), at.y(), at.integer("p", 2)
    slope = x.op("Sign") * (x.op("Abs") / y) ** (p - 1.0)
    return y.equals(0).where(0, g * slope)


def shared(x: Value, extremum: Value, g: Value, axes: list[int]) -> Value:
    """A cotangent split evenly among the elements of `x` that equal the extremum over `axes`."""
    attains = x.equals(extremum).cast(g.elem_type)
    return attains * (g / attains.sum(axes))
