"""Auto-PGD: projected gradient ascent that halves its own steps, untargeted and targeted.

Written from Croce & Hein 2020, https://arxiv.org/abs/2003.01690, algorithm 1 and section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from onnx_jumprelu.arrays import Bools, Floats, Labels, per_example
from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.attacks.boundary import ranked_classes
from onnx_jumprelu.attacks.probe import Probe, is_wrong
from onnx_jumprelu.attacks.steps import (
    Attempt,
    at_least,
    best_of,
    budget,
    check_classes,
    inside,
)
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.gradient.core.losses import LOSSES, loss_of
from onnx_jumprelu.names import NormName

# Share of a step that goes up the gradient; the rest repeats the step before.
UPHILL = np.float32(0.75)
# The first step's length, in eps.
FIRST_STEP = 2.0


@dataclass
class _Climbers:
    """The examples that are not fooled yet, one entry per example in every array.

    `increases` counts the steps since the last checkpoint that raised the loss; the `last_` fields are as the last
    checkpoint left them.
    """

    place: Labels  # position among all examples of this climb
    x: Floats
    labels: Labels
    targets: Labels
    x_adv: Floats
    before: Floats  # x_adv one step earlier
    gradient: Floats
    loss: Floats
    best: Floats
    best_gradient: Floats
    best_loss: Floats
    step: Floats
    increases: Labels
    last_best_loss: Floats
    last_halved: Bools

    def keep(self, some: Bools) -> None:
        """Forget the other examples."""
        for entry in fields(self):
            setattr(self, entry.name, getattr(self, entry.name)[some])

    def note(self, loss: Floats, gradient: Floats) -> None:
        """Take in what the model says of `x_adv`."""
        self.increases += loss > self.loss
        self.loss, self.gradient = loss, gradient
        better = loss > self.best_loss
        self.best[better], self.best_gradient[better] = self.x_adv[better], gradient[better]
        self.best_loss[better] = loss[better]

    def check(self, n_steps: int, rho: float) -> None:
        """After `n_steps` steps: where they brought too little, halve the step and go back to the best point."""
        stuck = ~self.last_halved & (self.last_best_loss >= self.best_loss)
        halved = (self.increases <= rho * n_steps) | stuck
        self.step[halved] /= 2
        self.x_adv[halved] = self.best[halved]
        # These two came from the model, and are not ours to write to.
        self.gradient = np.where(per_example(halved, self.x), self.best_gradient, self.gradient)
        self.loss = np.where(halved, self.best_loss, self.loss)
        self.last_halved, self.last_best_loss = halved, self.best_loss.copy()
        self.increases[:] = 0


@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """Auto-PGD (https://arxiv.org/abs/2003.01690): no step size to choose.

    It starts with steps of length 2 eps. At checkpoints that come ever closer together, an example's step is halved
    where fewer than a share `rho` of the steps raised the loss, or where the best loss has not moved since a checkpoint
    that left the step alone; it then goes on from its best point. Work on an example ends as soon as it is fooled.

    Attributes:
        n_iter: Steps per restart.
        n_restarts: How often to start, each time from a random point within the budget.
        rho: Share of steps that must raise the loss, between 0 and 1.
    """

    n_iter: int = 100
    n_restarts: int = 1
    rho: float = 0.75

    loss: ClassVar[str]

    def __post_init__(self) -> None:
        """Check the settings. Raises OptionError."""
        super().__post_init__()
        at_least(self, 1, "n_iter", "n_restarts")
        if not 0 <= self.rho <= 1:
            raise OptionError(f"{self.name}: rho must lie between 0 and 1, not {self.rho:g}")

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        """See `Attack`. Raises DataError where the model has too few classes for the loss."""
        check_classes(self, self.loss, model.n_classes)
        climbs = (
            lambda left, targets=targets: self._climb(model, x[left], labels[left], targets[left], rng)
            for targets in self.targets(model, x, labels)
            for _ in range(self.n_restarts)
        )
        return best_of(climbs, x)

    def n_steps(self, n_classes: int) -> int:
        """See `Attack`; the first evaluation of the model counts as a step."""
        del n_classes
        return self.n_restarts * (self.n_iter + 1)

    def targets(self, model: Probe, x: Floats, labels: Labels) -> Sequence[Labels]:
        """The classes to climb towards, one (N,) array per climb; without targets one climb with a placeholder."""
        del model, x
        return [labels]

    def _climb(self, model: Probe, x: Floats, labels: Labels, targets: Labels, rng: np.random.Generator) -> Attempt:
        eps, metric = budget(self), self.metric
        x_adv = inside(model, metric, x + np.float32(eps) * metric.random(rng, x.shape), x, eps)
        logits, loss, gradient = self._ask(model, x_adv, labels, targets)
        now = _Climbers(
            place=np.arange(len(x)),
            x=x,
            labels=labels,
            targets=targets,
            x_adv=x_adv,
            before=x_adv,
            gradient=gradient,
            loss=loss,
            best=x_adv.copy(),
            best_gradient=gradient.copy(),
            best_loss=loss.copy(),
            step=np.full(len(x), FIRST_STEP * eps, np.float32),
            increases=np.zeros(len(x), np.int64),
            last_best_loss=loss.copy(),
            last_halved=np.ones(len(x), np.bool_),
        )
        result = Attempt(x_adv.copy(), loss.copy(), np.zeros(len(x), np.bool_))
        self._settle(result, now, is_wrong(logits, labels))
        checkpoints, last_check = checkpoints_of(self.n_iter), 0
        for i in range(1, self.n_iter + 1):
            if not len(now.x):
                break
            now.x_adv, now.before = self._step(model, now, first=i == 1), now.x_adv
            logits, loss, gradient = self._ask(model, now.x_adv, now.labels, now.targets)
            now.note(loss, gradient)
            self._settle(result, now, is_wrong(logits, now.labels))
            if i in checkpoints:
                now.check(i - last_check, self.rho)
                last_check = i
        result.x_adv[now.place], result.loss[now.place] = now.best, now.best_loss
        return result

    def _ask(self, model: Probe, x_adv: Floats, labels: Labels, targets: Labels) -> tuple[Floats, Floats, Floats]:
        found = model.evaluate(x_adv, labels, self.loss, targets if loss_of(self.loss).targeted else None)
        model.step(len(x_adv))
        return found

    def _step(self, model: Probe, now: _Climbers, *, first: bool) -> Floats:
        eps, metric = budget(self), self.metric
        uphill = metric.direction(now.gradient)
        uphill *= per_example(now.step, uphill)
        uphill += now.x_adv
        aim = inside(model, metric, uphill, now.x, eps)
        if first:
            return aim
        aim -= now.x_adv
        aim *= UPHILL
        momentum = now.x_adv - now.before
        momentum *= 1 - UPHILL
        aim += momentum
        aim += now.x_adv
        return inside(model, metric, aim, now.x, eps)

    @staticmethod
    def _settle(result: Attempt, now: _Climbers, wrong: Bools) -> None:
        """Record the examples that are fooled now, and stop working on them."""
        if not wrong.any():
            return
        fooled = now.place[wrong]
        result.x_adv[fooled], result.loss[fooled], result.fooled[fooled] = now.x_adv[wrong], now.loss[wrong], True
        now.keep(~wrong)


@dataclass(frozen=True, kw_only=True)
class APGDCE(APGD):
    """APGD on the cross-entropy."""

    name = "apgd-ce"
    loss = "ce"


@dataclass(frozen=True, kw_only=True)
class APGDDLR(APGD):
    """APGD on the difference of logits ratio, whose gradient stays useful however large the logits are."""

    name = "apgd-dlr"
    loss = "dlr"


@dataclass(frozen=True, kw_only=True)
class TargetedAPGD(APGD):
    """APGD on the targeted difference of logits ratio, towards one likely wrong class after the other.

    Attributes:
        n_target_classes: How many classes to aim at, the most likely ones first; at most all wrong ones.
    """

    n_target_classes: int = 9

    name = "apgd-t"
    loss = "dlr-targeted"

    def __post_init__(self) -> None:
        """Check the settings. Raises OptionError."""
        super().__post_init__()
        at_least(self, 1, "n_target_classes")

    def n_steps(self, n_classes: int) -> int:
        """See `Attack`."""
        return min(self.n_target_classes, n_classes - 1) * super().n_steps(n_classes)

    def targets(self, model: Probe, x: Floats, labels: Labels) -> Sequence[Labels]:
        """The most likely wrong classes of `x`, one (N,) array per rank."""
        ranked = ranked_classes(model.logits(x), labels)  # the label comes first
        return list(ranked[:, 1 : 1 + self.n_target_classes].T)


def on_ratios(
    n_classes: int, *, eps: float | None, norm: NormName, n_iter: int, n_target_classes: int, n_restarts: int = 1
) -> list[Attack]:
    """APGD on a difference of logits ratio: targeted from 4 classes on, untargeted for 3; two classes have no ratio."""
    if n_classes >= LOSSES[TargetedAPGD.loss].n_classes:
        climbs = {"n_iter": n_iter, "n_restarts": n_restarts}
        return [TargetedAPGD(eps=eps, norm=norm, n_target_classes=n_target_classes, **climbs)]
    if n_classes >= LOSSES[APGDDLR.loss].n_classes:
        return [APGDDLR(eps=eps, norm=norm, n_iter=n_iter, n_restarts=n_restarts)]
    return []


def checkpoints_of(n_iter: int) -> set[int]:
    """The steps after which APGD looks back: gaps of 22 % of the steps, then 3 % less each time, at least 6 %."""
    percents, gap = [22], 19
    while percents[-1] + gap <= 100:  # noqa: PLR2004 - percent
        percents.append(percents[-1] + gap)
        gap = max(gap - 3, 6)
    return {-(-percent * n_iter // 100) for percent in percents}
