"""DeepFool: steps to the nearest linearised boundary until the prediction changes.

Moosavi-Dezfooli, Fawzi and Frossard 2016, https://arxiv.org/abs/1511.04599.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.attacks.boundary import beyond, nearest_boundary, ranked_classes
from onnx_jumprelu.attacks.probe import Probe, is_wrong
from onnx_jumprelu.attacks.projections import to_plane
from onnx_jumprelu.attacks.steps import at_least


@dataclass(frozen=True, kw_only=True)
class DeepFool(Attack):
    """Adds up the shortest steps to the nearest linearised boundary, each example until the model is wrong on it.

    Steps take the bounds into account: where one coordinate has reached its bound, the others move further. Plain
    clipping, as first published, approaches a boundary without ever crossing it.
    A step from a point where the gradients are 0 leaves the point as it is.

    Attributes:
        eps: Largest perturbation that counts, in data space; None for any.
        n_iter: Most steps.
        overshoot: How far the step goes past the boundary, as a share of the whole perturbation.
        n_candidates: How many of the most likely classes, the label included, the nearest boundary is chosen from.
    """

    eps: float | None = None
    n_iter: int = 50
    overshoot: float = 0.02
    n_candidates: int = 10

    name = "deepfool"
    needs_eps = False

    def __post_init__(self) -> None:
        """Check the settings. Raises OptionError."""
        super().__post_init__()
        at_least(self, 1, "n_iter")
        at_least(self, 2, "n_candidates")  # the label and one more
        at_least(self, 0, "overshoot")

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        """See `Attack`."""
        del rng  # nothing is random here
        classes = ranked_classes(model.logits(x), labels)[:, : self.n_candidates]
        x_adv: Floats = x.copy()
        moved = np.zeros_like(x)
        live, factor = np.arange(len(x)), np.float32(1 + self.overshoot)
        for _ in range(self.n_iter):
            boundary = nearest_boundary(model, x_adv[live], classes[live], self.metric)
            model.step(len(live))
            right = ~is_wrong(boundary.logits, labels[live])
            live = live[right]
            if not len(live):
                break
            normal = boundary.normal[right]
            gap = beyond(np.nan_to_num(boundary.gap[right]), normal, x_adv[live], self.metric)
            moved[live] += to_plane(x_adv[live], normal, -gap, model.bounds, self.norm)
            x_adv[live] = model.clip(x[live] + factor * moved[live])
        return x_adv

    def n_steps(self, n_classes: int) -> int:
        """See `Attack`."""
        del n_classes
        return self.n_iter
