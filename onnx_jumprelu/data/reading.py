"""Labelled data: from a file, or from arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from onnx_jumprelu.arrays import Array, Floats, Labels
from onnx_jumprelu.classifier.normalization import pixels_as_floats, uint8_fits
from onnx_jumprelu.data.npz import NpzArrays
from onnx_jumprelu.errors import DataError

DataLike: TypeAlias = "Data | str | Path | tuple[npt.ArrayLike, npt.ArrayLike]"
PAIR = 2  # inputs and labels
MOST_NAMES_SHOWN, LONGEST_NAME_SHOWN = 20, 60


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Data:
    """Inputs in data space, and their labels.

    Attributes:
        x: Inputs, float32, of shape (N, ...). uint8 values have been divided by 255.
        labels: Their classes, int64, of shape (N,); None where they are not known.
        path: The file that they came from, None for arrays.
        scaled: Whether they were uint8 and divided by 255.
    """

    x: Floats
    labels: Labels | None
    path: Path | None
    scaled: bool

    def __init__(
        self,
        x: npt.ArrayLike,
        labels: npt.ArrayLike | None = None,
        path: str | Path | None = None,
        *,
        scaled: bool = False,
    ) -> None:
        """Take arrays as data.

        Args:
            x: Numbers of shape (N, ...). uint8 values are divided by 255; all others are in data space already.
            labels: Integers of shape (N,).
            path: The file that they came from, for messages.
            scaled: Whether `x` was uint8 and has been divided by 255.

        Raises:
            DataError: `x` or `labels` have another shape or type.
        """
        name = "data" if path is None else str(path)
        inputs = _numbers(_array(x, f"{name}: 'x'"), f"{name}: 'x'")
        for field, value in (
            ("x", _floats(inputs)),
            ("labels", None if labels is None else _classes(labels, len(inputs), f"{name}: 'labels'")),
            ("path", None if path is None else Path(path)),
            ("scaled", scaled or inputs.dtype == np.uint8),
        ):
            object.__setattr__(self, field, value)

    def __repr__(self) -> str:
        labels = "None" if self.labels is None else f"{len(self.labels)} labels"
        return f"Data({list(self.x.shape)}, {labels}, {self.name})"

    @property
    def name(self) -> str:
        """What messages and reports call it: the file, or `data`."""
        return "data" if self.path is None else str(self.path)

    def first(self, count: int | None) -> Data:
        """The first `count` examples, all of them for None."""
        return replace(self, x=self.x[:count], labels=None if self.labels is None else self.labels[:count])

    def required_labels(self) -> Labels:
        """The labels. Raises DataError where there are none."""
        if self.labels is None:
            where = "pass Data(x, labels)" if self.path is None else "an integer array 'y' of shape (N,)"
            raise DataError(f"{self.name}: has no labels ({where})")
        return self.labels


def data_of(data: DataLike) -> Data:
    """Labelled data in any form in which they may be given: `Data`, arrays `(x, labels)`, or an `.npz` file.

    Raises:
        DataError: the file cannot be read, the arrays have another shape or type, or it is none of these.
    """
    if isinstance(data, Data):
        return data
    if isinstance(data, str | os.PathLike):
        return load_data(data)
    if isinstance(data, tuple | list) and len(data) == PAIR:
        return Data(data[0], data[1])
    raise DataError(f"data: give a path, a pair (x, labels) or Data(x, labels), not {_described(data)}")


def _described(value: object) -> str:
    return f"an array of shape {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__


def load_data(path: str | Path, *, x_key: str = "x", y_key: str = "y") -> Data:
    """Read an `.npz` file with inputs and, where there are any, integer labels.

    Args:
        path: The file.
        x_key: Name of the inputs, of shape (N, ...).
        y_key: Name of the labels, of shape (N,).

    Raises:
        DataError: the file cannot be read, or its arrays have another shape or type.
    """
    if not isinstance(path, str | os.PathLike):
        raise DataError(f"give the path of an .npz file, not {_described(path)}; arrays are Data(x, labels)")
    arrays = _read(Path(path))
    if x_key not in arrays:
        raise DataError(f"{path}: has no array '{x_key}'; it has {_listed(arrays)}")
    x, labels = _numbers(arrays[x_key], f"{path}: '{x_key}'"), arrays.get(y_key)
    return Data(x, None if labels is None else _classes(labels, len(x), f"{path}: '{y_key}'"), path)


def _listed(arrays: Mapping[str, object]) -> str:
    """Names of the arrays of a file, for a message; a file may have very many."""
    names = [name if name.isprintable() else repr(name) for name in sorted(arrays)[:MOST_NAMES_SHOWN]]
    more = f" and {len(arrays) - len(names)} more" if len(arrays) > len(names) else ""
    return ", ".join(name[:LONGEST_NAME_SHOWN] for name in names) + more or "none"


def _array(values: npt.ArrayLike, name: str) -> Array:
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise DataError(f"{name} is not an array ({' '.join(str(error).split())})") from error


def _numbers(x: Array, name: str) -> Array:
    if x.ndim < 1 or not len(x) or x.dtype.kind not in "fiu":
        raise DataError(
            f"{name} must be numbers of shape (N, ...), N at least 1, not {x.dtype} of shape {list(x.shape)}"
        )
    return x


def _classes(labels: npt.ArrayLike, count: int, name: str) -> Labels:
    array = _array(labels, name)
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise DataError(f"{name} must be integers of shape ({count},), not {array.dtype} of shape {list(array.shape)}")
    return array.astype(np.int64, copy=False)


def _floats(x: Array) -> Floats:
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite
        return pixels_as_floats(x, (0.0, 1.0)).astype(np.float32, copy=False)


def check_scale(data: Data, bounds: tuple[float, float]) -> None:
    """Refuse bounds such as 0 to 255 for pixels that were divided by 255: `eps` would be 255 times too large.

    Raises:
        DataError: see above.
    """
    if data.scaled and not uint8_fits(bounds):
        raise DataError(
            f"{data.name}: uint8 pixels are divided by 255 and lie between 0 and 1, not {bounds[0]:g} and "
            f"{bounds[1]:g}; leave out --bounds and give eps on that scale, or store the data as float32"
        )


def load_inputs(path: str | Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]] | None:
    """Inputs by their names in the model, as the file holds them; None where the file lacks one of them.

    Raises:
        DataError: the file cannot be read.
    """
    arrays = _read(Path(path))
    return {name: arrays[name] for name in names} if arrays.keys() >= set(names) else None


def _read(path: Path) -> Mapping[str, npt.NDArray[Any]]:
    return READERS.get(path.suffix.lower(), NpzArrays)(path)


# What reads a file of each format, by its suffix: a function from the path to the file's arrays by name, which raises
# DataError. A mapping may read each array when it is asked for. Files with another suffix are read as `.npz`.
READERS: dict[str, Callable[[Path], Mapping[str, npt.NDArray[Any]]]] = {".npz": NpzArrays}
