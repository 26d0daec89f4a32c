"""Reading data: what is accepted, and what is said of the rest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_jumprelu import DataError
from onnx_jumprelu.classifier.normalization import normalized
from onnx_jumprelu.data.reading import load_data
from tests.models import f32


def written(folder: Path, **arrays: Any) -> Path:  # noqa: ANN401
    path = folder / "d.npz"
    np.savez(path, **arrays)
    return path


def test_uint8_is_divided_by_255(tmp_path: Path) -> None:
    data = load_data(written(tmp_path, x=np.asarray([[0, 51, 255]], np.uint8), y=[3]))
    assert data.x.dtype == np.float32
    assert data.x.tolist() == f32([[0, 0.2, 1]]).tolist()
    assert data.required_labels().tolist() == [3]


def test_floats_stay(tmp_path: Path) -> None:
    data = load_data(written(tmp_path, x=np.asarray([[0.5, 7.0]])))
    assert data.x.tolist() == [[0.5, 7.0]]
    with pytest.raises(DataError, match="has no labels"):
        data.required_labels()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": [1]}, "has no array 'x'; it has z"),
        ({"x": 1.0}, r"'x' must be numbers of shape \(N, \.\.\.\)"),
        ({"x": np.zeros((0, 3))}, "'x' must be numbers"),
        ({"x": ["a"]}, "'x' must be numbers"),
        ({"x": [[1.0]], "y": [0.5]}, r"'y' must be integers of shape \(1,\), not float64"),
        ({"x": [[1.0]], "y": [1, 2]}, r"'y' must be integers of shape \(1,\)"),
    ],
)
def test_bad_arrays(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(written(tmp_path, **arrays))


def test_bad_files(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "objects.npz", x=np.asarray([{}], dtype=object))
    for name in ("one.npy", "text.npz", "empty.npz", "objects.npz", "none.npz", "."):
        with pytest.raises(DataError):
            load_data(tmp_path / name)


def test_normalization() -> None:
    x = f32(np.ones((2, 3, 1, 1)))
    assert normalized(x, [0.5], [0.25]).ravel().tolist() == [2.0] * 6
    assert normalized(x, [0, 0.5, 1], None).ravel().tolist() == [1, 0.5, 0] * 2
    assert normalized(f32([1, 2]), [1], None).tolist() == [0, 1]
    for mean, std in (([1, 2], None), (None, [0.0]), (None, [float("nan")])):
        with pytest.raises(DataError):
            normalized(x, mean, std)
