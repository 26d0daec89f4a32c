"""Derivatives of normalizations."""

from __future__ import annotations

import numpy as np

from onnx_jumprelu.gradient.core.registry import Node, vjp
from onnx_jumprelu.gradient.core.values import Value


@vjp("BatchNormalization", since=7)
def _batch_normalization(at: Node, g: Value, *_: object) -> Value:
    """At inference it is affine: the running statistics are constants."""
    if at.integer("training_mode", 0) or any(at.proto.output[1:]):  # before opset 14 more outputs mean training
        raise at.error("runs in training mode; export the model for inference")
    if not at.integer("spatial", 1):
        raise at.error("spatial 0 has no gradient rule")
    factor = at.x(1) / (at.x(4) + at.number("epsilon", 1e-5)).op("Sqrt")
    return g * factor.unsqueeze(list(range(1, at.rank() - 1)))


def normalized(x: Value, g: Value, axes: list[int], epsilon: float) -> Value:
    """Cotangent of `x`, given that of `(x - mean) / sqrt(variance + epsilon)`, both taken over `axes`."""
    centered = x - x.mean(axes)
    scale = ((centered * centered).mean(axes) + epsilon).op("Sqrt")
    unit = centered / scale
    return (g - g.mean(axes) - unit * (g * unit).mean(axes)) / scale


@vjp("InstanceNormalization", since=6)
def _instance_normalization(at: Node, g: Value) -> Value:
    spatial = list(range(2, at.rank()))
    weighted = g * at.x(1).unsqueeze([axis - 1 for axis in spatial])
    return normalized(at.x(), weighted, spatial, at.number("epsilon", 1e-5))


@vjp("LayerNormalization", since=17)
def _layer_normalization(at: Node, g: Value | None, *statistics: Value | None) -> Value:
    if g is None or any(statistics):
        raise at.error("its outputs Mean and InvStdDev have no gradient rule")
    rank = at.rank()
    axes = list(range(at.integer("axis", -1) % rank, rank))
    return normalized(at.x(), g * at.x(1), axes, at.number("epsilon", 1e-5))


@vjp("GroupNormalization", since=21)
def _group_normalization(at: Node, g: Value) -> Value:
    weight = at.x(1).unsqueeze(list(range(1, at.rank() - 1)))
    return _in_groups(at, g * weight)


@vjp("GroupNormalization", since=18)
def _group_normalization_per_group(at: Node, g: Value) -> Value:
    """Until opset 20 scale and bias had one number per group."""
    groups, channels = at.integer("num_groups", 1), at.size(1)
    repeated = at.x(1).unsqueeze([1]).expand(at.to.ints([groups, channels // groups])).reshape([channels])
    return _in_groups(at, g * repeated.unsqueeze(list(range(1, at.rank() - 1))))


def _in_groups(at: Node, g: Value) -> Value:
    """Normalization over each group of channels, as one axis."""
    shape = [0, at.integer("num_groups", 1), -1]
    result = normalized(at.x().reshape(shape), g.reshape(shape), [2], at.number("epsilon", 1e-5))
    return at.as_input(result)


@vjp("LRN", since=1)
def _lrn(at: Node, g: Value) -> Value:
    """Of `x / s ** beta`, where s is `bias + alpha / size` times the sum of squares over neighbouring channels."""
    size, channels, rank = at.integer("size", 1), at.size(1), at.rank()
    alpha, beta, bias = at.number("alpha", 1e-4), at.number("beta", 0.75), at.number("bias", 1.0)
    distance = np.arange(channels)[None, :] - np.arange(channels)[:, None]
    near = ((distance >= -((size - 1) // 2)) & (distance <= size // 2)).astype(np.float64)
    x = at.x()
    scale = bias + (alpha / size) * (x * x).along(1, rank, x.like(near.T))
    scaled = g * scale ** (-beta)
    to_neighbours = (scaled * x / scale).along(1, rank, x.like(near))
    return scaled - (2 * alpha * beta / size) * x * to_neighbours
