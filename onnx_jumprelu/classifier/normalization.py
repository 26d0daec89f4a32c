"""From data to the model's input: uint8 to floats, and `(x - mean) / std` in NumPy or as the first nodes of a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from onnx_jumprelu.arguments import shown
from onnx_jumprelu.arrays import Array, Floats
from onnx_jumprelu.errors import DataError
from onnx_jumprelu.graphs.builder import FreshNames
from onnx_jumprelu.graphs.constants import numpy_dtype
from onnx_jumprelu.graphs.scopes import FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS

UINT8_MAX = 255


def pixels_as_floats(x: Array, bounds: tuple[float, float]) -> Array:
    """uint8 values divided by 255, as in a data file; all other numbers as they are, in data space.

    Raises:
        DataError: `x` is uint8 and the bounds are on another scale, such as 0 to 255.
    """
    if x.dtype != np.uint8:
        return x
    if not uint8_fits(bounds):
        raise DataError(
            f"x is uint8, which is divided by 255 and then lies between 0 and 1, not {bounds[0]:g} and {bounds[1]:g}; "
            "give bounds, mean, std and eps on that scale, or x as float32"
        )
    floats: Floats = x.astype(np.float32) / np.float32(UINT8_MAX)
    return floats


def uint8_fits(bounds: tuple[float, float]) -> bool:
    """Whether uint8 values, once they are divided by 255, are on the scale of these bounds: 0 to 255 are not."""
    return bounds[1] <= 1


def normalized(x: Floats, mean: Sequence[float] | None, std: Sequence[float] | None) -> Floats:
    """`(x - mean) / std`, one value for all channels or one per channel.

    Args:
        x: Inputs in data space, of shape (N, C, ...).
        mean: Means, None for 0.
        std: Standard deviations, None for 1.

    Raises:
        DataError: the number of values is neither 1 nor C, or a standard deviation is not above 0.
    """
    shift, scale = mean_and_std(mean, std, x.shape[1] if x.ndim > 1 else None, x.ndim)
    return ((x - shift) / scale).astype(np.float32)


def mean_and_std(
    mean: Sequence[float] | None, std: Sequence[float] | None, channels: int | None, rank: int
) -> tuple[Floats, Floats]:
    """Means and standard deviations in a shape that broadcasts against inputs (N, C, ...) of this rank.

    Raises:
        DataError: the number of values is neither 1 nor the number of channels, or a standard deviation is not above 0.
    """
    shift, scale = _per_channel(mean, 0.0, channels, rank, "mean"), _per_channel(std, 1.0, channels, rank, "std")
    if not np.isfinite(shift).all():
        raise DataError("mean: every value must be finite")
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise DataError("std: every value must be above 0 and finite")
    return shift, scale


def _per_channel(values: Sequence[float] | None, default: float, channels: int | None, rank: int, name: str) -> Floats:
    try:
        array = np.asarray([default] if values is None else values, np.float32).ravel()
    except (TypeError, ValueError) as error:  # text, or rows of different lengths
        raise DataError(f"{name} must be a number, or one per channel, not {shown(values)}") from error
    if not array.size or len(array) not in (1, channels or 1):
        wanted = "1 value" if (channels or 1) == 1 else f"1 value or {channels} (one per channel)"
        raise DataError(f"{name}: give {wanted}, not {len(array)}")
    return array.reshape(1, -1, *[1] * (rank - 2)) if rank > 1 else array


def in_data_space(model: ModelProto, input_name: str, shift: Floats, scale: Floats) -> str:
    """Insert `(x - shift) / scale` after an input of a model, in place; returns the name of the new input."""
    names, graph = FreshNames(model), model.graph
    given = next(value for value in graph.input if value.name == input_name)
    dtype = numpy_dtype(given.type.tensor_type.elem_type)
    data, shift_name, scale_name, centered = (
        names(f"{input_name}/{what}") for what in ("data", "mean", "std", "centered")
    )
    for name, value in ((shift_name, shift), (scale_name, scale)):
        tensor = numpy_helper.from_array(value.astype(dtype), name)
        graph.initializer.append(tensor)
        if model.ir_version < FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS:  # until then, each initializer was an input
            graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
    graph.node.insert(0, helper.make_node("Sub", [data, shift_name], [centered], name=names("normalization/Sub")))
    graph.node.insert(1, helper.make_node("Div", [centered, scale_name], [input_name], name=names("normalization/Div")))
    given.name = data
    return data
