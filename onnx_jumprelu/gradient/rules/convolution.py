"""Derivatives of convolutions and matrix products with respect to their data."""

from __future__ import annotations

import math

import numpy as np

from onnx_jumprelu.gradient.core.registry import ALL, Cotangents, Node, vjp
from onnx_jumprelu.gradient.core.values import Value
from onnx_jumprelu.gradient.core.windows import Windows, kernel_of, windows

BLOCK = 16  # channels per block of onnxruntime's blocked layout, on CPUs with AVX-512
FASTER = 3  # multiplications per second of a plain convolution over those of a ConvTranspose, see _suits_blocks


@vjp("Conv", since=1)
def _conv(at: Node, g: Value) -> Value:
    frame = windows(at, kernel_of(at))
    back = [extent - 1 - pad for extent, pad in zip(frame.extents * 2, frame.pads, strict=True)]
    group = at.integer("group", 1)
    if frame.is_strided or min(back) < 0 or not _suits_blocks(at, group):
        return _transposed(at, g, frame)
    return at.op(
        "Conv",
        g,
        _turned(at, group, frame),
        group=group,
        pads=back,
        dilations=frame.dilations,
        kernel_shape=frame.kernel,
    )


def _suits_blocks(at: Node, group: int) -> bool:
    """Whether a plain convolution computes the cotangent faster than a ConvTranspose.

    Measured with onnxruntime on a CPU: a plain convolution does about three times as many multiplications per second,
    but computes whole blocks of 16 channels, at every position of the input.
    """
    outputs, inputs = (size if isinstance(size, int) else BLOCK for size in at.shape(1)[:2])
    whole = math.ceil(inputs / BLOCK) * math.ceil(outputs / group / BLOCK) * BLOCK**2
    input_sizes, output_sizes = at.shape()[2:], at.output_shape()[2:]
    sizes = [size if isinstance(size, int) else 1 for size in (*input_sizes, *output_sizes)]
    positions, output_positions = math.prod(sizes[: len(input_sizes)]), math.prod(sizes[len(input_sizes) :])
    return whole * positions < FASTER * inputs * (outputs / group) * output_positions


def _transposed(at: Node, g: Value, frame: Windows) -> Value:
    return at.op(
        "ConvTranspose",
        g,
        at.x(1),
        group=at.integer("group", 1),
        strides=frame.strides,
        pads=frame.pads,
        dilations=frame.dilations,
        kernel_shape=frame.kernel,
        output_padding=[_left_over(at, axis, frame) for axis in range(frame.n_axes)],
    )


def _left_over(at: Node, axis: int, frame: Windows) -> int:
    """Positions at the end of an axis that no window reaches."""
    stride = frame.strides[axis]
    if stride == 1:
        return 0
    return (at.size(2 + axis) + frame.begin(axis) + frame.end(axis) - frame.extents[axis]) % stride


def _turned(at: Node, group: int, frame: Windows) -> Value:
    """The weight of the backward convolution: input and output channels swapped, each kernel reversed.

    From (M, C / group, ...) to (C, M / group, ...). Computed from constants only, so onnxruntime folds it.
    """
    weight, (outputs, inputs, *_) = at.x(1), at.shape(1)
    spatial = list(range(2, 2 + frame.n_axes))
    if group == 1:
        swapped = weight.transpose([1, 0, *spatial])
    else:
        outputs, inputs = int(outputs or 0), int(inputs or 0)
        parts = weight.reshape([group, outputs // group, inputs, *frame.kernel])
        swapped = parts.transpose([0, 2, 1, *(axis + 1 for axis in spatial)])
        swapped = swapped.reshape([group * inputs, outputs // group, *frame.kernel])
    for axis, size in zip(spatial, frame.kernel, strict=True):
        if size > 1:
            swapped = swapped.op("Gather", at.to.ints(np.arange(size)[::-1].tolist()), axis=axis)
    return swapped


@vjp("ConvTranspose", since=1)
def _conv_transpose(at: Node, g: Value) -> Value:
    kernel = kernel_of(at)
    n_axes = len(kernel)
    strides, dilations = at.integers("strides") or [1] * n_axes, at.integers("dilations") or [1] * n_axes
    frame = Windows(kernel, strides, dilations, at.integers("pads") or [0] * (2 * n_axes))
    if at.integers("output_shape") or at.attribute("auto_pad", "NOTSET") not in ("NOTSET", ""):
        frame = Windows(kernel, strides, dilations, _pads_of_transposed(at, frame))
    return at.op(
        "Conv",
        g,
        at.x(1),
        group=at.integer("group", 1),
        strides=strides,
        pads=frame.pads,
        dilations=dilations,
        kernel_shape=kernel,
    )


def _pads_of_transposed(at: Node, frame: Windows) -> list[int]:
    """Pads of a ConvTranspose whose output shape is given instead."""
    adjusted = at.integers("output_padding") or [0] * frame.n_axes
    given, mode = at.integers("output_shape"), at.attribute("auto_pad", "NOTSET")
    totals = []
    for axis in range(frame.n_axes):
        size, stride = at.size(2 + axis), frame.strides[axis]
        output = given[-frame.n_axes :][axis] if given else size * stride
        whole = stride * (size - 1) + adjusted[axis] + frame.extents[axis]
        totals.append(0 if mode == "VALID" and not given else max(0, whole - output))
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return small + large if mode == "SAME_UPPER" else large + small


@vjp("Gemm", since=7, broadcasts=[2])
def _gemm(at: Node, g: Value) -> Cotangents:
    """Of `alpha * A' B' + beta * C`, where ' may be a transposition."""
    alpha, beta = at.number("alpha", 1.0), at.number("beta", 1.0)
    turned_a, turned_b = at.integer("transA", 0), at.integer("transB", 0)
    to_a = to_b = None
    if at.is_active(0) and turned_a:
        to_a = at.op("Gemm", at.x(1), g, _zero(g), alpha=alpha, transA=turned_b, transB=1)
    elif at.is_active(0):
        to_a = at.op("Gemm", g, at.x(1), _zero(g), alpha=alpha, transB=1 - turned_b)
    if at.is_active(1) and turned_b:
        to_b = at.op("Gemm", g, at.x(0), _zero(g), alpha=alpha, transA=1, transB=turned_a)
    elif at.is_active(1):
        to_b = at.op("Gemm", at.x(0), g, _zero(g), alpha=alpha, transA=1 - turned_a)
    return to_a, to_b, g * beta


def _zero(g: Value) -> Value | None:
    """Gemm's third input, which is required before opset 11."""
    return g.like(0) if g.to.opset < 11 else None


@vjp("MatMul", since=1, broadcasts=ALL, core=2)
def _matmul(at: Node, g: Value) -> Cotangents:
    ranks = at.rank(0), at.rank(1)
    # A vector is a matrix with one row (left) or one column (right); the product drops that axis.
    left = at.x(0).unsqueeze([0]) if ranks[0] == 1 else at.x(0)
    right = at.x(1).unsqueeze([1]) if ranks[1] == 1 else at.x(1)
    rank = max(*ranks, 2)
    if ranks[1] == 1:
        g = g.unsqueeze([rank - 1 if ranks[0] > 1 else 0])
    if ranks[0] == 1:
        g = g.unsqueeze([rank - 2])
    to_left = g.op("MatMul", _swapped(right, max(2, ranks[1]))) if at.is_active(0) else None
    to_right = _swapped(left, max(2, ranks[0])).op("MatMul", g) if at.is_active(1) else None
    return _as_vector(at, 0, to_left, rank), _as_vector(at, 1, to_right, rank)


def _as_vector(at: Node, index: int, g: Value | None, rank: int) -> Value | None:
    """The cotangent of an input; for a vector, summed over the axes that it does not have."""
    if g is None or at.rank(index) != 1:
        return g
    return at.as_input(g.sum(list(range(rank - 2))), index)


def _swapped(matrix: Value, rank: int) -> Value:
    """The last two axes exchanged."""
    return matrix.transpose([*range(rank - 2), rank - 1, rank - 2])
