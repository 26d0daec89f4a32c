"""What a choice of jumps is worth: the examples that withstand every attack of a fixed set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Bools, Floats, Labels
from onnx_jumprelu.attacks import APGDCE, PGD, DeepFool
from onnx_jumprelu.attacks.apgd import on_ratios
from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.errors import DataError
from onnx_jumprelu.names import NormName
from onnx_jumprelu.tuning.sweep import Jumps, Sweep

N_TARGETS = 3  # other classes that a targeted attack tries, the likeliest first
MOST_FOR_EPS = 100  # examples; a median needs no more


@dataclass(frozen=True)
class Threat:
    """What the attacks may do.

    Attributes:
        eps: Largest perturbation, in data space.
        norm: How it is measured.
    """

    eps: float
    norm: NormName

    def quick(self, n_iter: int) -> Sequence[tuple[Attack, str]]:
        """A few attacks for comparing many candidates, each with the derivative at the jumps that it uses."""
        # Exact gradients alone would make the search prefer jumps that merely hide them. With smooth ones a few steps
        # of fixed size do not tell candidates apart: they rank them otherwise than the thorough attacks do.
        smooth = APGDCE(eps=self.eps, norm=self.norm, n_iter=3 * n_iter)
        cross_entropy = PGD(eps=self.eps, norm=self.norm, n_iter=n_iter)
        margin = PGD(eps=self.eps, norm=self.norm, n_iter=n_iter, loss="margin")
        return ((smooth, "smooth"), (cross_entropy, "relu"), (margin, "exact"))

    def thorough(self, n_iter: int, n_classes: int) -> Sequence[tuple[Attack, str]]:
        """More and longer attacks for the few that are left, on a model with this number of classes."""
        apgd = APGDCE(eps=self.eps, norm=self.norm, n_iter=n_iter)
        ratios = on_ratios(n_classes, eps=self.eps, norm=self.norm, n_iter=n_iter, n_target_classes=N_TARGETS)
        margin = PGD(eps=self.eps, norm=self.norm, n_iter=n_iter, loss="margin")
        return (
            (apgd, "smooth"),
            *((attack, "smooth") for attack in ratios),
            (apgd, "relu"),
            (apgd, "exact"),
            (margin, "relu"),
            (margin, "exact"),
        )


class WorstCase:
    """The worst case over white-box (`exact`), adaptive (`relu`, `smooth`) and gray-box attacks, on fixed examples.

    Gray-box examples are crafted once, on the original, and replayed on every candidate. The original is attacked by
    the same attacks: its derivatives agree, so that it meets each loss several times, from different starts.
    """

    def __init__(
        self, sweep: Sweep, x: Floats, labels: Labels, attacks: Sequence[tuple[Attack, str]], seed: int
    ) -> None:
        """Craft the gray-box examples.

        Args:
            sweep: The model.
            x: Inputs of shape (N, ...) in data space.
            labels: Their classes, of shape (N,).
            attacks: The attacks, with the derivative at the jumps that each uses.
            seed: Every candidate meets the same random starts, so that candidates differ by their jumps alone.
        """
        self._sweep, self._x, self._labels, self._attacks, self._seed = sweep, x, labels, attacks, seed
        self._gray: list[Floats] = []
        self.original = self._attacked(sweep.zero, keep=True)

    def __len__(self) -> int:
        """Number of examples."""
        return len(self._x)

    def standing(self, jumps: Jumps) -> Bools:
        """Whether the model with these jumps withstands every attack, of shape (N,)."""
        return self.original if not any(jumps) else self._attacked(jumps, keep=False)

    def _attacked(self, jumps: Jumps, *, keep: bool) -> Bools:
        sweep, x, labels = self._sweep, self._x, self._labels
        standing = sweep.correct(jumps, x, labels)
        for replayed in self._gray:
            standing &= sweep.correct(jumps, replayed, labels)
        for number, (attack, surrogate) in enumerate(self._attacks):
            # Those that fell already need no second proof; the original's are all crafted, to be replayed.
            left = np.arange(len(x)) if keep else np.flatnonzero(standing)
            if not len(left):
                break
            rng = np.random.default_rng([self._seed, number])
            result = attack(sweep.at(jumps, surrogate), x[left], labels[left], rng=rng)
            standing[left] &= ~result.success
            if keep:
                self._gray.append(result.x_adv)
        return standing


def default_eps(sweep: Sweep, x: Floats, labels: Labels, norm: NormName, seed: int) -> float:
    """The median length of the smallest perturbations that DeepFool finds on the original, to two digits.

    At this size about half of the examples fall: the defence has something to win, and something to lose.

    Raises:
        DataError: it found none, or the model gets nothing right.
    """
    x, labels = x[:MOST_FOR_EPS], labels[:MOST_FOR_EPS]
    result = DeepFool(eps=None, norm=norm)(sweep.at(sweep.zero), x, labels, rng=np.random.default_rng(seed))
    fooled = result.success & result.correct
    if 2 * fooled.sum() < max(1, result.correct.sum()):
        raise DataError("no eps was given, and DeepFool fools too few of these examples to choose one; give --eps")
    return float(f"{np.median(result.perturbation[fooled]):.2g}")
