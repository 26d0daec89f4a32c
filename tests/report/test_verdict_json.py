"""The keys that programs rely on."""

import json

import pytest

from onnx_jumprelu.report import as_json
from tests.report.verdicts import ALL, BARE, GAIN, HOSTILE_VERDICT, NO_GAIN, SMALLER

TOP = {
    *("norm", "eps", "n_examples", "clean_accuracy", "worst_case", "gain_shown", "naive", "latency_ratio"),
    *("attacks", "curve", "flags", "gates", "complete", "about", "verdict", "missing", "notes"),
    *("schema", "version", "models", "doubts"),
}


@pytest.mark.parametrize("name", ALL)
def test_the_keys(name: str) -> None:
    found = as_json.verdict(ALL[name])
    assert set(found) == TOP
    models = set(ALL[name].models)
    assert set(found["clean_accuracy"]) == {*models, "intervals"}
    assert set(found["worst_case"]) == {*models, "intervals", "gain", "ci95"}
    assert set(found["naive"]) == models
    for attack in found["attacks"]:
        assert set(attack) == {
            *("name", "attack", "surrogate", "kind", "model", "source", "eps"),
            *("robust_accuracy", "zero_gradients", "seconds"),
        }
    for flag in found["flags"]:
        assert set(flag) == {"name", "model", "message", "undermines"}
    for gate in found["gates"]:
        assert set(gate) == {"name", "ok", "value", "limit", "detail"}


@pytest.mark.parametrize("name", ALL)
def test_it_is_strict_json(name: str) -> None:
    found = as_json.verdict(ALL[name])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_numbers() -> None:
    found = as_json.verdict(GAIN)
    gain = GAIN.gain
    assert gain is not None
    assert found["clean_accuracy"]["original"] == 0.99
    assert found["clean_accuracy"]["intervals"]["original"] == pytest.approx([0.9643, 0.9973], abs=1e-4)
    assert (found["worst_case"]["original"], found["worst_case"]["patched"]) == (0.70, 0.83)
    assert found["worst_case"]["gain"] == pytest.approx(0.13)
    assert found["worst_case"]["ci95"] == [gain.low, gain.high]
    assert found["naive"] == {"original": pytest.approx(0.72), "patched": pytest.approx(0.85)}
    assert (found["gain_shown"], found["complete"], found["n_examples"]) == (True, True, 200)
    assert found["attacks"][0] == {
        "name": "pgd",
        "attack": "pgd",
        "surrogate": "exact",
        "source": "original",
        "kind": "white-box",
        "model": "original",
        "eps": 0.1,
        "robust_accuracy": pytest.approx(0.72),
        "zero_gradients": 0.0,
        "seconds": 1.5,
    }
    assert found["curve"][1]["eps"] == 0.2
    assert found["curve"][1]["worst_case"] == {"original": 0.0, "patched": 0.005}
    assert found["curve"][1]["kinds"]["patched"] == {"white-box": 0.235, "black-box": 0.195}
    assert found["about"] == GAIN.about
    assert as_json.verdict(NO_GAIN)["gain_shown"] is False


def test_attacks_within_smaller_budgets_are_listed_with_their_eps() -> None:
    found = as_json.verdict(SMALLER)
    assert [(entry["name"], entry["eps"]) for entry in found["attacks"]][-3:] == [
        ("square", 0.1),
        ("fab-t", 0.09),
        ("fab-t", 0.09),
    ]
    assert (found["worst_case"]["original"], found["worst_case"]["patched"]) == (0.695, 0.825)
    assert found["naive"] == as_json.verdict(GAIN)["naive"]


def test_what_is_no_number_is_null() -> None:
    assert as_json.verdict(HOSTILE_VERDICT)["latency_ratio"] is None  # it was NaN
    assert as_json.verdict(BARE)["naive"] == {"original": None, "patched": None}
