"""Finished attacks in a file: read as they were written; anything else is refused in one line with the way out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_jumprelu import OptionError
from onnx_jumprelu.verdict.checkpoint import Checkpoint, FinishedAttack

ABOUT = {"onnx-jumprelu": "1", "examples": "3", "eps": "0.1"}
PLACE = "0/0/2/original"
SUCCESS, REPLAYED = np.array([True, False, True]), np.array([False, False, True])
FINISHED = FinishedAttack(SUCCESS, REPLAYED, 0.25, 1.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with two outcomes, as the tool writes it."""
    path = tmp_path / "checkpoint.json"
    checkpoint = Checkpoint(path)
    checkpoint.open(ABOUT)
    checkpoint.keep(PLACE, FINISHED)
    checkpoint.keep("1/3/0/patched", FinishedAttack(FINISHED.success, FINISHED.replayed, None, 0.0))
    return path


def resumed(path: Path) -> Checkpoint:
    checkpoint = Checkpoint(path, resume=True)
    checkpoint.open(ABOUT)
    return checkpoint


def test_what_is_kept_is_read_again(path: Path) -> None:
    found = resumed(path)
    assert len(found) == 2
    first, second = found.finished(PLACE), found.finished("1/3/0/patched")
    assert first is not None
    assert second is not None
    assert np.array_equal(first.success, FINISHED.success)
    assert first.replayed is not None
    assert np.array_equal(first.replayed, REPLAYED)
    assert (first.zero_gradients, first.seconds, second.zero_gradients) == (0.25, 1.5, None)
    assert found.finished("0/0/3/original") is None


def with_entry(name: str, value: object) -> Callable[[Any], Any]:
    """Another value in the first outcome."""

    def spoil(content: Any) -> Any:  # noqa: ANN401 - JSON
        content["attacks"][PLACE][name] = value
        return content

    return spoil


def with_attacks(outcomes: object) -> Callable[[Any], Any]:
    return lambda content: {**content, "attacks": outcomes}


SPOILT: dict[str, Callable[[Any], Any]] = {
    "a list": lambda _: [],
    "nothing": lambda _: {},
    "another schema": lambda content: {**content, "schema": "onnx-jumprelu/verdict/1"},
    "an experiment in a list": lambda content: {**content, "about": []},
    "something besides": lambda content: {**content, "rows": {}},
    "outcomes in a list": with_attacks([]),
    "no outcomes": with_attacks({}),
    "an outcome in a list": with_attacks({PLACE: []}),
    "an outcome without entries": with_attacks({PLACE: {}}),
    "an unknown model": lambda content: with_attacks({"0/0/2/other": content["attacks"][PLACE]})(content),
    "an unknown place": lambda content: with_attacks({"0/x/2/original": content["attacks"][PLACE]})(content),
    "an entry too many": with_entry("kind", "gray-box"),
    "too few examples": with_entry("success", "10"),
    "too many examples": with_entry("replayed", "1010"),
    "digits beyond 1": with_entry("success", "102"),
    "a list of digits": with_entry("success", ["1", "0", "1"]),
    "no examples": with_entry("success", None),
    "seconds in words": with_entry("seconds", "1.5"),
    "seconds that are none": with_entry("seconds", float("nan")),
    "seconds of 400 digits": with_entry("seconds", 10**400),
    "no seconds": with_entry("seconds", None),
    "true seconds": with_entry("seconds", True),
    "negative seconds": with_entry("seconds", -1),
    "gradients in words": with_entry("zero_gradients", "0.5"),
    "more gradients than there are": with_entry("zero_gradients", 1.5),
    "true gradients": with_entry("zero_gradients", True),
}


def refused(path: Path) -> str:
    with pytest.raises(OptionError) as error:
        resumed(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", SPOILT)
def test_a_damaged_file_is_refused(name: str, path: Path) -> None:
    path.write_text(json.dumps(SPOILT[name](json.loads(path.read_text()))))
    message = refused(path)
    assert "is not a checkpoint of a verdict: " in message
    assert message.endswith("; delete it, or leave out --resume")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"PK\x03\x04", b"[" * 100_000, b"9" * 5000])
def test_what_is_no_json_is_refused(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    assert "is not a checkpoint of a verdict: it is not JSON; delete it, or leave out --resume" in refused(path)


@pytest.mark.parametrize("about", [{**ABOUT, "eps": "0.2"}, {**ABOUT, "eps": 0.1}, {"onnx-jumprelu": "1"}])
def test_another_experiment_is_refused(about: dict[str, object], path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "about": about}))
    assert "differs); delete it, or leave out --resume" in refused(path)


def test_one_model_has_no_replays(tmp_path: Path) -> None:
    path, place = tmp_path / "checkpoint.json", "0/0/2/model"
    checkpoint = Checkpoint(path)
    checkpoint.open(ABOUT)
    checkpoint.keep(place, FinishedAttack(FINISHED.success, None, 0.25, 1.5))
    found = resumed(path).finished(place)
    assert found is not None
    assert found.replayed is None
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "attacks": {PLACE: content["attacks"][place]}}))
    assert "'replayed' is not a string of 3 digits" in refused(path)


def test_what_is_not_there_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "does not exist; there is nothing to resume" in refused(tmp_path / "none.json")
    assert "cannot be read" in refused(tmp_path)


def test_a_file_that_is_not_a_checkpoint_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"precious": 1}', encoding="utf-8")
    with pytest.raises(OptionError, match="already exists and is not a checkpoint; give another file"):
        Checkpoint(path).open({"examples": "2"})
    assert path.read_text(encoding="utf-8") == '{"precious": 1}'


def test_a_forgotten_resume_loses_nothing(path: Path) -> None:
    before = path.read_bytes()
    for about, message in (
        (ABOUT, "of an interrupted run; give --resume to continue it, or --force to discard them"),
        ({**ABOUT, "eps": "0.2"}, r"of another experiment \(eps differs\); give another --state, or --force"),
    ):
        with pytest.raises(OptionError, match=message):
            Checkpoint(path).open(about)
    assert path.read_bytes() == before
    anew = Checkpoint(path, force=True)
    anew.open(ABOUT)
    assert len(anew) == 0
    anew.keep(PLACE, FINISHED)
    assert len(resumed(path)) == 1
