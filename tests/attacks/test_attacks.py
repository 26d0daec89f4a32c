"""Every attack in the registry on classifiers whose answer is known, and what all of them promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pytest

import onnx_jumprelu.attacks
from onnx_jumprelu.arrays import Floats, Labels, rows
from onnx_jumprelu.attacks import ATTACKS, PGD, attack_named
from onnx_jumprelu.attacks.base import Attack, AttackResult
from onnx_jumprelu.attacks.probe import Probe
from onnx_jumprelu.errors import DataError, OptionError
from onnx_jumprelu.names import NormName
from tests.attacks.classifiers import NumPyClassifier, TwoLayer, WithGradient, linear_problem


@dataclass(frozen=True)
class Case:
    """How an attack is tried.

    Attributes:
        settings: What it is given besides eps and norm: enough for the known answer, and quick.
        reach: Examples whose distance to the boundary is below this share of eps must all be fooled.
        gradients: Whether it asks for gradients at all.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    reach: Mapping[NormName, float] = field(default_factory=lambda: {"Linf": 0.97, "L2": 0.97})
    gradients: bool = True


CASES: dict[str, Case] = {
    # One step cannot turn towards the nearest class.
    "fgsm": Case(reach={"Linf": 0.9, "L2": 0.9}),
    "pgd": Case(),
    "pgd-noise": Case({"n_samples": 4}),
    "apgd-ce": Case({"n_iter": 50}),
    "apgd-dlr": Case({"n_iter": 50}),
    "apgd-t": Case({"n_iter": 50}),
    "fab": Case({"n_iter": 30}),
    "fab-t": Case({"n_iter": 30}),
    # Random search by squares needs many queries for the last few percent, in L2 above all.
    "square": Case({"n_queries": 2000}, reach={"Linf": 0.9, "L2": 0.6}, gradients=False),
    "deepfool": Case(),
    "trust-region": Case(),
    "autoattack": Case({"n_iter": 30, "n_queries": 100}),
}
NORMS: tuple[NormName, ...] = ("Linf", "L2")
every_attack = pytest.mark.parametrize("name", ATTACKS)
both_norms = pytest.mark.parametrize("norm", NORMS)


@dataclass(frozen=True, kw_only=True)
class NoOp(Attack):
    name = "no-op"

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        del model, labels, rng
        return x


@dataclass(frozen=True, kw_only=True)
class Timid(Attack):
    """Goes the right way, and not far enough."""

    name = "timid"

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        del rng
        _, _, gradient = model.evaluate(x, labels, "margin")
        x_adv: Floats = x + np.float32(0.5 * (self.eps or 0)) * self.metric.direction(gradient)
        return x_adv


def built(name: str, eps: float, norm: NormName) -> Attack:
    return attack_named(name, eps=eps, norm=norm, **CASES[name].settings)


def attacked(attack: Attack, problem: tuple[NumPyClassifier, Floats, Labels], seed: int = 0) -> AttackResult:
    model, x, labels = problem
    return attack(model, x, labels, rng=np.random.default_rng(seed))


def check_known_answer(kind: Callable[..., Attack], norm: NormName, reach: float) -> None:
    """On a linear classifier an attack must fool whatever lies near enough to the boundary, and nothing beyond."""
    model, x, labels = linear_problem()
    distances = model.distances(x, labels, norm)
    eps = float(np.median(distances))
    result = attacked(kind(eps=eps, norm=norm), (model, x, labels))
    near, far = distances < reach * eps, distances > eps * (1 + 1e-5)
    assert near.sum() >= 8
    assert far.sum() >= 8
    assert result.success[near].all(), f"missed {(~result.success[near]).sum()} of {near.sum()}"
    assert not result.success[far].any(), "more than is possible"
    check_limits(result, (model, x, labels))


def check_limits(result: AttackResult, problem: tuple[NumPyClassifier, Floats, Labels]) -> None:
    """Budget and bounds, and that the model says what the result says."""
    model, x, labels = problem
    assert result.eps is not None
    delta = rows(result.x_adv).astype(np.float64) - rows(x)
    length = np.linalg.norm(delta, np.inf if result.norm == "Linf" else 2, axis=1)
    assert length.max() <= result.eps * (1 + 1e-6)
    np.testing.assert_allclose(result.perturbation, length, rtol=1e-5, atol=1e-9)
    assert result.x_adv.dtype == np.float32
    assert result.x_adv.min() >= model.bounds[0]
    assert result.x_adv.max() <= model.bounds[1]
    np.testing.assert_array_equal(result.success, model.logits(result.x_adv).argmax(axis=1) != labels)


def network() -> tuple[TwoLayer, Floats, Labels]:
    """A small network in bounds that are active: half of all inputs lie on one of them."""
    model = TwoLayer(36, 5)
    x = np.clip(np.random.default_rng(1).normal(0.5, 0.75, (24, 1, 6, 6)), 0, 1).astype(np.float32)
    return model, x, model.logits(x).argmax(axis=1)


def test_every_attack_has_a_case() -> None:
    assert list(CASES) == list(ATTACKS)


def test_every_attack_is_known_by_its_name_and_is_public() -> None:
    for name, attack in ATTACKS.items():
        assert attack.name == name
        assert getattr(onnx_jumprelu.attacks, attack.__name__) is attack
        assert attack.__name__ in onnx_jumprelu.attacks.__all__


@every_attack
@both_norms
def test_the_known_answer(name: str, norm: NormName) -> None:
    check_known_answer(
        lambda **given: attack_named(name, **given, **CASES[name].settings), norm, CASES[name].reach[norm]
    )


@both_norms
@pytest.mark.parametrize("planted", [NoOp, Timid])
def test_the_known_answer_is_not_reached_by_attacks_that_do_too_little(planted: type[Attack], norm: NormName) -> None:
    reach = min(case.reach[norm] for case in CASES.values())
    with pytest.raises(AssertionError, match="missed"):
        check_known_answer(planted, norm, reach)


@every_attack
@both_norms
def test_limits_and_seeds_on_a_network(name: str, norm: NormName) -> None:
    attack = built(name, {"Linf": 0.05, "L2": 0.4}[norm], norm)
    result = attacked(attack, network())
    check_limits(result, network())
    assert 0 < result.success.sum() < len(result.success)
    np.testing.assert_array_equal(attacked(attack, network()).x_adv, result.x_adv)


@every_attack
@both_norms
@pytest.mark.parametrize("number", [0.0, np.nan])
def test_useless_gradients_are_counted_and_give_no_nan(name: str, norm: NormName, number: float) -> None:
    model, x, labels = linear_problem(bounds=(-3.0, 3.0))
    problem = WithGradient(model, number), x, labels
    eps = 0.5 * float(np.median(model.distances(x, labels, norm)))
    result = attacked(built(name, eps, norm), problem)
    assert np.isfinite(result.x_adv).all()
    check_limits(result, problem)
    counted = result.nan_gradients if np.isnan(number) else result.zero_gradients
    assert counted == result.n_gradients
    assert (counted > 0) == CASES[name].gradients


@every_attack
@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 3, 4, 2)])
def test_inputs_of_any_rank(name: str, shape: tuple[int, ...]) -> None:
    problem = linear_problem(n=12, shape=shape)
    model, x, labels = problem
    eps = 1.5 * float(np.max(model.distances(x, labels, "Linf")))
    result = attacked(built(name, eps, "Linf"), problem)
    assert result.x_adv.shape == x.shape
    assert result.success.all()


@every_attack
@pytest.mark.parametrize("n_classes", [2, 3])
def test_few_classes(name: str, n_classes: int) -> None:
    problem = linear_problem(n=12, n_classes=n_classes)
    model, x, labels = problem
    attack = built(name, 1.5 * float(np.max(model.distances(x, labels, "Linf"))), "Linf")
    fewest = {"apgd-dlr": 3, "apgd-t": 4}.get(name, 2)
    if n_classes >= fewest:
        assert attacked(attack, problem).success.all()
        return
    with pytest.raises(DataError, match=f"{name}: loss .* needs a model with at least {fewest} classes; this one has"):
        attacked(attack, problem)


def test_an_unknown_attack_is_named() -> None:
    with pytest.raises(OptionError, match="attack 'pdg' is unknown; choose fgsm, pgd, pgd-noise, apgd-ce"):
        attack_named("pdg", eps=0.1)


def test_a_setting_that_the_attack_does_not_have_is_named() -> None:
    with pytest.raises(OptionError, match="attack fgsm has no setting 'n_iter'; it has eps, norm, loss"):
        attack_named("fgsm", eps=0.1, n_iter=10)


def test_settings_that_are_none_keep_their_defaults() -> None:
    assert attack_named("pgd", eps=0.1, norm="L2", n_iter=None, n_restarts=3) == PGD(eps=0.1, norm="L2", n_restarts=3)


@every_attack
def test_steps_and_restarts_must_be_positive(name: str) -> None:
    known = {setting.name for setting in fields(ATTACKS[name])}
    for setting in {"n_iter", "n_restarts", "n_target_classes", "n_queries", "n_samples"} & known:
        zero: dict[str, Any] = {setting: 0}
        with pytest.raises(OptionError, match=r"at least|or more"):
            attack_named(name, eps=0.1, **zero)
