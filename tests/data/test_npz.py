"""Arrays of an `.npz` are read only when they are asked for, and damage is one line."""

import io
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from onnx_jumprelu import DataError
from onnx_jumprelu.data.npz import NpzArrays
from onnx_jumprelu.data.reading import load_data, load_inputs


def npy(array: npt.NDArray[Any]) -> bytes:
    whole = io.BytesIO()
    np.save(whole, array)
    return whole.getvalue()


def archive(path: Path, compression: int = zipfile.ZIP_STORED, /, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def header(shape: str = "(2, 3)", descr: str = "'<f4'", version: bytes = b"\x01\x00", data: int = 24) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + bytes(data)


def refused(path: Path) -> str:
    with pytest.raises(DataError) as error:
        load_data(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_it_reads_what_numpy_reads(tmp_path: Path, compression: int) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, npt.NDArray[Any]] = {
        "plain": rng.normal(size=(3, 4)),
        "fortran": np.asfortranarray(rng.normal(size=(3, 4))),
        "big_endian": np.arange(5, dtype=">i4"),
        "scalar": np.asarray(7),
        "empty": np.zeros((0, 3), np.float32),
        "flags": np.asarray([True, False]),
        "texts": np.asarray(["a", "bc"]),
    }
    members = {name: npy(array) for name, array in arrays.items()}
    found = NpzArrays(archive(tmp_path / "a.npz", compression, **members))
    assert set(found) == set(arrays)
    assert len(found) == len(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
        assert found[name].flags.writeable


def test_what_nobody_asked_for_is_not_read(tmp_path: Path) -> None:
    x = npy(np.ones((2, 3), np.float32))
    path = archive(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, x=x, junk=bytes(2**26), bad=b"not an array")
    tracemalloc.start()
    assert load_data(path).x.shape == (2, 3)
    assert load_inputs(path, ["x"]) is not None
    assert load_inputs(path, ["x", "missing"]) is None
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_an_array_that_is_smaller_than_its_header_says_is_not_allocated(tmp_path: Path) -> None:
    for shape in ("(1000000, 1000000)", "(10**30,)", "(4, 3)"):
        assert "array 'x' is" in refused(archive(tmp_path / "a.npz", x=header(shape)))


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx_jumprelu.data.npz.LARGEST_PACKED", 2**20)
    path = archive(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, x=npy(np.zeros((2**19,), np.float32)))
    assert "has 2 MiB in 2 KiB; store it anew" in refused(path)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (2**19,)).astype(np.float32)
    assert len(load_data(archive(path, zipfile.ZIP_DEFLATED, x=npy(noise))).x) == 2**19


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (header("(-1,)"), "is cut short"),
        (header("(2, 3.5)"), "is not in NumPy's format"),
        (header("((((" * 100), "is not in NumPy's format"),
        (header("(2, 3)", "'zz'"), "is not in NumPy's format"),
        (header("(2, 3)", "'|O'"), "holds object, not numbers"),
        (header("(2, 3)", "[('a', '<f4')]"), "not numbers"),
        (header("(2, 3)", "'V0'"), "not numbers"),
        (header(version=b"\x07\x00"), "is not in NumPy's format"),
        (header(data=3), "is cut short"),
        (b"", "is not in NumPy's format"),
        (b"\x80\x04\x95pickled", "is not in NumPy's format"),
    ],
)
def test_what_a_member_can_be(tmp_path: Path, member: bytes, reason: str) -> None:
    assert reason in refused(archive(tmp_path / "a.npz", x=member))


def test_what_is_not_a_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    assert "not a regular file" in refused(tmp_path / "pipe.npz")
    assert "Is a directory" in refused(tmp_path)
    assert "No such file" in refused(tmp_path / "none.npz")


def test_names_in_a_message_are_short_and_readable(tmp_path: Path) -> None:
    members = {"a\nb": b"", "n" * 10_000: b"", **{f"m{number}": b"" for number in range(100)}}
    message = refused(archive(tmp_path / "a.npz", zipfile.ZIP_STORED, **members))
    assert len(message) < 1000
    assert "and 82 more" in message
