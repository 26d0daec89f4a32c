"""Derivatives of operators that move values: reshape, slice, pad, gather and the like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from onnx import TensorProto

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.gradient.core.registry import ALL, Cotangents, Node, vjp
from onnx_jumprelu.gradient.core.values import LAST, Value, total
from onnx_jumprelu.graphs.tensor_types import FLOAT_TYPES, dtype_name

INT32_MAX = int(np.iinfo(np.int32).max)


@vjp("Reshape", "Flatten", "Squeeze", "Unsqueeze", since=1)
def _reshape(at: Node, g: Value) -> Value:
    return at.as_input(g)


@vjp("Identity", "Dropout", since=1)
def _identity(at: Node, g: Value, *_: object) -> Value:
    if at.proto.op_type == "Dropout" and at.has(2) and bool(at.constant(2)):
        raise at.error("runs in training mode; export the model for inference")
    return g


@vjp("Cast", since=6)
def _cast(at: Node, g: Value) -> Value:
    if at.y().elem_type not in FLOAT_TYPES:
        raise at.error(f"casts to {dtype_name(at.y().elem_type)}, which has no gradient rule")
    return g.cast(at.x().elem_type)


@vjp("CastLike", since=15, types_only=[1])
def _cast_like(at: Node, g: Value) -> Value:
    return g.cast(at.x().elem_type)


@vjp("Transpose", since=1)
def _transpose(at: Node, g: Value) -> Value:
    forward = at.integers("perm") or list(range(at.rank()))[::-1]
    return g.transpose([forward.index(axis) for axis in range(len(forward))])


@vjp("Expand", since=8, broadcasts=ALL)
def _expand(_: Node, g: Value) -> Cotangents:
    return g, None


@vjp("Where", since=9, broadcasts=ALL)
def _where(at: Node, g: Value) -> Cotangents:
    mask = replace(at.x(0), elem_type=TensorProto.BOOL)
    return None, mask.where(g, 0), mask.where(0, g)


@vjp("Concat", since=4)
def _concat(at: Node, g: Value) -> Cotangents:
    axis = at.integer("axis", 1) % len(at.output_shape())
    sizes = [at.shape(index)[axis] for index in range(at.n_inputs)]
    parts: list[Value | None] = []
    for index in range(at.n_inputs):
        # Counted from the front where all sizes up to here are known, else from the end.
        start, end = _sum_of(sizes[:index]), _sum_of(sizes[: index + 1])
        to_start, to_end = _sum_of(sizes[index:]), _sum_of(sizes[index + 1 :])
        if start is None and to_start is not None:
            start = -to_start
        if end is None and to_end is not None:
            end = -to_end or LAST
        if not at.is_active(index):
            parts.append(None)
        elif start is not None and end is not None:
            parts.append(g.slice([start], [end], [axis]))
        elif at.opset >= 10:  # opset 10 makes the bounds inputs
            parts.append(_part(at, g, index, axis))
        else:
            raise at.error(f"sizes along axis {axis} are unknown; export the model with fixed sizes")
    return parts


def _part(at: Node, g: Value, index: int, axis: int) -> Value:
    """The part of a cotangent that belongs to one input of a Concat, with sizes known only at run time."""
    sizes = [at.x(number).shape().slice([axis], [axis + 1], [0]) for number in range(index + 1)]
    start = total([at.to.ints([0]), *sizes[:-1]])
    return g.op("Slice", start, start + sizes[-1], at.to.ints([axis]))


def _sum_of(sizes: Sequence[int | str | None]) -> int | None:
    """The sum of sizes, None where one is unknown."""
    known = [size for size in sizes if isinstance(size, int)]
    return sum(known) if len(known) == len(sizes) else None


@vjp("Split", since=2)
def _split(at: Node, *gs: Value | None) -> Value:
    if not all(at.proto.output):
        raise at.error("an output without a name has no gradient rule; name it")
    parts = [at.to.full(at.y(index).shape(), 0.0, at.y().elem_type) if g is None else g for index, g in enumerate(gs)]
    return parts[0].op("Concat", *parts[1:], axis=at.integer("axis", 0))


@vjp("Slice", since=1)
def _slice(at: Node, g: Value) -> Value:
    """Pads a contiguous slice with zeros; a slice with a step goes through a selection matrix, axis by axis."""
    rank = at.rank()
    for axis, start, end, step in _slices(at):
        if step == 1 and start == 0 and end is not None and end >= INT32_MAX:
            continue  # the whole axis, as exporters write it
        size = at.size(axis)
        kept = range(size)[slice(start, end, step)]
        if step == 1 and len(kept):
            pads = [0] * (2 * rank)
            pads[axis], pads[rank + axis] = kept[0], size - 1 - kept[-1]
            g = g.pad(pads)
        else:
            g = scattered(at, g, axis, np.asarray(kept, np.int64), size)
    return g


def _slices(at: Node) -> list[tuple[int, int, int | None, int]]:
    """Axis, start, end and step of each sliced axis, as Python's `slice` takes them."""
    starts, ends = _numbers(at, 1, "starts") or [], _numbers(at, 2, "ends") or []
    axes = _numbers(at, 3, "axes") or list(range(len(starts)))
    steps = (_numbers(at, 4, "steps") if at.opset >= 10 else None) or [1] * len(starts)
    rank = at.rank()
    # Python's slice needs None to go backwards past the first element; ONNX uses a very negative number.
    return [
        (axis % rank, start, None if step < 0 and end < -at.size(axis % rank) else end, step)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    ]


def _numbers(at: Node, index: int, name: str) -> list[int] | None:
    """Integers of a Slice: attributes before opset 10, inputs since."""
    if at.opset < 10:
        return at.integers(name)
    value = at.constant(index)
    return None if value is None else [int(item) for item in value.ravel()]


@vjp("Pad", since=2)
def _pad(at: Node, g: Value) -> Value:
    rank = at.rank()
    pads = _pads(at, rank)
    mode = at.attribute("mode", "constant")
    if mode == "constant":
        ends = [-pad if pad > 0 else LAST for pad in pads[rank:]]
        inside = g.slice([max(0, pad) for pad in pads[:rank]], ends, range(rank))
        return inside.pad([max(0, -pad) for pad in pads])
    for axis in range(rank):
        if pads[axis] or pads[rank + axis]:
            size = at.size(axis)
            g = scattered(at, g, axis, _padded(np.arange(size), pads[axis], pads[rank + axis], mode), size)
    return g


def _padded(positions: Array, begin: int, end: int, mode: object) -> Array:
    """Positions, padded as the operator pads; negative pads crop first."""
    kept = positions[max(0, -begin) : len(positions) - max(0, -end)]
    return np.pad(kept, (max(0, begin), max(0, end)), mode=mode)  # type: ignore[call-overload, no-any-return]


def _pads(at: Node, rank: int) -> list[int]:
    """All beginnings, then all ends."""
    if at.opset < 11:  # opset 11 makes them an input
        return at.integers("pads") or at.integers("paddings") or [0] * (2 * rank)
    value = at.constant(1)
    given = [] if value is None else [int(item) for item in value.ravel()]
    axes = at.constant(3) if at.has(3) else None
    if axes is None:
        return given
    pads = [0] * (2 * rank)
    for number, axis in enumerate(int(item) % rank for item in axes.ravel()):
        pads[axis], pads[rank + axis] = given[number], given[len(given) // 2 + number]
    return pads


@vjp("Tile", since=6)
def _tile(at: Node, g: Value) -> Value:
    repeats = at.constant(1)
    shape: list[int] = []
    axes: list[int] = []
    for index, times in enumerate([] if repeats is None else repeats.tolist()):
        if times != 1:
            axes.append(len(shape))
            shape.append(int(times))
        size = at.shape()[index]
        unknown = -1 if axes else 0  # 0 keeps the size of the same axis
        shape.append(size if isinstance(size, int) else unknown)
    if shape.count(-1) > 1:
        raise at.error("more than one size is unknown; export the model with fixed sizes")
    return g.reshape(shape).sum(axes, keepdims=False)


@vjp("Gather", since=1)
def _gather(at: Node, g: Value) -> Cotangents:
    """Multiplies with a selection matrix: the gathered rows of an identity matrix."""
    rank = at.rank()
    axis = at.integer("axis", 0) % rank
    taken = at.rank(1)
    indices = replace(at.x(1), elem_type=at.type_of(1).elem_type or TensorProto.INT64)
    before = [size if isinstance(size, int) else 0 for size in at.shape()[:axis]]  # 0 keeps a size
    after = [size if isinstance(size, int) else -1 for size in at.shape()[axis + 1 :]]
    sizes = [*before, -1, *after]
    if taken != 1:
        count = at.type_of(1).shape
        known = [size for size in count or () if isinstance(size, int)]
        if len(known) == taken:
            sizes[axis] = int(np.prod(known, dtype=np.int64))
        g, indices = g.reshape(sizes if sizes.count(-1) < 2 else _rows_along(at, axis)), indices.reshape([-1])
    return g.along(axis, rank, one_hot(at, indices, axis, g.elem_type)), None


def _rows_along(at: Node, axis: int) -> Value:
    """The input's shape at run time, with -1 along one axis for Reshape to compute."""
    shape = at.x().shape()
    behind = shape.slice([axis + 1], [LAST], [0])
    return shape.slice([0], [axis], [0]).op("Concat", at.to.ints([-1]), behind, axis=0)


def one_hot(at: Node, indices: Value, axis: int, elem_type: int) -> Value:
    """Rows of an identity matrix as large as the input along an axis: (..., size) with a 1 at each index."""
    size = at.x().shape().op("Gather", at.to.ints(axis), axis=0)
    indices = indices.cast(TensorProto.INT64)  # onnxruntime has no kernel for int32 here
    if at.opset < 11:  # opset 11 adds negative indices
        indices = (indices < 0).where(indices + size, indices)
    # In float32 first: onnxruntime has no such kernel for float64.
    off_on = at.to.constant(np.asarray([0, 1]), TensorProto.FLOAT)
    return replace(at.op("OneHot", indices, size, off_on, axis=-1), elem_type=TensorProto.FLOAT).cast(elem_type)


def scattered(at: Node, g: Value, axis: int, sources: Array, size: int) -> Value:
    """Each slice of `g` along an axis added to the slice of the input that it was copied from."""
    matrix = np.zeros((len(sources), size))
    matrix[np.arange(len(sources)), sources] = 1
    return g.along(axis, at.rank(), g.like(matrix))


@vjp("TopK", since=1)
def _top_k(at: Node, g: Value | None, _: Value | None) -> Value:
    rank = at.rank()
    axis = at.integer("axis", -1) % rank
    if g is None:
        raise at.error("its indices have no derivative")
    last = [index for index in range(rank) if index != axis] + [axis]
    back = [last.index(index) for index in range(rank)]
    chosen = one_hot(at, replace(at.y(1), elem_type=TensorProto.INT64).transpose(last), axis, g.elem_type)
    spread = g.transpose(last).unsqueeze([rank]) * chosen
    return spread.sum([rank - 1], keepdims=False).transpose(back)


@vjp("DepthToSpace", since=1)
def _depth_to_space(at: Node, g: Value) -> Value:
    block = at.integer("blocksize", 1)
    if at.attribute("mode", "DCR") == "DCR":
        return g.op("SpaceToDepth", blocksize=block)
    channels, height, width = (at.size(axis) for axis in (1, 2, 3))
    parts = g.reshape([0, channels // block**2, height, block, width, block])
    return parts.transpose([0, 1, 3, 5, 2, 4]).reshape([0, channels, height, width])


@vjp("SpaceToDepth", since=1)
def _space_to_depth(at: Node, g: Value) -> Value:
    return g.op("DepthToSpace", blocksize=at.integer("blocksize", 1))
