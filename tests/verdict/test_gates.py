"""Every gate: a case in which it holds, and one in which it fails and says by how much."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from onnx_jumprelu import OptionError
from onnx_jumprelu.arrays import Bools
from onnx_jumprelu.report.words import headline
from onnx_jumprelu.verdict.gates import Policy, checked_gates, read_policy
from onnx_jumprelu.verdict.result import Row, Verdict


def below(share: float) -> Bools:
    return np.arange(200) < 200 * share


# Clean 1.0 and 0.98, worst case 0.5 and 0.7, latency 2.
VERDICT = Verdict(
    eps=0.1,
    norm="Linf",
    correct={"original": below(1.0), "patched": below(0.98)},
    rows=[
        Row("pgd", "white-box", "original", ~below(0.5), 0.0, 0.0),
        Row("pgd", "white-box", "patched", ~below(0.7), 0.0, 0.0),
        Row("apgd-ce (smooth)", "adaptive", "patched", ~below(0.7), 0.0, 0.0),
        Row("square", "black-box", "patched", ~below(0.8), None, 0.0),
    ],
    latency_ratio=2.0,
)
CASES = {
    "min_clean": (0.98, 0.99, "0.0100 short"),
    "max_drop": (0.02, 0.01, "0.0100 over"),
    "min_robust": (0.7, 0.75, "0.0500 short"),
    "min_gain": (0.2, 0.25, "0.0500 short"),
    "max_latency_ratio": (2.0, 1.5, "0.5000 over"),
}


@pytest.mark.parametrize("name", [entry.name for entry in fields(Policy)])
def test_each_gate(name: str) -> None:
    holds, fails, detail = CASES[name]
    (gate,) = checked_gates(VERDICT, Policy(**{name: holds}))
    assert gate.ok
    assert gate.name == name.replace("_", "-")
    (gate,) = checked_gates(VERDICT, Policy(**{name: fails}))
    assert not gate.ok
    assert detail in gate.detail


def test_no_policy_no_gate() -> None:
    assert checked_gates(VERDICT, Policy()) == ()


def test_a_gain_that_is_not_shown_does_not_pass() -> None:
    rows = [VERDICT.rows[0], replace(VERDICT.rows[1], success=~below(0.51)), *VERDICT.rows[2:]]
    verdict = replace(VERDICT, rows=rows)
    assert verdict.gain.value > 0
    (gate,) = checked_gates(replace(verdict, complete=True), Policy(min_gain=0.001))
    assert gate.ok == verdict.gain_shown
    small = [replace(VERDICT.rows[0], success=VERDICT.rows[0].success[:20]), replace(VERDICT.rows[1])]
    few = Verdict(
        eps=0.1,
        norm="Linf",
        correct={"original": below(1.0)[:20], "patched": below(1.0)[:20]},
        rows=[
            replace(small[0], success=np.arange(20) >= 10),
            Row("pgd", "white-box", "patched", np.arange(20) >= 11, 0.0, 0.0),
        ],
    )
    (gate,) = checked_gates(few, Policy(min_gain=0.01))
    assert not gate.ok
    assert "does not lie above 0" in gate.detail


def test_a_gain_below_0_is_not_said_to_include_it() -> None:
    verdict = replace(VERDICT, rows=[VERDICT.rows[0], replace(VERDICT.rows[1], success=~below(0.1)), *VERDICT.rows[2:]])
    assert verdict.gain.high < 0
    (gate,) = checked_gates(verdict, Policy(min_gain=0.01))
    assert not gate.ok
    assert "which does not lie above 0" in gate.detail


@pytest.mark.parametrize(("left", "words"), [(2, "no smooth-gradient and no black-box"), (3, "no black-box")])
def test_exact_gradients_alone_prove_nothing(left: int, words: str) -> None:
    verdict = replace(VERDICT, rows=VERDICT.rows[:left])
    assert verdict.gain.low > 0
    assert not verdict.gain_shown
    (gate,) = checked_gates(verdict, Policy(min_gain=0.1))
    assert not gate.ok
    assert f"{words} attack ran" in gate.detail
    found = headline(verdict)
    assert found.title == "No gain shown"
    assert f"lies above 0, but {words} attack ran" in found.sentence
    assert VERDICT.gain_shown


def test_relu_gradients_do_not_stand_for_smooth_ones() -> None:
    relu = replace(VERDICT.rows[2], name="apgd-ce (relu)")
    verdict = replace(VERDICT, rows=[*VERDICT.rows[:2], relu, VERDICT.rows[3]])
    assert verdict.missing_attacks == ["smooth-gradient"]
    assert not verdict.gain_shown


@pytest.mark.parametrize("name", ["min_clean", "max_drop", "min_robust", "min_gain"])
def test_percents_are_no_shares(name: str) -> None:
    with pytest.raises(OptionError, match=r"is a share, such as 0\.97 for 97%, not 97"):
        Policy(**{name: 97.0})


def test_an_incomplete_verdict_passes_no_robustness_gate() -> None:
    verdict = replace(VERDICT, complete=False)
    gates = checked_gates(verdict, Policy(min_clean=0.9, min_robust=0.1, min_gain=0.1))
    assert [gate.ok for gate in gates] == [True, False, False]
    assert "not all attacks have run" in gates[1].detail


def test_a_latency_that_was_not_measured() -> None:
    (gate,) = checked_gates(replace(VERDICT, latency_ratio=None), Policy(max_latency_ratio=2))
    assert not gate.ok


def test_policy_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[gates]\nmin_clean = 0.9\nmin_gain = 0.05\n")
    policy = read_policy(path)
    assert policy == Policy(min_clean=0.9, min_gain=0.05)
    assert policy.overridden(Policy(min_gain=0.1)) == Policy(min_clean=0.9, min_gain=0.1)
    for content, message in [
        ("[gates]\nmin_magic = 1\n", "there is no gate 'min_magic'; choose min_clean"),
        ("[gates]\nmin_clean = 'a'\n", "must be a number"),
        ("min_clean = 1\n", "one table"),
        ("[gates\n", "no readable policy"),
        ("[gates]\nmin_clean = nan\n", "must be a finite number"),
    ]:
        path.write_text(content)
        with pytest.raises(OptionError, match=message):
            read_policy(path)
    with pytest.raises(OptionError, match="no readable policy"):
        read_policy(tmp_path / "none.toml")
