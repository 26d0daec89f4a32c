"""AutoAttack: four attacks in a fixed order, each on the examples that the earlier ones did not fool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.attacks.apgd import APGDCE, on_ratios
from onnx_jumprelu.attacks.base import Attack, AttackResult
from onnx_jumprelu.attacks.fab import TargetedFAB
from onnx_jumprelu.attacks.probe import Classifier, Probe
from onnx_jumprelu.attacks.square import Square
from onnx_jumprelu.attacks.steps import at_least


@dataclass(frozen=True, kw_only=True)
class AutoAttack(Attack):
    """The standard four of AutoAttack (https://arxiv.org/abs/2003.01690): apgd-ce, apgd-t, fab-t, square.

    Each works on the examples that the earlier ones did not fool; whether an example is fooled is asked of the model
    once the attempt lies within the budget. On models with three classes apgd-dlr replaces apgd-t, whose loss
    needs four. With two classes neither loss exists and apgd-t is left out: the gradient of the cross-entropy then
    points along the difference of the two logits anyway.

    Attributes:
        n_iter: Steps per restart of the gradient attacks.
        n_restarts: Restarts of the gradient attacks.
        n_target_classes: How many classes the targeted attacks aim at.
        n_queries: Queries of the square attack, per example.
    """

    n_iter: int = 100
    n_restarts: int = 1
    n_target_classes: int = 9
    n_queries: int = 5000

    name = "autoattack"

    def __post_init__(self) -> None:
        """Check the settings. Raises OptionError."""
        super().__post_init__()
        at_least(self, 1, "n_iter", "n_restarts", "n_target_classes", "n_queries")

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        """See `Attack`."""
        x_adv: Floats = x.copy()
        for left, result in self.in_turn(model, x, labels, rng=rng):
            x_adv[left] = result.x_adv
        return x_adv

    def n_steps(self, n_classes: int) -> int:
        """See `Attack`; those of its parts."""
        return sum(part.n_steps(n_classes) for part in self.parts(n_classes))

    def in_turn(
        self, classifier: Classifier, x: Floats, labels: Labels, *, rng: np.random.Generator
    ) -> Iterator[tuple[Labels, AttackResult]]:
        """Run the attacks one after the other, to see what each of them adds.

        Yields:
            The positions in `x` of the examples that were left, and what the attack achieved on these. The robust
            accuracy so far is the number of examples it did not fool over the number of all.
        """
        left = np.arange(len(x))
        for part in self.parts(classifier.n_classes):
            if not len(left):
                return
            result = part(classifier, x[left], labels[left], rng=rng)
            yield left, result
            left = left[~result.success]

    def parts(self, n_classes: int) -> list[Attack]:
        """The attacks for a model with this number of classes, in order."""
        eps, norm = self.eps, self.norm
        climbs, n_targets = {"n_iter": self.n_iter, "n_restarts": self.n_restarts}, self.n_target_classes
        return [
            APGDCE(eps=eps, norm=norm, **climbs),
            *on_ratios(n_classes, eps=eps, norm=norm, n_target_classes=n_targets, **climbs),
            TargetedFAB(eps=eps, norm=norm, n_target_classes=n_targets, **climbs),
            Square(eps=eps, norm=norm, n_queries=self.n_queries),
        ]
