"""What a search for jumps tried, as a report shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.tuning.result import TrialPoint, Tuning, pareto


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
        found: dict[Parameters, TrialPoint] = {}
        for point in self.trials:
            parameters, *others = {each.simplified() for each in point.parameters.values()}
            if not others and not parameters.per_channel:
                found[parameters] = point
        return [found[parameters] for parameters in sorted(found, key=lambda each: each.size)]

    @property
    def chosen(self) -> TrialPoint:
        """What tuning recommends."""
        return next(point for point in self.finalists if point.chosen)

    def chose(self, given: Mapping[str, Parameters]) -> bool:
        """Whether these are the parameters that tuning recommends; a site that is not named is a ReLU."""
        recommended, relu = self.chosen.parameters, Parameters()
        return all(recommended.get(site, relu).is_close(given.get(site, relu)) for site in {*recommended, *given})


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
