"""Reading data: what is accepted, and what is said of the rest."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_jumprelu import Data, DataError
from onnx_jumprelu.classifier.normalization import normalized
from onnx_jumprelu.data.reading import check_scale, data_of, load_data
from onnx_jumprelu.data.splits import validation_data_of
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


class TestArrays:
    def test_they_are_taken_as_a_file_is(self, tmp_path: Path) -> None:
        pixels = np.asarray([[0, 51, 255]], np.uint8)
        for x in (pixels, pixels.astype(np.float64), pixels.astype(np.int64)):
            from_file, given = load_data(written(tmp_path, x=x, y=[3])), Data(x, [3])
            assert given.x.dtype == np.float32
            assert given.x.tolist() == from_file.x.tolist()
            assert given.scaled == from_file.scaled == (x.dtype == np.uint8)
            assert given.required_labels().tolist() == from_file.required_labels().tolist() == [3]
        assert Data(pixels).x.max() == 1

    def test_first_does_not_scale_again(self) -> None:
        some = Data(np.full((3, 2), 255, np.uint8), [0, 1, 2]).first(2)
        assert some.scaled
        assert some.x.tolist() == [[1, 1], [1, 1]]
        assert some.required_labels().tolist() == [0, 1]

    def test_what_they_are_called(self) -> None:
        assert Data([[0.5]]).name == "data"
        assert Data([[0.5]], None, "d.npz").name == "d.npz"
        assert repr(Data(np.zeros((2, 3)), [0, 1])) == "Data([2, 3], 2 labels, data)"
        with pytest.raises(DataError, match=r"data: has no labels \(pass Data\(x, labels\)\)"):
            Data([[0.5]]).required_labels()
        with pytest.raises(DataError, match="data: uint8 pixels are divided by 255"):
            check_scale(Data(np.zeros((1, 2), np.uint8)), (0, 255))

    @pytest.mark.parametrize(
        ("x", "labels", "message"),
        [
            (1.0, None, r"data: 'x' must be numbers of shape .N, ..... N at least 1, not float64 of shape \[\]"),
            (np.zeros((0, 3)), None, "data: 'x' must be numbers"),
            (["a"], None, "data: 'x' must be numbers"),
            ([[1], [1, 2]], None, "data: 'x' is not an array"),
            (None, None, "data: 'x' must be numbers"),
            ([[1.0]], [0.5], r"data: 'labels' must be integers of shape \(1,\), not float64"),
            ([[1.0]], [1, 2], r"data: 'labels' must be integers of shape \(1,\)"),
            ([[1.0]], 1, r"data: 'labels' must be integers of shape \(1,\)"),
            ([[1.0]], [[1], [1, 2]], "data: 'labels' is not an array"),
        ],
    )
    def test_other_arrays_are_refused(self, x: Any, labels: Any, message: str) -> None:  # noqa: ANN401
        with pytest.raises(DataError, match=message) as refused:
            Data(x, labels)
        assert "\n" not in str(refused.value)


class TestEveryForm:
    def test_data(self, tmp_path: Path) -> None:
        path = written(tmp_path, x=np.asarray([[0.5]]), y=[3], x_val=np.asarray([[0.25]]), y_val=[1])
        given = Data([[0.5]], [3])
        for form in (given, ([[0.5]], [3]), path, str(path)):
            found = data_of(form)
            assert (found.x.tolist(), found.required_labels().tolist()) == ([[0.5]], [3])
        for form in (path, str(path)):
            assert validation_data_of(form).x.tolist() == [[0.25]]  # a file's own validation split comes first
        for form in (given, ([[0.5]], [3])):
            assert validation_data_of(form).x.tolist() == [[0.5]]

    @pytest.mark.parametrize("form", [None, 3, np.zeros((4, 2)), (np.zeros((4, 2)),), {"x": 1}])
    def test_anything_else_is_refused(self, form: Any) -> None:  # noqa: ANN401
        for take in (data_of, validation_data_of):
            with pytest.raises(DataError, match=r"data: give a path, a pair \(x, labels\) or Data"):
                take(form)


def test_normalization() -> None:
    x = f32(np.ones((2, 3, 1, 1)))
    assert normalized(x, [0.5], [0.25]).ravel().tolist() == [2.0] * 6
    assert normalized(x, [0, 0.5, 1], None).ravel().tolist() == [1, 0.5, 0] * 2
    assert normalized(f32([1, 2]), [1], None).tolist() == [0, 1]
    for mean, std in (([1, 2], None), (None, [0.0]), (None, [float("nan")])):
        with pytest.raises(DataError):
            normalized(x, mean, std)


def archive_with(path: Path, member: bytes, compression: int = zipfile.ZIP_STORED) -> bytearray:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x.npy", member)
    return bytearray(path.read_bytes())


@pytest.mark.parametrize("damage", ["header", "deflate", "lzma", "encrypted", "unknown compression"])
def test_damaged_files_are_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.save(tmp_path / "x.npy", np.zeros((50, 3), np.float32))
    whole = (tmp_path / "x.npy").read_bytes()
    if damage == "header":
        archive_with(path, whole.replace(b"{'descr'", b"({'descr'")[: len(whole)])
    elif damage in ("deflate", "lzma"):
        content = archive_with(path, whole, zipfile.ZIP_DEFLATED if damage == "deflate" else zipfile.ZIP_LZMA)
        content[40:60] = b"\xff" * 20
        path.write_bytes(content)
    else:
        content = archive_with(path, whole)
        central = content.index(b"PK\x01\x02")
        for at in (6, central + 8) if damage == "encrypted" else (8, central + 10):
            content[at] = 1 if damage == "encrypted" else 97
        path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read") as caught:
        load_data(path)
    assert "\n" not in str(caught.value)
