"""Derivatives of pooling over windows and of resampling."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
from onnx import TensorProto

from onnx_jumprelu.gradient.registry import Node, vjp
from onnx_jumprelu.gradient.values import Value
from onnx_jumprelu.gradient.windows import Windows, windows


@vjp("MaxPool", since=1)
def _max_pool(at: Node, g: Value, *_: object) -> Value:
    """Each cotangent goes back to where its maximum came from."""
    frame = windows(at)
    if at.integer("storage_order", 0):
        raise at.error("storage_order 1 has no gradient rule")
    if _fits(at, frame):
        return _shared_in_tiles(at, g, frame)
    return _unpooled(at, g, frame)


def _fits(at: Node, frame: Windows) -> bool:
    """Whether the windows tile the input without remainder."""
    sizes = zip(at.shape()[2:], frame.kernel, strict=True)
    return frame.tiles and all(isinstance(size, int) and size % kernel == 0 for size, kernel in sizes)


def _shared_in_tiles(at: Node, g: Value, frame: Windows) -> Value:
    """Equal maxima of a window share its cotangent evenly.

    Comparing with the enlarged output is several times as fast as asking MaxPool for indices, which leaves its fast
    kernel.
    """
    attains = at.x().equals(_enlarged(at, at.y(), frame)).cast(g.elem_type)
    count = attains.op("AveragePool", kernel_shape=frame.kernel, strides=frame.strides) * math.prod(frame.kernel)
    return attains * _enlarged(at, g / count, frame)


def _enlarged(at: Node, value: Value, frame: Windows) -> Value:
    """Each number repeated over its window."""
    scales = at.to.constant(np.asarray([1, 1, *frame.kernel], np.float32), TensorProto.FLOAT)
    if at.opset < 11:  # the form with modes and a region of interest arrives
        return value.op("Upsample" if at.opset < 10 else "Resize", scales, mode="nearest")
    roi = at.to.constant(np.zeros(0, np.float32), TensorProto.FLOAT)  # opset 11 and 12 want one
    return value.op(
        "Resize", roi, scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


def _unpooled(at: Node, g: Value, frame: Windows) -> Value:
    """The first of equal maxima takes the cotangent.

    Windows that overlap are dealt into groups whose windows do not, and each group is put back on its own.
    """
    indices = replace(_indices(at), elem_type=TensorProto.INT64)
    n_groups = [-(-extent // stride) for extent, stride in zip(frame.extents, frame.strides, strict=True)]
    shape, total = at.x().shape(), None
    for offsets in product(*(range(number) for number in n_groups)):
        some, where = g, indices
        for axis, (offset, number) in enumerate(zip(offsets, n_groups, strict=True), start=2):
            if number > 1:
                chosen = at.to.ints(list(range(offset, _output_size(at, axis), number)))
                some, where = (value.op("Gather", chosen, axis=axis) for value in (some, where))
        part = some.op("MaxUnpool", where, shape, kernel_shape=frame.kernel, strides=frame.strides)
        total = part if total is None else total + part
    return total if total is not None else g


def _output_size(at: Node, axis: int) -> int:
    size = at.output_shape()[axis]
    if not isinstance(size, int):
        raise at.error(f"size of its output along axis {axis} is unknown; export the model with a fixed size")
    return size


def _indices(at: Node) -> Value:
    """Where the maxima came from, which the node itself can tell (the gradient model's own copy of it is changed)."""
    outputs = at.proto.output
    if len(outputs) == 1:
        outputs.append("")
    if not outputs[1]:
        outputs[1] = at.to.fresh(f"{outputs[0]}/indices")
    return at.y(1)


@vjp("AveragePool", since=1)
def _average_pool(at: Node, g: Value) -> Value:
    """Axis by axis, through the matrix by which the operator itself averages along that axis."""
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
    """Axis by axis, through the matrix by which the operator itself resamples along that axis."""
    if at.attribute("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise at.error("coordinate_transformation_mode tf_crop_and_resize has no gradient rule")
    rank, scales = at.rank(), _scales(at)
    for axis in range(rank):
        if at.shape()[axis] == at.output_shape()[axis] and scales.get(axis, 1.0) == 1.0:
            continue
        size, resized = at.size(axis), _output_size(at, axis)
        unit = g.like(np.eye(size)[None, :, :, None])
        matrix = _same_operator(at, unit, scales.get(axis), [1, size, resized, 1])
        g = g.along(axis, rank, matrix.reshape([size, resized]).transpose([1, 0]))
    return g


def _scales(at: Node) -> dict[int, float]:
    """Factor of each axis that is given one."""
    given = at.attribute("scales") if at.opset < 9 else at.constant(1 if at.opset < 11 else 2)
    numbers = [] if given is None else [float(item) for item in np.asarray(given).ravel()]
    axes = at.integers("axes") or range(len(numbers))
    return {axis % at.rank(): number for axis, number in zip(axes, numbers, strict=False)}


def _same_operator(at: Node, unit: Value, scale: float | None, shape: list[int]) -> Value:
    """The node's operator, with its settings, on the third of four axes."""
    names = ("mode", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "nearest_mode", "antialias")
    settings = {name: at.attribute(name) for name in names}
    if at.opset < 11:  # before then scales are input 1 and sizes do not exist
        return at.op(at.proto.op_type, unit, _floats(at, [1, 1, scale or 1, 1]), mode=settings["mode"])
    if scale is None:
        return at.op("Resize", unit, None, None, at.to.ints(shape), **settings)
    # An empty tensor for the region of interest: opset 11 and 12 want one.
    return at.op("Resize", unit, _floats(at, []), _floats(at, [1, 1, scale, 1]), **settings)


def _floats(at: Node, numbers: list[float]) -> Value:
    return at.to.constant(np.asarray(numbers, np.float32), TensorProto.FLOAT)
