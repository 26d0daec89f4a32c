"""Seeded random inputs that fit what a model declares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.scopes import required_inputs
from onnx_jumprelu.graphs.tensor_types import Dimension
from onnx_jumprelu.runtime import Feeds
from onnx_jumprelu.verification.input_types import FedInput, fed_input

# Sizes to try for open dimensions, in this order: of the batch, and of all others.
OPEN_SIZES = ((2, 8), (2, 32), (2, 224), (1, 8), (1, 224), (2, 2), (1, 1))
SEQUENCE_LENGTH = 2
UNKNOWN_SHAPE = (None, None)


@dataclass(frozen=True)
class _Values:
    """How to draw values: floating-point numbers normal or uniform between 0 and 1, integers from `low` to `high`."""

    normal: bool
    low: int = 0
    high: int = 1


# Uniform for models with a logarithm, say. Integers and booleans of 0 and 1 are also indices that most models accept;
# 1 alone is a count or a mask that hides nothing, 0 alone an index into a table of one row.
FLOATS = (_Values(normal=True), _Values(normal=False))
INTEGERS = (_Values(normal=True, low=1), _Values(normal=True, high=0))


def random_feeds(model: ModelProto, seed: int) -> Iterator[Feeds]:
    """Seeded random inputs, with one guess after the other for open dimensions and for the range of the values.

    Dimensions of one symbolic name have one size. Texts are `0` or `1`, a sequence has two entries, an optional input
    has its content.

    Raises:
        UndecidedError: an input is of a type that cannot be fed.
    """
    inputs = [fed_input(value) for value in required_inputs(model)]
    floats_only = all(each.dtype.kind not in "biuO" for each in inputs)
    fixed = all(isinstance(size, int) for each in inputs for size in _shape(each))
    leading = {_shape(each)[0] for each in inputs if _shape(each)}
    for values in FLOATS if floats_only else (*FLOATS, *INTEGERS):
        for batch, other in OPEN_SIZES[:1] if fixed else OPEN_SIZES:
            rng = np.random.default_rng(seed)
            yield {each.name: _drawn(each, _sizes(each, leading, batch, other), values, rng) for each in inputs}


def _sizes(each: FedInput, leading: set[Dimension], batch: int, other: int) -> list[int]:
    """Sizes of an input's dimensions; open ones are of the batch on axis 0, or if their name is that of some axis 0."""
    return [
        size if isinstance(size, int) else batch if axis == 0 or (size is not None and size in leading) else other
        for axis, size in enumerate(_shape(each))
    ]


def _shape(each: FedInput) -> tuple[Dimension, ...]:
    return UNKNOWN_SHAPE if each.shape is None else each.shape


def _drawn(each: FedInput, sizes: Sequence[int], values: _Values, rng: np.random.Generator) -> Array | list[Array]:
    if each.is_sequence:
        return [_array(each.dtype, sizes, values, rng) for _ in range(SEQUENCE_LENGTH)]
    return _array(each.dtype, sizes, values, rng)


def _array(dtype: np.dtype[np.generic], sizes: Sequence[int], values: _Values, rng: np.random.Generator) -> Array:
    if dtype.kind in "biuO":
        integers = rng.integers(values.low, values.high, sizes, endpoint=True)
        return integers.astype(str).astype(object) if dtype.kind == "O" else integers.astype(dtype)
    return (rng.standard_normal(sizes) if values.normal else rng.random(sizes)).astype(dtype)
