"""The verdict's engine: every planned attack on every model, its examples replayed at once on the other model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import IntEnum
from functools import partial
from types import MappingProxyType

import numpy as np

from onnx_jumprelu.arrays import Bools
from onnx_jumprelu.attacks.base import AttackResult
from onnx_jumprelu.attacks.probe import is_wrong
from onnx_jumprelu.classifier.classifier import OnnxClassifier
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.plausibility import Concern, concerns_about
from onnx_jumprelu.data.reading import check_scale
from onnx_jumprelu.errors import DataError, OptionError, naming
from onnx_jumprelu.names import ModelName, NormName
from onnx_jumprelu.verdict.checkpoint import Checkpoint, FinishedAttack
from onnx_jumprelu.verdict.evidence import gathered
from onnx_jumprelu.verdict.examples import examples
from onnx_jumprelu.verdict.experiment import Experiment, about
from onnx_jumprelu.verdict.findings import CurvePoint, Example, Flag, Row
from onnx_jumprelu.verdict.flags import raised
from onnx_jumprelu.verdict.latency import latency_ratio, seconds_per_gradient
from onnx_jumprelu.verdict.progress import RunningAttack
from onnx_jumprelu.verdict.result import Verdict
from onnx_jumprelu.verdict.suite import Plan, planned

CURVE_SET = "quick"


class Stream(IntEnum):
    """Independent streams of random numbers; the values are part of every seed and never change."""

    SUITE = 0
    CURVE = 1
    FLAGS = 2


def judge(
    experiment: Experiment,
    *,
    checkpoint: Checkpoint | None = None,
    on_note: Callable[[str], None] = lambda _: None,
    on_start: Callable[[float], None] = lambda _: None,
    on_done: Callable[[int], None] = lambda _: None,
    on_progress: Callable[[RunningAttack], None] = lambda _: None,
) -> Verdict:
    """Run every planned attack on every model.

    Interrupted by Ctrl-C, it returns what has been measured so far; `missing` then names the rest.

    Args:
        experiment: The models, the data, the budget.
        checkpoint: Where finished attacks are kept, and read from if they finished before.
        on_note: Called before the first attack with each thing that seems wrong with the choice of the models.
        on_start: Called before the first attack with an estimate of the seconds that all of them take at most.
        on_done: Called with the number of attacks that were just finished; there are `n_attacks` in all.
        on_progress: Called as each attack begins, goes on and ends, unless it is read from the checkpoint.

    Raises:
        DataError: the data do not fit a model.
        GradientError: a model is not a classifier with gradients.
        OptionError: an attack does not exist or cannot be run, or the checkpoint belongs to another experiment.
    """
    run = _Run(experiment, Checkpoint() if checkpoint is None else checkpoint, on_done, on_progress)
    for note in run.doubtful_choice():
        on_note(note)
    on_start(run.most_seconds())
    return run.verdict()


def n_attacks(experiment: Experiment) -> int:
    """How many times `judge` will call `on_done`, at most."""
    per_suite = len(planned(experiment.attacks, experiment.eps, experiment.norm))
    per_point = len(planned(CURVE_SET, experiment.eps, experiment.norm))
    return len(experiment.models) * (per_suite + per_point * len(experiment.eps_grid))


class _Run:
    """An experiment under way. What has been found is collected here; a verdict is built from it once, at the end."""

    def __init__(
        self,
        experiment: Experiment,
        checkpoint: Checkpoint,
        on_done: Callable[[int], None],
        on_progress: Callable[[RunningAttack], None],
    ) -> None:
        self._experiment, self._checkpoint = experiment, checkpoint
        self._on_done, self._on_progress = on_done, on_progress
        self._models, self._eps = experiment.models, experiment.eps
        self._x, self._labels = experiment.data.x, experiment.data.required_labels()
        planned(experiment.attacks, experiment.eps, experiment.norm)  # complain before the work begins
        _check_grid(experiment.eps_grid, experiment.norm)
        for target in experiment.targets.values():
            check_scale(experiment.data, target.bounds)
        self._classifiers = {model: _opened(target) for model, target in experiment.targets.items()}
        with naming(experiment.data.name, DataError):
            self._correct = {
                model: ~is_wrong(classifier.logits(self._x), self._labels)
                for model, classifier in self._classifiers.items()
            }
        if len({classifier.n_classes for classifier in self._classifiers.values()}) > 1:
            original, patched = (target.name for target in experiment.targets.values())
            raise DataError(f"{patched}: has another number of classes than {original}")
        self._concerns = [concern.message for concern in self._implausible()]
        self._about = about(experiment, self._classifiers)
        checkpoint.open(self._about)
        self._rows: list[Row] = []
        self._curve: list[CurvePoint] = []
        self._flags: list[Flag] = []
        self._examples: tuple[Example, ...] = ()
        self._latency_ratio: float | None = None

    def verdict(self) -> Verdict:
        """Do everything in turn, and say what was found."""
        experiment = self._experiment
        suite = [(plan.label, partial(self._attack, plan, index)) for index, plan in enumerate(self._planned())]
        stages = [
            ("curve", self._measure_curve, bool(experiment.eps_grid)),
            ("flags", self._raise_flags, True),
            ("latency", self._measure_latency, experiment.latency and len(self._models) > 1),
            ("examples", self._choose_examples, experiment.n_shown > 0),
        ]
        work: list[tuple[str, Callable[[], None]]] = [*suite, *((name, do) for name, do, wanted in stages if wanted)]
        n_done = 0
        with contextlib.suppress(KeyboardInterrupt):
            for _, do in work:
                do()
                n_done += 1
        return Verdict(
            eps=experiment.eps,
            norm=experiment.norm,
            correct=self._correct,
            rows=tuple(self._rows),
            flags=tuple(self._flags),
            latency_ratio=self._latency_ratio,
            curve=tuple(self._curve),
            about=self._about,
            missing=tuple(name for name, _ in work[n_done:]),
            targets={model: target.name for model, target in experiment.targets.items()},
            jump_sites={model: self._jump_sites(model) for model in self._models},
            notes=(*self._concerns, *self.doubtful_choice()),
            examples=self._examples,
        )

    def most_seconds(self) -> float:
        """About how long the attacks take if no example is fooled before the last step."""
        plans = [(Stream.SUITE, 0, self._planned())]
        for point, eps in enumerate(sorted(self._experiment.eps_grid)):
            if eps != self._eps:
                plans.append((Stream.CURVE, point, self._planned_at(eps)))
        seconds = 0.0
        for model, classifier in self._classifiers.items():
            once = seconds_per_gradient(classifier, self._x, self._labels, self._eps) * int(self._correct[model].sum())
            for stream, point, suite in plans:
                for index, plan in enumerate(suite):
                    if self._checkpoint.finished(_place(stream, point, index, model)) is None:
                        seconds += once * plan.most_gradients(classifier.n_classes)
        return seconds

    def _planned(self) -> list[Plan]:
        experiment, classifier = self._experiment, self._classifiers[self._models[0]]
        return planned(experiment.attacks, experiment.eps, experiment.norm, classifier.n_classes)

    def _planned_at(self, eps: float) -> list[Plan]:
        """The attacks of a point of the curve."""
        return planned(CURVE_SET, eps, self._experiment.norm, self._classifiers[self._models[0]].n_classes)

    def _attack(self, plan: Plan, index: int) -> None:
        """Run one attack of the suite on each model."""
        for row in self._rows_of(plan, index, Stream.SUITE, 0):
            self._rows.append(row)

    def _rows_of(self, plan: Plan, index: int, stream: Stream, point: int) -> Iterator[Row]:
        """A plan on each model: its own row, and one for its examples on the other model of a pair."""
        for number, model in enumerate(self._models):
            place = _place(stream, point, index, model)
            finished = self._checkpoint.finished(place)
            if finished is None:
                rng = np.random.default_rng([self._experiment.seed, stream, point, index, number])
                finished = self._attacked(plan, model, rng)
                self._checkpoint.keep(place, finished)
            yield self._own_row(plan, model, finished)
            if finished.replayed is not None:
                yield self._replayed_row(plan, model, finished.replayed)
            self._on_done(1)

    def _own_row(self, plan: Plan, model: ModelName, finished: FinishedAttack) -> Row:
        return Row(
            attack=plan.attack.name,
            surrogate=plan.surrogate,
            model=model,
            source=model,
            kind=plan.kind(self._jump_sites(model), finished.zero_gradients),
            eps=self._eps if plan.attack.eps is None else plan.attack.eps,
            success=finished.success,
            zero_gradients=finished.zero_gradients,
            seconds=finished.seconds,
            settings=MappingProxyType(plan.attack.settings),
        )

    def _replayed_row(self, plan: Plan, source: ModelName, success: Bools) -> Row:
        made, model = self._own_row(plan, source, FinishedAttack(success, None, None, 0.0)), self._other(source)
        return replace(made, model=model, kind="gray-box" if model == "patched" else "transfer")

    def _attacked(self, plan: Plan, model: ModelName, rng: np.random.Generator) -> FinishedAttack:
        def show(share: float) -> None:
            eps = None if plan.attack.eps == self._eps else plan.attack.eps
            self._on_progress(RunningAttack(plan.label, model, eps, share))

        classifier = self._classifiers[model].with_surrogate(plan.surrogate)
        with naming(self._experiment.data.name, DataError):
            result = plan.attack(classifier, self._x, self._labels, rng=rng, on_progress=show)
        zero = None if not result.n_gradients else result.zero_gradients / result.n_gradients
        return FinishedAttack(result.success, self._replayed(model, result), zero, result.seconds)

    def _replayed(self, source: ModelName, result: AttackResult) -> Bools | None:
        """Whether the other model is wrong on the examples made on this one, or without an attack; None without one."""
        if len(self._models) == 1:
            return None
        other = self._other(source)
        return is_wrong(self._classifiers[other].logits(result.x_adv), self._labels) | ~self._correct[other]

    def _other(self, model: ModelName) -> ModelName:
        return self._models[-1] if model == self._models[0] else self._models[0]

    def _jump_sites(self, model: ModelName) -> int:
        return self._classifiers[model].n_jumps

    def _measure_curve(self) -> None:
        """Point by point, up to where nothing of the first model is left.

        An example that is fooled within less than an eps counts as fooled there too, so the rows of points below the
        verdict's own eps are rows of the verdict.
        """
        beyond: list[Row] = []
        for point, eps in enumerate(sorted(self._experiment.eps_grid)):
            below = eps < self._eps
            if eps != self._eps:
                for index, plan in enumerate(self._planned_at(eps)):
                    for row in self._rows_of(plan, index, Stream.CURVE, point):
                        (self._rows if below else beyond).append(row)
            counted = [row for row in self._rows if row.eps <= eps] if below else [*self._rows, *beyond]
            self._curve.append(self._point(eps, counted))
            if self._curve[-1].worst_case[self._models[0]] == 0:
                return

    def _point(self, eps: float, rows: Sequence[Row]) -> CurvePoint:
        """The curve at an eps, from all attacks within it: at the verdict's own eps, the verdict."""
        there = Verdict(eps, self._experiment.norm, self._correct, tuple(rows))
        kinds: dict[ModelName, dict[str, float]] = {
            model: {
                kind: float(there.standing(model, {kind}).mean())
                for kind in dict.fromkeys(row.kind for row in rows if row.model == model)
            }
            for model in self._models
        }
        return CurvePoint(eps, {model: there.worst_case(model).value for model in self._models}, kinds)

    def _raise_flags(self) -> None:
        experiment = self._experiment
        for number, model in enumerate(self._models):
            evidence = gathered(
                model,
                self._classifiers[model],
                experiment.data,
                [row for row in self._rows if row.eps == self._eps],
                jump_sites=self._jump_sites(model),
                eps=experiment.eps,
                norm=experiment.norm,
                rng=np.random.default_rng([experiment.seed, Stream.FLAGS, number]),
            )
            self._flags.extend(raised(evidence))

    def _measure_latency(self) -> None:
        original, patched = (self._classifiers[model] for model in self._models)
        self._latency_ratio = latency_ratio(original, patched, self._x)

    def _choose_examples(self) -> None:
        self._examples = examples(self._experiment, self._classifiers)

    def _implausible(self) -> tuple[Concern, ...]:
        experiment, first = self._experiment, self._models[0]
        return concerns_about(
            experiment.targets[first],
            experiment.data,
            eps=experiment.eps,
            norm=experiment.norm,
            classifier=self._classifiers[first],
        )

    def doubtful_choice(self) -> Iterator[str]:
        """Signs that other models were meant."""
        if len(self._models) == 1:
            return
        original, patched = (self._about[f"{model} SHA-256"] for model in self._models)
        if original == patched:
            yield "Both models are the same file: there is nothing to gain or to lose."
        elif self._jump_sites("original") and not self._classifiers["patched"].n_jumprelus:
            yield (
                "The first model has JumpReLU sites and the second has none: the original comes first, the patched "
                "model second. Were they swapped?"
            )


def _place(stream: Stream, point: int, index: int, model: ModelName) -> str:
    """Where an attack is in the plan, as the checkpoint names it."""
    return f"{stream}/{point}/{index}/{model}"


def _opened(target: Target) -> OnnxClassifier:
    with naming(target.name, DataError):
        return target.classifier()


def _check_grid(grid: Sequence[float], norm: NormName) -> None:
    if any(not value > 0 for value in grid):
        raise OptionError("every eps of the grid must be above 0")
    for value in grid:
        if list(grid).count(value) > 1:
            raise OptionError(f"eps {value:g} is in the grid more than once")
        planned(CURVE_SET, value, norm)
