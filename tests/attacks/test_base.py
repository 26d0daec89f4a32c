"""What every attack shares: it believes neither its caller nor its author."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.attacks import FGSM, base
from onnx_jumprelu.attacks.base import Attack, AttackResult
from onnx_jumprelu.attacks.norms import norm_named
from onnx_jumprelu.attacks.probe import Probe
from onnx_jumprelu.errors import DataError, JumpReLUError, OptionError
from onnx_jumprelu.names import NormName
from tests.attacks.classifiers import Linear, NumPyClassifier, WithGradient, linear_problem

NORMS: tuple[NormName, ...] = ("Linf", "L2")


@dataclass(frozen=True, kw_only=True)
class Planted(Attack):
    """An attack that returns what the test wants."""

    answer: Callable[[Floats], Floats]

    name = "planted"
    needs_eps = False

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        del model, labels, rng
        return self.answer(x)


@dataclass(frozen=True, kw_only=True)
class OnlyL2(Planted):
    name = "only-l2"
    norms = ("L2",)
    needs_eps = True


def attacked(attack: Attack, problem: tuple[NumPyClassifier, Floats, Labels] | None = None) -> AttackResult:
    model, x, labels = problem or linear_problem()
    return attack(model, x, labels, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros(3)}, r"x has shape \[3\]; examples of shape \(N, ...\) are needed"),
        ({"x": np.zeros((0, 1, 6, 6))}, r"x has shape \[0, 1, 6, 6\]"),
        ({"labels": np.zeros(3, int)}, r"labels are int64 of shape \[3\]; 40 integers are needed"),
        ({"labels": np.zeros(40)}, r"labels are float64 of shape \[40\]; 40 integers"),
        ({"labels": np.arange(40)}, "label 5 of example 5 is out of range; the model has classes 0 to 4"),
        ({"labels": np.full(40, -1)}, "label -1 of example 0 is out of range"),
        ({"x": np.full((40, 1, 6, 6), 1001)}, "x lies outside the bounds -1000 to 1000 in 40 examples, the first"),
        ({"x": np.full((40, 1, 6, 6), np.nan)}, "x is not finite in 40 examples, the first of which is example 0"),
    ],
)
def test_bad_data_get_one_clear_line(change: dict[str, Any], message: str) -> None:
    model, x, labels = linear_problem()
    given: dict[str, Any] = {"x": x, "labels": labels, **change}
    with pytest.raises(DataError, match=message) as caught:
        FGSM(eps=0.1)(model, **given, rng=np.random.default_rng(0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (FGSM, {"eps": None}, "fgsm needs eps, the largest perturbation"),
        (FGSM, {"eps": 0}, "eps must be a number above 0, at most 1e.12, not 0"),
        (FGSM, {"eps": -0.1}, "eps must be a number above 0, at most 1e.12, not -0.1"),
        (FGSM, {"eps": np.inf}, "eps must be a number above 0, at most 1e.12, not inf"),
        (FGSM, {"eps": np.nan}, "eps must be a number above 0, at most 1e.12, not nan"),
        (FGSM, {"eps": 0.1, "norm": "L7"}, "norm 'L7' is unknown; choose Linf or L2"),
        (OnlyL2, {"eps": 0.1, "answer": np.copy}, "only-l2 has no form for norm Linf; choose L2"),
    ],
)
def test_bad_settings_get_one_clear_line(kind: type[Attack], given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        kind(**given)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, JumpReLUError)


@pytest.mark.parametrize("norm", NORMS)
def test_an_attack_that_does_nothing_succeeds_nowhere(norm: NormName) -> None:
    result = attacked(Planted(eps=0.1, norm=norm, answer=np.copy))
    assert not result.success.any()
    assert result.robust_accuracy == result.clean_accuracy == 1
    assert result.max_perturbation == result.mean_perturbation == 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("eps", [0.05, 0.3])
def test_a_point_outside_the_budget_is_moved_inside_and_counted_again(norm: NormName, eps: float) -> None:
    model, x, labels = linear_problem()
    towards = norm_named(norm).direction(model.evaluate(x, labels, "margin")[2])
    far = x + 100 * towards
    assert (model.logits(far).argmax(axis=1) != labels).all(), "unchecked, this attack would always succeed"
    result = attacked(Planted(eps=eps, norm=norm, answer=lambda _: far), (model, x, labels))
    assert result.max_perturbation == pytest.approx(eps, rel=1e-6)
    # Each was moved to length eps in the direction it had, so what counts now is known without the attack.
    expected = model.logits(x + np.float32(eps) * towards).argmax(axis=1) != labels
    np.testing.assert_array_equal(result.success, expected)
    assert 0 < result.success.sum() < len(x)


def test_a_point_outside_the_bounds_is_moved_inside_and_counted_again() -> None:
    model, x, labels = linear_problem(bounds=(-1.0, 1.0))
    towards = np.sign(model.evaluate(x, labels, "margin")[2])
    assert (model.logits(x + 100 * towards).argmax(axis=1) != labels).all()
    result = attacked(Planted(eps=None, answer=lambda _: x + 100 * towards), (model, x, labels))
    np.testing.assert_array_equal(result.x_adv, towards)
    np.testing.assert_array_equal(result.success, model.logits(towards).argmax(axis=1) != labels)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("norm", NORMS)
def test_an_attempt_that_is_not_finite_is_given_up(norm: NormName, number: float) -> None:
    problem = linear_problem()
    model, x, labels = problem

    def answer(x: Floats) -> Floats:
        x_adv = x + 100 * norm_named(norm).direction(model.evaluate(x, labels, "margin")[2])
        x_adv[:10, 0, 2, 3] = number
        return x_adv

    result = attacked(Planted(eps=0.3, norm=norm, answer=answer), problem)
    np.testing.assert_array_equal(result.x_adv[:10], x[:10])
    assert not result.success[:10].any()
    assert result.success[10:].any()


def test_examples_that_are_wrong_from_the_start_are_not_touched() -> None:
    model, x, labels = linear_problem()
    labels[:7] = (labels[:7] + 1) % 5
    result = attacked(Planted(eps=0.1, answer=lambda x: x + 1), (model, x, labels))
    np.testing.assert_array_equal(result.correct, np.arange(40) >= 7)
    np.testing.assert_array_equal(result.x_adv[:7], x[:7])
    np.testing.assert_allclose(result.perturbation[7:], 0.1, rtol=1e-6)
    assert result.success[:7].all()


@pytest.mark.parametrize(("number", "zero", "nan"), [(0.0, 40, 0), (np.nan, 0, 40), (np.inf, 0, 40), (1.0, 0, 0)])
def test_gradients_that_are_zero_or_not_finite_are_counted(number: float, zero: int, nan: int) -> None:
    model, x, labels = linear_problem()
    result = attacked(FGSM(eps=0.1), (WithGradient(model, number), x, labels))
    assert (result.zero_gradients, result.nan_gradients, result.n_gradients) == (zero, nan, 40)
    moved = result.perturbation > 0
    assert moved.all() if number == 1 else not moved.any()


def test_a_jacobian_with_one_bad_gradient_counts_once_per_example() -> None:
    model, x, _ = linear_problem()
    weights = model.weights.copy()
    weights[3, 5] = np.nan
    probe = Probe(Linear(weights, model.bias))
    logits, gradients = probe.jacobian(x)
    assert np.isnan(logits[:, 3]).all()
    assert not gradients.any()
    assert (probe.nan_gradients, probe.n_gradients, probe.n_queries) == (40, 40, 40)


def test_nan_logits_are_wrong_and_never_attacked() -> None:
    model, x, labels = linear_problem()
    model.bias[2] = np.nan
    result = attacked(FGSM(eps=0.1), (model, x, labels))
    assert not result.correct.any()
    assert result.n_gradients == 0


def test_large_inputs_are_attacked_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = attacked(FGSM(eps=0.1))
    monkeypatch.setattr(base, "LARGEST_ARRAY", 7 * 36)
    sizes: list[int] = []
    done: list[int] = []

    def answer(x: Floats) -> Floats:
        sizes.append(len(x))
        return x

    model, x, labels = linear_problem()
    Planted(eps=0.1, answer=answer)(model, x, labels, rng=np.random.default_rng(0), on_done=done.append)
    assert sizes == [7, 7, 7, 7, 7, 5]
    assert sum(done) == 40
    np.testing.assert_array_equal(attacked(FGSM(eps=0.1)).x_adv, whole.x_adv)


def test_neither_inputs_nor_labels_are_changed() -> None:
    model, x, labels = linear_problem()
    before, labels_before = x.copy(), labels.copy()

    def answer(x: Floats) -> Floats:
        x += 1
        return x

    result = attacked(Planted(eps=0.5, answer=answer), (model, x, labels))
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(labels, labels_before)
    np.testing.assert_allclose(result.perturbation, 0.5, rtol=1e-6)


def test_the_numbers_of_a_result() -> None:
    result = AttackResult(
        attack="planted",
        norm="L2",
        eps=1.0,
        x_adv=np.zeros((4, 2), np.float32),
        labels=np.zeros(4, np.int64),
        correct=np.array([True, True, True, False]),
        success=np.array([True, True, False, True]),
        perturbation=np.array([0.25, 0.75, 0.875, 0], np.float32),
        zero_gradients=0,
        nan_gradients=0,
        n_gradients=0,
        n_queries=0,
        seconds=0.0,
    )
    assert result.clean_accuracy == 0.75
    assert result.robust_accuracy == 0.25
    assert result.mean_perturbation == 0.5
    assert result.max_perturbation == 0.875


def test_queries_are_counted() -> None:
    # Before, for the gradient, and after.
    assert attacked(FGSM(eps=0.1)).n_queries == 3 * 40
