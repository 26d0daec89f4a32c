"""Comparison of outputs, bit for bit, and what a check raises.

Equal means the same bits, with two exceptions. The sign of zero is ignored: onnxruntime's Relu returns -0 for -0, and
LeakyRelu with alpha 0 returns -0 for every negative number. All NaNs are equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import JumpReLUError


class FailedError(JumpReLUError):
    """A check that found something wrong; the message is its detail."""


class UndecidedError(JumpReLUError):
    """A check that could not be made: nothing is proved, nothing is known to be wrong; the message says why."""


@dataclass(frozen=True)
class Difference:
    """How two arrays differ: how many values, and the first of them."""

    count: int
    size: int
    first: str

    def __str__(self) -> str:
        return f"{self.count} of {self.size} values differ, first {self.first}"


def difference(actual: Array, expected: Array, allowed: Array | None = None) -> Difference | None:
    """How two arrays differ, None where they are equal; the module says what equal means.

    `allowed`, of their shape, is how far a value may be from the expected one; None for not at all.
    """
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        described = f"{actual.dtype}{list(actual.shape)} against {expected.dtype}{list(expected.shape)}"
        return Difference(max(actual.size, expected.size), max(actual.size, expected.size), described)
    with np.errstate(invalid="ignore"):  # NaN
        same = np.asarray(actual == expected, dtype=bool) | (_is_nan(actual) & _is_nan(expected))
        if allowed is not None and allowed.any():
            same |= np.abs(actual.astype(np.float64) - expected.astype(np.float64)) <= allowed
    if same.all():
        return None
    wrong = np.flatnonzero(~same.ravel())
    pair = f"{actual.ravel()[wrong[0]]!s} instead of {expected.ravel()[wrong[0]]!s}"
    return Difference(len(wrong), actual.size, pair)


def _is_nan(array: Array) -> Array:
    if array.dtype.kind in "biuSUO":
        return np.zeros(array.shape, bool)
    return np.asarray(array != array, dtype=bool)  # noqa: PLR0124 - only NaN differs from itself


def has_nan(output: object) -> bool:
    """Whether an output, an array or a sequence of them, holds a NaN."""
    return any(_is_nan(array).any() for array in arrays(output))


def arrays(output: object) -> list[Array]:
    """The arrays of an output: one for a tensor, several for a sequence, none for an empty optional."""
    if isinstance(output, (list, tuple)):
        return [array for entry in output for array in arrays(entry)]
    return [] if output is None else [np.asarray(output)]
