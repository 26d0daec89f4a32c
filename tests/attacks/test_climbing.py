"""The attacks that climb the loss, in detail, and the ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from onnx_jumprelu.arrays import Array, Floats, Labels, rows
from onnx_jumprelu.attacks import APGD, FGSM, PGD, Attack, AutoAttack, NoisyPGD, attack_named
from onnx_jumprelu.attacks.base import AttackResult
from onnx_jumprelu.attacks.steps import Attempt, best_of
from onnx_jumprelu.errors import DataError, OptionError
from onnx_jumprelu.names import NormName
from tests.attacks.classifiers import Linear, NumPyClassifier, TwoLayer, Watched, linear_problem

NORMS: tuple[NormName, ...] = ("Linf", "L2")
both_norms = pytest.mark.parametrize("norm", NORMS)


def watched(
    attack: Attack, n: int = 40, bounds: tuple[float, float] = (-1e3, 1e3)
) -> tuple[Watched, AttackResult, Floats]:
    model, x, labels = linear_problem(n, bounds=bounds)
    eyes = Watched(model)
    return eyes, attack(eyes, x, labels, rng=np.random.default_rng(0)), x


def test_a_fooled_example_counts_more_than_a_higher_loss() -> None:
    def attempt(loss: list[float], fooled: list[bool]) -> Attempt:
        values = np.array(loss, np.float32)
        return Attempt(values[:, None], values, np.array(fooled))

    asked: list[list[int]] = []

    def climb(left: Labels) -> Attempt:
        asked.append(left.tolist())
        if len(asked) == 1:
            return attempt([5, 5, 5], [False, True, False])
        return attempt([1, 6], [True, False])

    best = best_of([climb, climb], np.zeros((3, 1), np.float32))
    np.testing.assert_array_equal(best, [[1], [5], [6]])
    assert asked == [[0, 1, 2], [0, 2]]


def wave() -> tuple[Linear, Floats, Labels]:
    """One feature, on which going up by 1 is fatal and going down is not: the loss tells the way."""
    return Linear(np.array([[-1.0], [1.0]]), np.array([1.0, 0.0])), np.zeros((1, 1), np.float32), np.array([0])


def test_fgsm_makes_one_step_of_full_length() -> None:
    model, x, labels = wave()
    result = FGSM(eps=0.25)(model, x, labels, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(result.x_adv, [[0.25]])
    assert result.n_gradients == 1


def test_pgd_steps_are_of_the_length_asked_for() -> None:
    model, x, labels = wave()
    for step_size, expected in ((0.125, [0, 0.125, 0.25, 0.375]), (None, [0, 1 / 3, 0.4, 0.4])):
        eyes = Watched(model)
        PGD(eps=0.4, n_iter=3, step_size=step_size, random_start=False)(eyes, x, labels, rng=np.random.default_rng(0))
        np.testing.assert_allclose(np.concatenate(eyes.seen).ravel(), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["pgd", "apgd-ce", "apgd-t"])
@both_norms
def test_work_on_an_example_ends_as_soon_as_it_is_fooled(kind: str, norm: NormName) -> None:
    eyes, result, _ = watched(attack_named(kind, eps={"Linf": 0.1, "L2": 0.45}[norm], norm=norm, n_iter=20))
    sizes = [len(x) for x in eyes.seen[:21]]
    assert sizes[0] == 40
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == (~result.success).sum() if kind != "apgd-t" else sizes[-1] < 40


@pytest.mark.parametrize(("name", "settings"), [("pgd", {"step_size": 1e-3}), ("apgd-ce", {})])
@both_norms
def test_restarts_work_on_survivors_and_only_help(name: str, settings: dict[str, Any], norm: NormName) -> None:
    model = TwoLayer(36, 5, bounds=(-5, 5))
    x = np.random.default_rng(1).standard_normal((60, 36)).astype(np.float32)
    labels = model.logits(x).argmax(axis=1)
    fooled, gradients = [], []
    for n_restarts in (1, 20):
        # One step is too few for one start to find everything.
        eps = {"Linf": 0.2, "L2": 0.7}[norm]
        attack = attack_named(name, eps=eps, norm=norm, n_iter=1, n_restarts=n_restarts, **settings)
        result = attack(model, x, labels, rng=np.random.default_rng(0))
        fooled.append(result.success)
        gradients.append(result.n_gradients)
    assert fooled[1][fooled[0]].all()
    assert fooled[1].sum() > fooled[0].sum()
    survivors = int((~fooled[0]).sum())
    assert gradients[1] - gradients[0] <= 19 * 2 * survivors


@both_norms
def test_what_is_not_fooled_keeps_the_highest_loss_seen(norm: NormName) -> None:
    attack = PGD(eps={"Linf": 0.02, "L2": 0.1}[norm], norm=norm, n_iter=5, n_restarts=3, loss="margin")
    model = TwoLayer(36, 5)
    x = np.random.default_rng(1).uniform(0, 1, (30, 36)).astype(np.float32)
    labels = model.logits(x).argmax(axis=1)
    eyes = Watched(model)
    result = attack(eyes, x, labels, rng=np.random.default_rng(0))
    assert set(eyes.losses) == {"margin"}
    kept = model.evaluate(result.x_adv, labels, "margin")[1]
    for i in np.flatnonzero(~result.success):
        # The points that belong to this example are those within eps of it.
        near = [seen[np.abs(rows(seen) - x[i]).max(axis=1) <= attack.eps * (1 + 1e-5)] for seen in eyes.seen]  # type: ignore[operator]
        points = np.concatenate(near)
        best = model.evaluate(points, np.full(len(points), labels[i]), "margin")[1].max()
        assert kept[i] == pytest.approx(best, abs=1e-5)


@both_norms
def test_noise_is_averaged_and_stays_within_the_bounds(norm: NormName) -> None:
    eps = {"Linf": 0.2, "L2": 2.0}[norm]
    attack = NoisyPGD(eps=eps, norm=norm, n_iter=2, n_samples=50, random_start=False)
    eyes, result, x = watched(attack, 20, bounds=(-1.0, 1.0))
    first = np.stack(eyes.seen[:50])
    assert len(first) == 50
    assert first.min() >= -1
    assert first.max() <= 1
    inner = np.broadcast_to(np.abs(x) < 0.3, first.shape)
    deviation = (first - x)[inner].std()
    assert deviation == pytest.approx(eps / 2 if norm == "Linf" else eps / 2 / 6, rel=0.05)
    assert result.success.any()


@dataclass
class Saw(NumPyClassifier):
    """Logits 0 and a saw that rises: gently down three quarters of the way, then steeply up."""

    bounds: tuple[float, float] = (-10.0, 10.0)
    n_classes: int = 2

    def forward(self, flat: Array) -> Array:
        teeth, rest = np.divmod(flat[:, 0], 0.2)
        within = np.where(rest < 0.15, -0.2 * rest, -0.03 + 30 * (rest - 0.15))
        return np.stack([np.zeros(len(flat)), -2 + 1.47 * teeth + within], axis=1)

    def backward(self, flat: Array, cotangent: Array) -> Array:
        slopes: Array = cotangent[:, 1:] * np.where(np.mod(flat, 0.2) < 0.15, -0.2, 30.0)
        return slopes


def test_averaging_sees_what_the_gradient_at_one_point_does_not() -> None:
    x, labels = np.full((20, 1), 0.1, np.float32), np.zeros(20, np.int64)
    for name, found in (("pgd", 0), ("pgd-noise", 1)):
        attack = attack_named(name, eps=1.5, n_iter=40, step_size=0.02, random_start=False)
        assert attack(Saw(), x, labels, rng=np.random.default_rng(0)).success.mean() == found


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("pgd", {"loss": "dlr-targeted"}, "pgd: loss 'dlr-targeted' is unknown; choose ce, dlr, margin"),
        ("fgsm", {"loss": "mse"}, "fgsm: loss 'mse' is unknown"),
        ("pgd", {"step_size": 0.0}, "pgd: step_size must be a finite number above 0, not 0"),
        ("pgd", {"n_restarts": 2, "random_start": False}, "pgd: 2 restarts need random starts"),
        ("pgd-noise", {"sigma": np.nan}, "pgd-noise: sigma must be a finite number above 0, not nan"),
        ("apgd-ce", {"rho": 1.5}, "apgd-ce: rho must lie between 0 and 1, not 1.5"),
        ("apgd-t", {"n_target_classes": 0}, "apgd-t: n_target_classes must be at least 1, not 0"),
    ],
)
def test_settings_out_of_range_are_named(name: str, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        attack_named(name, eps=0.1, **setting)


def test_a_loss_needs_its_classes() -> None:
    model, x, labels = linear_problem(n_classes=2)
    with pytest.raises(DataError, match="pgd: loss dlr needs a model with at least 3 classes; this one has 2"):
        PGD(eps=0.1, loss="dlr")(model, x, labels, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("n_classes", "names"),
    [
        (2, ["apgd-ce", "fab-t", "square"]),
        (3, ["apgd-ce", "apgd-dlr", "fab-t", "square"]),
        (4, ["apgd-ce", "apgd-t", "fab-t", "square"]),
    ],
)
def test_the_ensemble_is_the_standard_four_where_there_are_classes_enough(n_classes: int, names: list[str]) -> None:
    parts = AutoAttack(eps=0.1, norm="L2", n_iter=7, n_restarts=2, n_target_classes=5, n_queries=9).parts(n_classes)
    assert [part.name for part in parts] == names
    assert {(part.eps, part.norm) for part in parts} == {(0.1, "L2")}
    settings = [(part.n_iter, part.n_restarts) for part in parts if isinstance(part, APGD)]
    assert settings == [(7, 2)] * len(settings)


def test_the_ensemble_shows_what_each_part_adds() -> None:
    model, x, labels = linear_problem()
    attack = AutoAttack(eps=0.09, n_iter=10, n_queries=20)
    labels[3] = (labels[3] + 1) % 5
    parts = list(attack.in_turn(model, x, labels, rng=np.random.default_rng(0)))
    assert [result.attack for _, result in parts] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    for (left, result), (then, _) in pairwise(parts):
        np.testing.assert_array_equal(left[~result.success], then)
    left, last = parts[-1]
    whole = attack(model, x, labels, rng=np.random.default_rng(0))
    assert whole.robust_accuracy == pytest.approx((~last.success).sum() / len(x))
    assert 0 < whole.robust_accuracy < 1
    assert whole.n_gradients > 0


def test_the_ensemble_ends_when_nothing_is_left() -> None:
    model, x, labels = linear_problem()
    parts = list(AutoAttack(eps=10.0).in_turn(model, x, labels, rng=np.random.default_rng(0)))
    assert [result.attack for _, result in parts] == ["apgd-ce"]
