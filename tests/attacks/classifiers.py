"""Classifiers in NumPy, whose losses, gradients and (where linear) smallest perturbations are written down here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from onnx_jumprelu.arrays import Array, Floats, Labels, rows
from onnx_jumprelu.attacks.norms import norm_named
from onnx_jumprelu.gradient.core.losses import LossLike
from onnx_jumprelu.names import NormName

TINY = 1e-12


def loss_and_cotangent(logits: Array, labels: Labels, loss: str, targets: Labels | None = None) -> tuple[Array, Array]:
    """Losses (N,) of logits (N, classes) and their gradients with respect to the logits (N, classes)."""
    z = logits.astype(np.float64)
    n, classes = z.shape
    at, unit = np.arange(n), np.eye(classes)
    label = unit[labels]
    if loss == "logit":
        return z[at, labels], label
    if loss == "ce":
        exponentials = np.exp(z - z.max(axis=1, keepdims=True))
        softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
        return -np.log(softmax[at, labels]), softmax - label
    towards = np.where(label == 1, -np.inf, z).argmax(axis=1) if loss in {"margin", "dlr"} else targets
    assert towards is not None, "this loss needs targets"
    value, cotangent = z[at, towards] - z[at, labels], unit[towards] - label
    if loss in {"margin", "difference"}:
        return value, cotangent
    order = np.argsort(-z, axis=1, kind="stable")
    if loss == "dlr":
        scale = unit[order[:, 0]] - unit[order[:, 2]]
    else:
        assert loss == "dlr-targeted", loss
        scale = unit[order[:, 0]] - (unit[order[:, 2]] + unit[order[:, 3]]) / 2
    size = (scale * z).sum(axis=1) + TINY
    return value / size, (cotangent - (value / size)[:, None] * scale) / size[:, None]


class NumPyClassifier(ABC):
    """The `Classifier` protocol, from a forward and a backward pass over flattened inputs (N, D)."""

    bounds: tuple[float, float]
    n_classes: int

    @abstractmethod
    def forward(self, flat: Array) -> Array:
        """Logits (N, classes) of inputs (N, D)."""

    @abstractmethod
    def backward(self, flat: Array, cotangent: Array) -> Array:
        """Gradients (N, D) of the sums of the logits, weighted by the cotangent (N, classes)."""

    def logits(self, x: Floats) -> Floats:
        return self.forward(rows(x).astype(np.float64)).astype(np.float32)

    def evaluate(
        self, x: Floats, labels: Labels, loss: LossLike = "ce", targets: Labels | None = None
    ) -> tuple[Floats, Floats, Floats]:
        flat = rows(x).astype(np.float64)
        logits = self.forward(flat)
        value, cotangent = loss_and_cotangent(logits, labels, str(loss), targets)
        gradient = self.backward(flat, cotangent).reshape(x.shape)
        return logits.astype(np.float32), value.astype(np.float32), gradient.astype(np.float32)

    def jacobian(self, x: Floats, classes: Labels | None = None) -> tuple[Floats, Floats]:
        flat = rows(x).astype(np.float64)
        if classes is None:
            classes = np.tile(np.arange(self.n_classes), (len(x), 1))
        unit = np.eye(self.n_classes)
        gradients = np.stack([self.backward(flat, unit[column]) for column in classes.T], axis=1)
        shape = (*classes.shape, *x.shape[1:])
        return self.forward(flat).astype(np.float32), gradients.reshape(shape).astype(np.float32)


@dataclass
class Linear(NumPyClassifier):
    """Logits x W^T + b: every question about it has an answer in closed form, as long as no bound is active."""

    weights: Array  # (classes, D)
    bias: Array  # (classes,)
    bounds: tuple[float, float] = (-1e3, 1e3)
    n_classes: int = field(init=False)

    def __post_init__(self) -> None:
        self.n_classes = len(self.weights)

    def forward(self, flat: Array) -> Array:
        logits: Array = flat @ self.weights.T + self.bias
        return logits

    def backward(self, flat: Array, cotangent: Array) -> Array:
        del flat
        gradient: Array = cotangent @ self.weights
        return gradient

    def distances(self, x: Floats, labels: Labels, norm: NormName) -> Array:
        """Length (N,) of each example's smallest adversarial perturbation: margin over dual norm, 0 where wrong."""
        logits = self.forward(rows(x).astype(np.float64))
        at = np.arange(len(x))
        slopes = self.weights[labels][:, None] - self.weights[None]  # (N, classes, D)
        steepness = norm_named(norm).dual_length(slopes.reshape(-1, slopes.shape[-1])).reshape(logits.shape)
        margins = logits[at, labels][:, None] - logits
        steepness[at, labels] = 1
        margins[at, labels] = np.inf
        nearest: Array = np.maximum(margins / steepness, 0).min(axis=1)
        return nearest

    def robust_accuracy(self, x: Floats, labels: Labels, eps: float, norm: NormName) -> float:
        """Share of examples that no perturbation of length `eps` fools."""
        return float((self.distances(x, labels, norm) > eps).mean())


@dataclass
class TwoLayer(NumPyClassifier):
    """A small ReLU network with seeded weights: W2 relu(W1 x + b1) + b2."""

    n_features: int
    n_classes: int
    n_hidden: int = 24
    bounds: tuple[float, float] = (0.0, 1.0)
    seed: int = 0

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.w1 = rng.standard_normal((self.n_hidden, self.n_features)) / np.sqrt(self.n_features)
        self.b1 = 0.1 * rng.standard_normal(self.n_hidden)
        self.w2 = rng.standard_normal((self.n_classes, self.n_hidden)) * np.sqrt(2 / self.n_hidden)
        self.b2 = 0.1 * rng.standard_normal(self.n_classes)

    def forward(self, flat: Array) -> Array:
        logits: Array = np.maximum(flat @ self.w1.T + self.b1, 0) @ self.w2.T + self.b2
        return logits

    def backward(self, flat: Array, cotangent: Array) -> Array:
        active = flat @ self.w1.T + self.b1 > 0
        gradient: Array = (cotangent @ self.w2 * active) @ self.w1
        return gradient


@dataclass
class WithGradient(NumPyClassifier):
    """A classifier that claims the same number, such as 0 or NaN, for every entry of every gradient."""

    model: NumPyClassifier
    number: float
    bounds: tuple[float, float] = field(init=False)
    n_classes: int = field(init=False)

    def __post_init__(self) -> None:
        self.bounds, self.n_classes = self.model.bounds, self.model.n_classes

    def forward(self, flat: Array) -> Array:
        return self.model.forward(flat)

    def backward(self, flat: Array, cotangent: Array) -> Array:
        del cotangent
        return np.full(flat.shape, self.number)


@dataclass
class Watched:
    """A classifier that remembers what it was asked for gradients at."""

    model: NumPyClassifier
    seen: list[Floats] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    targets: list[Labels | None] = field(default_factory=list)

    @property
    def n_classes(self) -> int:
        return self.model.n_classes

    @property
    def bounds(self) -> tuple[float, float]:
        return self.model.bounds

    def logits(self, x: Floats) -> Floats:
        return self.model.logits(x)

    def evaluate(
        self, x: Floats, labels: Labels, loss: LossLike = "ce", targets: Labels | None = None
    ) -> tuple[Floats, Floats, Floats]:
        self.seen.append(x.copy())
        self.losses.append(str(loss))
        self.targets.append(targets)
        return self.model.evaluate(x, labels, loss, targets)

    def jacobian(self, x: Floats, classes: Labels | None = None) -> tuple[Floats, Floats]:
        return self.model.jacobian(x, classes)


def linear_problem(
    n: int = 40,
    shape: tuple[int, ...] = (1, 6, 6),
    n_classes: int = 5,
    seed: int = 0,
    bounds: tuple[float, float] = (-1e3, 1e3),
) -> tuple[Linear, Floats, Labels]:
    """A linear classifier, inputs around the middle of its bounds, and its own predictions as labels."""
    rng = np.random.default_rng(seed)
    model = Linear(rng.standard_normal((n_classes, int(np.prod(shape)))), rng.standard_normal(n_classes), bounds)
    x = (sum(bounds) / 2 + rng.standard_normal((n, *shape))).astype(np.float32)
    x = np.clip(x, *map(np.float32, bounds))
    return model, x, model.logits(x).argmax(axis=1)
