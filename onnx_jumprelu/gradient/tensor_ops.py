"""Derivatives of operators that move numbers about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.gradient.registry import ALL, Cotangents, Node, vjp
from onnx_jumprelu.gradient.values import LAST, Value


@vjp("Reshape", "Flatten", "Squeeze", "Unsqueeze", since=1)
def _reshape(at: Node, g: Value) -> Value:
    return at.as_input(g)


@vjp("Identity", "Dropout", since=1)
def _identity(at: Node, g: Value, *_: object) -> Value:
    if at.proto.op_type == "Dropout" and at.has(2) and bool(at.constant(2)):
        raise at.error("runs in training mode; export the model for inference")
    return g


@vjp("Cast", "CastLike", since=6)
def _cast(at: Node, g: Value) -> Value:
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
        before, after = sizes[:index], sizes[index + 1 :]
        if not at.is_active(index):
            parts.append(None)
        elif all(isinstance(size, int) for size in (*before, sizes[index])):
            start = sum(int(size) for size in before if size is not None)
            parts.append(g.slice([start], [start + at.size(axis, index)], [axis]))
        elif all(isinstance(size, int) for size in after):  # counted from the end
            end = -sum(int(size) for size in after if size is not None) or LAST
            start = sum(at.size(axis, number) for number in range(index))
            parts.append(g.slice([start], [end], [axis]))
        else:
            raise at.error(f"sizes along axis {axis} are unknown; export the model with fixed sizes")
    return parts


@vjp("Split", since=2)
def _split(at: Node, *gs: Value | None) -> Value:
    parts = [at.to.full(at.y(index).shape(), 0.0, at.y().elem_type) if g is None else g for index, g in enumerate(gs)]
    return parts[0].op("Concat", *parts[1:], axis=at.integer("axis", 0))


@vjp("Slice", since=1)
def _slice(at: Node, g: Value) -> Value:
    """Zeros put back around a plain part; what skips or turns back goes through a selection matrix, axis by axis."""
    rank = at.rank()
    for axis, start, end, step in _slices(at):
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
    # Python has no number for "past the first element, backwards"; ONNX writes a very negative one.
    return [
        (axis % rank, start, None if step < 0 and end < -at.size(axis) else end, step)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    ]


def _numbers(at: Node, index: int, name: str) -> list[int] | None:
    """Integers of a Slice: attributes before opset 10, inputs from then on."""
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
            sources = np.pad(np.arange(size), (pads[axis], pads[rank + axis]), mode=mode)  # type: ignore[call-overload]
            g = scattered(at, g, axis, sources, size)
    return g


def _pads(at: Node, rank: int) -> list[int]:
    """All beginnings, then all ends."""
    if at.opset < 11:  # they become an input
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
        shape.append(size if isinstance(size, int) else -1)
    if shape.count(-1) > 1:
        raise at.error("more than one size is unknown; export the model with fixed sizes")
    return g.reshape(shape).sum(axes, keepdims=False)


@vjp("Gather", since=1)
def _gather(at: Node, g: Value) -> Cotangents:
    """Through a selection matrix: the rows that were taken, of an identity matrix."""
    rank = at.rank()
    axis = at.integer("axis", 0) % rank
    taken = at.rank(1)
    indices = replace(at.x(1), elem_type=at.type_of(1).elem_type or TensorProto.INT64)
    sizes = [size if isinstance(size, int) else -1 for size in (*at.shape()[:axis], -1, *at.shape()[axis + 1 :])]
    if taken != 1:
        count = at.type_of(1).shape
        known = [size for size in count or () if isinstance(size, int)]
        if len(known) == taken:
            sizes[axis] = int(np.prod(known, dtype=np.int64))
        if sizes.count(-1) > 1:
            raise at.error("more than one size is unknown; export the model with fixed sizes")
        g, indices = g.reshape(sizes), indices.reshape([-1])
    depth = at.x().shape().slice([axis], [axis + 1], [0])
    return g.along(axis, rank, one_hot(at, indices, depth, g.elem_type)), None


def one_hot(at: Node, indices: Value, depth: Value, elem_type: int) -> Value:
    """Rows of an identity matrix: (..., depth) with a 1 at each index."""
    off_on = at.to.constant(np.asarray([0, 1]), elem_type)
    return replace(at.op("OneHot", indices, depth, off_on, axis=-1), elem_type=elem_type)


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
    depth = at.x().shape().slice([axis], [axis + 1], [0])
    last = [index for index in range(rank) if index != axis] + [axis]
    back = [last.index(index) for index in range(rank)]
    chosen = one_hot(at, replace(at.y(1), elem_type=TensorProto.INT64).transpose(last), depth, g.elem_type)
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
