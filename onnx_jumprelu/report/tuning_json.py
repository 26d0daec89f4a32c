"""A tuning as JSON: keys are stable, more may be added, none is renamed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.files.json_records import stamped
from onnx_jumprelu.statistics import Share
from onnx_jumprelu.tuning.preactivations import PreActivations
from onnx_jumprelu.tuning.result import TrialPoint, Tuning

Json = dict[str, Any]
QUANTILE_LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


def tuning_dict(tuning: Tuning, recipe_file: str | None = None) -> Json:
    """The recipe, its accuracies, and every candidate.

    `clean_accuracy` is on all validation examples. `worst_case`, `search_result` and `uniform` are on the held-out
    examples. `front` and `finalists` are under thorough attacks on the search's examples, `trials` (all candidates)
    under quick attacks on at most the first 400 of them. A jump is a number, or a list with one number per channel.
    """
    content = {
        "model": tuning.model,
        "model_sha256": tuning.model_sha256,
        "data": tuning.data,
        "recipe": tuning.recipe.to_dict(),
        "recipe_file": recipe_file,
        "jumps": _by_site(tuning.parameters),
        "clean_accuracy": {"original": tuning.original.clean_accuracy, "patched": tuning.chosen.clean_accuracy},
        "worst_case": {
            "original": tuning.original.worst_case.value,
            "patched": tuning.chosen.worst_case.value,
            **_difference(tuning.gain if tuning.gain_shown else None),
        },
        "gain_shown": tuning.gain_shown,
        "search_result": {
            "jumps": _by_site(tuning.proposed.parameters),
            "clean_accuracy": tuning.proposed.clean_accuracy,
            "worst_case": tuning.proposed.worst_case.value,
            **_difference(tuning.gain),
        },
        "uniform": None if tuning.uniform is None else _uniform(tuning),
        "front": [_point(point) for point in tuning.pareto_front],
        "finalists": [_point(point) for point in tuning.finalists],
        "trials": [_point(point) for point in tuning.trials],
        "sites": quantiles(tuning.sites),
        "skipped": [{"name": site.name, "reason": site.reason} for site in tuning.skipped],
        "eps": tuning.eps,
        "eps_chosen": tuning.eps_chosen,
        "norm": tuning.norm,
        "max_drop": tuning.max_drop,
        "seed": tuning.seed,
        "n_search": tuning.n_search,
        "n_held_out": tuning.n_held_out,
        "n_trials": len(tuning.trials),
        "cut_short": tuning.cut_short,
        "seconds": tuning.seconds,
    }
    return stamped("tuning", content)


def quantiles(sites: Sequence[PreActivations], levels: Sequence[float] = QUANTILE_LEVELS) -> list[Json]:
    """Quantiles of each site's positive pre-activations; null where there were none."""
    return [
        {
            "name": site.name,
            "positive": site.positive,
            "quantiles": {f"{level:g}": site.quantile(level) if len(site.sample) else None for level in levels},
        }
        for site in sites
    ]


def _difference(gain: Share | None) -> Json:
    return {"gain": gain.value, "ci95": [gain.low, gain.high]} if gain is not None else {"gain": 0.0, "ci95": None}


def _uniform(tuning: Tuning) -> Json:
    best, over = tuning.uniform, tuning.over_uniform
    return {
        "jump": None if best is None else next(iter(best.parameters.values())).to_json(),
        "worst_case": None if best is None else best.worst_case.value,
        "search_result_over_uniform": None if over is None else _difference(over),
    }


def _by_site(given: Mapping[str, Parameters]) -> Json:
    return {site: parameters.to_json() for site, parameters in given.items()}


def _point(point: TrialPoint) -> Json:
    return {
        "family": point.family,
        "jumps": _by_site(point.parameters),
        "clean_accuracy": point.clean_accuracy,
        "worst_case": point.worst_case,
        "chosen": point.chosen,
    }
