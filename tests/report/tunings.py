"""A tuning made by hand, in which quick and thorough attacks have no number in common."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.values import Jump
from onnx_jumprelu.arrays import Bools
from onnx_jumprelu.files.hashes import model_sha256
from onnx_jumprelu.tuning.result import Judged, SearchRecord, TrialPoint, Tuning


def by_site(jumps: Mapping[str, Jump]) -> dict[str, Parameters]:
    """Parameters of sites with these jumps."""
    return {site: Parameters(jump) for site, jump in jumps.items()}


def point(conv1: Jump, fc: Jump, clean: float, worst: float, family: str, *, chosen: bool = False) -> TrialPoint:
    return TrialPoint(by_site({"conv1": conv1, "fc": fc}), clean, worst, chosen, family)


TRIALS = (
    point(0.0, 0.0, 0.99, 0.75, "original"),
    point(2.0, 2.0, 0.60, 0.15, "uniform"),
    point(0.5, 0.5, 0.99, 0.78, "uniform"),
    point(1.0, 1.0, 0.98, 0.84, "uniform"),
    point(1.5, 0.0, 0.985, 0.87, "sites", chosen=True),
    point((0.0, 1.5), (0.0, 1.5), 0.97, 0.81, "channels"),
)
FINALISTS = (
    point(0.0, 0.0, 0.99, 0.70, "original"),
    point(1.0, 1.0, 0.98, 0.80, "uniform"),
    point(1.5, 0.0, 0.985, 0.83, "sites", chosen=True),
    point((0.0, 1.5), (0.0, 1.5), 0.97, 0.76, "channels"),
)
RECORD = SearchRecord(
    model="model.onnx",
    model_sha256="",
    data="val.npz",
    eps=0.1,
    norm="Linf",
    max_drop=0.01,
    original_clean_accuracy=0.99,
    n_search=500,
    n_held_out=499,
    trials=TRIALS,
    finalists=FINALISTS,
)


def withstood(number: int) -> Bools:
    """Whether each held-out example withstood every attack: the first `number` did."""
    return np.arange(RECORD.n_held_out) < number


def tuning(model: Path) -> Tuning:
    """The tuning that `RECORD` is the record of."""
    return Tuning(
        model=str(model),
        model_sha256=model_sha256(model),
        data=RECORD.data,
        eps=RECORD.eps,
        eps_chosen=False,
        norm="Linf",
        max_drop=RECORD.max_drop,
        seed=0,
        original_clean_accuracy=0.99,
        n_search=RECORD.n_search,
        n_held_out=RECORD.n_held_out,
        sites=(),
        skipped=(),
        trials=TRIALS,
        finalists=FINALISTS,
        original=Judged(TRIALS[0].parameters, withstood(340), 0.99, 0.99),
        proposed=Judged(TRIALS[4].parameters, withstood(410), 0.985, 0.98),
        uniform=None,
        cut_short=False,
        seconds=1.0,
    )
