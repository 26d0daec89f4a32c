"""Every gate: a case in which it holds, and one in which it fails and says by how much."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from onnx_jumprelu import OptionError
from onnx_jumprelu.arrays import Bools
from onnx_jumprelu.names import Kind, ModelName
from onnx_jumprelu.report.phrases import headline
from onnx_jumprelu.verdict.findings import Flag, Row
from onnx_jumprelu.verdict.gates import CONDITIONS, Policy, read_policy
from onnx_jumprelu.verdict.result import Verdict


def below(share: float) -> Bools:
    return np.arange(200) < 200 * share


def row(attack: str, kind: Kind, model: ModelName, standing: float, *, surrogate: str = "exact") -> Row:
    zero = None if kind == "black-box" else 0.0
    return Row(attack, surrogate, model, model, kind, 0.1, ~below(standing), zero, 0.0)


# Clean 1.0 and 0.98, worst case 0.5 and 0.7, latency 2.
VERDICT = Verdict(
    eps=0.1,
    norm="Linf",
    correct={"original": below(1.0), "patched": below(0.98)},
    rows=(
        row("pgd", "white-box", "original", 0.5),
        row("pgd", "white-box", "patched", 0.7),
        row("apgd-ce", "adaptive", "patched", 0.7, surrogate="smooth"),
        row("square", "black-box", "patched", 0.8),
    ),
    latency_ratio=2.0,
    jump_sites={"original": 0, "patched": 3},
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
    (gate,) = VERDICT.check(Policy(**{name: holds}))
    assert gate.ok
    assert gate.name == name.replace("_", "-")
    assert gate.limit == holds
    assert gate.value == pytest.approx(holds)
    (gate,) = VERDICT.check(Policy(**{name: fails}))
    assert not gate.ok
    assert detail in gate.detail
    assert gate.limit == fails


def test_every_condition_has_its_check() -> None:
    assert list(CONDITIONS) == [entry.name for entry in fields(Policy)]


def test_no_policy_no_gate() -> None:
    assert VERDICT.check(Policy()) == ()


def test_a_verdict_with_gates() -> None:
    found = VERDICT.with_gates(Policy(min_clean=0.99, min_gain=0.1))
    assert [(gate.name, gate.ok) for gate in found.gates] == [("min-clean", False), ("min-gain", True)]
    assert VERDICT.gates == ()


def test_a_gain_that_is_not_shown_does_not_pass() -> None:
    small = replace(
        VERDICT,
        correct={"original": below(1.0)[:20], "patched": below(1.0)[:20]},
        rows=tuple(
            replace(each, success=np.arange(20) >= (10 if each.model == "original" else 11)) for each in VERDICT.rows
        ),
    )
    assert small.gain is not None
    assert small.gain.value > 0
    (gate,) = small.check(Policy(min_gain=0.01))
    assert not gate.ok
    assert "does not lie above 0" in gate.detail


def test_a_gain_below_0_is_not_said_to_include_it() -> None:
    verdict = replace(VERDICT, rows=(VERDICT.rows[0], replace(VERDICT.rows[1], success=~below(0.1)), *VERDICT.rows[2:]))
    assert verdict.outcome == "loss"
    (gate,) = verdict.check(Policy(min_gain=0.01))
    assert not gate.ok
    assert "which does not lie above 0" in gate.detail
    (gate,) = verdict.check(Policy(min_gain=-0.9))
    assert gate.ok


SMOOTH_DOUBT, BLACK_BOX_DOUBT = "no attack with smooth gradients worked", "no black-box attack ran"
GRADIENTS_DOUBT = "at least half of the gradients were 0 in every attack"


def blind(row: Row) -> Row:
    """The attack, if half of its gradients had been 0."""
    return replace(row, zero_gradients=None if row.zero_gradients is None else 0.5)


SPOILT = {
    "no smooth, no black-box": (replace(VERDICT, rows=VERDICT.rows[:2]), (SMOOTH_DOUBT, BLACK_BOX_DOUBT)),
    "no black-box": (replace(VERDICT, rows=VERDICT.rows[:3]), (BLACK_BOX_DOUBT,)),
    "relu instead of smooth": (
        replace(VERDICT, rows=(*VERDICT.rows[:2], replace(VERDICT.rows[2], surrogate="relu"), VERDICT.rows[3])),
        (SMOOTH_DOUBT,),
    ),
    "smooth without a site to act on": (
        replace(VERDICT, rows=(*VERDICT.rows[:2], replace(VERDICT.rows[2], kind="white-box"), VERDICT.rows[3])),
        (SMOOTH_DOUBT,),
    ),
    "gradients that are 0": (replace(VERDICT, rows=tuple(map(blind, VERDICT.rows))), (GRADIENTS_DOUBT,)),
    "a flag that undermines": (
        replace(VERDICT, flags=(Flag("random-outputs", "patched", "...", undermines=True),)),
        ("flag random-outputs is raised",),
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_gain_that_is_in_doubt_is_not_shown(name: str) -> None:
    verdict, doubts = SPOILT[name]
    assert VERDICT.outcome == "gain"
    assert verdict.gain is not None
    assert verdict.gain.low > 0
    assert verdict.doubts("patched") == doubts
    assert verdict.outcome == "undecided"
    (gate,) = verdict.check(Policy(min_gain=0.1))
    assert not gate.ok
    assert all(doubt in gate.detail for doubt in doubts)
    (gate,) = verdict.check(Policy(min_gain=0.0))
    assert gate.ok == (verdict.broken("patched") == ())
    (gate,) = verdict.check(Policy(min_robust=0.1))
    assert gate.ok == (doubts == (BLACK_BOX_DOUBT,))  # the other doubts say that no attack could work
    assert "this may be too high: " + "; ".join(doubts) in gate.detail
    assert "but this does not show a gain: " + "; ".join(doubts) in headline(verdict).sentence


def test_attacks_with_a_smaller_eps_do_not_count() -> None:
    """A quick curve at a tiny eps runs every kind of attack, and says nothing about the verdict's eps."""
    tiny = replace(VERDICT, rows=(*VERDICT.rows[:2], *(replace(each, eps=1e-5) for each in VERDICT.rows[2:])))
    assert tiny.doubts("patched") == (SMOOTH_DOUBT, BLACK_BOX_DOUBT)
    assert tiny.outcome == "undecided"
    blind_at_eps = replace(VERDICT, rows=tuple(map(blind, VERDICT.rows)))
    curve = replace(blind_at_eps, rows=(*blind_at_eps.rows, replace(VERDICT.rows[1], eps=1e-5)))
    assert curve.doubts("patched") == (GRADIENTS_DOUBT,)


def test_no_loss_is_shown_where_the_jumps_of_the_original_hide_its_gradients() -> None:
    lost = replace(VERDICT, rows=(VERDICT.rows[0], replace(VERDICT.rows[1], success=~below(0.1)), *VERDICT.rows[2:]))
    assert lost.outcome == "loss"
    jumping = replace(lost, jump_sites={"original": 3, "patched": 3})
    assert jumping.hidden("original") == (SMOOTH_DOUBT,)
    assert jumping.outcome == "undecided"
    seen = replace(jumping, rows=(*lost.rows, row("apgd-ce", "adaptive", "original", 0.5, surrogate="smooth")))
    assert seen.outcome == "loss"


def test_what_does_not_undermine_a_gain() -> None:
    harmless = (
        Flag("zero-gradients", "patched", "..."),
        Flag("random-outputs", "original", "...", undermines=True),
    )
    assert replace(VERDICT, flags=harmless).gain_shown


def test_no_smooth_gradients_are_needed_without_jump_sites() -> None:
    rows = (*VERDICT.rows[:2], VERDICT.rows[3])
    assert not replace(VERDICT, rows=rows).gain_shown
    assert replace(VERDICT, rows=rows, jump_sites={"original": 0, "patched": 0}).gain_shown


def test_a_loss_against_an_original_whose_gradients_were_0_is_not_shown() -> None:
    """Nothing is known of how robust it is."""
    low = replace(VERDICT.rows[1], success=~below(0.1))
    loss = replace(VERDICT, rows=(VERDICT.rows[0], low, *VERDICT.rows[2:]))
    assert loss.outcome == "loss"
    assert replace(loss, rows=(blind(loss.rows[0]), *loss.rows[1:])).outcome == "undecided"
    flag = Flag("probabilities", "original", "...", undermines=True)
    assert replace(loss, flags=(flag,)).outcome == "undecided"
    assert replace(loss, missing=("square",)).outcome == "undecided"


def test_one_model_is_measured() -> None:
    rows = tuple(replace(each, model="model", source="model") for each in VERDICT.rows if each.model == "patched")
    verdict = Verdict(0.1, "Linf", {"model": below(0.98)}, rows)
    assert verdict.outcome == "measured"
    assert verdict.gain is None
    assert not verdict.gain_shown
    gates = verdict.check(Policy(min_clean=0.9, min_robust=0.75))
    assert [(gate.name, gate.ok, gate.value) for gate in gates] == [
        ("min-clean", True, 0.98),
        ("min-robust", False, 0.7),
    ]
    for name in ("max_drop", "min_gain", "max_latency_ratio"):
        with pytest.raises(OptionError, match=f"{name} compares two models"):
            verdict.check(Policy(**{name: 0.5}))


@pytest.mark.parametrize("name", ["min_clean", "max_drop", "min_robust", "min_gain"])
def test_percents_are_no_shares(name: str) -> None:
    with pytest.raises(OptionError, match=r"is a share, such as 0\.97 for 97%, not 97"):
        Policy(**{name: 97.0})


def test_a_limit_is_a_number() -> None:
    with pytest.raises(OptionError, match=r"min_gain must be a number, not .0\.1%"):
        Policy(min_gain="0.1%")  # type: ignore[arg-type]


def test_an_incomplete_verdict_passes_no_robustness_gate() -> None:
    verdict = replace(VERDICT, missing=("apgd-t",))
    assert not verdict.complete
    assert verdict.outcome == "undecided"
    gates = verdict.check(Policy(min_clean=0.9, min_robust=0.1, min_gain=0.1))
    assert [gate.ok for gate in gates] == [True, False, False]
    assert "not all attacks have run" in gates[1].detail


def test_a_latency_that_was_not_measured() -> None:
    (gate,) = replace(VERDICT, latency_ratio=None).check(Policy(max_latency_ratio=2))
    assert not gate.ok
    assert gate.value is None


def test_policy_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[gates]\nmin_clean = 0.9\nmin_gain = 0.05\n")
    policy = read_policy(path)
    assert policy == Policy(min_clean=0.9, min_gain=0.05)
    assert policy.overridden(Policy(min_gain=0.1)) == Policy(min_clean=0.9, min_gain=0.1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[gates]\nmin_magic = 1\n", "there is no gate 'min_magic'; choose min_clean"),
        ("[gates]\nmin_clean = 'a'\n", "must be a number"),
        ("[gates]\nmin_clean = true\n", "must be a number, not True"),
        ("[gates]\nmin_clean = [1]\n", "must be a number, not a table or a list"),
        ("min_clean = 1\n", "one table"),
        ("[gates\n", "is not a policy in TOML"),
        ("[gates]\nmin_clean = nan\n", "must be a finite number"),
        ("[gates]\nmin_clean = 97\n", "is a share"),
        (f"[gates]\nmin_clean = {'9' * 400}\n", "must be a finite number; this one is too large"),
        (f"[gates]\nmin_clean = {'9' * 5000}\n", "is not a policy in TOML"),
        (f"[gates]\nmin_clean = 0x{'f' * 5000}\n", "must be a finite number; this one is too large"),
        (f"[gates]\nmin_clean = {'[' * 2400}{']' * 2400}\n", "nested too deeply"),
        (f"[gates]\n{'a' * 400} = 1\n", "there is no gate 'aaaa"),
    ],
)
def test_an_unusable_policy_is_refused_in_one_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(content)
    with pytest.raises(OptionError) as refused:
        read_policy(path)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"{path}: ")
    assert len(str(refused.value)) < 400
    assert "\n" not in str(refused.value)


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"none.toml: cannot be read \(No such file"):
        read_policy(tmp_path / "none.toml")
