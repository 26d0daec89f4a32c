"""What tuning found, as JSON: the keys are stable, more may be added, none is renamed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.statistics import Share
from onnx_jumprelu.tuning.preactivations import PreActivations
from onnx_jumprelu.tuning.record import recorded
from onnx_jumprelu.tuning.result import TrialPoint, Tuning

Json = dict[str, Any]
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


def tuning(found: Tuning, recipe_file: str | None = None) -> Json:
    """The recipe, what it costs and gives, and the trade-off.

    `clean_accuracy` is of all validation examples. `worst_case` and `search_result` are of those held out from the
    search. `front` and `finalists` hold what thorough attacks found on those that the search used, `trials` (all
    candidates) what quick attacks found on the first of these. A jump is a number, or a list of one per channel.

    Raises:
        ModelFileError: the model, whose hash is part of it, is not there any more.
    """
    return {
        "model": found.model,
        "model_sha256": recorded(found).model_sha256,
        "data": str(found.data),
        "recipe": json.loads(found.recipe.to_json()),
        "recipe_file": recipe_file,
        "jumps": _parameters(found.parameters),
        "clean_accuracy": {"original": found.original.clean, "patched": found.chosen.clean},
        "worst_case": {
            "original": found.original.worst_case.value,
            "patched": found.chosen.worst_case.value,
            **_gain(found.gain if found.gain_shown else None),
        },
        "gain_shown": found.gain_shown,
        "search_result": {
            "jumps": _parameters(found.proposed.parameters),
            "clean_accuracy": found.proposed.clean,
            "worst_case": found.proposed.worst_case.value,
            **_gain(found.gain),
        },
        "uniform": None if found.uniform is None else _uniform(found),
        "front": [_point(point) for point in found.front],
        "finalists": [_point(point) for point in found.finalists],
        "trials": [_point(point) for point in found.trials],
        "sites": quantiles(found.sites),
        "skipped": [{"name": site.name, "reason": site.reason} for site in found.skipped],
        "eps": found.eps,
        "eps_chosen": found.eps_chosen,
        "norm": found.norm,
        "max_drop": found.max_drop,
        "seed": found.seed,
        "n_search": found.n_search,
        "n_held_out": found.n_held_out,
        "n_trials": len(found.trials),
        "cut_short": found.cut_short,
        "seconds": found.seconds,
    }


def quantiles(sites: Sequence[PreActivations], levels: Sequence[float] = LEVELS) -> list[Json]:
    """Quantiles of each site's positive pre-activations; null where there were none."""
    return [
        {
            "name": site.name,
            "positive": site.positive,
            "quantiles": {f"{level:g}": site.quantile(level) if len(site.sample) else None for level in levels},
        }
        for site in sites
    ]


def _gain(gain: Share | None) -> Json:
    return {"gain": gain.value, "ci95": [gain.low, gain.high]} if gain is not None else {"gain": 0.0, "ci95": None}


def _uniform(found: Tuning) -> Json:
    best, over = found.uniform, found.over_uniform
    return {
        "jump": None if best is None else next(iter(best.parameters.values())).to_json(),
        "worst_case": None if best is None else best.worst_case.value,
        "search_result_over_uniform": None if over is None else _gain(over),
    }


def _parameters(given: Mapping[str, Parameters]) -> Json:
    return {site: parameters.to_json() for site, parameters in given.items()}


def _point(point: TrialPoint) -> Json:
    return {
        "family": point.family,
        "jumps": _parameters(point.parameters),
        "clean_accuracy": point.clean_accuracy,
        "worst_case": point.worst_case,
        "chosen": point.chosen,
    }
