"""Projected gradient descent (that is, ascent of the loss), in steps of one length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.attacks.probe import Probe, is_wrong
from onnx_jumprelu.attacks.steps import Attempt, at_least, best_of, budget, check_classes, check_loss, inside
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.gradient.core.losses import LossLike

# Madry et al. and their successors: the steps together reach 2.5 times across the budget.
REACH = 2.5


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """Steps of one length up the loss, each projected onto the budget (https://arxiv.org/abs/1706.06083).

    Work on an example ends as soon as it is fooled. Where it never is, the attempt with the highest loss is kept.

    Attributes:
        n_iter: Steps per restart.
        step_size: Length of a step, in data space; None for 2.5 eps / n_iter.
        n_restarts: How often to start.
        random_start: Start anywhere within the budget rather than at the input itself.
        loss: `ce`, `dlr` or `margin`; or a function that appends the nodes of another loss.
    """

    n_iter: int = 40
    step_size: float | None = None
    n_restarts: int = 1
    random_start: bool = True
    loss: LossLike = "ce"

    name = "pgd"

    def __post_init__(self) -> None:
        """Check the settings. Raises OptionError."""
        super().__post_init__()
        at_least(self, 1, "n_iter", "n_restarts")
        check_loss(self, self.loss)
        if self.step_size is not None and not 0 < self.step_size < np.inf:
            raise OptionError(f"{self.name}: step_size must be a finite number above 0, not {self.step_size:g}")
        if self.n_restarts > 1 and not self.random_start:
            raise OptionError(f"{self.name}: {self.n_restarts} restarts need random starts; otherwise all are the same")

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        """See `Attack`. Raises DataError where the model has too few classes for the loss."""
        check_classes(self, self.loss, model.n_classes)
        climbs = (lambda left: self._climb(model, x[left], labels[left], rng) for _ in range(self.n_restarts))
        return best_of(climbs, x)

    def n_steps(self, n_classes: int) -> int:
        """See `Attack`; the last evaluation of the model counts as a step."""
        del n_classes
        return self.n_restarts * (self.n_iter + 1)

    def gradient(
        self, model: Probe, x_adv: Floats, labels: Labels, rng: np.random.Generator
    ) -> tuple[Floats, Floats, Floats]:
        """Logits (N, classes), loss (N,) and the direction to climb along, of the shape of `x_adv`."""
        del rng
        return model.evaluate(x_adv, labels, self.loss)

    def _climb(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Attempt:
        eps, metric = budget(self), self.metric
        step = np.float32(REACH * eps / self.n_iter if self.step_size is None else self.step_size)
        x_adv = inside(model, metric, x + np.float32(eps) * metric.random(rng, x.shape), x, eps)
        if not self.random_start:
            x_adv = x
        best = Attempt(x_adv.copy(), np.full(len(x), -np.inf, np.float32), np.zeros(len(x), np.bool_))
        left: Labels = np.arange(len(x))
        # One evaluation more than steps, because the last step's result counts too.
        for steps_to_go in range(self.n_iter, -1, -1):
            logits, loss, gradient = self.gradient(model, x_adv, labels, rng)
            model.step(len(x_adv))
            wrong = is_wrong(logits, labels)
            better = wrong | (loss > best.loss[left])
            improved = left[better]
            best.x_adv[improved], best.loss[improved], best.fooled[improved] = (
                x_adv[better],
                loss[better],
                wrong[better],
            )
            if wrong.any():
                right = ~wrong
                left, labels = left[right], labels[right]
                x, x_adv, gradient = x[right], x_adv[right], gradient[right]
            if not len(left) or not steps_to_go:
                break
            x_adv = inside(model, metric, x_adv + step * metric.direction(gradient), x, eps)
        return best
