"""Which candidates become finalists, and which finalist wins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from onnx_jumprelu.tuning.result import pareto_front
from onnx_jumprelu.tuning.search import Search, Trial

N_FINALISTS = 8
ROUNDING = 1e-12  # a difference in a single example is exactly one standard error
NEARLY_EQUAL = 1.1  # two jumps whose ratio is at most this are nearly equal


def promising(search: Search) -> list[Trial]:
    """The finalists, at most `N_FINALISTS`, without nearly equal ones; see `_by_promise`."""
    kept: list[Trial] = []
    for trial in _by_promise(search):
        if len(kept) < N_FINALISTS and all(_differ(trial, other) for other in kept):
            kept.append(trial)
    return kept


def _by_promise(search: Search) -> Iterable[Trial]:
    """The original, the best of each family, the best of all, the Pareto front, then the rest by rank.

    All are within the clean-accuracy budget, except some of the front.
    """
    ranked = sorted(search.affordable, key=lambda trial: trial.rank, reverse=True)
    families = dict.fromkeys(trial.family for trial in search.trials)
    best_of_families = [next((trial for trial in ranked if trial.family == family), None) for family in families]
    n_best = (N_FINALISTS - len(families)) // 2
    front = pareto_front(search.trials, lambda trial: trial.strength)
    return (
        search.original,
        *(trial for trial in best_of_families if trial is not None),
        *ranked[:n_best],
        *sorted(front, key=lambda trial: trial.rank, reverse=True),
        *ranked,
    )


def _differ(one: Trial, other: Trial) -> bool:
    """Whether two candidates are not nearly equal."""
    pairs = (np.broadcast_arrays(a, b) for a, b in zip(one.jumps, other.jumps, strict=True))
    return any((np.maximum(a, b) > NEARLY_EQUAL * np.minimum(a, b)).any() for a, b in pairs)


def smallest_of_the_best(trials: Sequence[Trial]) -> Trial:
    """The candidate with the smallest jumps among those that the best one beats by at most one standard error.

    The standard error is that of the paired difference. Cross-validation commonly uses the same rule (Breiman et al.
    1984, Classification and Regression Trees, section 3.4.3).
    """
    best = max(trials, key=lambda trial: trial.rank)
    return min((trial for trial in trials if _within_noise(best, trial)), key=lambda trial: trial.size)


def _within_noise(best: Trial, other: Trial) -> bool:
    difference = best.withstood.astype(np.float64) - other.withstood
    standard_error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return float(difference.mean()) <= standard_error + ROUNDING
