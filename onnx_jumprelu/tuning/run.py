"""Picking the jumps on validation data: search on one part of them, judge on the other.

The search tries many candidates and keeps what looks best, so its own numbers flatter the winner. The last word is
therefore left to examples that it never attacked.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.attacks.base import checked
from onnx_jumprelu.attacks.norms import norm_named
from onnx_jumprelu.classifier.target import ModelLike, target_of
from onnx_jumprelu.data.reading import DataLike
from onnx_jumprelu.data.splits import Part, split, validation_data_of
from onnx_jumprelu.errors import DataError, OptionError, RunError, naming
from onnx_jumprelu.names import NormName
from onnx_jumprelu.tuning.objective import Threat, WorstCase, default_eps
from onnx_jumprelu.tuning.result import Judged, TrialPoint, Tuning, recommended
from onnx_jumprelu.tuning.search import FAMILIES, Scene, Search, Trial
from onnx_jumprelu.tuning.selection import N_FINALISTS, promising, smallest_of_the_best
from onnx_jumprelu.tuning.sweep import Jumps, Sweep

if TYPE_CHECKING:
    from typing_extensions import Unpack


FEWEST_EXAMPLES = 20  # fewer could not show anything
MOST_FOR_QUICK = 400  # examples that the quick attacks take
QUICK_STEPS, THOROUGH_STEPS = 10, 40
N_TRIALS = 90
N_JUDGED = 3  # the original, what the search came to, the best single jump


class TuneKeywords(TypedDict, total=False):
    """The keyword arguments of `tune`; see `TuneSettings`."""

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
        max_drop: How much clean accuracy may be lost, as a share of all validation examples.
        eps: Largest perturbation, in data space; None for the median of the smallest perturbations that DeepFool finds.
        norm: Norm of the perturbation.
        families: Which candidates: `uniform`, `quantile`, `sites`; always in this order.
        n_trials: How many candidates to try at most.
        per_channel: Whether to try a jump in each channel too, each at a quantile of the channel's own pre-activations.
        seed: Seed of all randomness.
    """

    max_drop: float = 0.01
    eps: float | None = None
    norm: NormName = "Linf"
    families: Sequence[str] = FAMILIES
    n_trials: int = N_TRIALS
    per_channel: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises OptionError for settings that are out of range."""
        norm_named(self.norm)
        if not 0 <= self.max_drop <= 1:
            raise OptionError(f"the clean accuracy that may be lost must lie between 0 and 1, not {self.max_drop:g}")
        if self.eps is not None and not (math.isfinite(self.eps) and self.eps > 0):
            raise OptionError(f"eps must be a finite number above 0, not {self.eps:g}")
        unknown = [family for family in self.families if family not in FAMILIES]
        if unknown or not self.families or isinstance(self.families, str):
            raise OptionError(f"the families of candidates are {', '.join(FAMILIES)}; give one or several of them")
        if self.n_trials < 1:
            raise OptionError(f"n_trials must be at least 1, not {self.n_trials}")
        if self.seed < 0:
            raise OptionError(f"the seed must be at least 0, not {self.seed}")

    @property
    def n_steps(self) -> int:
        """How often `on_done` counts, at most: candidates, finalists, and what is judged."""
        return self.n_trials + N_FINALISTS + N_JUDGED


def tune(
    model: ModelLike,
    data: DataLike,
    *,
    on_done: Callable[[int], None] = lambda _: None,
    **settings: Unpack[TuneKeywords],
) -> Tuning:
    """Pick the jump of each site of a model.

    The largest worst case over white-box, gray-box and adaptive attacks wins, among the jumps that cost at most
    `max_drop` of clean accuracy. Where candidates differ by less than the noise, the smallest jumps win. What wins on
    one half of the data must also gain on the other half (the 95 % interval of the paired difference lies above 0);
    otherwise the answer is jump 0 everywhere.

    Args:
        model: A model that is not patched yet, or its file; a `Target` where it expects normalized inputs.
        data: Labelled validation data: `Data`, arrays `(x, labels)`, or an `.npz` file with `x_val` and `y_val`, or
            else with `x` and `y`.
        on_done: Called with the number of steps just done, of `TuneSettings.n_steps`.
        **settings: See `TuneSettings`.

    Raises:
        OptionError: a setting is out of range.
        DataError: the data have no labels, are too few, or do not fit the model.
        PatchError: the model is patched already, or has no site that can be tuned.
        GradientError: it is no classifier with gradients.
        RunError: onnxruntime cannot run it.
    """
    chosen = TuneSettings(**settings)
    target, given = target_of(model), validation_data_of(data)
    labels = given.required_labels()
    if len(labels) < FEWEST_EXAMPLES:
        raise DataError(f"{given.name}: has {len(labels)} examples; tuning needs at least {FEWEST_EXAMPLES}")
    sweep = Sweep(target, per_channel=chosen.per_channel)
    with naming(given.name, DataError), naming(target.name, RunError):
        x, labels = checked(sweep.at(sweep.zero), given.x, labels)
        return _Tuner(sweep, x, labels, chosen, on_done).run(target.name, given.name)


class _Tuner:
    """The steps of tuning, one after the other."""

    def __init__(
        self, sweep: Sweep, x: Floats, labels: Labels, settings: TuneSettings, on_done: Callable[[int], None]
    ) -> None:
        """Split the examples, and see what reaches the sites."""
        self._start = time.perf_counter()
        self._sweep, self._settings, self._on_done = sweep, settings, on_done
        self._part, self._held_out = split(x, labels, settings.seed)
        rng = np.random.default_rng(settings.seed)
        sites = sweep.preactivations(self._part.x, rng)
        self._scene = Scene(sweep, x, labels, sites, settings.max_drop)
        eps = settings.eps
        if eps is None:
            eps = default_eps(sweep, self._part.x, self._part.labels, settings.norm, settings.seed)
        self._threat = Threat(eps, settings.norm)

    def run(self, model: str, data: str) -> Tuning:
        """Search, look again, judge."""
        search = self._searched()
        finalists = self._attacked_again(promising(search))
        affordable = [trial for trial in finalists if self._scene.affordable(trial.correct, search.original.correct)]
        uniform = [trial for trial in affordable if trial.family == "uniform"]
        original, proposed, *best_uniform = self._judged(
            search.original,
            smallest_of_the_best(affordable),
            *([max(uniform, key=lambda trial: trial.rank)] if uniform else []),
        )
        chosen = recommended(original, proposed).parameters
        settings = self._settings
        return Tuning(
            model=model,
            model_sha256=self._sweep.sha256,
            data=data,
            eps=self._threat.eps,
            eps_chosen=settings.eps is None,
            norm=settings.norm,
            max_drop=settings.max_drop,
            seed=settings.seed,
            n_search=len(self._part.x),
            n_held_out=len(self._held_out.x),
            sites=self._scene.sites,
            skipped=self._sweep.skipped,
            trials=[self._point(trial, chosen) for trial in search.trials],
            finalists=[self._point(trial, chosen) for trial in finalists],
            original=original,
            proposed=proposed,
            uniform=best_uniform[0] if best_uniform else None,
            cut_short=search.cut_short,
            seconds=time.perf_counter() - self._start,
        )

    def _searched(self) -> Search:
        """Many candidates, quick attacks."""
        part, settings = self._part, self._settings
        x, labels = part.x[:MOST_FOR_QUICK], part.labels[:MOST_FOR_QUICK]
        quick = WorstCase(self._sweep, x, labels, self._threat.quick(QUICK_STEPS), settings.seed)
        search = Search(self._scene, quick, settings.n_trials, self._on_done)
        search.run(settings.families, per_channel=settings.per_channel)
        return search

    def _attacked_again(self, trials: Sequence[Trial]) -> list[Trial]:
        """A few candidates, thorough attacks, all of the search's examples."""
        part, again = self._part, []
        thorough = self._thorough(part, self._settings.seed)
        for trial in trials:
            again.append(self._scene.trial(trial.jumps, trial.family, thorough, trial.correct))
            self._on_done(1)
        return again

    def _judged(self, *trials: Trial) -> list[Judged]:
        """Thorough attacks on the examples that were held out."""
        held_out, results = self._held_out, []
        # Other random starts than the search's, so that nothing is judged by what it was chosen for.
        judge = self._thorough(held_out, self._settings.seed + 1)
        for trial in trials:
            held_out_clean = float(trial.correct[held_out.where].mean())
            parameters = self._named(trial.jumps)
            results.append(Judged(parameters, judge.standing(trial.jumps), trial.clean_accuracy, held_out_clean))
            self._on_done(1)
        return results

    def _thorough(self, part: Part, seed: int) -> WorstCase:
        attacks = self._threat.thorough(THOROUGH_STEPS, self._sweep.n_classes)
        return WorstCase(self._sweep, part.x, part.labels, attacks, seed)

    def _named(self, jumps: Jumps) -> dict[str, Parameters]:
        return dict(zip(self._sweep.sites, map(Parameters, jumps), strict=True))

    def _point(self, trial: Trial, chosen: dict[str, Parameters]) -> TrialPoint:
        parameters = self._named(trial.jumps)
        return TrialPoint(
            parameters=parameters,
            clean_accuracy=trial.clean_accuracy,
            worst_case=trial.worst_case,
            family=trial.family,
            chosen=parameters == chosen,
        )
