"""What a search for jumps tried, as a report shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.activation.parameters import Jump, numbers_of
from onnx_jumprelu.tuning.result import TrialPoint, Tuning, pareto

SAME = 1e-3  # a model's element type, float16 among them, rounds its jumps


@dataclass(frozen=True)
class SearchRecord:
    """What a search for jumps tried, and against what.

    Attributes:
        model: The model's file, as tuning was told.
        model_sha256: Hash of that file, its external weights included.
        data: The validation data's file, as tuning was told.
        eps: Largest perturbation, in data space.
        norm: Norm of the perturbation.
        max_drop: How much clean accuracy might be lost.
        original_clean: Clean accuracy with jump 0 everywhere, on all validation examples.
        n_search: How many validation examples the search used.
        n_held_out: How many it did not.
        trials: All candidates, as the quick attacks saw them, on the first of the search's examples.
        finalists: The most promising ones again, as the thorough attacks saw them, on all of the search's examples;
            one of them was chosen.
    """

    model: str
    model_sha256: str
    data: str
    eps: float
    norm: str
    max_drop: float
    original_clean: float
    n_search: int
    n_held_out: int
    trials: Sequence[TrialPoint]
    finalists: Sequence[TrialPoint]

    @property
    def front(self) -> list[TrialPoint]:
        """The finalists that no other one beats in clean accuracy and in worst case, by falling clean accuracy."""
        return pareto(self.finalists)

    @property
    def uniform(self) -> list[TrialPoint]:
        """Of all candidates those with one jump for all sites, by rising jump, each jump once; 0 is the original."""
        found: dict[float, TrialPoint] = {}
        for point in self.trials:
            jump, *others = {numbers_of(jump) for jump in point.jumps.values()}
            if not others and len(jump) == 1:
                found[jump[0]] = point
        return [found[jump] for jump in sorted(found)]

    @property
    def chosen(self) -> TrialPoint:
        """What tuning recommends."""
        return next(point for point in self.finalists if point.chosen)

    def chose(self, jumps: Mapping[str, Jump]) -> bool:
        """Whether these are the jumps that tuning recommends; a site that is not named has jump 0."""
        recommended = self.chosen.jumps
        return all(_same(recommended.get(site, 0.0), jumps.get(site, 0.0)) for site in {*recommended, *jumps})


def recorded(found: Tuning) -> SearchRecord:
    """The record of a search that has just ended."""
    return SearchRecord(
        model=found.model,
        model_sha256=found.model_sha256,
        data=found.data,
        eps=found.eps,
        norm=found.norm,
        max_drop=found.max_drop,
        original_clean=found.original.clean,
        n_search=found.n_search,
        n_held_out=found.n_held_out,
        trials=found.trials,
        finalists=found.finalists,
    )


def _same(one: Jump, other: Jump) -> bool:
    """Whether two jumps are nearly equal; one number equals as many of the same, one per channel."""
    first, second = np.atleast_1d(one), np.atleast_1d(other)
    fit = first.size == second.size or 1 in {first.size, second.size}
    return fit and np.allclose(first, second, rtol=SAME, atol=0.0)
