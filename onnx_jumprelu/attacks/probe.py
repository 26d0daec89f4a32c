"""A model as attacks see it: what they ask of it, and a probe that counts what they ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onnx_jumprelu.arrays import Bools, Floats, Labels, rows
from onnx_jumprelu.gradient.core.losses import LossLike


class Classifier(Protocol):
    """What attacks need of a model. Inputs `x` are float32 in data space, of shape (N, ...)."""

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        ...

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value of an input."""
        ...

    def logits(self, x: Floats) -> Floats:
        """Scores of shape (N, classes)."""
        ...

    def evaluate(
        self, x: Floats, labels: Labels, loss: LossLike = "ce", targets: Labels | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """Logits (N, classes), loss (N,) and its gradient with respect to `x`, in one run.

        Losses, each larger where the model is more wrong: `ce`, cross-entropy; `dlr`, the difference of logits ratio;
        `dlr-targeted`; `margin`, largest other logit minus the label's; `difference`, the target's logit minus the
        label's; `logit`, the label's logit alone. `dlr-targeted` and `difference` need `targets` of shape (N,).
        """
        ...

    def jacobian(self, x: Floats, classes: Labels | None = None) -> tuple[Floats, Floats]:
        """Logits (N, classes) and the gradients (N, K, ...) of K logits: those in `classes` (N, K), all by default."""
        ...


@dataclass
class Probe:
    """A classifier as attacks see it: what is not finite becomes 0, and queries are counted."""

    model: Classifier
    zero_gradients: int = 0
    nan_gradients: int = 0
    n_gradients: int = 0
    n_queries: int = 0
    on_step: Callable[[int], None] = lambda _: None

    @property
    def n_classes(self) -> int:
        """See `Classifier`."""
        return self.model.n_classes

    @property
    def bounds(self) -> tuple[float, float]:
        """See `Classifier`."""
        return self.model.bounds

    def clip(self, x: Floats) -> Floats:
        """`x` within the bounds."""
        return clip(x, self.bounds)

    def step(self, n_examples: int) -> None:
        """An attack calls this after each step, with the number of examples it was made on, at most `n_steps` times."""
        self.on_step(n_examples)
        if isinstance(self.model, Probe):  # an attack within an attack: its steps are steps of both
            self.model.step(n_examples)

    def logits(self, x: Floats) -> Floats:
        """See `Classifier`."""
        self.n_queries += len(x)
        return self.model.logits(x)

    def wrong(self, x: Floats, labels: Labels) -> Bools:
        """Whether the model's prediction is not the label, of shape (N,)."""
        return is_wrong(self.logits(x), labels)

    def evaluate(
        self, x: Floats, labels: Labels, loss: LossLike = "ce", targets: Labels | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """See `Classifier`; a gradient that is not finite comes back as 0."""
        self.n_queries += len(x)
        logits, values, gradient = self.model.evaluate(x, labels, loss, targets)
        return logits, values, self._clean(gradient)

    def jacobian(self, x: Floats, classes: Labels | None = None) -> tuple[Floats, Floats]:
        """See `Classifier`; an example's gradients, where one of them is not finite, come back as 0."""
        self.n_queries += len(x)
        logits, gradients = self.model.jacobian(x, classes)
        return logits, self._clean(gradients)

    def _clean(self, gradient: Floats) -> Floats:
        flat = rows(gradient)
        finite = np.isfinite(flat).all(axis=1)
        self.n_gradients += len(flat)
        self.nan_gradients += int((~finite).sum())
        self.zero_gradients += int((~flat.any(axis=1)).sum())
        if finite.all():
            return gradient
        cleaned: Floats = gradient.copy()
        cleaned[~finite] = 0
        return cleaned


def clip(x: Floats, bounds: tuple[float, float]) -> Floats:
    """`x` within the bounds."""
    clipped: Floats = np.clip(x, np.float32(bounds[0]), np.float32(bounds[1]))
    return clipped


def is_wrong(logits: Floats, labels: Labels) -> Bools:
    """Whether the largest of the logits (N, classes) is not the label's, of shape (N,); NaN logits are always wrong."""
    wrong: Bools = (logits.argmax(axis=1) != labels) | np.isnan(logits).any(axis=1)
    return wrong
