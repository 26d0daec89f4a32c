"""Tuning: pick jumps on one part of the validation data, judge them on the other part.

The search tries many candidates and keeps the one that looks best, so its own numbers are optimistic. The decision is
therefore made on examples that the search never attacked.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.arguments import check_integer, check_number, listed
from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.attacks.base import checked
from onnx_jumprelu.attacks.norms import norm_named
from onnx_jumprelu.classifier.target import ModelLike, target_of
from onnx_jumprelu.data.reading import DataLike
from onnx_jumprelu.data.splits import Part, split, validation_data_of
from onnx_jumprelu.errors import DataError, OptionError, RunError, naming
from onnx_jumprelu.names import NormName
from onnx_jumprelu.tuning.objective import Threat, WorstCase, default_eps
from onnx_jumprelu.tuning.progress import OnDone, Progress, counting
from onnx_jumprelu.tuning.result import Judged, TrialPoint, Tuning, recommended
from onnx_jumprelu.tuning.search import FAMILIES, Scene, Search, Trial
from onnx_jumprelu.tuning.selection import N_FINALISTS, promising, smallest_of_the_best
from onnx_jumprelu.tuning.sweep import Jumps, Sweep

if TYPE_CHECKING:
    from typing_extensions import Unpack

FEWEST_EXAMPLES = 20  # with fewer, no gain could be shown
MOST_FOR_QUICK = 400  # examples under the quick attacks
QUICK_STEPS, THOROUGH_STEPS = 10, 40
DEFAULT_N_TRIALS = 90
N_JUDGED = 3  # the original, the search's result, the best single jump


class TuneKeywords(TypedDict, total=False):
    """The settings of `tune` as keyword arguments; see `TuneSettings`."""

    max_drop: float
    eps: float | None
    norm: NormName
    families: Sequence[str]
    n_trials: int
    per_channel: bool
    seed: int


@dataclass(frozen=True)
class TuneSettings:
    """How to tune.

    Attributes:
        max_drop: How much clean accuracy the jumps may cost, as a share of all validation examples.
        eps: Largest perturbation, in data space; None for the median of the smallest perturbations that DeepFool finds.
        norm: Norm of the perturbation.
        families: Which candidates to try: `uniform`, `quantile`, `sites`; always in this order.
        n_trials: Largest number of candidates.
        per_channel: Whether to try a jump per channel too, each at a quantile of the channel's own pre-activations.
        seed: Seed of all randomness.
    """

    max_drop: float = 0.01
    eps: float | None = None
    norm: NormName = "Linf"
    families: Sequence[str] = FAMILIES
    n_trials: int = DEFAULT_N_TRIALS
    per_channel: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises OptionError for settings that are out of range."""
        norm_named(self.norm)
        check_number(self.max_drop, "max_drop")
        if self.eps is not None:
            check_number(self.eps, "eps")
        check_integer(self.n_trials, "n_trials", 1)
        check_integer(self.seed, "the seed", 0)
        if not 0 <= self.max_drop <= 1:
            raise OptionError(f"max_drop must be between 0 and 1, not {self.max_drop:g}")
        if self.eps is not None and not (math.isfinite(self.eps) and self.eps > 0):
            raise OptionError(f"eps must be a finite number above 0, not {self.eps:g}")
        unknown = [family for family in listed(self.families, "families") if family not in FAMILIES]
        if unknown or not self.families or isinstance(self.families, str):
            raise OptionError(f"families must be one or more of {', '.join(FAMILIES)}")

    @property
    def n_steps(self) -> int:
        """Largest number of steps that `tune` counts: candidates, finalists, and what is judged."""
        return self.n_trials + N_FINALISTS + N_JUDGED


def tune(
    model: ModelLike,
    data: DataLike,
    *,
    progress: Progress = False,
    on_done: OnDone = lambda _: None,
    **settings: Unpack[TuneKeywords],
) -> Tuning:
    """Pick the jump of each site of a model.

    The candidate with the largest worst case over white-box, gray-box and adaptive attacks wins, among those that cost
    at most `max_drop` of clean accuracy. Among candidates that differ by less than the noise, the one with the smallest
    jumps wins. The winner on one half of the data must also gain on the other half (the 95 % interval of the paired
    difference lies above 0); otherwise the result is jump 0 everywhere.

    Args:
        model: A model that is not patched yet, or its file; a `Target` where it expects normalized inputs.
        data: Labelled validation data: `Data`, arrays `(x, labels)`, or an `.npz` file with `x_val` and `y_val`, or
            else with `x` and `y`.
        progress: True for lines on stderr, or a function that is called with the share of the work done, up to 1.
        on_done: Called with the number of steps just done, of at most `TuneSettings.n_steps`.
        **settings: See `TuneSettings`: `max_drop`, `eps`, `norm`, `families`, `n_trials`, `per_channel`, `seed`.

    Raises:
        OptionError: a setting is out of range.
        DataError: the data have no labels, are too few, or do not fit the model.
        PatchError: the model is patched already, or has no site that can be tuned.
        GradientError: the model is not a classifier with gradients.
        RunError: onnxruntime cannot run it.
    """
    chosen = TuneSettings(**settings)
    target, given = target_of(model), validation_data_of(data)
    labels = given.required_labels()
    if len(labels) < FEWEST_EXAMPLES:
        raise DataError(f"{given.name}: has {len(labels)} examples; tuning needs at least {FEWEST_EXAMPLES}")
    sweep = Sweep(target, per_channel=chosen.per_channel)
    count, finished = counting(progress, on_done, chosen.n_steps, target.name)
    with naming(given.name, DataError), naming(target.name, RunError):
        x, labels = checked(sweep.at(sweep.zero), given.x, labels)
        tuning = _Tuner(sweep, x, labels, chosen, count).run(target.name, given.name)
    finished()
    return tuning


class _Tuner:
    """The steps of tuning, one after the other."""

    def __init__(self, sweep: Sweep, x: Floats, labels: Labels, settings: TuneSettings, on_done: OnDone) -> None:
        """Split the examples, and measure the pre-activations."""
        self._start = time.perf_counter()
        self._sweep, self._settings, self._on_done = sweep, settings, on_done
        self._part, self._held_out = split(x, labels, settings.seed)
        sites = sweep.preactivations(self._part.x, np.random.default_rng(settings.seed))
        self._scene = Scene(sweep, x, labels, sites, settings.max_drop)
        eps = settings.eps
        if eps is None:
            eps = default_eps(sweep, self._part.x, self._part.labels, settings.norm, settings.seed)
        self._threat = Threat(eps, settings.norm)

    def run(self, model: str, data: str) -> Tuning:
        """Search, attack the finalists, judge."""
        search = self._searched()
        finalists = self._attacked_thoroughly(promising(search))
        original, proposed, uniform = self._judged(search.original, finalists)
        chosen, settings = recommended(original, proposed), self._settings
        return Tuning(
            model=model,
            model_sha256=self._sweep.sha256,
            data=data,
            eps=self._threat.eps,
            eps_chosen=settings.eps is None,
            norm=settings.norm,
            max_drop=settings.max_drop,
            seed=settings.seed,
            original_clean_accuracy=original.clean_accuracy,
            n_search=len(self._part.x),
            n_held_out=len(self._held_out.x),
            sites=tuple(self._scene.sites),
            skipped=self._sweep.skipped,
            trials=tuple(self._point(trial, chosen) for trial in search.trials),
            finalists=tuple(self._point(trial, chosen) for trial in finalists),
            original=original,
            proposed=proposed,
            uniform=uniform,
            cut_short=search.cut_short,
            seconds=time.perf_counter() - self._start,
        )

    def _searched(self) -> Search:
        """Many candidates under quick attacks."""
        part, settings = self._part, self._settings
        x, labels = part.x[:MOST_FOR_QUICK], part.labels[:MOST_FOR_QUICK]
        quick = WorstCase(self._sweep, x, labels, self._threat.quick(QUICK_STEPS), settings.seed)
        search = Search(self._scene, quick, settings.n_trials, self._on_done)
        search.run(settings.families, per_channel=settings.per_channel)
        return search

    def _attacked_thoroughly(self, trials: Sequence[Trial]) -> list[Trial]:
        """A few candidates under thorough attacks, on all of the search's examples."""
        thorough, attacked = self._thorough(self._part, self._settings.seed), []
        for trial in trials:
            attacked.append(self._scene.trial(trial.jumps, trial.family, thorough, trial.correct))
            self._on_done(1)
        return attacked

    def _judged(self, original: Trial, finalists: Sequence[Trial]) -> tuple[Judged, Judged, Judged | None]:
        """The original, the winner and the best single jump, under thorough attacks on the held-out examples."""
        # Its random starts differ from those of the search, to which the winner is adapted.
        judge = self._thorough(self._held_out, self._settings.seed + 1)
        affordable = [trial for trial in finalists if self._scene.affordable(trial.correct, original.correct)]
        uniform = max((trial for trial in affordable if trial.family == "uniform"), key=lambda t: t.rank, default=None)
        return (
            self._judgement(judge, original),
            self._judgement(judge, smallest_of_the_best(affordable)),
            None if uniform is None else self._judgement(judge, uniform),
        )

    def _judgement(self, judge: WorstCase, trial: Trial) -> Judged:
        withstood = judge.withstood(trial.jumps)
        self._on_done(1)
        return Judged(
            parameters=self._by_site(trial.jumps),
            withstood=withstood,
            clean_accuracy=trial.clean_accuracy,
            held_out_clean_accuracy=float(trial.correct[self._held_out.where].mean()),
        )

    def _thorough(self, part: Part, seed: int) -> WorstCase:
        attacks = self._threat.thorough(THOROUGH_STEPS, self._sweep.n_classes)
        return WorstCase(self._sweep, part.x, part.labels, attacks, seed)

    def _by_site(self, jumps: Jumps) -> dict[str, Parameters]:
        return dict(zip(self._sweep.sites, map(Parameters, jumps), strict=True))

    def _point(self, trial: Trial, chosen: Judged) -> TrialPoint:
        parameters = self._by_site(trial.jumps)
        return TrialPoint(
            parameters=parameters,
            clean_accuracy=trial.clean_accuracy,
            worst_case=trial.worst_case,
            family=trial.family,
            chosen=parameters == chosen.parameters,
        )
