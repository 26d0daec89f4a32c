"""The examples that tuning may see: a validation split, of which one part is searched on and one is held out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.data.reading import Data, DataLike, data_of, load_data, load_inputs

SEARCH_SHARE = 0.5
OF_ITS_OWN = ("x_val", "y_val")


@dataclass(frozen=True)
class Part:
    """Some of the validation examples.

    Attributes:
        where: Their positions among all, of shape (N,).
        x: Inputs in data space, of shape (N, ...).
        labels: Their classes, of shape (N,).
    """

    where: Labels
    x: Floats
    labels: Labels


def validation_data_of(data: DataLike) -> Data:
    """`data_of` for validation data: of a file, its validation split comes first. Raises DataError."""
    return load_validation(data) if isinstance(data, str | os.PathLike) else data_of(data)


def load_validation(path: str | Path) -> Data:
    """The arrays `x_val` and `y_val` of an `.npz` file that has both, else `x` and `y`.

    Where a file has a validation split, `x` and `y` are its test split, which tuning must not see.

    Raises:
        DataError: see `load_data`.
    """
    if load_inputs(path, OF_ITS_OWN) is None:
        return load_data(path)
    return load_data(path, x_key=OF_ITS_OWN[0], y_key=OF_ITS_OWN[1])


def split(x: Floats, labels: Labels, seed: int) -> tuple[Part, Part]:
    """The examples for the search and those held out, drawn at random because a file may be sorted by class."""
    order = np.random.default_rng(seed).permutation(len(x))
    cut = round(SEARCH_SHARE * len(x))
    search, held_out = (Part(where, x[where], labels[where]) for where in (order[:cut], order[cut:]))
    return search, held_out
