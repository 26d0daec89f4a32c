"""The value of a choice of jumps: which examples withstand every attack of a fixed set."""

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

N_TARGETS = 3  # classes that a targeted attack tries, the likeliest first
MOST_FOR_EPS = 100  # examples from which a median is taken


@dataclass(frozen=True)
class Threat:
    """What the attacks may do.

    Attributes:
        eps: Largest perturbation, in data space.
        norm: Norm of the perturbation.
    """

    eps: float
    norm: NormName

    def quick(self, n_iter: int) -> Sequence[tuple[Attack, str]]:
        """A few short attacks to compare many candidates; each is paired with the surrogate that it uses."""
        # With exact gradients only, the search would prefer jumps that merely hide gradients. With smooth gradients, a
        # few steps of fixed size rank candidates differently from the thorough attacks, so that attack is APGD.
        smooth = APGDCE(eps=self.eps, norm=self.norm, n_iter=3 * n_iter)
        cross_entropy = PGD(eps=self.eps, norm=self.norm, n_iter=n_iter)
        margin = PGD(eps=self.eps, norm=self.norm, n_iter=n_iter, loss="margin")
        return ((smooth, "smooth"), (cross_entropy, "relu"), (margin, "exact"))

    def thorough(self, n_iter: int, n_classes: int) -> Sequence[tuple[Attack, str]]:
        """More and longer attacks for the finalists, on a model with this number of classes."""
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

    Gray-box examples are made once, on the original, and replayed on every candidate. The same attacks are run on the
    original. It has no jumps, so all surrogates give the same gradients: it meets each loss several times, each time
    from other random starts.
    """

    def __init__(
        self, sweep: Sweep, x: Floats, labels: Labels, attacks: Sequence[tuple[Attack, str]], seed: int
    ) -> None:
        """Attack the original and keep the adversarial examples for gray-box attacks.

        Args:
            sweep: The model.
            x: Inputs of shape (N, ...) in data space.
            labels: Their classes, of shape (N,).
            attacks: The attacks, each paired with the surrogate that it uses.
            seed: Seed of the random starts, which are the same for every candidate.
        """
        self._sweep, self._x, self._labels, self._attacks, self._seed = sweep, x, labels, attacks, seed
        self._made_on_original: list[Floats] = []
        self.original = self._attacked(sweep.zero, keep_examples=True)

    def __len__(self) -> int:
        """Number of examples."""
        return len(self._x)

    def withstood(self, jumps: Jumps) -> Bools:
        """Whether the model with these jumps withstands every attack, of shape (N,)."""
        return self.original if not any(jumps) else self._attacked(jumps, keep_examples=False)

    def _attacked(self, jumps: Jumps, *, keep_examples: bool) -> Bools:
        sweep, x, labels = self._sweep, self._x, self._labels
        withstood = sweep.correct(jumps, x, labels)
        for replayed in self._made_on_original:
            withstood &= sweep.correct(jumps, replayed, labels)
        for number, (attack, surrogate) in enumerate(self._attacks):
            # An example that fell already is not attacked again, unless adversarial examples are needed for replay.
            left = np.arange(len(x)) if keep_examples else np.flatnonzero(withstood)
            if not len(left):
                break
            rng = np.random.default_rng([self._seed, number])
            result = attack(sweep.at(jumps, surrogate), x[left], labels[left], rng=rng)
            withstood[left] &= ~result.success
            if keep_examples:
                self._made_on_original.append(result.x_adv)
        return withstood


def default_eps(sweep: Sweep, x: Floats, labels: Labels, norm: NormName, seed: int) -> float:
    """The median size of the smallest perturbations that DeepFool finds on the original, to two digits.

    At this size about half of the examples fall, so a defence can show a gain or a loss.

    Raises:
        DataError: DeepFool fools fewer than half of the examples that the model gets right, or the model gets none
            right.
    """
    x, labels = x[:MOST_FOR_EPS], labels[:MOST_FOR_EPS]
    result = DeepFool(eps=None, norm=norm)(sweep.at(sweep.zero), x, labels, rng=np.random.default_rng(seed))
    fooled = result.success & result.correct
    if 2 * fooled.sum() < max(1, result.correct.sum()):
        raise DataError("DeepFool fools too few of these examples to choose eps from; give --eps")
    return float(f"{np.median(result.perturbation[fooled]):.2g}")
