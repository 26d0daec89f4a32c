"""Types of arrays, and the two reshapes that many modules need."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def rows(x: Array) -> Array:
    """A batch as a matrix: (N, ...) to (N, D), without a copy where NumPy can."""
    return x.reshape(len(x), prod(x.shape[1:]))  # -1 fails for an empty batch


def per_example(values: Array, like: Array) -> Array:
    """One value per example, of shape (N,), reshaped to broadcast against a batch (N, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
