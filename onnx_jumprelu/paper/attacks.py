"""The attacks of JumpReLU's authors as they ran them.

Erichson, Yao and Mahoney 2019, https://arxiv.org/abs/1904.03750.

Their protocol differs from that of `onnx_jumprelu.attacks`:

* Steps are measured in normalized space. These attacks therefore expect a classifier of normalized inputs, whose bounds
  are the smallest and the largest value of the attacked images.
* There is no eps: a perturbation may have any size.
* An image is not changed any more once the model is wrong on it.

One thing differs from their code: where the gradient is 0, their DeepFool divides by it, and counts the resulting NaN
images as fooled. Here such a step leaves the image as it is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from onnx_jumprelu.arrays import Array, Floats, Labels, per_example
from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.attacks.boundary import distance_to_zero, nearest_boundary, ranked_classes
from onnx_jumprelu.attacks.norms import norm_named
from onnx_jumprelu.attacks.probe import Probe, is_wrong
from onnx_jumprelu.attacks.steps import at_least
from onnx_jumprelu.names import NormName

EXTRA_LENGTH = 1e-4  # added to the length of each step, before the overshoot


@dataclass(frozen=True, kw_only=True)
class _PaperAttack(Attack):
    """Steps in normalized space. Each image is attacked until the model is wrong on it.

    Attributes:
        eps: Largest perturbation that counts as a success, in normalized space; None, as in the paper, for any.
        n_iter: Largest number of steps.
    """

    eps: float | None = None
    n_iter: int = 40

    needs_eps = False

    def __post_init__(self) -> None:
        """Check the settings. Raises OptionError."""
        super().__post_init__()
        at_least(self, 1, "n_iter")

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        """See `Attack`."""
        del rng  # nothing is random here
        x_adv: Floats = x.copy()
        live = np.arange(len(x))
        classes = self._classes(model, x, labels)
        for _ in range(self.n_iter):
            logits, step = self._step(model, x_adv[live], classes[live])
            model.step(len(live))
            right = ~is_wrong(logits, labels[live])
            live = live[right]
            if not len(live):
                break
            x_adv[live] = model.clip(x_adv[live] + step[right])
        return x_adv

    def n_steps(self, n_classes: int) -> int:
        """See `Attack`."""
        del n_classes
        return self.n_iter

    def _classes(self, model: Probe, x: Floats, labels: Labels) -> Labels:
        """The label, then the classes that the attack may aim at, of shape (N, K); fixed before the first step."""
        del model, x
        return labels[:, None]

    @abstractmethod
    def _step(self, model: Probe, x_adv: Floats, classes: Labels) -> tuple[Floats, Floats]:
        """Logits (N, classes) and the next steps (N, ...); a step is 0 where the gradient is 0."""


@dataclass(frozen=True, kw_only=True)
class PaperIFGSM(_PaperAttack):
    """Signed gradient steps of one size.

    Attributes:
        step_size: Length of a step, in normalized space.
    """

    step_size: float = 0.01

    name = "paper-ifgsm"
    norms = ("Linf",)

    def _step(self, model: Probe, x_adv: Floats, classes: Labels) -> tuple[Floats, Floats]:
        logits, _, gradient = model.evaluate(x_adv, classes[:, 0], loss="ce")
        return logits, np.float32(self.step_size) * np.sign(gradient)


@dataclass(frozen=True, kw_only=True)
class PaperDeepFool(_PaperAttack):
    """Steps to just beyond the nearest boundary of the linearised model.

    Attributes:
        overshoot: Factor on the length of each step.
        n_candidates: How many of the most likely classes, including the label, are considered.
    """

    overshoot: float = 1.02
    n_candidates: int = 10

    name = "paper-deepfool"

    def _step(self, model: Probe, x_adv: Floats, classes: Labels) -> tuple[Floats, Floats]:
        boundary = nearest_boundary(model, x_adv, classes, self.metric)
        length = _overshot(boundary.distance, self.overshoot)
        return boundary.logits, per_example(length, x_adv) * self.metric.direction(boundary.normal)

    def _classes(self, model: Probe, x: Floats, labels: Labels) -> Labels:
        return ranked_classes(model.logits(x), labels)[:, : self.n_candidates]


@dataclass(frozen=True, kw_only=True)
class PaperTrustRegion(_PaperAttack):
    """Steps of at most a fixed radius towards one class: the one whose linearised boundary is nearest to the image.

    Attributes:
        radius: Largest length of a step, before the overshoot, in normalized space.
        overshoot: Factor on the length of each step.
        n_candidates: How many of the most likely classes, including the label, are considered as the target.
    """

    radius: float = 0.01
    overshoot: float = 1.02
    n_candidates: int = 10
    norm: NormName = "L2"

    name = "paper-trust-region"
    norms = ("L2",)

    def _classes(self, model: Probe, x: Floats, labels: Labels) -> Labels:
        candidates = ranked_classes(model.logits(x), labels)[:, : self.n_candidates]
        return np.stack([labels, nearest_boundary(model, x, candidates, self.metric).target], axis=1)

    def _step(self, model: Probe, x_adv: Floats, classes: Labels) -> tuple[Floats, Floats]:
        logits, gap, gradient = model.evaluate(x_adv, classes[:, 0], loss="difference", targets=classes[:, 1])
        distance = np.minimum(distance_to_zero(gap, gradient, self.metric), self.radius)
        return logits, per_example(_overshot(distance, self.overshoot), x_adv) * self.metric.direction(gradient)


def _overshot(distance: Array, overshoot: float) -> Floats:
    """Lengths of steps, of shape (N,), that cross boundaries at these distances; 0 where there is no boundary."""
    length: Array = np.where(np.isfinite(distance), (distance + EXTRA_LENGTH) * overshoot, 0)
    return length.astype(np.float32)


def mean_lengths(x_adv: Floats, x: Floats, norm: NormName) -> tuple[float, float]:
    """What the authors call relative and absolute noise: mean lengths over all images, fooled or not.

    Args:
        x_adv: The images after the attack, of shape (N, ...), in normalized space.
        x: The images before the attack, of the same shape.
        norm: The norm that measures lengths.

    Returns:
        The mean of the perturbation's length divided by the image's length, and the mean of the perturbation's length.
    """
    metric = norm_named(norm)
    absolute = metric.length(x_adv.astype(np.float64) - x)
    image = metric.length(x.astype(np.float64))
    relative = np.divide(absolute, image, out=np.zeros_like(absolute), where=image > 0)
    return float(relative.mean()), float(absolute.mean())


# The attacks of the authors' tables, in the order of the tables.
PAPER_ATTACKS: dict[str, Callable[[], Attack]] = {
    "ifgsm": PaperIFGSM,
    "deepfool-inf": partial(PaperDeepFool, norm="Linf"),
    "deepfool-2": partial(PaperDeepFool, norm="L2"),
    "tr": PaperTrustRegion,
}
