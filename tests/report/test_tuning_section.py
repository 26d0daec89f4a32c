"""The HTML report's sections on tuning and on the jumps: whose numbers, under which attacks, and of which model."""

import re
from dataclasses import replace
from typing import Any

import pytest

from onnx_jumprelu.activation.values import Jump
from onnx_jumprelu.report import html
from onnx_jumprelu.tuning.result import SearchRecord
from tests.report.page import Page
from tests.report.tunings import RECORD, TRIALS, by_site, point
from tests.report.verdicts import GAIN

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

JUMPS: dict[str, Jump] = {"conv1": 1.5, "fc": 0.0}


def section(title: str, tuning: SearchRecord = RECORD, jumps: dict[str, Jump] | None = None) -> str:
    """The words of a section."""
    text = html.render(GAIN, tuning=tuning, jumps=by_site(JUMPS if jumps is None else jumps))
    start = text.index(f"<h2>{title}</h2>")
    return Page(text[start : text.index("</section>", start)]).text


def test_tuning_says_which_examples_and_which_attacks() -> None:
    found = section("What tuning tried")
    assert "of model.onnx on validation examples of val.npz, against Linf perturbations of at most 0.1" in found
    assert "with at most 1 point of clean accuracy lost" in found
    assert "quick attacks (short APGD and PGD) on at most the first 400 of the 500 validation examples" in found
    assert "4 finalists of 6 candidates. Worst case: thorough attacks (longer PGD and APGD) on the 500" in found
    assert found.count("Clean accuracy: on all 999 validation examples.") == 2
    assert "other perturbations" not in found


@pytest.mark.parametrize("other", [{"eps": 0.2}, {"norm": "L2"}])
def test_tuning_against_something_else_is_said(other: dict[str, Any]) -> None:
    found = section("What tuning tried", replace(RECORD, **other))
    assert "The verdict is about other perturbations: Linf, at most 0.1." in found


def test_whether_the_patched_model_has_the_recommended_jumps_is_said() -> None:
    assert "The patched model has the jumps that tuning recommends." in section("What tuning tried")
    other = section("What tuning tried", jumps={"conv1": 1.0, "fc": 1.0})
    assert "The patched model has other jumps than those that tuning recommends." in other
    nothing = replace(RECORD, finalists=(point(0.0, 0.0, 0.99, 0.7, "original", chosen=True),))
    found = section("What tuning tried", nothing)
    assert "Tuning recommends jump 0 everywhere, which is the original" in found
    assert "The patched model has other jumps." in found


def test_without_several_jumps_for_all_there_is_no_sweep() -> None:
    text = html.render(GAIN, tuning=replace(RECORD, trials=TRIALS[4:]))
    assert text.count("<svg") == 4
    assert "One jump for all sites" not in text


def test_the_bars_are_as_long_as_the_jumps() -> None:
    jumps: dict[str, Jump] = {"a": 2.0, "b": (0.0, 1.0, 2.0), "c": 0.5, "d": 0.0}
    text = html.render(GAIN, jumps=by_site(jumps))
    assert re.findall(r'style="width: (.*?)"', text) == ["100.0%", "50.0%", "25.0%"]
    assert "a 2 b 0 to 2, per channel c 0.5 d 0" in section("Jump of each site", jumps=jumps)
    assert re.findall(r'style="width: (.*?)"', html.render(GAIN, jumps=by_site({"a": 0.0}))) == []
