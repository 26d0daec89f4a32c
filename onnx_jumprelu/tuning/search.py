"""Candidates for the jumps, family by family, and how they do under the quick attacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.values import Jump
from onnx_jumprelu.arrays import Bools, Floats, Labels
from onnx_jumprelu.tuning.objective import WorstCase
from onnx_jumprelu.tuning.preactivations import PreActivations, pooled_quantile
from onnx_jumprelu.tuning.sweep import Jumps, Sweep

FAMILIES = ("uniform", "quantile", "sites")
PER_CHANNEL = "channels"  # the family that is searched only on request
ORIGINAL = "original"
# Levels are shares of the positive pre-activations that a jump silences: of all sites at once, and of one site.
COMMON_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SITE_LEVELS = (0.0, 0.15, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85)
FEWEST_SITE_LEVELS = 3  # for a network with many sites: 0, a low and a high level
ROUNDING = 1e-9  # a drop of exactly max_drop is within the budget
FINE_STEPS = (-0.08, -0.04, 0.04, 0.08)  # added to the level of a site


@dataclass(frozen=True)
class Trial:
    """One candidate.

    Attributes:
        jumps: The jump of each site.
        family: How it was found.
        strength: Share of the positive pre-activations that it silences, averaged over the sites.
        correct: Whether the model is right without an attack, for all validation examples.
        withstood: Whether the model withstood every attack, for the attacked examples.
    """

    jumps: Jumps
    family: str
    strength: float
    correct: Bools
    withstood: Bools

    @property
    def clean_accuracy(self) -> float:
        """Share of all validation examples that the model gets right without an attack."""
        return float(self.correct.mean())

    @property
    def worst_case(self) -> float:
        """Share of the attacked examples that withstood every attack."""
        return float(self.withstood.mean())

    @property
    def size(self) -> tuple[float, float]:
        """How large the jumps are: first by what they silence, then by their sum."""
        return self.strength, sum(Parameters(jump).size for jump in self.jumps)

    @property
    def rank(self) -> tuple[float, float, float]:
        """Larger is better: first by worst case, then by smaller jumps."""
        return self.worst_case, -self.size[0], -self.size[1]


@dataclass(frozen=True)
class Scene:
    """What all candidates have in common.

    Attributes:
        sweep: The model.
        x: All validation inputs, of shape (N, ...).
        labels: Their classes, of shape (N,).
        sites: The sites' pre-activations.
        max_drop: How much clean accuracy the jumps may cost.
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
        return int(original.sum()) - int(correct.sum()) <= self.max_drop * len(correct) + ROUNDING

    def trial(self, jumps: Jumps, family: str, worst_case: WorstCase, correct: Bools | None = None) -> Trial:
        """Attack the model with these jumps."""
        silenced = [site.silenced(jump) for site, jump in zip(self.sites, jumps, strict=True)]
        clean = self.correct(jumps) if correct is None else correct
        return Trial(jumps, family, float(np.mean(silenced)), clean, worst_case.withstood(jumps))


class Search:
    """Tries a limited number of candidates, each once.

    Attributes:
        trials: All candidates that were attacked, the original first.
        cut_short: Whether it used up its candidates before the last site.
    """

    def __init__(
        self, scene: Scene, worst_case: WorstCase, n_trials: int, on_done: Callable[[int], None] = lambda _: None
    ) -> None:
        """Begin with the original; `n_trials` is the largest number of candidates to try."""
        self._scene, self._worst_case, self._on_done = scene, worst_case, on_done
        self._tried: dict[Jumps, Trial | None] = {}
        self.cut_short = False
        # The first two families get a quarter each, so that at least half is left for the search site by site.
        self._left, self._per_family = n_trials, max(1, n_trials // 4)
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
        """The attacked candidates within the clean-accuracy budget, the original first."""
        return [trial for trial in self.trials if self._scene.affordable(trial.correct, self._original)]

    def run(self, families: Iterable[str], *, per_channel: bool = False) -> None:
        """Try families of candidates in a fixed order, and jumps per channel last."""
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
        """Try one jump for all sites: quantiles of the positive pre-activations of all sites together."""
        count = len(self._scene.sites)
        for level in _spread(COMMON_LEVELS, self._per_family):
            self._try((pooled_quantile(self._scene.sites, level),) * count, "uniform", costly=True)

    def quantile(self) -> None:
        """Try one level for all sites: each site gets that quantile of its own positive pre-activations."""
        for level in _spread(COMMON_LEVELS, self._per_family):
            self._try(tuple(site.quantile(level) for site in self._scene.sites), "quantile", costly=True)

    def by_site(self) -> None:
        """Change one site after the other, from the input on; start at jump 0 everywhere, then at the best."""
        starts = dict.fromkeys((self.original.jumps, max(self.affordable, key=lambda trial: trial.rank).jumps))
        share = max(1, self._left // (len(starts) + 1))  # the last share is for the fine steps
        for start in starts:
            self._pass(self._tried[start] or self.original, share)
        # Start from a candidate with jumps even if the original ranks higher: what gains may lie between two levels.
        with_jumps = [trial for trial in self.affordable if any(trial.jumps)]
        self._fine(max(with_jumps or self.affordable, key=lambda trial: trial.rank))

    def by_channel(self) -> None:
        """Change one site after the other; each channel gets a quantile of its own pre-activations."""
        best = max(self.affordable, key=lambda trial: trial.rank)
        with_channels = [position for position, site in enumerate(self._scene.sites) if site.channels]
        count = max(FEWEST_SITE_LEVELS, self._left // max(1, 2 * len(with_channels)))
        levels = _spread(SITE_LEVELS[1:], count)
        for position in with_channels:
            best = self._best_levels_of_channels(best, position, levels)
        for position in with_channels:
            if best.jumps[position]:
                level = self._scene.sites[position].silenced(best.jumps[position])
                best = self._best_levels_of_channels(best, position, _around(level, (0, *FINE_STEPS)))

    def _best_levels_of_channels(self, best: Trial, position: int, levels: Iterable[float]) -> Trial:
        site = self._scene.sites[position]
        return self._best_of(best, position, [site.channel_quantiles(level) for level in levels], PER_CHANNEL)

    def _pass(self, best: Trial, budget: int) -> None:
        """Change one site after the other, keeping the best, until this many candidates have been tried."""
        sites, before = self._scene.sites, self._left
        count = max(FEWEST_SITE_LEVELS, budget // len(sites))
        # The highest level is rarely of use, so it is left out first.
        levels = _spread(SITE_LEVELS if count >= len(SITE_LEVELS) else SITE_LEVELS[:-1], count)
        for position, site in enumerate(sites):
            if before - self._left >= budget:
                self.cut_short = True
                return
            best = self._best_of(best, position, [site.quantile(level) for level in levels])

    def _fine(self, best: Trial) -> None:
        """At the sites that have a jump, try jump 0 and small steps of the level."""
        for position, site in enumerate(self._scene.sites):
            if best.jumps[position]:
                levels = _around(site.silenced(best.jumps[position]), FINE_STEPS)
                best = self._best_of(best, position, [0.0, *map(site.quantile, levels)])

    def _best_of(self, best: Trial, position: int, jumps: Iterable[Jump], family: str = "sites") -> Trial:
        """The best of a candidate and of those that replace its jump at one site."""
        base = best.jumps
        options = [self._try((*base[:position], jump, *base[position + 1 :]), family) for jump in jumps]
        return max([best, *(trial for trial in options if trial is not None)], key=lambda trial: trial.rank)

    def _try(self, jumps: Jumps, family: str, *, costly: bool = False) -> Trial | None:
        """Attack a candidate; None if no candidates are left, or if it costs too much clean accuracy.

        With `costly`, a candidate that costs too much is attacked too: it shows what the budget rules out.
        """
        if jumps not in self._tried and self._left > 0:
            self._left -= 1
            correct = self._scene.correct(jumps)
            worth_it = costly or self._scene.affordable(correct, self._original)
            self._tried[jumps] = self._scene.trial(jumps, family, self._worst_case, correct) if worth_it else None
            self._on_done(1)
        trial = self._tried.get(jumps)
        return trial if trial is not None and self._scene.affordable(trial.correct, self._original) else None


def _around(level: float, steps: Iterable[float]) -> list[float]:
    """A level plus each of these steps, where the sum lies between 0 and 1."""
    return [level + step for step in steps if 0 < level + step < 1]


def _spread(levels: Sequence[float], count: int) -> list[float]:
    """`count` of these levels at equal distances, including the first and the last."""
    if count >= len(levels):
        return list(levels)
    return [levels[round(position)] for position in np.linspace(0, len(levels) - 1, count)]
