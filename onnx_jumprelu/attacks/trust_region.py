"""The trust region attack: steps no longer than the linear approximation can be trusted.

Yao, Gholami, Xu, Keutzer and Mahoney 2019, https://arxiv.org/abs/1812.06371.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Array, Floats, Labels, per_example
from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.attacks.boundary import beyond, distance_to_zero, nearest_boundary, ranked_classes
from onnx_jumprelu.attacks.probe import Probe, is_wrong
from onnx_jumprelu.attacks.steps import at_least
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.names import NormName

# The first radius, in widths of the bounds.
FIRST_RADIUS: dict[NormName, float] = {"Linf": 0.01, "L2": 0.1}
# The radius stays within this factor of the first one, up and down.
RADIUS_RANGE = 10.0


@dataclass(frozen=True, kw_only=True)
class TrustRegion(Attack):
    """Goes towards the class whose linearised boundary is nearest at first, each example until the model is wrong.

    A step leads to that boundary or as far as the radius allows. Where the logits then changed about as much as the
    linear approximation predicted, the radius grows; where they changed far less, it shrinks. A step from a point
    where the gradient is 0 leaves the point as it is.

    Attributes:
        eps: Largest perturbation that counts, in data space; None for any.
        n_iter: Most steps.
        radius: Length of the longest first step, in data space; None for 1 % (Linf) or 10 % (L2) of the bounds' width.
        growth: Factor by which the radius grows or shrinks; 1 for a fixed radius.
        grow_above: Share of the predicted change above which the radius grows.
        shrink_below: Share of the predicted change below which it shrinks.
        overshoot: How far the step goes past the boundary, as a share of the whole perturbation.
        n_candidates: How many of the most likely classes, the label included, the target is chosen from.
    """

    eps: float | None = None
    n_iter: int = 100
    radius: float | None = None
    growth: float = 1.2
    grow_above: float = 0.9
    shrink_below: float = 0.5
    overshoot: float = 0.02
    n_candidates: int = 10

    name = "trust-region"
    needs_eps = False

    def __post_init__(self) -> None:
        """Check the settings. Raises OptionError."""
        super().__post_init__()
        at_least(self, 1, "n_iter")
        at_least(self, 2, "n_candidates")  # the label and one more
        at_least(self, 0, "overshoot")
        if self.radius is not None and not 0 < self.radius < np.inf:
            raise OptionError(f"radius must be a finite number above 0, not {self.radius:g}")
        at_least(self, 1, "growth")
        if not self.shrink_below <= self.grow_above:
            raise OptionError(f"{self.name}: shrink_below must be at most grow_above")

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        """See `Attack`."""
        del rng  # nothing is random here
        classes = ranked_classes(model.logits(x), labels)[:, : self.n_candidates]
        targets = nearest_boundary(model, x, classes, self.metric).target
        x_adv: Floats = x.copy()
        live = np.arange(len(x))
        radius = np.full(len(x), self._first_radius(model))
        expected = np.full(len(x), -np.inf)  # before the first step nothing was expected
        previous = np.zeros(len(x))
        for _ in range(self.n_iter):
            logits, gap, normal = model.evaluate(x_adv[live], labels[live], loss="difference", targets=targets[live])
            model.step(len(live))
            right = ~is_wrong(logits, labels[live])
            live, gap, normal = live[right], gap[right], normal[right]
            if not len(live):
                break
            radius[live] = self._adapted(model, radius[live], gap - previous[live], expected[live])
            distance = distance_to_zero(beyond(gap, normal, x_adv[live], self.metric), normal, self.metric)
            travelled = self.metric.length(x_adv[live] - x[live])
            wanted = (1 + self.overshoot) * distance + self.overshoot * travelled
            length = np.where(np.isfinite(distance), np.minimum(wanted, radius[live]), 0)
            expected[live] = length * self.metric.dual_length(normal)
            previous[live] = gap
            step = per_example(length.astype(np.float32), x) * self.metric.direction(normal)
            x_adv[live] = model.clip(x_adv[live] + step)
        return x_adv

    def n_steps(self, n_classes: int) -> int:
        """See `Attack`."""
        del n_classes
        return self.n_iter

    def _first_radius(self, model: Probe) -> float:
        low, high = model.bounds
        return FIRST_RADIUS[self.norm] * (high - low) if self.radius is None else self.radius

    def _adapted(self, model: Probe, radius: Array, change: Array, expected: Array) -> Array:
        """Radii (N,) after steps that changed the gap of logits by `change`, where `expected` had been promised."""
        first = self._first_radius(model)
        tried = expected > 0
        factor = np.ones_like(radius)
        factor[tried & (change > self.grow_above * expected)] = self.growth
        factor[tried & (change < self.shrink_below * expected)] = 1 / self.growth
        adapted: Array = np.clip(radius * factor, first / RADIUS_RANGE, first * RADIUS_RANGE)
        return adapted
