"""Losses and their derivatives, against formulas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.gradient.core.losses import LOSSES
from tests.gradient.harness import normal
from tests.gradient.networks import built, digits, run_gradient
from tests.models import parse

# The losses on logits, by hand: value and derivative, for labels y and targets t.


def _one(index: Array) -> Array:
    return np.eye(5)[index]


def _ranks(z: Array) -> list[Array]:
    order = np.argsort(-z, axis=1)
    return [order[:, rank] for rank in range(4)]


def _pick(z: Array, index: Array) -> Array:
    return z[np.arange(len(z)), index][:, None]


def _ce(z: Array, y: Array, _: Array) -> tuple[Array, Array]:
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return -np.log(_pick(p, y)), p - _one(y)


def _best_other(z: Array, y: Array) -> Array:
    return np.asarray(np.where(_one(y) > 0, -np.inf, z).argmax(1))


def _margin(z: Array, y: Array, _: Array) -> tuple[Array, Array]:
    other = _best_other(z, y)
    return _pick(z, other) - _pick(z, y), _one(other) - _one(y)


def _difference(z: Array, y: Array, t: Array) -> tuple[Array, Array]:
    return _pick(z, t) - _pick(z, y), _one(t) - _one(y)


def _logit(z: Array, y: Array, _: Array) -> tuple[Array, Array]:
    return _pick(z, y), _one(y)


def _dlr(z: Array, y: Array, t: Array) -> tuple[Array, Array]:
    top, slope_top = _margin(z, y, t)
    first, _, third, _ = _ranks(z)
    below = _pick(z, first) - _pick(z, third)
    return top / below, slope_top / below - top / below**2 * (_one(first) - _one(third))


def _targeted_dlr(z: Array, y: Array, t: Array) -> tuple[Array, Array]:
    top, slope_top = _difference(z, y, t)
    first, _, third, fourth = _ranks(z)
    below = _pick(z, first) - 0.5 * (_pick(z, third) + _pick(z, fourth))
    slope_below = _one(first) - 0.5 * (_one(third) + _one(fourth))
    return top / below, slope_top / below - top / below**2 * slope_below


BY_HAND: dict[str, Callable[[Array, Array, Array], tuple[Array, Array]]] = {
    "ce": _ce,
    "margin": _margin,
    "difference": _difference,
    "logit": _logit,
    "dlr": _dlr,
    "dlr-targeted": _targeted_dlr,
}
LINEAR = '<ir_version: 8, opset_import: ["" : {}]> net (float[N, 6] x) => (float[N, 5] y) {{ y = Gemm(x, w, b) }}'


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 18, 21])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss: str, opset: int) -> None:
    """On a linear classifier, where the derivative of the logits is the weight."""
    model = parse(LINEAR.format(opset))
    weight, bias = normal(6, 5), normal(5)
    for name, value in (("w", weight), ("b", bias)):
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(20, 6)), rng.integers(0, 5, 20)
    t = (y + rng.integers(1, 5, 20)) % 5
    whole, runner = built(model, loss)
    found = run_gradient(whole, runner, x.astype(np.float32), y, t if LOSSES[loss].targeted else None)
    z = x @ weight + bias
    value, derivative = BY_HAND[loss](z, y, t)
    np.testing.assert_allclose(found[0], z, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], value[:, 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[2], derivative @ weight.T, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_examples_do_not_mix(samples: Path, loss: str) -> None:
    x, labels = digits(samples, 5)
    targets = (labels + 3) % 10 if LOSSES[loss].targeted else None
    whole, runner = built(onnx.load(samples / "digits_cnn.onnx"), loss)
    batch = run_gradient(whole, runner, x, labels, targets)
    for index in range(5):
        part = slice(index, index + 1)
        alone = run_gradient(whole, runner, x[part], labels[part], None if targets is None else targets[part])
        for many, one in zip(batch, alone, strict=True):
            np.testing.assert_allclose(many[part], one, rtol=1e-4, atol=1e-5)
