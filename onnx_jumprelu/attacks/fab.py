"""FAB, the fast adaptive boundary attack: the smallest perturbation, by projections onto linearised boundaries.

Croce and Hein 2020, https://arxiv.org/abs/1907.02044.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Array, Floats, Labels, per_example
from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.attacks.boundary import beyond, inner_product, nearest_boundary, ranked_classes
from onnx_jumprelu.attacks.probe import Probe
from onnx_jumprelu.attacks.projections import to_plane
from onnx_jumprelu.attacks.steps import at_least
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.names import NormName

# How far restarts begin from the example where there is no eps, in widths of the bounds.
RESTART_RADIUS: dict[NormName, float] = {"Linf": 0.3, "L2": 1.0}


@dataclass(frozen=True, kw_only=True)
class FAB(Attack):
    """Walks along the decision boundary towards the example.

    Each step goes to the nearest linearised boundary, overshoots it a little and is drawn towards the boundary's point
    nearest to the original example. An adversarial example so found is kept if it is the closest yet, and the walk goes
    on from a point between it and the original. With `eps`, an example is done as soon as a perturbation within `eps`
    is found; without, the walk uses all its steps to find the smallest one. A step from a point where the gradient is 0
    leaves the point as it is.

    Attributes:
        eps: Largest perturbation that counts, in data space; None for the smallest perturbation of any length.
        n_iter: Steps per walk.
        n_restarts: Walks; all but the first begin at a random point near the example.
        alpha_max: Largest pull towards the original example, from 0 to 1.
        eta: Overshoot of the projections, at least 1.
        beta: Where the walk goes on after a success, from the original example (0) to the adversarial one (1).
    """

    eps: float | None = None
    n_iter: int = 100
    n_restarts: int = 1
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    name = "fab"
    needs_eps = False

    def __post_init__(self) -> None:
        """Check the settings. Raises OptionError."""
        super().__post_init__()
        at_least(self, 1, "n_iter", "n_restarts")
        if not (0 <= self.alpha_max <= 1 and 0 <= self.beta <= 1 and 1 <= self.eta < np.inf):
            raise OptionError(f"{self.name}: alpha_max and beta lie between 0 and 1, and eta is at least 1")

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        """See `Attack`."""
        ranked = ranked_classes(model.logits(x), labels)
        best: Floats = x.copy()
        distance = np.full(len(x), np.inf)
        for classes in self._rounds(ranked):
            for restart in range(self.n_restarts):
                todo = np.flatnonzero(distance > self._enough)
                if not len(todo):
                    return best
                start = self._random_start(model, x[todo], distance[todo], rng) if restart else x[todo]
                found, length = self._walk(model, x[todo], start, classes[todo])
                # A walk that found nothing still leaves its last point, where no other found anything.
                closer = (length < distance[todo]) | np.isinf(distance[todo])
                best[todo[closer]], distance[todo[closer]] = found[closer], length[closer]
        return best

    def n_steps(self, n_classes: int) -> int:
        """See `Attack`."""
        del n_classes
        return self.n_restarts * self.n_iter

    @property
    def _enough(self) -> float:
        return 0.0 if self.eps is None else self.eps

    def _rounds(self, ranked: Labels) -> Sequence[Labels]:
        """For each round of walks, the label and the classes that it aims at, of shape (N, K)."""
        return [ranked]

    def _plane(self, model: Probe, x_adv: Floats, classes: Labels) -> tuple[Floats, Floats]:
        """The linearised boundary to go to: the gap of logits (N,), below 0 on the label's side, and its gradient."""
        boundary = nearest_boundary(model, x_adv, classes, self.metric)
        return boundary.gap, boundary.normal

    def _walk(self, model: Probe, x: Floats, start: Floats, classes: Labels) -> tuple[Floats, Array]:
        """The closest adversarial examples on one walk and their distances; infinite, with the last point, for none."""
        x_adv, labels = start.copy(), classes[:, 0]
        best: Floats = x_adv.copy()
        distance = np.full(len(x), np.inf)
        live = np.arange(len(x))
        for _ in range(self.n_iter):
            x_adv[live] = self._step(model, x[live], x_adv[live], classes[live])
            wrong = live[model.wrong(x_adv[live], labels[live])]
            model.step(len(live))
            # The exact length: what is within eps here is not moved by the final projection.
            length = self.metric.length(x_adv[wrong].astype(np.float64) - x[wrong])
            closer = wrong[length < distance[wrong]]
            best[closer], distance[closer] = x_adv[closer], length[length < distance[wrong]]
            x_adv[wrong] = x[wrong] + np.float32(self.beta) * (x_adv[wrong] - x[wrong])
            live = live[distance[live] > self._enough]
            if not len(live):
                break
        missed = np.isinf(distance)
        best[missed] = x_adv[missed]
        return best, distance

    def _step(self, model: Probe, x: Floats, x_adv: Floats, classes: Labels) -> Floats:
        gap, normal = self._plane(model, x_adv, classes)
        gap = beyond(np.nan_to_num(gap), normal, x_adv, self.metric)
        step = to_plane(x_adv, normal, -gap, model.bounds, self.norm)
        step_from_x = to_plane(x, normal, -gap - inner_product(normal, x - x_adv), model.bounds, self.norm)
        here, there = self.metric.length(step), self.metric.length(step_from_x)
        total = here + there
        # The nearer the boundary, the weaker the pull. Without a gradient both lengths are 0, and nothing moves.
        pull = np.divide(here, total, out=np.zeros_like(total), where=total > 0)
        pull = per_example(np.minimum(pull, self.alpha_max).astype(np.float32), x)
        eta = np.float32(self.eta)
        moved: Floats = (1 - pull) * (x_adv + eta * step) + pull * (x + eta * step_from_x)
        return model.clip(moved)

    def _random_start(self, model: Probe, x: Floats, distance: Array, rng: np.random.Generator) -> Floats:
        low, high = model.bounds
        radius = RESTART_RADIUS[self.norm] * (high - low) if self.eps is None else self.eps
        reach: Floats = (np.minimum(distance, radius) / 2).astype(np.float32)
        offset: Floats = per_example(reach, x) * self.metric.random(rng, x.shape)
        return model.clip(x + offset)


@dataclass(frozen=True, kw_only=True)
class TargetedFAB(FAB):
    """FAB with one wrong class at a time, the most likely first: one gradient per step, whatever the number of classes.

    Attributes:
        n_target_classes: How many of the most likely wrong classes are tried; all, where there are fewer.
    """

    n_target_classes: int = 9

    name = "fab-t"

    def __post_init__(self) -> None:
        """Check the settings. Raises OptionError."""
        super().__post_init__()
        at_least(self, 1, "n_target_classes")

    def n_steps(self, n_classes: int) -> int:
        """See `Attack`."""
        return min(self.n_target_classes, n_classes - 1) * super().n_steps(n_classes)

    def _rounds(self, ranked: Labels) -> Sequence[Labels]:
        n_targets = min(self.n_target_classes, ranked.shape[1] - 1)
        return [ranked[:, [0, 1 + target]] for target in range(n_targets)]

    def _plane(self, model: Probe, x_adv: Floats, classes: Labels) -> tuple[Floats, Floats]:
        _, gap, normal = model.evaluate(x_adv, classes[:, 0], loss="difference", targets=classes[:, 1])
        return gap, normal
