"""The caller's inputs, in the form and type that the model takes, as one run or as several."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.classifier.normalization import normalized
from onnx_jumprelu.data.reading import Data, data_of, load_data, load_inputs
from onnx_jumprelu.errors import DataError
from onnx_jumprelu.graphs.scopes import required_inputs
from onnx_jumprelu.graphs.tensor_types import declared_type
from onnx_jumprelu.names import VERIFIED_EXAMPLES
from onnx_jumprelu.runtime import Feeds
from onnx_jumprelu.verification.batch_axes import find_batch
from onnx_jumprelu.verification.input_types import FedInput, fed_input

# Data in a form that a user may have them: arrays as the model takes them, or data in data space.
InputsLike: TypeAlias = "Array | Mapping[str, Array] | Data | tuple[npt.ArrayLike, npt.ArrayLike] | str | Path | None"


@dataclass(frozen=True)
class Given:
    """Inputs as the model takes them.

    Attributes:
        x: An array for a model with one input, or arrays by input name.
        n_examples: How many of their examples to use, None for all.
    """

    x: Array | Mapping[str, Array]
    n_examples: int | None = None


def inputs_of(
    x: InputsLike, model: ModelProto, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Given | None:
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
        named = _named_inputs(x, [value.name for value in required_inputs(model)])
        if named is not None:
            if normalizes:
                raise DataError(f"{x}: mean and std apply to an array 'x'; this file has an array for each input")
            return Given(named, VERIFIED_EXAMPLES)
        x = load_data(x)
    if isinstance(x, tuple):
        x = data_of(x)
    if isinstance(x, Data):
        return Given(normalized(x.x[: _most_used(model)], mean, std), VERIFIED_EXAMPLES)
    if x is not None and not isinstance(x, np.ndarray | Mapping):
        raise DataError(f"x: give an array, arrays by input name, Data or a path, not {type(x).__name__}")
    if normalizes:
        raise DataError("mean and std are for Data and files; arrays are given as the model takes them")
    return None if x is None else Given(x)


def _named_inputs(path: str | Path, names: Sequence[str]) -> Mapping[str, Array] | None:
    """A file's arrays by input name; None where it is to be read as data, with an array `x` for the only input."""
    named = load_inputs(path, names)
    if len(names) > 1 and named is None:
        raise DataError(f"{path}: {_several(names)}")
    return None if names == ["x"] else named


def _several(names: Sequence[str]) -> str:
    return f"the model has {len(names)} inputs ({', '.join(names)}); give an array for each by name"


def _most_used(model: ModelProto) -> int:
    """How many examples of an array `x` are used at most: more than usual only where the model fixes their number."""
    shapes = [declared_type(value.type).shape for value in required_inputs(model)]
    sizes = [shape[0] for shape in shapes if shape]
    return max([VERIFIED_EXAMPLES, *(size for size in sizes if isinstance(size, int))])


def given_runs(model: ModelProto, given: Given) -> Iterator[list[Feeds]]:
    """The caller's inputs as runs of the model, in one way or two, of which the first on which the model runs counts.

    Where their number is limited or the model fixes it, examples are cut out, a few for each run. All inputs in one run
    come last, for models that do not take them in parts.

    Raises:
        DataError: inputs are missing, unknown, or of another shape or type than declared.
        UndecidedError: an input is of a type that cannot be fed.
    """
    inputs = [fed_input(value) for value in required_inputs(model)]
    arrays = _by_name(inputs, given.x)
    batch = find_batch(inputs, arrays)
    if batch is not None and not batch.n_examples:
        raise DataError("the data hold no examples")
    runs: list[Feeds] = []
    if batch is not None and (given.n_examples is not None or batch.fixed is not None):
        runs = batch.cut(arrays, given.n_examples)
    if runs:
        yield [_fitted(inputs, run) for run in runs]
    if not runs or batch is None or batch.fixed is None:
        yield [_fitted(inputs, arrays)]


def one_by_one(model: ModelProto, runs: Sequence[Feeds]) -> list[Feeds]:
    """The inputs of several runs with one example for each run, as they are where it is not clear where these lie."""
    inputs = [fed_input(value) for value in required_inputs(model)]
    singles: list[Feeds] = []
    for feeds in runs:
        batch = find_batch(inputs, feeds)
        singles += [feeds] if batch is None else batch.cut(feeds, None, step=1)
    return singles


def _by_name(inputs: Sequence[FedInput], x: Array | Mapping[str, Array]) -> Feeds:
    names = [each.name for each in inputs]
    if not isinstance(x, Mapping):
        if len(inputs) != 1:
            raise DataError(_several(names))
        x = {names[0]: x}
    for name in names:
        if name not in x:
            raise DataError(f"no data for the input '{name}'")
    return {each.name: x[each.name] if each.is_sequence else np.asarray(x[each.name]) for each in inputs}


def _fitted(inputs: Sequence[FedInput], feeds: Feeds) -> Feeds:
    """The inputs in the declared types; those of a sequence are the entries of what was given, along axis 0."""
    return {
        each.name: [_tensor(each, np.asarray(entry)) for entry in feeds[each.name]]
        if each.is_sequence
        else _tensor(each, feeds[each.name])
        for each in inputs
    }


def _tensor(each: FedInput, array: Array) -> Array:
    if each.shape is not None:
        fits = len(each.shape) == array.ndim and all(
            size == given for size, given in zip(each.shape, array.shape, strict=True) if isinstance(size, int)
        )
        if not fits:
            shown = [size if isinstance(size, int) else "?" for size in each.shape]
            raise DataError(f"data of shape {list(array.shape)} do not fit the input '{each.name}' of shape {shown}")
    try:
        return array.astype(each.dtype, copy=False)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"data of type {array.dtype} do not fit the input '{each.name}' of type {each.dtype}"
        ) from error
