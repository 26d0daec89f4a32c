"""The reader for JSON records: each kind of entry as it must be, and what is said of anything else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_jumprelu.errors import DataError, GradientError, ModelFileError, naming
from onnx_jumprelu.files.json_records import Entries, UnfitError, bits_text, read_record

GOOD: dict[str, Any] = {
    "text": "a",
    "flag": False,
    "count": 3,
    "number": 0.5,
    "nothing": None,
    "bits": "101",
    "list": [{"text": "b"}],
    "object": {"first": {"text": "c"}},
}


def test_good_entries() -> None:
    entries = Entries(GOOD, "it").only(*GOOD)
    assert entries.text("text") == "a"
    assert entries.flag("flag") is False
    assert entries.count("count") == 3
    assert (entries.number("number"), entries.number("count"), entries.positive("number")) == (0.5, 3.0, 0.5)
    assert (entries.number_or_none("nothing"), entries.number_or_none("number", 1)) == (None, 0.5)
    assert entries.bits("bits", 3).tolist() == [True, False, True]
    assert bits_text(np.array([True, False, True])) == "101"
    assert [each.text("text") for each in entries.each("list")] == ["b"]
    assert entries.inner("object").inner("first").text("text") == "c"
    assert {name: each.text("text") for name, each in entries.by_name("object").items()} == {"first": "c"}
    assert entries.holds("text", "a")
    assert not entries.holds("text", "b")
    assert not entries.holds("none", "a")


@pytest.mark.parametrize(
    ("take", "wrong", "message"),
    [
        (lambda e: e.text("k"), [1, None, True], "in it 'k' is not a string"),
        (lambda e: e.flag("k"), [0, 1, "true", None], "in it 'k' is not true or false"),
        (lambda e: e.count("k"), [0, -1, 0.5, 1.0, True, "1"], "in it 'k' is not a whole number of at least 1"),
        (lambda e: e.number("k"), [-0.1, float("nan"), float("inf"), 10**400, True, "1"], "not a number of at least 0"),
        (lambda e: e.number("k", 1), [1.1, -1], "in it 'k' is not a number from 0 to 1"),
        (lambda e: e.number_or_none("k", 1), [2, "x"], "in it 'k' is not a number from 0 to 1"),
        (lambda e: e.positive("k"), [0, 0.0], "in it 'k' is not a number above 0"),
        (lambda e: e.bits("k", 2), ["1", "101", "12", 11, [1, 0]], "not a string of 2 digits, each 0 or 1"),
        (lambda e: e.inner("k"), [[], 1, None], "'k' is not an object"),
        (lambda e: e.each("k"), [{}, [], "x"], "in it 'k' is not a list with at least one entry"),
        (lambda e: e.each("k"), [[1]], "'k', entry 0, is not an object"),
        (lambda e: e.by_name("k"), [[], {}, 1], "in it 'k' is not an object with at least one entry"),
        (lambda e: e.by_name("k"), [{"a": 1}], "'k', entry 'a', is not an object"),
        (lambda e: e.only("other"), [1], "it has an unknown entry 'k'"),
        (lambda e: e.text("other"), [1], "it has no 'other'"),
    ],
)
def test_wrong_entries(take: Callable[[Entries], object], wrong: list[object], message: str) -> None:
    for value in wrong:
        with pytest.raises(UnfitError) as refused:
            take(Entries({"k": value}, "it"))
        assert message in str(refused.value), value


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000])
def test_what_is_not_json(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(UnfitError, match="it is not JSON"):
        read_record(tmp_path / "r.json")


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(GOOD))
    assert read_record(tmp_path / "r.json").text("text") == "a"
    (tmp_path / "r.json").write_text("[]")
    with pytest.raises(UnfitError, match="it is not an object"):
        read_record(tmp_path / "r.json")
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "none.json")


class TestNaming:
    def test_the_file_comes_first_once(self) -> None:
        with pytest.raises(DataError) as error, naming("d.npz"), naming(Path("d.npz"), DataError):
            raise DataError("is empty")
        assert str(error.value) == "d.npz: is empty"

    def test_only_the_errors_that_are_asked_for(self) -> None:
        with pytest.raises(DataError, match=r"^is empty$"), naming("d.npz", GradientError, ModelFileError):
            raise DataError("is empty")
        with pytest.raises(GradientError, match=r"^m.onnx: no rule$"), naming("m.onnx", GradientError, ModelFileError):
            raise GradientError("no rule")
        with pytest.raises(ZeroDivisionError, match=r"^division"), naming("m.onnx"):
            raise ZeroDivisionError("division")

    def test_without_a_name(self) -> None:
        with pytest.raises(DataError, match=r"^is empty$"), naming(None):
            raise DataError("is empty")
