"""The protocol of JumpReLU's authors, step by step on a linear classifier of two classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from onnx_jumprelu.arrays import Array, Floats, Labels
from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.names import NormName
from onnx_jumprelu.paper.attacks import PAPER_ATTACKS, PaperDeepFool, PaperIFGSM, PaperTrustRegion, mean_lengths
from tests.attacks.classifiers import Linear, WithGradient, linear_problem

LABEL = np.array([0])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def two_classes(bounds: tuple[float, float] = (-10.0, 10.0)) -> Linear:
    """Class 0 where 3 a + 4 b > 0; the normal of the boundary has L2 length 5 and L1 length 7."""
    return Linear(np.array([[3.0, 4.0], [0.0, 0.0]]), np.zeros(2), bounds)


def run(attack: Attack, model: Linear, *point: float) -> Floats:
    result = attack(model, np.array([point], np.float32), LABEL, rng=rng())
    x_adv: Floats = result.x_adv[0]
    return x_adv


def test_the_table_is_in_the_order_of_the_authors() -> None:
    assert list(PAPER_ATTACKS) == ["ifgsm", "deepfool-inf", "deepfool-2", "tr"]
    attacks = {name: make() for name, make in PAPER_ATTACKS.items()}
    assert [attack.norm for attack in attacks.values()] == ["Linf", "Linf", "L2", "L2"]
    assert all(attack.eps is None for attack in attacks.values())


def test_ifgsm_makes_steps_of_one_size_until_the_model_is_wrong() -> None:
    # 3 a + 4 b falls by 0.07 with each step from 0.7 + 0.035: wrong after eleven of them, however long the limit.
    x_adv = run(PaperIFGSM(), two_classes(), 0.245, 0.0)
    np.testing.assert_allclose(x_adv, [0.245 - 0.11, -0.11], atol=1e-6)
    x_adv = run(PaperIFGSM(n_iter=3), two_classes(), 0.245, 0.0)
    np.testing.assert_allclose(x_adv, [0.215, -0.03], atol=1e-6)


def test_forty_steps_of_ifgsm_are_all() -> None:
    np.testing.assert_allclose(run(PaperIFGSM(), two_classes(), 5.0, 5.0), [4.6, 4.6], atol=1e-5)


def test_deepfool_steps_over_the_boundary_by_the_authors_measure() -> None:
    # The gap is 5. L2: distance 1 along (3, 4) / 5. Linf: distance 5 / 7 along (1, 1).
    step = (1 + 1e-4) * 1.02
    np.testing.assert_allclose(
        run(PaperDeepFool(norm="L2"), two_classes(), 1.0, 0.5), [1 - 0.6 * step, 0.5 - 0.8 * step], atol=1e-6
    )
    step = (5 / 7 + 1e-4) * 1.02
    np.testing.assert_allclose(run(PaperDeepFool(), two_classes(), 1.0, 0.5), [1 - step, 0.5 - step], atol=1e-6)


def test_trust_region_steps_by_its_radius_and_then_over_the_boundary() -> None:
    # L2 distance 0.015: one step of the radius 0.01, one of what remains, each lengthened as the authors do.
    first = (0.01 + 1e-4) * 1.02
    second = (0.015 - first + 1e-4) * 1.02
    start = np.array([0.009, 0.012])
    expected = start - (first + second) * np.array([0.6, 0.8])
    np.testing.assert_allclose(run(PaperTrustRegion(), two_classes(), *start), expected, atol=1e-7)
    np.testing.assert_allclose(
        run(PaperTrustRegion(n_iter=1), two_classes(), *start), start - first * np.array([0.6, 0.8]), atol=1e-7
    )


def test_trust_region_keeps_the_target_that_was_nearest_at_first() -> None:
    # Of classes 1 and 2, the first is nearer at x, the second after a few steps: b matters to it alone.
    @dataclass
    class Turning(Linear):
        def forward(self, flat: Array) -> Array:
            a, b = flat.T
            # The second boundary comes near only where a < 0.45.
            return np.stack([np.zeros_like(a), -a, np.where(a < 0.45, -b, -5 * b)], axis=1)

        def backward(self, flat: Array, cotangent: Array) -> Array:
            a = flat[:, 0]
            slope = np.where(a < 0.45, 1.0, 5.0)
            cotangent = np.broadcast_to(cotangent, (len(flat), 3))
            return np.stack([-cotangent[:, 1], -slope * cotangent[:, 2]], axis=1)

    model = Turning(np.zeros((3, 2)), np.zeros(3), (-10.0, 10.0))
    x = np.array([[0.5, 0.6]], np.float32)
    x_adv = PaperTrustRegion(n_iter=100)(model, x, LABEL, rng=rng()).x_adv[0]
    assert x_adv[0] < 0
    assert x_adv[1] == np.float32(0.6)


@pytest.mark.parametrize("name", PAPER_ATTACKS)
def test_images_are_attacked_as_if_each_were_alone(name: str) -> None:
    model, x, _ = linear_problem(n=30)
    x *= np.float32(0.02)  # near enough to be fooled by small steps, some of them sooner than others
    labels = model.logits(x).argmax(axis=1)
    together = PAPER_ATTACKS[name]()(model, x, labels, rng=rng())
    alone = [PAPER_ATTACKS[name]()(model, x[i : i + 1], labels[i : i + 1], rng=rng()) for i in range(30)]
    assert together.success.any()
    assert len(np.unique(together.perturbation.round(3))) > 2
    np.testing.assert_allclose(together.x_adv, np.concatenate([result.x_adv for result in alone]), atol=1e-6)


@pytest.mark.parametrize("name", PAPER_ATTACKS)
def test_steps_are_clamped_to_the_bounds(name: str) -> None:
    # The way down of the first coordinate is blocked at 0.05, and the second one alone cannot cross the boundary.
    model = two_classes(bounds=(0.05, 1.0))
    result = PAPER_ATTACKS[name]()(model, np.array([[0.06, 0.4]], np.float32), LABEL, rng=rng())
    assert not result.success.any()
    assert result.x_adv.min() == np.float32(0.05)


@pytest.mark.parametrize("name", PAPER_ATTACKS)
def test_what_one_coordinate_cannot_give_the_next_steps_take_from_the_other(name: str) -> None:
    # Unclamped, the walk would end beyond the bounds, where the model is wrong, and come back to where it is right.
    model = two_classes(bounds=(-0.02, 1.0))
    result = PAPER_ATTACKS[name]()(model, np.array([[0.0, 0.05]], np.float32), LABEL, rng=rng())
    assert result.success.all()
    assert result.x_adv[0, 0] == np.float32(-0.02)


@pytest.mark.parametrize("number", [0.0, np.nan])
@pytest.mark.parametrize("name", PAPER_ATTACKS)
def test_a_zero_gradient_is_a_failed_step_and_counted(name: str, number: float) -> None:
    model, x, labels = linear_problem(n=5)
    result = PAPER_ATTACKS[name]()(WithGradient(model, number), x, labels, rng=rng())
    np.testing.assert_array_equal(result.x_adv, x)
    assert result.robust_accuracy == 1
    counted = result.nan_gradients if np.isnan(number) else result.zero_gradients
    assert counted == result.n_gradients
    assert counted >= 5 * 40


@pytest.mark.parametrize("name", ["deepfool-inf", "deepfool-2"])
def test_one_flat_image_does_not_spoil_the_batch(name: str) -> None:
    class FirstIsFlat(Linear):
        def backward(self, flat: Array, cotangent: Array) -> Array:
            gradient: Array = np.broadcast_to(super().backward(flat, cotangent), flat.shape).copy()
            gradient[flat[:, 0] == 5] = 0
            return gradient

    linear, x, _ = linear_problem(n=6)
    x[0, 0, 0, 0] = 5
    model = FirstIsFlat(linear.weights, linear.bias)
    labels: Labels = model.logits(x).argmax(axis=1)
    result = PAPER_ATTACKS[name]()(model, x, labels, rng=rng())
    np.testing.assert_array_equal(result.success, [False] + [True] * 5)
    np.testing.assert_array_equal(result.x_adv[0], x[0])


@pytest.mark.parametrize(
    ("norm", "absolute", "relative"), [("L2", (5 + 0) / 2, (5 / 10 + 0) / 2), ("Linf", 2, (4 / 8) / 2)]
)
def test_lengths_are_means_over_all_images(norm: NormName, absolute: float, relative: float) -> None:
    x = np.array([[6.0, 8.0], [1.0, 0.0]], np.float32)
    x_adv = x + np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    assert mean_lengths(x_adv, x, norm) == pytest.approx((relative, absolute))


def test_an_image_of_zeros_has_relative_length_0() -> None:
    assert mean_lengths(np.ones((1, 4), np.float32), np.zeros((1, 4), np.float32), "L2") == (0, 2)


def test_norms_and_numbers_of_steps_are_checked() -> None:
    with pytest.raises(OptionError):
        PaperIFGSM(norm="L2")
    with pytest.raises(OptionError):
        PaperTrustRegion(norm="Linf")
    with pytest.raises(OptionError):
        PaperDeepFool(n_iter=0)
