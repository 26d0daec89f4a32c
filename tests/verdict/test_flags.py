"""Planted fake defences are caught, and an honest model is left in peace."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from onnx_jumprelu.verdict.flags import FLAGS, Evidence, raised
from onnx_jumprelu.verdict.result import Row, Verdict
from onnx_jumprelu.verdict.run import Question, verdict_on

EPS = 0.15


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
def judged(question: Question, tmp_path: Path) -> Callable[[Callable[[ModelProto], None]], Verdict]:
    """The verdict on the original and a fake defence of it."""

    def judge(fake: Callable[[ModelProto], None]) -> Verdict:
        model = copy.deepcopy(question.original.opened().model)
        fake(model)
        onnx.save(model, tmp_path / "fake.onnx")
        target = replace(question.original, model=tmp_path / "fake.onnx")
        return verdict_on(replace(question, patched=target, eps=EPS))

    return judge


def flags(verdict: Verdict, model: str = "patched") -> set[str]:
    return {flag.name for flag in verdict.flags if flag.model == model}


def test_rounded_logits(judged: Callable[..., Verdict]) -> None:
    verdict = judged(rounded)
    assert {"zero-gradients", "black-box-beats-white-box", "no-budget-is-large-enough"} <= flags(verdict)
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
    assert verdict.gain.value == pytest.approx(0, abs=0.051)


def row(name: str, kind: str, robust: float, zero: float | None = 0.0) -> Row:
    return Row(name, kind, "patched", np.arange(100) >= 100 * robust, zero, 0.0)  # type: ignore[arg-type]


CLEAN = Evidence(
    model="patched",
    rows=[row("fgsm", "white-box", 0.6), row("pgd", "white-box", 0.3), row("square", "black-box", 0.5, None)],
    clean=0.98,
    noise=0.97,
    unbounded=0.0,
    looks_like_probabilities=False,
    repeats=True,
)
RAISING = {
    "zero-gradients": replace(CLEAN, rows=[row("pgd", "white-box", 0.3, 0.2)]),
    "exact-gradients-mislead": replace(
        CLEAN, n_jumprelus=3, rows=[*CLEAN.rows, row("apgd-ce (relu)", "adaptive", 0.1)]
    ),
    "black-box-beats-white-box": replace(CLEAN, rows=[row("pgd", "white-box", 0.6), row("square", "black-box", 0.5)]),
    "iterating-does-not-help": replace(CLEAN, rows=[row("fgsm", "white-box", 0.6), row("pgd", "white-box", 0.6)]),
    "no-budget-is-large-enough": replace(CLEAN, unbounded=0.2),
    "noise-is-as-good": replace(CLEAN, noise=0.4, rows=[row("pgd", "white-box", 0.4)]),
    "probabilities": replace(CLEAN, looks_like_probabilities=True),
    "random-outputs": replace(CLEAN, repeats=False),
}


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
