"""FAB, DeepFool and trust region look for small perturbations: on a linear classifier the smallest one is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx_jumprelu.arrays import Array, Floats, Labels
from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.attacks.boundary import SHORTEST_STEP, distance_to_zero, ranked_classes
from onnx_jumprelu.attacks.deepfool import DeepFool
from onnx_jumprelu.attacks.fab import FAB, TargetedFAB
from onnx_jumprelu.attacks.norms import norm_named
from onnx_jumprelu.attacks.probe import Probe
from onnx_jumprelu.attacks.projections import to_plane
from onnx_jumprelu.attacks.trust_region import TrustRegion
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.names import NormName
from tests.attacks.classifiers import Linear, TwoLayer, WithGradient, linear_problem

NORMS: list[NormName] = ["Linf", "L2"]
KINDS: list[type[Any]] = [FAB, TargetedFAB, DeepFool, TrustRegion]
UNIT: tuple[float, float] = (0.0, 1.0)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def in_the_unit_box() -> tuple[Linear, Floats, Labels]:
    """A linear classifier whose smallest perturbations meet the bounds 0 and 1, some of them in most coordinates."""
    model, x, _ = linear_problem(n=60, bounds=UNIT)
    model.weights *= 0.3
    return model, x, model.logits(x).argmax(axis=1)


def smallest_in_the_box(model: Linear, x: Floats, labels: Labels, norm: NormName) -> Array:
    """Lengths (N,) of the shortest moves, within the bounds, onto a boundary with any other class."""
    at, logits = np.arange(len(x)), model.logits(x).astype(np.float64)
    lengths = np.full((len(x), model.n_classes), np.inf)
    for target in range(model.n_classes):
        gap = logits[at, target] - logits[at, labels]
        normal = (model.weights[target] - model.weights[labels]).reshape(x.shape).astype(np.float32)
        move = to_plane(x, normal, -gap, model.bounds, norm)
        there = model.logits(x + move)
        reached = (labels != target) & (there[at, target] > there[at, labels] - 1e-4)
        lengths[reached, target] = norm_named(norm).length(move[reached])
    shortest: Array = lengths.min(axis=1)
    return shortest


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("kind", "worst"), [(FAB, 1.006), (TargetedFAB, 1.006), (DeepFool, 1.021), (TrustRegion, 1.021)]
)
def test_finds_the_smallest_perturbation_of_a_linear_classifier(kind: type[Any], worst: float, norm: NormName) -> None:
    model, x, labels = linear_problem()
    result = kind(norm=norm)(model, x, labels, rng=rng())
    assert result.success.all()
    shortest = model.distances(x, labels, norm)
    # Nothing shorter than the shortest can fool. DeepFool and trust region overshoot by 2 %, FAB ends at 0.5 %, and all
    # of them by what float32 can tell apart.
    assert (result.perturbation > shortest).all()
    least = (1 if norm == "Linf" else np.sqrt(x[0].size)) * SHORTEST_STEP * np.abs(x).max()
    assert (result.perturbation < worst * shortest + 2 * least).all()


@pytest.mark.parametrize("norm", NORMS)
def test_targeted_fab_finds_the_smallest_perturbation_within_active_bounds(norm: NormName) -> None:
    model, x, labels = in_the_unit_box()
    result = TargetedFAB(norm=norm)(model, x, labels, rng=rng())
    smallest = smallest_in_the_box(model, x, labels, norm)
    assert (smallest > 1.1 * model.distances(x, labels, norm)).any()  # bounds do matter here
    assert result.success.all()
    assert (result.perturbation / smallest).max() < 1.01
    assert (result.perturbation / smallest).min() > 0.999


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", [FAB, DeepFool, TrustRegion])
def test_active_bounds_do_not_stop_an_attack(kind: type[Any], norm: NormName) -> None:
    model, x, labels = in_the_unit_box()
    result = kind(norm=norm)(model, x, labels, rng=rng())
    assert result.success.all()
    assert (result.perturbation / smallest_in_the_box(model, x, labels, norm)).mean() < 1.05


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_with_eps_exactly_the_examples_within_reach_fall(kind: type[Any], norm: NormName) -> None:
    model, x, labels = linear_problem(n=80)
    distances = model.distances(x, labels, norm)
    eps = float(np.median(distances))
    result = kind(eps=eps, norm=norm)(model, x, labels, rng=rng())
    clear = np.abs(distances / eps - 1) > 0.025
    np.testing.assert_array_equal(result.success[clear], (distances < eps)[clear])
    assert 0 < result.success.mean() < 1
    assert result.max_perturbation <= eps * (1 + 1e-6)


@pytest.mark.parametrize("number", [0.0, np.nan])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_without_a_gradient_examples_stay_and_are_counted(kind: type[Any], norm: NormName, number: float) -> None:
    model, x, labels = linear_problem(n=7)
    result = kind(norm=norm, n_iter=5)(WithGradient(model, number), x, labels, rng=rng())
    np.testing.assert_array_equal(result.x_adv, x)
    assert not result.success.any()
    counted = result.nan_gradients if np.isnan(number) else result.zero_gradients
    # The jacobian of an example has a row per class.
    assert counted >= 7 * 5
    assert counted == result.n_gradients


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_example_without_a_gradient_does_not_hinder_the_others(kind: type[Any], norm: NormName) -> None:
    class FirstIsFlat(Linear):
        def backward(self, flat: Array, cotangent: Array) -> Array:
            each = np.broadcast_to(cotangent, (len(flat), self.n_classes))
            gradient: Array = super().backward(flat, each).copy()
            gradient[np.isclose(flat[:, 0], 5.0)] = 0
            return gradient

    linear, x, _ = linear_problem(n=9)
    x[0, 0, 0, 0] = 5.0
    model = FirstIsFlat(linear.weights, linear.bias)
    labels = model.logits(x).argmax(axis=1)
    result = kind(norm=norm)(model, x, labels, rng=rng())
    assert not result.success[0]
    assert result.success[1:].all()
    assert result.perturbation[0] == 0


@pytest.mark.parametrize("alpha_max", [0.0, 0.1, 0.3, 1.0])
def test_fab_is_drawn_to_the_example_by_at_most_alpha_max(alpha_max: float) -> None:
    """One step on a plane: the pull is the share of this point's distance, cut at `alpha_max`."""
    normal = np.array([[3.0, 4.0]], np.float32)
    model = Linear(np.concatenate([np.zeros((1, 2)), normal]), np.array([0.0, -5.0]), (-100.0, 100.0))
    x, x_adv = np.array([[0.2, 0.1]], np.float32), np.array([[-0.6, 0.5]], np.float32)
    attack = FAB(norm="L2", alpha_max=alpha_max, eta=1.05)
    (moved,) = attack._step(Probe(model), x, x_adv, np.array([[0, 1]]))  # noqa: SLF001 - one step of a walk
    here, there = ((5 - (normal @ at[0]).item()) / 25 * normal[0] for at in (x_adv, x))  # to the plane, exactly
    share = np.linalg.norm(here) / (np.linalg.norm(here) + np.linalg.norm(there))
    assert share > 0.3
    pull = min(share, alpha_max)
    expected = (1 - pull) * (x_adv[0] + 1.05 * here) + pull * (x[0] + 1.05 * there)
    assert moved == pytest.approx(expected, abs=1e-3)
    assert abs(moved - expected).max() < 0.05 * abs(x_adv - x).max()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", [FAB, TargetedFAB])
def test_the_first_step_of_fab_oversteps_the_boundary_by_eta(kind: type[Any], norm: NormName) -> None:
    model, x, labels = linear_problem(n_classes=2)
    result = kind(norm=norm, n_iter=1, eta=1.3)(model, x, labels, rng=rng())
    np.testing.assert_allclose(result.perturbation, 1.3 * model.distances(x, labels, norm), rtol=1e-4, atol=3e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tie_is_no_resting_place(kind: type[Any]) -> None:
    """Two logits are equal and the label wins: the boundary is where the example stands, and must be crossed."""
    model = Linear(np.asarray([[1.0, -1.0], [-1.0, 1.0]], np.float32), np.zeros(2, np.float32))
    x = np.asarray([[0.5, 0.5]], np.float32)
    assert model.logits(x).argmax(axis=1) == 0
    assert kind(norm="L2")(model, x, np.asarray([0]), rng=rng()).success.all()


def test_without_a_gradient_there_is_no_boundary_however_small_the_gap() -> None:
    gap, normal = np.array([0, 0, 1, 1], np.float32), np.array([[0], [2], [0], [1e-30]], np.float32)
    np.testing.assert_array_equal(distance_to_zero(gap, normal, norm_named("L2")), [np.inf, 0, np.inf, np.inf])


@pytest.mark.parametrize("norm", NORMS)
def test_a_network_with_kinks_is_fooled_near_the_boundary(norm: NormName) -> None:
    model = TwoLayer(n_features=36, n_classes=4)
    x = rng().uniform(size=(50, 36)).astype(np.float32)
    labels = model.logits(x).argmax(axis=1)
    for kind in KINDS:
        result = kind(norm=norm)(model, x, labels, rng=rng())
        assert result.success.mean() == 1, kind.name
        # Nine tenths of the way there, the model is still right: the perturbation was hardly longer than needed.
        nearly = x + np.float32(0.9) * (result.x_adv - x)
        assert (model.logits(nearly).argmax(axis=1) == labels).mean() > 0.9, kind.name


def test_restarts_shorten_fabs_perturbations_and_depend_on_the_generator() -> None:
    model = TwoLayer(n_features=36, n_classes=4, seed=3)
    x = rng().uniform(size=(40, 36)).astype(np.float32)
    labels = model.logits(x).argmax(axis=1)
    once = FAB(n_iter=20)(model, x, labels, rng=rng())
    often = FAB(n_iter=20, n_restarts=5)(model, x, labels, rng=rng())
    again = FAB(n_iter=20, n_restarts=5)(model, x, labels, rng=rng())
    assert (often.perturbation <= once.perturbation).all()
    assert often.mean_perturbation < once.mean_perturbation
    np.testing.assert_array_equal(often.x_adv, again.x_adv)


def test_targeted_fab_tries_as_many_classes_as_it_is_told() -> None:
    model, x, labels = linear_problem(n=10, n_classes=5)
    for n_target_classes, expected in [(1, 1), (3, 3), (9, 4)]:
        result = TargetedFAB(n_target_classes=n_target_classes, n_iter=4)(model, x, labels, rng=rng())
        assert result.n_gradients == 10 * 4 * expected


def test_an_example_within_eps_is_done() -> None:
    model, x, labels = linear_problem(n=10)
    assert TargetedFAB(eps=50.0)(model, x, labels, rng=rng()).n_gradients == 10
    assert FAB(eps=50.0)(model, x, labels, rng=rng()).n_gradients < 10 * 3 * 5


def test_trust_region_obeys_its_radius_and_grows_it_where_the_model_is_linear() -> None:
    model, x, labels = linear_problem(n=10)
    distance = model.distances(x, labels, "L2")
    radius = float(distance.min()) / 20
    for growth, n_iter, expected in [(1.0, 1, 1.0), (1.0, 5, 5.0), (1.2, 5, 1 + 1.2 + 1.2**2 + 1.2**3 + 1.2**4)]:
        attack = TrustRegion(norm="L2", radius=radius, growth=growth, n_iter=n_iter)
        result = attack(model, x, labels, rng=rng())
        np.testing.assert_allclose(result.perturbation, radius * expected, rtol=1e-3)


def test_trust_region_shrinks_its_radius_where_promises_are_not_kept() -> None:
    model, x, labels = linear_problem(n=10)

    class Exaggerating(Linear):
        def backward(self, flat: Array, cotangent: Array) -> Array:
            gradient: Array = 3 * super().backward(flat, cotangent)
            return gradient

    exaggerating = Exaggerating(model.weights, model.bias)
    radius = float(model.distances(x, labels, "L2").min()) / 30
    result = TrustRegion(norm="L2", radius=radius, growth=2.0, n_iter=3)(exaggerating, x, labels, rng=rng())
    np.testing.assert_allclose(result.perturbation, radius * (1 + 1 / 2 + 1 / 4), rtol=1e-3)


def test_classes_are_ranked_with_the_label_first() -> None:
    logits = np.array([[0.1, 3.0, 2.0, -1.0], [5.0, 1.0, 4.0, 4.0]], np.float32)
    np.testing.assert_array_equal(ranked_classes(logits, np.array([2, 0])), [[2, 1, 0, 3], [0, 2, 3, 1]])


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (FAB, {"n_iter": 0}),
        (FAB, {"n_restarts": 0}),
        (FAB, {"eta": 0.9}),
        (FAB, {"alpha_max": 1.5}),
        (FAB, {"beta": -0.1}),
        (TargetedFAB, {"n_target_classes": 0}),
        (DeepFool, {"n_iter": 0}),
        (DeepFool, {"overshoot": -1.0}),
        (DeepFool, {"n_candidates": 1}),
        (TrustRegion, {"n_iter": 0}),
        (TrustRegion, {"radius": 0.0}),
        (TrustRegion, {"growth": 0.5}),
        (TrustRegion, {"overshoot": np.nan}),
        (TrustRegion, {"shrink_below": 0.95}),
        (TrustRegion, {"n_candidates": 1}),
    ],
)
def test_settings_out_of_range_are_refused(kind: type[Attack], settings: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        kind(**settings)
