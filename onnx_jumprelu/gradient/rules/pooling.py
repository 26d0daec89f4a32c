"""Derivatives of pooling over windows and of resampling."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
from onnx import TensorProto

from onnx_jumprelu.gradient.core.registry import Node, vjp
from onnx_jumprelu.gradient.core.values import Value
from onnx_jumprelu.gradient.core.windows import Windows, windows

LARGEST_TILED = 2**24  # positions of an input that is tiled; a constant of this size becomes part of the gradient


@vjp("MaxPool", since=1)
def _max_pool(at: Node, g: Value, *_: object) -> Value:
    """Each cotangent goes to the position of its maximum, the first one of equal values, as in PyTorch.

    Equal values are common: patches of a constant background, and zeros after a JumpReLU.
    """
    frame = windows(at)
    if at.integer("storage_order", 0):
        raise at.error("storage_order 1 has no gradient rule")
    if _fits(at, frame):
        return _to_first_in_tiles(at, g, frame)
    return _unpooled(at, g, frame)


def _fits(at: Node, frame: Windows) -> bool:
    """Whether the windows tile the input without remainder."""
    sizes = [size for size in at.shape()[2:] if isinstance(size, int)]
    if not frame.tiles or len(sizes) != frame.n_axes or math.prod(sizes) > LARGEST_TILED:
        return False
    return all(size % kernel == 0 for size, kernel in zip(sizes, frame.kernel, strict=True))


def _to_first_in_tiles(at: Node, g: Value, frame: Windows) -> Value:
    """Finds the maxima by comparing with the enlarged output.

    This is faster than MaxPool's indices, for which onnxruntime has no fast kernel. Of the positions that attain a
    window's maximum, the first has the highest rank.
    """
    attains = at.x().equals(_enlarged(at, at.y(), frame)).cast(g.elem_type)
    ranks = math.prod(frame.kernel) - np.arange(math.prod(frame.kernel)).reshape(frame.kernel)
    repeats = [at.size(axis) // kernel for axis, kernel in enumerate(frame.kernel, start=2)]
    ranked = attains * g.like(np.tile(ranks, repeats)[None, None])
    highest = ranked.op("MaxPool", kernel_shape=frame.kernel, strides=frame.strides)
    first = ranked.equals(_enlarged(at, highest, frame)).cast(g.elem_type)
    return first * _enlarged(at, g, frame)


def _enlarged(at: Node, value: Value, frame: Windows) -> Value:
    """Each number repeated over its window."""
    scales = at.to.constant(np.asarray([1, 1, *frame.kernel], np.float32), TensorProto.FLOAT)
    if at.opset < 11:  # opset 11 adds a region of interest
        return value.op("Upsample" if at.opset < 10 else "Resize", scales, mode="nearest")
    roi = at.to.constant(np.zeros(0, np.float32), TensorProto.FLOAT)  # required by opsets 11 and 12
    return value.op(
        "Resize", roi, scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


def _unpooled(at: Node, g: Value, frame: Windows) -> Value:
    """Splits overlapping windows into groups without overlap, and unpools each group separately."""
    indices = replace(_indices(at), elem_type=TensorProto.INT64)
    n_groups = [-(-extent // stride) for extent, stride in zip(frame.extents, frame.strides, strict=True)]
    shape, total = at.x().shape(), None
    for members in product(*(_groups(at, axis, number) for axis, number in enumerate(n_groups, start=2))):
        some, where = g, indices
        for axis, chosen in enumerate(members, start=2):
            if chosen is not None:
                some, where = (value.op("Gather", at.to.ints(chosen), axis=axis) for value in (some, where))
        # The indices suffice. With the node's own windows, onnxruntime rejects some shapes as too small.
        part = some.op("MaxUnpool", where, shape, kernel_shape=[1] * frame.n_axes, strides=[1] * frame.n_axes)
        total = part if total is None else total + part
    return total if total is not None else g


def _groups(at: Node, axis: int, number: int) -> list[list[int] | None]:
    """Positions of the windows along an axis, split into groups; None for all positions."""
    if number == 1:
        return [None]
    size = _output_size(at, axis)
    return [list(range(offset, size, number)) for offset in range(min(number, size))]


def _output_size(at: Node, axis: int) -> int:
    size = at.output_shape()[axis]
    if not isinstance(size, int):
        raise at.error(f"size of its output along axis {axis} is unknown; export the model with a fixed size")
    return size


def _indices(at: Node) -> Value:
    """Positions of the maxima, as a second output that is added to the gradient model's copy of the node."""
    outputs = at.proto.output
    if len(outputs) == 1:
        outputs.append("")
    if not outputs[1]:
        outputs[1] = at.to.fresh(f"{outputs[0]}/indices")
    return at.y(1)


@vjp("AveragePool", since=1)
def _average_pool(at: Node, g: Value) -> Value:
    """Axis by axis, with the matrix that the operator itself applies along that axis."""
    frame, rank = windows(at), at.rank()
    if _fits(at, frame):
        return _enlarged(at, g / math.prod(frame.kernel), frame)
    for axis in range(2, rank):
        size, spatial = at.size(axis), axis - 2
        averages = at.op(
            "AveragePool",
            g.like(np.eye(size)[None]),
            kernel_shape=[frame.kernel[spatial]],
            strides=[frame.strides[spatial]],
            pads=[frame.begin(spatial), frame.end(spatial)],
            ceil_mode=at.attribute("ceil_mode"),
            count_include_pad=at.attribute("count_include_pad"),
            dilations=[frame.dilations[spatial]] if at.integers("dilations") else None,
        )
        g = g.along(axis, rank, averages.squeeze([0]).transpose([1, 0]))
    return g


@vjp("Resize", since=10)
def _resize(at: Node, g: Value, *_: object) -> Value:
    return _resample(at, g)


@vjp("Upsample", since=7)
def _upsample(at: Node, g: Value, *_: object) -> Value:
    return _resample(at, g)


def _resample(at: Node, g: Value) -> Value:
    """Axis by axis, with the matrix that the operator itself applies along that axis."""
    if at.attribute("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise at.error("coordinate_transformation_mode tf_crop_and_resize has no gradient rule")
    if at.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise at.error("keep_aspect_ratio_policy has a gradient rule only for stretch")
    rank, scales = at.rank(), _scales(at)
    given = [axis % rank for axis in at.integers("axes") or range(rank)]
    for axis in sorted(given):
        kept = scales.get(axis, 1.0) == 1.0 if scales else at.shape()[axis] == at.output_shape()[axis]
        if kept:
            continue
        size, resized = at.size(axis), _output_size(at, axis)
        unit = g.like(np.eye(size)[None, :, :, None])
        matrix = _same_operator(at, unit, scales.get(axis), [1, size, resized, 1])
        g = g.along(axis, rank, matrix.reshape([size, resized]).transpose([1, 0]))
    return g


def _scales(at: Node) -> dict[int, float]:
    """The scale of each axis that has one."""
    given = at.attribute("scales") if at.opset < 9 else at.constant(1 if at.opset < 11 else 2)
    numbers = [] if given is None else [float(item) for item in np.asarray(given).ravel()]
    axes = at.integers("axes") or range(len(numbers))
    return {axis % at.rank(): number for axis, number in zip(axes, numbers, strict=False)}


def _same_operator(at: Node, unit: Value, scale: float | None, shape: list[int]) -> Value:
    """The node's operator, with its settings, on the third of four axes."""
    names = ("mode", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "nearest_mode", "antialias")
    settings = {name: at.attribute(name) for name in names}
    if at.opset < 11:  # there, scales are input 1 and sizes do not exist
        return at.op(at.proto.op_type, unit, _floats(at, [1, 1, scale or 1, 1]), mode=settings["mode"])
    nothing = _floats(at, [])  # opsets 11 and 12 require the unused inputs roi and scales
    if scale is None:
        return at.op("Resize", unit, nothing, nothing, at.to.ints(shape), **settings)
    return at.op("Resize", unit, nothing, _floats(at, [1, 1, scale, 1]), **settings)


def _floats(at: Node, numbers: list[float]) -> Value:
    return at.to.constant(np.asarray(numbers, np.float32), TensorProto.FLOAT)
