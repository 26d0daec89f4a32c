"""Candidates for the jumps, family by family, and what the quick attacks say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.activation.parameters import Jump, Parameters
from onnx_jumprelu.arrays import Bools, Floats, Labels
from onnx_jumprelu.tuning.objective import WorstCase
from onnx_jumprelu.tuning.preactivations import PreActivations, pooled_quantile
from onnx_jumprelu.tuning.sweep import Jumps, Sweep

FAMILIES = ("uniform", "quantile", "sites")
CHANNELS = "channels"  # the family that is only searched when asked for
ORIGINAL = "original"
# Shares of the positive pre-activations that a jump silences.
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SITE_LEVELS = (0.0, 0.15, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85)
FEWEST_SITE_LEVELS = 3  # of a network with many sites: 0, a low one and a high one
TINY = 1e-9  # a drop of exactly max_drop is within it
FINE_STEPS = (-0.08, -0.04, 0.04, 0.08)


@dataclass(frozen=True)
class Trial:
    """One candidate.

    Attributes:
        jumps: The jump of each site.
        family: How it was found.
        strength: Share of the positive pre-activations that it silences, averaged over the sites: how large it is.
        correct: Whether the model is right without an attack, for all validation examples.
        standing: Whether it withstands every attack, for the examples that were attacked.
    """

    jumps: Jumps
    family: str
    strength: float
    correct: Bools
    standing: Bools

    @property
    def clean_accuracy(self) -> float:
        """Share of all validation examples that the model gets right without an attack."""
        return float(self.correct.mean())

    @property
    def worst_case(self) -> float:
        """Share of the attacked examples that withstand every attack."""
        return float(self.standing.mean())

    @property
    def size(self) -> tuple[float, float]:
        """How large the jumps are: by what they silence, and of two that silence as much, by their sum."""
        return self.strength, sum(Parameters(jump).size for jump in self.jumps)

    @property
    def rank(self) -> tuple[float, float, float]:
        """Larger is better; of two that withstand as much, the one with the smaller jumps."""
        return self.worst_case, -self.size[0], -self.size[1]


@dataclass(frozen=True)
class Scene:
    """What all candidates share.

    Attributes:
        sweep: The model.
        x: All validation inputs, of shape (N, ...).
        labels: Their classes, of shape (N,).
        sites: The sites' pre-activations.
        max_drop: How much clean accuracy may be lost.
    """

    sweep: Sweep
    x: Floats
    labels: Labels
    sites: Sequence[PreActivations]
    max_drop: float

    def correct(self, jumps: Jumps) -> Bools:
        """Whether the model with these jumps is right on each validation example, of shape (N,)."""
        return self.sweep.correct(jumps, self.x, self.labels)

    def affordable(self, correct: Bools, original: Bools) -> bool:
        """Whether clean accuracy is at most `max_drop` below the original's."""
        return int(original.sum()) - int(correct.sum()) <= self.max_drop * len(correct) + TINY

    def trial(self, jumps: Jumps, family: str, worst_case: WorstCase, correct: Bools | None = None) -> Trial:
        """Attack the model with these jumps."""
        silenced = [site.silenced(jump) for site, jump in zip(self.sites, jumps, strict=True)]
        clean = self.correct(jumps) if correct is None else correct
        return Trial(jumps, family, float(np.mean(silenced)), clean, worst_case.standing(jumps))


class Search:
    """Tries candidates within a budget, none of them twice.

    Attributes:
        trials: All candidates that were attacked, the original first.
        cut_short: Whether the budget ended before the last site.
    """

    def __init__(
        self, scene: Scene, worst_case: WorstCase, n_trials: int, on_done: Callable[[int], None] = lambda _: None
    ) -> None:
        """Begin with the original; `n_trials` is the number of candidates that may be tried in all."""
        self._scene, self._worst_case, self._on_done = scene, worst_case, on_done
        self._tried: dict[Jumps, Trial | None] = {}
        self.cut_short = False
        self._left, self._per_family = n_trials, max(1, n_trials // 4)  # at least half is for the search by site
        zero = scene.sweep.zero
        self._original = scene.correct(zero)
        self.original = scene.trial(zero, ORIGINAL, worst_case, self._original)
        self._tried[zero] = self.original

    @property
    def trials(self) -> list[Trial]:
        """All candidates that were attacked, the original first."""
        return [trial for trial in self._tried.values() if trial is not None]

    @property
    def affordable(self) -> list[Trial]:
        """Those within the clean-accuracy budget, the original first."""
        return [trial for trial in self.trials if self._scene.affordable(trial.correct, self._original)]

    def run(self, families: Iterable[str], *, per_channel: bool = False) -> None:
        """Try families of candidates, in their own order, and jumps per channel last."""
        chosen = set(families)
        reserved = self._left // 4 if per_channel and "sites" in chosen else 0
        self._left -= reserved
        if "uniform" in chosen:
            self.uniform()
        if "quantile" in chosen:
            self.quantile()
        if "sites" in chosen:
            self.by_site()
        self._left += reserved
        if per_channel:
            self.by_channel()

    def uniform(self) -> None:
        """One jump for all sites: quantiles of all positive pre-activations together."""
        count = len(self._scene.sites)
        for level in _spread(LEVELS, self._per_family):
            self._try((pooled_quantile(self._scene.sites, level),) * count, "uniform", costly=True)

    def quantile(self) -> None:
        """One level for all sites: each has that quantile of its own positive pre-activations."""
        for level in _spread(LEVELS, self._per_family):
            self._try(tuple(site.quantile(level) for site in self._scene.sites), "quantile", costly=True)

    def by_site(self) -> None:
        """One site after the other, from the input side on; from jump 0 everywhere, and from the best so far."""
        starts = dict.fromkeys((self.original.jumps, max(self.affordable, key=lambda trial: trial.rank).jumps))
        share = max(1, self._left // (len(starts) + 1))  # the last share is for the finer steps
        for start in starts:
            self._pass(self._tried[start] or self.original, share)
        # Also where no jump has gained yet: what gains may lie between two levels.
        with_jumps = [trial for trial in self.affordable if any(trial.jumps)]
        self._fine(max(with_jumps or self.affordable, key=lambda trial: trial.rank))

    def by_channel(self) -> None:
        """One site after the other, each channel at a quantile of its own pre-activations; from the best so far."""
        best = max(self.affordable, key=lambda trial: trial.rank)
        with_channels = [place for place, site in enumerate(self._scene.sites) if site.channels]
        levels = _spread(SITE_LEVELS[1:], max(FEWEST_SITE_LEVELS, self._left // max(1, 2 * len(with_channels))))
        for position in with_channels:
            site = self._scene.sites[position]
            best = self._best_of(best, position, [site.quantiles(level) for level in levels], CHANNELS)
        for position in with_channels:
            if best.jumps[position]:
                site = self._scene.sites[position]
                level = site.silenced(best.jumps[position])
                steps = [site.quantiles(level + step) for step in (0, *FINE_STEPS) if 0 < level + step < 1]
                best = self._best_of(best, position, steps, CHANNELS)

    def _pass(self, best: Trial, budget: int) -> None:
        sites, before = self._scene.sites, self._left
        count = max(FEWEST_SITE_LEVELS, budget // len(sites))
        # The highest level, which is rarely of use, is the first to go.
        levels = _spread(SITE_LEVELS if count >= len(SITE_LEVELS) else SITE_LEVELS[:-1], count)
        for position, site in enumerate(sites):
            if before - self._left >= budget:
                self.cut_short = True
                return
            best = self._best_of(best, position, [site.quantile(level) for level in levels])

    def _fine(self, best: Trial) -> None:
        """At the sites that have a jump: small steps up and down, and none at all."""
        for position, site in enumerate(self._scene.sites):
            if best.jumps[position]:
                level = site.silenced(best.jumps[position])
                steps = [site.quantile(level + step) for step in FINE_STEPS if 0 < level + step < 1]
                best = self._best_of(best, position, [0.0, *steps])

    def _best_of(self, best: Trial, position: int, jumps: Iterable[Jump], family: str = "sites") -> Trial:
        """The best of a candidate and those that differ from it in one site."""
        base = best.jumps
        options = [self._try((*base[:position], jump, *base[position + 1 :]), family) for jump in jumps]
        return max([best, *(trial for trial in options if trial is not None)], key=lambda trial: trial.rank)

    def _try(self, jumps: Jumps, family: str, *, costly: bool = False) -> Trial | None:
        """Attack a candidate; None where the budget is spent, or where it costs too much clean accuracy.

        `costly` candidates are attacked all the same: they show what the budget of clean accuracy rules out.
        """
        if jumps not in self._tried and self._left > 0:
            self._left -= 1
            correct = self._scene.correct(jumps)
            worth_it = costly or self._scene.affordable(correct, self._original)
            self._tried[jumps] = self._scene.trial(jumps, family, self._worst_case, correct) if worth_it else None
            self._on_done(1)
        trial = self._tried.get(jumps)
        return trial if trial is not None and self._scene.affordable(trial.correct, self._original) else None


def _spread(levels: Sequence[float], count: int) -> list[float]:
    """So many of these levels, the first and the last among them."""
    if count >= len(levels):
        return list(levels)
    return [levels[round(position)] for position in np.linspace(0, len(levels) - 1, count)]
