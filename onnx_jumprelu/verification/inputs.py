"""Inputs to run a model on: the caller's, or seeded random ones that fit the declared inputs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TypeProto, ValueInfoProto

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.classifier.normalization import normalized
from onnx_jumprelu.data.reading import Data, data_of, load_data, load_inputs
from onnx_jumprelu.errors import DataError
from onnx_jumprelu.graphs.constants import numpy_dtype
from onnx_jumprelu.graphs.scopes import required_inputs
from onnx_jumprelu.names import VERIFIED_EXAMPLES

# Sizes to try for open dimensions, in this order: of the first axis, and of all other axes.
OPEN_SIZES = ((2, 8), (2, 32), (2, 224), (1, 8), (1, 224), (1, 1))


# Data in a form that a user may have them: arrays as the model takes them, or data in data space.
InputsLike: TypeAlias = "Array | Mapping[str, Array] | Data | tuple[npt.ArrayLike, npt.ArrayLike] | str | Path | None"


def inputs_of(
    x: InputsLike, model: ModelProto, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Array | Mapping[str, Array] | None:
    """Inputs as the model takes them.

    Args:
        x: An array or arrays by input name, as the model takes them; or `Data`, `(x, labels)`, or an `.npz` file with
            `x` or with an array for each input by its name, of which the first 16 examples are used; None for none.
        model: The model.
        mean: What the model expects subtracted from the data, one value or one per channel; for `Data` and files.
        std: What it expects the data then divided by.

    Raises:
        DataError: the file cannot be read, `mean` or `std` do not fit, or `x` is none of these.
    """
    normalizes = mean is not None or std is not None
    if isinstance(x, str | os.PathLike):
        named = load_inputs(x, [value.name for value in required_inputs(model)])
        if named is not None and "x" not in named:
            if normalizes:
                raise DataError(f"{x}: mean and std apply to an array 'x'; this file has an array for each input")
            return {name: array[:VERIFIED_EXAMPLES] if array.ndim else array for name, array in named.items()}
        x = load_data(x)
    if isinstance(x, tuple):
        x = data_of(x)
    if isinstance(x, Data):
        return normalized(x.x[:VERIFIED_EXAMPLES], mean, std)
    if x is not None and not isinstance(x, np.ndarray | Mapping):
        raise DataError(f"x: give an array, arrays by input name, Data or a path, not {type(x).__name__}")
    if normalizes:
        raise DataError("mean and std are for Data and files; arrays are given as the model takes them")
    return x


def given_feeds(model: ModelProto, x: Array | Mapping[str, Array]) -> dict[str, Array]:
    """The caller's inputs by name, in the types that the model declares.

    Args:
        model: The model.
        x: An array for a model with one input, or arrays by input name.

    Raises:
        DataError: inputs are missing, unknown, or of another shape than declared.
    """
    inputs = required_inputs(model)
    names = [value.name for value in inputs]
    if not isinstance(x, Mapping):
        if len(inputs) != 1:
            raise DataError(f"the model has {len(inputs)} inputs ({', '.join(names)}); give an array for each by name")
        x = {names[0]: x}
    for name in names:
        if name not in x:
            raise DataError(f"no data for the input '{name}'")
    return {value.name: _fitted(value, np.asarray(x[value.name])) for value in inputs}


def _fitted(value: ValueInfoProto, array: Array) -> Array:
    """The array in the declared type, cut to the declared batch where that is fixed."""
    tensor = value.type.tensor_type
    dims = [int(dim.dim_value) if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    if dims and dims[0] is not None and array.ndim and len(array) > dims[0]:
        array = array[: dims[0]]
    fits = len(dims) == array.ndim and all(
        size is None or size == given for size, given in zip(dims, array.shape, strict=False)
    )
    if tensor.HasField("shape") and not fits:
        shown = ["?" if size is None else size for size in dims]
        raise DataError(f"data of shape {list(array.shape)} do not fit the input '{value.name}' of shape {shown}")
    return array.astype(numpy_dtype(tensor.elem_type))


def random_feeds(model: ModelProto, seed: int) -> Iterator[dict[str, Array]]:
    """Seeded random inputs, with one guess after the other for open dimensions.

    Floating-point inputs are standard normal, then uniform between 0 and 1 (for models with a logarithm, say). Integers
    and booleans are 0 or 1, which most models also accept as indices.

    Raises:
        DataError: an input is not a tensor of numbers.
    """
    inputs = required_inputs(model)
    sizes = OPEN_SIZES[:1] if all(_is_fixed(value.type) for value in inputs) else OPEN_SIZES
    for normal in (True, False):
        for size in sizes:
            rng = np.random.default_rng(seed)
            yield {value.name: _random(value.name, value.type, size, rng, normal=normal) for value in inputs}


def _is_fixed(proto: TypeProto) -> bool:
    return all(dim.HasField("dim_value") for dim in proto.tensor_type.shape.dim)


def _random(
    name: str, proto: TypeProto, open_size: tuple[int, int], rng: np.random.Generator, *, normal: bool
) -> Array:
    if not proto.HasField("tensor_type"):
        raise DataError(f"the input '{name}' is not a tensor; give real inputs")
    dims = [
        int(dim.dim_value) if dim.HasField("dim_value") else open_size[index > 0]
        for index, dim in enumerate(proto.tensor_type.shape.dim)
    ]
    dtype = numpy_dtype(proto.tensor_type.elem_type)
    if dtype.kind in "biu":
        return rng.integers(0, 2, dims).astype(dtype)
    if dtype.kind in "OSU":
        raise DataError(f"the input '{name}' holds text; give real inputs")
    return (rng.standard_normal(dims) if normal else rng.random(dims)).astype(dtype)
