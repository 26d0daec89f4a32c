"""Reading labelled data, and bringing them into the form that a model takes."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.errors import DataError

UINT8_MAX = 255


@dataclass(frozen=True)
class Data:
    """Inputs in data space and their labels.

    Attributes:
        x: float32 of shape (N, ...); uint8 files are divided by 255.
        labels: int64 of shape (N,), None where the file has none.
        path: The file they came from.
        scaled: Whether they were uint8 and divided by 255.
    """

    x: Floats
    labels: Labels | None
    path: Path
    scaled: bool = False

    def first(self, count: int | None) -> Data:
        """The first `count` examples, all of them for None."""
        return replace(self, x=self.x[:count], labels=None if self.labels is None else self.labels[:count])

    def required_labels(self) -> Labels:
        """The labels. Raises DataError where the file has none."""
        if self.labels is None:
            raise DataError(f"{self.path}: has no labels (an integer array 'y' of shape (N,))")
        return self.labels


def load_data(path: str | Path, *, x_key: str = "x", y_key: str = "y") -> Data:
    """Read an `.npz` file with inputs and, where there are any, integer labels.

    Args:
        path: The file.
        x_key: Name of the inputs, of shape (N, ...).
        y_key: Name of the labels, of shape (N,).

    Raises:
        DataError: the file cannot be read, or its arrays do not have these shapes and types.
    """
    arrays = _read(Path(path))
    if x_key not in arrays:
        raise DataError(f"{path}: has no array '{x_key}'; it has {', '.join(sorted(arrays)) or 'none'}")
    x, labels = arrays[x_key], arrays.get(y_key)
    if x.ndim < 1 or not len(x) or x.dtype.kind not in "fiu":
        raise DataError(f"{path}: '{x_key}' must be numbers of shape (N, ...), not {x.dtype} of shape {list(x.shape)}")
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != (len(x),)):
        raise DataError(
            f"{path}: '{y_key}' must be integers of shape ({len(x)},), not {labels.dtype} of shape {list(labels.shape)}"
        )
    scale = UINT8_MAX if x.dtype == np.uint8 else 1
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite
        floats = x.astype(np.float32) / np.float32(scale)
    return Data(floats, None if labels is None else labels.astype(np.int64), Path(path), scaled=x.dtype == np.uint8)


def check_scale(data: Data, bounds: tuple[float, float]) -> None:
    """Refuse bounds such as 0 to 255 for pixels that were divided by 255: `eps` would be 255 times too large.

    Raises:
        DataError: see above.
    """
    if data.scaled and bounds[1] > 1:
        raise DataError(
            f"{data.path}: uint8 pixels are divided by 255 and lie between 0 and 1, not {bounds[0]:g} and "
            f"{bounds[1]:g}; "
            "leave out --bounds and give eps on that scale, or store the data as float32"
        )


def load_inputs(path: str | Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]] | None:
    """Inputs by their names in the model, as the file holds them; None where the file lacks one of them.

    Raises:
        DataError: the file cannot be read.
    """
    arrays = _read(Path(path))
    return {name: arrays[name] for name in names} if arrays.keys() >= set(names) else None


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise DataError(f"{path}: is an .npy file of one array; an .npz file is needed")
        with archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "not an .npz file of plain arrays"
        raise DataError(f"{path}: cannot be read ({reason})") from error
    return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
