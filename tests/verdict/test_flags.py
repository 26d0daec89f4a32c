"""Planted fake defences are caught, and an honest model is left in peace."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from onnx_jumprelu.attacks import APGDCE, FGSM, PGD, Square
from onnx_jumprelu.names import Kind, ModelName
from onnx_jumprelu.verdict.experiment import Experiment, pair
from onnx_jumprelu.verdict.findings import Row
from onnx_jumprelu.verdict.flags import FLAGS, Evidence, raised
from onnx_jumprelu.verdict.result import Verdict
from onnx_jumprelu.verdict.run import judge

EPS = 0.15
ATTACKS = (FGSM(eps=EPS), PGD(eps=EPS, n_iter=15), (APGDCE(eps=EPS, n_iter=15), "relu"), Square(eps=EPS, n_queries=300))


def rounded(model: ModelProto) -> None:
    """Logits rounded to whole numbers: the gradient is 0 everywhere."""
    _append(model, "Round", {})


def saturating(model: ModelProto) -> None:
    """Probabilities of much enlarged logits, with something behind the Softmax so that it cannot be left out."""
    scale = numpy_helper.from_array(np.asarray(60, np.float32), "large")
    one = numpy_helper.from_array(np.asarray(1, np.float32), "one")
    model.graph.initializer.extend([scale, one])
    old = model.graph.output[0].name
    model.graph.node.extend(
        [
            helper.make_node("Mul", [old, "large"], ["enlarged"]),
            helper.make_node("Softmax", ["enlarged"], ["probabilities"], axis=1),
            helper.make_node("Mul", ["probabilities", "one"], ["answer"]),
        ]
    )
    model.graph.output[0].name = "answer"


def noisy(model: ModelProto) -> None:
    """Logits with random numbers added, others at each run."""
    old = model.graph.output[0].name
    model.graph.node.extend(
        [
            helper.make_node("RandomNormalLike", [old], ["noise"], scale=4.0),
            helper.make_node("Add", [old, "noise"], ["answer"]),
        ]
    )
    model.graph.output[0].name = "answer"


def _append(model: ModelProto, op_type: str, attributes: dict[str, object]) -> None:
    old = model.graph.output[0].name
    model.graph.node.append(helper.make_node(op_type, [old], ["answer"], **attributes))  # type: ignore[arg-type]
    model.graph.output[0].name = "answer"


@pytest.fixture
def judged(experiment: Experiment, tmp_path: Path) -> Callable[[Callable[[ModelProto], None]], Verdict]:
    """The verdict on the original and a fake defence of it."""

    def judge_fake(fake: Callable[[ModelProto], None]) -> Verdict:
        original = experiment.targets["original"]
        model = copy.deepcopy(original.opened().model)
        fake(model)
        onnx.save(model, tmp_path / "fake.onnx")
        models = pair(original, replace(original, model=tmp_path / "fake.onnx"))
        return judge(replace(experiment, targets=models, eps=EPS, attacks=ATTACKS))

    return judge_fake


def flags(verdict: Verdict, model: str = "patched") -> set[str]:
    return {flag.name for flag in verdict.flags if flag.model == model}


def test_rounded_logits(judged: Callable[..., Verdict]) -> None:
    verdict = judged(rounded)
    assert {
        "zero-gradients",
        "black-box-beats-white-box",
        "transfer-beats-white-box",
        "no-budget-is-large-enough",
    } <= flags(verdict)
    assert verdict.naive("patched") == verdict.clean_accuracy("patched").value  # a naive evaluator is fooled
    assert verdict.worst_case("patched").value <= verdict.worst_case("original").value + 0.1
    assert not verdict.gain_shown
    assert not flags(verdict, "original")


def test_a_saturating_softmax(judged: Callable[..., Verdict]) -> None:
    verdict = judged(saturating)
    assert {"probabilities", "zero-gradients"} <= flags(verdict)
    assert not verdict.gain_shown


def test_added_noise(judged: Callable[..., Verdict]) -> None:
    verdict = judged(noisy)
    assert "random-outputs" in flags(verdict)
    assert not verdict.gain_shown


def test_an_undefended_model_gets_no_flag(judged: Callable[..., Verdict]) -> None:
    verdict = judged(lambda _: None)
    assert verdict.flags == ()
    assert not verdict.gain_shown
    assert verdict.gain is not None
    assert verdict.gain.value == pytest.approx(0, abs=0.051)


def row(label: str, kind: Kind, robust: float, zero: float | None = 0.0, **settings: object) -> Row:
    attack, _, surrogate = label.partition(":")
    source: ModelName = "original" if kind == "gray-box" else "patched"
    success = np.arange(100) >= 100 * robust
    return Row(attack, surrogate or "exact", "patched", source, kind, EPS, success, zero, 0.0, settings)


CLEAN = Evidence(
    model="patched",
    rows=[row("fgsm", "white-box", 0.6), row("pgd", "white-box", 0.3), row("square", "black-box", 0.5, None)],
    n_examples=100,
    n_classes=10,
    clean=0.98,
    under_noise=0.97,
    unbounded=0.0,
    flat=0.0,
    looks_like_probabilities=False,
    repeats=True,
    alone=True,
    n_answers=10,
    distinct=1.0,
)
RAISING = {
    "near-chance": replace(CLEAN, clean=0.15, under_noise=0.14, unbounded=0.1, rows=[row("pgd", "white-box", 0.05)]),
    "zero-gradients": replace(CLEAN, rows=[row("pgd", "white-box", 0.3, 0.2)]),
    "gradients-vanish": replace(CLEAN, flat=0.02),
    "exact-gradients-mislead": replace(CLEAN, rows=[*CLEAN.rows, row("pgd:relu", "adaptive", 0.1)]),
    "black-box-beats-white-box": replace(CLEAN, rows=[row("pgd", "white-box", 0.6), row("square", "black-box", 0.5)]),
    "transfer-beats-white-box": replace(CLEAN, rows=[row("pgd", "white-box", 0.6), row("pgd", "gray-box", 0.5, None)]),
    "iterating-does-not-help": replace(CLEAN, rows=[row("fgsm", "white-box", 0.6), row("pgd", "white-box", 0.6)]),
    "no-budget-is-large-enough": replace(CLEAN, unbounded=0.2),
    "noise-is-as-good": replace(CLEAN, under_noise=0.4, rows=[row("pgd", "white-box", 0.4)]),
    "probabilities": replace(CLEAN, looks_like_probabilities=True),
    "random-outputs": replace(CLEAN, repeats=False, alone=False),
    "depends-on-the-batch": replace(CLEAN, alone=False),
    "same-answer": replace(CLEAN, n_answers=1),
    "repeated-examples": replace(CLEAN, distinct=0.9),
}
UNDERMINING = set(RAISING) - {"zero-gradients", "exact-gradients-mislead", "iterating-does-not-help"}


def test_a_sound_evaluation_raises_nothing() -> None:
    assert list(raised(CLEAN)) == []


def test_few_at_the_border_raise_nothing() -> None:
    """With a small eps one step fools the few at the border, and forty steps no more: an undefended model does that."""
    rows = [row("fgsm", "white-box", 0.95), row("pgd", "white-box", 0.95), row("square", "black-box", 0.96, None)]
    assert list(raised(replace(CLEAN, rows=rows))) == []


@pytest.mark.parametrize("name", FLAGS)
def test_each_flag(name: str) -> None:
    found = list(raised(RAISING[name]))
    assert [flag.name for flag in found] == [name]
    assert found[0].model == "patched"
    assert len(found[0].message) > 60
    assert found[0].undermines == (name in UNDERMINING)


def test_gradients_mislead_only_next_to_the_same_attack() -> None:
    """Stronger settings, another attack or another model's examples find more without any gradient being hidden."""
    exact = row("pgd", "white-box", 0.3, n_iter=40)
    for other in (
        row("pgd:relu", "adaptive", 0.1, n_iter=400),
        row("apgd-ce:relu", "adaptive", 0.1, n_iter=40),
        row("pgd:relu", "white-box", 0.1, n_iter=40),  # no site to act on: the jumps are 0
    ):
        assert list(raised(replace(CLEAN, rows=[exact, other]))) == []
    assert list(raised(replace(CLEAN, rows=[exact, row("pgd:relu", "adaptive", 0.1, n_iter=40)])))


def test_gradients_do_not_mislead_where_another_exact_attack_finds_as_much() -> None:
    rows = [row("pgd", "white-box", 0.3), row("apgd-t", "white-box", 0.1), row("pgd:relu", "adaptive", 0.1)]
    assert list(raised(replace(CLEAN, rows=rows))) == []


@pytest.mark.parametrize(
    ("n_examples", "robust", "clear"), [(100, 0.47, True), (100, 0.48, False), (20, 0.42, False), (20, 0.35, True)]
)
def test_a_difference_of_one_or_two_examples_is_not_clear(n_examples: int, robust: float, *, clear: bool) -> None:
    rows = [row("pgd", "white-box", 0.5), row("square", "black-box", robust, None)]
    found = list(raised(replace(CLEAN, rows=rows, n_examples=n_examples)))
    assert bool(found) == clear


def test_a_wrong_scale_is_not_blamed_on_gradients() -> None:
    wrong = replace(RAISING["near-chance"], unbounded=0.14)
    assert [flag.name for flag in raised(wrong)] == ["near-chance"]
