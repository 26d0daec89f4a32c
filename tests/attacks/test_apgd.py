"""APGD beside the same algorithm written once more, one example at a time and with nothing left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.attacks import APGDCE, TargetedAPGD
from onnx_jumprelu.attacks.apgd import checkpoints_of
from onnx_jumprelu.names import NormName
from tests.attacks.classifiers import NumPyClassifier, Watched, linear_problem


@dataclass
class Ridge(NumPyClassifier):
    """The loss falls with the weighted distance from a point, along every axis, and is never fatal."""

    top: Array
    slopes: Array
    bounds: tuple[float, float] = (-10.0, 10.0)
    n_classes: int = 2

    def forward(self, flat: Array) -> Array:
        return np.stack([np.zeros(len(flat)), -1 - np.abs(flat - self.top) @ self.slopes], axis=1)

    def backward(self, flat: Array, cotangent: Array) -> Array:
        gradient: Array = -cotangent[:, 1:] * np.sign(flat - self.top) * self.slopes
        return gradient


def expected_path(model: NumPyClassifier, start: Array, eps: float, norm: NormName, n_iter: int) -> list[Array]:
    """The points that algorithm 1 of the paper visits from `start`, around the example 0 with label 0."""

    def ask(x: Array) -> tuple[float, Array]:
        _, loss, gradient = model.evaluate(x[None].astype(np.float32), np.array([0]))
        return float(loss[0]), gradient[0].astype(np.float64)

    def direction(gradient: Array) -> Array:
        unit: Array = np.sign(gradient) if norm == "Linf" else gradient / np.linalg.norm(gradient)
        return unit

    def project(x: Array) -> Array:
        if norm == "Linf":
            clipped: Array = np.clip(x, -eps, eps)
            return clipped
        return x * min(1.0, eps / float(np.linalg.norm(x)))

    x = before = best = start.astype(np.float64)
    loss, gradient = ask(x)
    best_loss, best_gradient = loss, gradient
    step, rises, checked, halved, best_at_check = 2 * eps, 0, 0, True, loss
    path = [x]
    for i in range(1, n_iter + 1):
        aim = project(x + step * direction(gradient))
        if i > 1:
            aim = project(x + 0.75 * (aim - x) + 0.25 * (x - before))
        x, before = aim, x
        path.append(x)
        previous, (loss, gradient) = loss, ask(x)
        rises += loss > previous
        if loss > best_loss:
            best, best_loss, best_gradient = x, loss, gradient
        if i in checkpoints_of(n_iter):
            stuck = not halved and best_at_check == best_loss
            halved = rises <= 0.75 * (i - checked) or stuck
            if halved:
                step, x, loss, gradient = step / 2, best, best_loss, best_gradient
            rises, checked, best_at_check = 0, i, best_loss
    return path


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("seed", range(8))
def test_the_path_is_that_of_the_algorithm(norm: NormName, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Tops within the budget and beyond it: the path ends at the top, or runs along the border.
    model = Watched(Ridge(rng.normal(0, 0.6, 3), rng.uniform(0.1, 1, 3)))
    result = APGDCE(eps=1.0, norm=norm)(model, np.zeros((1, 3), np.float32), np.array([0]), rng=rng)
    path = np.concatenate(model.seen)
    expected = np.stack(expected_path(model.model, path[0], 1.0, norm, 100))
    np.testing.assert_allclose(path, expected, atol=1e-4)
    losses = model.evaluate(path, np.zeros(len(path), np.int64))[1]
    np.testing.assert_allclose(result.x_adv[0], path[losses.argmax()], atol=1e-6)


def test_checkpoints_are_those_of_the_paper() -> None:
    assert sorted(checkpoints_of(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sorted(checkpoints_of(10)) == [3, 5, 6, 7, 8, 9, 10]


def test_targets_are_the_most_likely_wrong_classes_in_order() -> None:
    model, x, labels = linear_problem()
    attack = TargetedAPGD(eps=1e-4, n_iter=1, n_target_classes=3)
    eyes = Watched(model)
    result = attack(eyes, x, labels, rng=np.random.default_rng(0))
    left = ~result.success
    ranked = np.argsort(-model.logits(x), axis=1)
    assert (ranked[:, 0] == labels).all()
    asked = [targets for targets in eyes.targets[::2] if targets is not None]
    assert len(asked) == 3
    np.testing.assert_array_equal(asked[0], ranked[:, 1])
    np.testing.assert_array_equal(asked[2], ranked[left, 3])
