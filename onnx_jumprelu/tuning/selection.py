"""Which candidates are looked at again, and which one wins."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnx_jumprelu.tuning.search import Search, Trial

N_FINALISTS = 8
ROUNDING = 1e-12  # a single example that differs is one standard error exactly
SAME = 1.1  # jumps that differ by less than a tenth


def promising(search: Search) -> list[Trial]:
    """The original, each family's best, the best of all, and what is on the trade-off's front; a fixed number at most.

    All but the front's are within the budget of clean accuracy.
    """
    ranked = sorted(search.affordable, key=lambda trial: trial.rank, reverse=True)
    families = dict.fromkeys(trial.family for trial in search.trials)
    firsts = [next((trial for trial in ranked if trial.family == family), None) for family in families]
    front = sorted(_front(search.trials), key=lambda trial: trial.rank, reverse=True)
    half = (N_FINALISTS - len(families)) // 2
    kept: list[Trial] = []
    for trial in (search.original, *(first for first in firsts if first is not None), *ranked[:half], *front, *ranked):
        if len(kept) < N_FINALISTS and all(_differ(trial, other) for other in kept):
            kept.append(trial)
    return kept


def _differ(one: Trial, other: Trial) -> bool:
    """Whether two candidates are worth a second look each."""
    pairs = (np.broadcast_arrays(a, b) for a, b in zip(one.jumps, other.jumps, strict=True))
    return any((np.maximum(a, b) > SAME * np.minimum(a, b)).any() for a, b in pairs)


def smallest_of_the_best(trials: Sequence[Trial]) -> Trial:
    """The candidate with the smallest jumps among those that the best one beats by no more than the noise.

    The noise is one standard error of the paired difference, as is the custom in cross-validation.
    """
    best = max(trials, key=lambda trial: trial.rank)
    return min((trial for trial in trials if _within_noise(best, trial)), key=lambda trial: trial.size)


def _within_noise(best: Trial, other: Trial) -> bool:
    difference = best.standing.astype(np.float64) - other.standing
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return float(difference.mean()) <= error + ROUNDING


def _front(trials: Sequence[Trial]) -> list[Trial]:
    """Those that no other one beats in clean accuracy and in worst case."""
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda each: (-each.clean_accuracy, -each.worst_case, each.strength)):
        if not front or trial.worst_case > front[-1].worst_case:
            front.append(trial)
    return front
