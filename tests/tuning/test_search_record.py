"""What a report shows of tuning, out of the file that `tune --json` wrote: read as it was, or refused in one line."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx_jumprelu import DataError, ModelFileError
from onnx_jumprelu.activation.values import Jump
from onnx_jumprelu.tuning.record_file import read_search_record
from onnx_jumprelu.tuning.result import SearchRecord
from tests.models import single
from tests.report.tunings import FINALISTS, RECORD, TRIALS, by_site, point, tuning


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(single("Relu").SerializeToString())
    return path


@pytest.fixture
def content(model: Path) -> Any:  # noqa: ANN401 - JSON
    """What `tune --json` would write."""
    return json.loads(json.dumps(tuning(model).to_dict(), allow_nan=False))


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "tuning.json"
    path.write_text(json.dumps(content))
    return path


def test_what_is_written_is_read_again(tmp_path: Path, model: Path, content: Any) -> None:  # noqa: ANN401 - JSON
    found, whole = read_search_record(written(tmp_path, content), model), tuning(model)
    assert found == replace(RECORD, model=str(model), model_sha256=hashlib.sha256(model.read_bytes()).hexdigest())
    assert (found.trials, found.finalists) == (TRIALS, FINALISTS)
    for field in fields(SearchRecord):
        assert getattr(found, field.name) == getattr(whole, field.name)


def test_a_file_without_a_schema_is_read(tmp_path: Path, model: Path, content: Any) -> None:  # noqa: ANN401 - JSON
    """As earlier versions wrote it."""
    older = {key: value for key, value in content.items() if key not in {"schema", "version"}}
    assert set(content) - set(older) == {"schema", "version"}
    expected = read_search_record(written(tmp_path, content), model)
    assert read_search_record(written(tmp_path, older), model) == expected


def test_the_sweep_is_of_candidates_with_one_jump_for_all_by_rising_jump() -> None:
    assert [(shown.jumps["fc"], shown.worst_case) for shown in RECORD.single_jump_trials] == [
        *((0.0, 0.75), (0.5, 0.78)),
        *((1.0, 0.84), (2.0, 0.15)),
    ]


def test_the_front_is_of_the_finalists() -> None:
    assert [shown.worst_case for shown in RECORD.pareto_front] == [0.70, 0.83]


@pytest.mark.parametrize(
    ("jumps", "chosen"),
    [
        ({"conv1": 1.5, "fc": 0.0}, True),
        ({"conv1": 1.5}, True),
        ({"conv1": 1.4993, "late": 0.0}, True),  # as float16 has it
        ({"conv1": (1.5, 1.5, 1.5)}, True),
        ({"conv1": (1.5, 1.5, 0.0)}, False),
        ({"conv1": 1.52}, False),
        ({"fc": 1.5}, False),
        ({"conv1": 1.5, "late": 0.1}, False),
        ({}, False),
    ],
)
def test_whether_a_model_has_the_jumps_that_were_chosen(jumps: dict[str, Jump], *, chosen: bool) -> None:
    assert RECORD.recommends(by_site(jumps)) == chosen


def test_jumps_per_channel_are_compared_channel_by_channel() -> None:
    record = replace(RECORD, finalists=(point((0.0, 1.5), 0.0, 0.9, 0.8, "channels", chosen=True),))
    assert record.recommends(by_site({"conv1": (0.0, 1.5)}))
    assert not record.recommends(by_site({"conv1": (1.5, 0.0)}))
    assert not record.recommends(by_site({"conv1": (0.0, 1.5, 0.0)}))


Spoil = Callable[[Any], Any]


def entry(name: str, value: object) -> Spoil:
    """Another value at the top."""
    return lambda content: {**content, name: value}


def trial(name: str, value: object) -> Spoil:
    """Another value in the second candidate."""
    return lambda content: {
        **content,
        "trials": [content["trials"][0], {**content["trials"][1], name: value}, *content["trials"][2:]],
    }


def without(name: str) -> Spoil:
    return lambda content: {key: value for key, value in content.items() if key != name}


SPOILT: dict[str, tuple[Spoil, str]] = {
    "a list": (lambda _: [], "it is not an object"),
    "a recipe": (lambda content: content["recipe"], "it has no 'model'"),
    "from before there were all candidates": (without("trials"), "it has no 'trials'"),
    "another schema": (entry("schema", "onnx-jumprelu/verdict/1"), "its schema is 'onnx-jumprelu/verdict/1', not"),
    "a later schema": (entry("schema", "onnx-jumprelu/tuning/2"), "its schema is 'onnx-jumprelu/tuning/2', not"),
    "no candidates": (entry("trials", []), "'trials' is not a list with at least one entry"),
    "no list": (entry("finalists", {}), "'finalists' is not a list with at least one entry"),
    "a candidate that is no object": (entry("trials", [3]), "'trials', entry 0, is not an object"),
    "nothing chosen": (
        lambda content: {**content, "finalists": content["finalists"][:2]},
        "exactly one of the 'finalists'",
    ),
    "two chosen": (
        lambda content: {**content, "finalists": content["finalists"] * 2},
        "exactly one of the 'finalists'",
    ),
    "a model that is no text": (entry("model", 3), "'model' is not a string"),
    "an unknown norm": (entry("norm", "L3"), "norm 'L3' is unknown"),
    "an eps of 0": (entry("eps", 0), "'eps' is not a number above 0"),
    "a negative eps": (entry("eps", -0.1), "'eps' is not a number of at least 0"),
    "an infinite eps": (entry("eps", float("inf")), "'eps' is not a number of at least 0"),
    "an eps of 400 digits": (entry("eps", 10**400), "'eps' is not a number of at least 0"),
    "a drop above 1": (entry("max_drop", 2), "'max_drop' is not a number from 0 to 1"),
    "half an example": (entry("n_search", 0.5), "'n_search' is not a whole number of at least 1"),
    "a search without examples": (entry("n_search", 0), "'n_search' is not a whole number of at least 1"),
    "nothing to judge by": (entry("n_held_out", 0), "'n_held_out' is not a whole number of at least 1"),
    "true examples": (entry("n_held_out", True), "'n_held_out' is not a whole number of at least 1"),
    "no clean accuracy": (entry("clean_accuracy", {}), "'clean_accuracy' has no 'original'"),
    "a clean accuracy that is no object": (entry("clean_accuracy", 1), "'clean_accuracy' is not an object"),
    "a share above 1": (trial("worst_case", 1.5), "in 'trials', entry 1, 'worst_case' is not a number from 0 to 1"),
    "a share that is NaN": (trial("worst_case", float("nan")), "'worst_case' is not a number from 0 to 1"),
    "a share that is true": (trial("clean_accuracy", True), "'clean_accuracy' is not a number from 0 to 1"),
    "a share that is a text": (trial("clean_accuracy", "0.5"), "'clean_accuracy' is not a number from 0 to 1"),
    "a choice that is no truth": (trial("chosen", 1), "'chosen' is not true or false"),
    "a family that is no text": (trial("family", None), "'family' is not a string"),
    "jumps in a list": (trial("jumps", [1.0]), "'jumps' is not an object of jumps by site name"),
    "no site": (trial("jumps", {}), "'jumps' is not an object of jumps by site name"),
    "a negative jump": (trial("jumps", {"fc": -1}), "the jump of site 'fc' must be a finite number of at least 0"),
    "no channel": (trial("jumps", {"fc": []}), "the jump of site 'fc' is an empty list"),
    "a list in a channel": (trial("jumps", {"fc": [0.1, [0.2]]}), "the jump of site 'fc'"),
    "a channel that is no number": (trial("jumps", {"fc": [0.5, "x"]}), "the jump of site 'fc', channel 1,"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_other_content_is_refused_in_one_line(
    name: str,
    tmp_path: Path,
    model: Path,
    content: Any,  # noqa: ANN401 - JSON
) -> None:
    spoil, message = SPOILT[name]
    path = written(tmp_path, spoil(content))
    with pytest.raises(DataError) as refused:
        read_search_record(path, model)
    assert str(refused.value).startswith(f"{path}: is not what `tune --json` writes: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", [b"", b"{", b"PK\x03\x04", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_refused(text: bytes, tmp_path: Path, model: Path) -> None:
    path = tmp_path / "tuning.json"
    path.write_bytes(text)
    with pytest.raises(DataError, match=r"tuning.json: is not what `tune --json` writes: it is not JSON$"):
        read_search_record(path, model)


def test_what_cannot_be_read_is_refused(tmp_path: Path, model: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(DataError, match="cannot be read") as refused:
            read_search_record(path, model)
        assert str(refused.value).startswith(f"{path}: ")


def test_the_tuning_of_another_model_is_refused(tmp_path: Path, model: Path, content: Any) -> None:  # noqa: ANN401 - JSON
    path = written(tmp_path, content)
    model.write_bytes(single("Relu", shape=["N", 7]).SerializeToString())
    with pytest.raises(DataError, match="is about another model") as refused:
        read_search_record(path, model)
    assert str(refused.value).startswith(f"{path}: ")
    model.unlink()
    with pytest.raises(ModelFileError, match=r"model.onnx: cannot be read"):
        read_search_record(path, model)


def test_the_tuning_of_a_model_with_other_external_weights_is_refused(tmp_path: Path) -> None:
    """The file itself is the same: only the weights beside it differ."""
    path = tmp_path / "model.onnx"
    whole = single("MatMul", inputs=["x", "w"], shape=["N", 4], extra={"w": np.ones((4, 3), np.float32)})
    onnx.save(whole, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    given = written(tmp_path, json.loads(json.dumps(tuning(path).to_dict())))
    file = path.read_bytes()
    assert read_search_record(given, path).model_sha256 != hashlib.sha256(file).hexdigest()
    (tmp_path / "w.bin").write_bytes(np.zeros((4, 3), np.float32).tobytes())
    assert path.read_bytes() == file
    with pytest.raises(DataError, match="is about another model"):
        read_search_record(given, path)
