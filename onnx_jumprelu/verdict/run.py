"""The verdict's engine: every planned attack on both models, its examples replayed on the other model at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from onnx_jumprelu.arrays import Bools, Floats, Labels
from onnx_jumprelu.attacks.base import AttackResult, is_wrong
from onnx_jumprelu.classifier.classifier import OnnxClassifier
from onnx_jumprelu.classifier.target import ModelLike, target_of
from onnx_jumprelu.data.reading import DataLike, check_scale, data_of
from onnx_jumprelu.errors import DataError, OptionError, naming
from onnx_jumprelu.names import Kind, ModelName, NormName
from onnx_jumprelu.verdict.checkpoint import Outcome, Partial
from onnx_jumprelu.verdict.experiment import Question, about
from onnx_jumprelu.verdict.flags import Evidence, gathered, raised
from onnx_jumprelu.verdict.latency import latency_ratio
from onnx_jumprelu.verdict.progress import AtWork
from onnx_jumprelu.verdict.result import MODELS, CurvePoint, Row, Verdict
from onnx_jumprelu.verdict.suite import Plan, planned

__all__ = ["Question", "about", "evaluate", "n_attacks", "verdict_on"]

CURVE_SET = "quick"
# Streams of random numbers that belong together: attacks of the matrix, of the curve, and the flags' own trials.
MATRIX, CURVE, FLAGS = 0, 1, 2


def evaluate(
    original: ModelLike,
    patched: ModelLike,
    data: DataLike,
    *,
    eps: float,
    norm: NormName = "Linf",
    attacks: str = "standard",
    eps_grid: Sequence[float] = (),
    seed: int = 0,
) -> Verdict:
    """Attack two models in every planned way, on the same examples; see `Question` and `verdict_on`.

    Args:
        original: The model before the patch, or its file; a `Target` where it expects normalized inputs.
        patched: The model after it.
        data: Data that tuning never saw: `Data`, arrays `(x, labels)`, or an `.npz` file with `x` and `y`.
        eps: Largest perturbation, in data space.
        norm: Norm of the perturbations.
        attacks: `standard`, `quick`, or a list such as `pgd,apgd-ce:relu,square`.
        eps_grid: Where to measure the curve of robust accuracy against eps; none by default.
        seed: Seed of all randomness.

    Raises:
        DataError, GradientError, OptionError: as `verdict_on`.
    """
    before, after = target_of(original), target_of(patched)
    given = data_of(data)
    return verdict_on(Question(before, after, given, eps, norm=norm, attacks=attacks, eps_grid=eps_grid, seed=seed))


def verdict_on(
    question: Question,
    *,
    partial: Partial | None = None,
    on_done: Callable[[int], None] = lambda _: None,
    on_progress: Callable[[AtWork], None] = lambda _: None,
) -> Verdict:
    """Attack both models in every planned way.

    Interrupted (Ctrl-C), it returns what is there, marked as not complete.

    Args:
        question: The models, the data, the budget.
        partial: Where finished attacks are kept, and taken from if they were finished before.
        on_done: Called with the number of attacks that were just finished; there are `n_attacks` in all.
        on_progress: Called as each attack begins, goes on and ends, unless it is taken from `partial`.

    Raises:
        DataError: the data do not fit a model.
        GradientError: a model is no classifier with gradients.
        OptionError: an attack does not exist or cannot be run.
    """
    return _Run(question, Partial() if partial is None else partial, on_done, on_progress).verdict()


def n_attacks(question: Question) -> int:
    """How many times `verdict_on` will call `on_done`, at most."""
    per_matrix = len(planned(question.attacks, question.eps, question.norm))
    per_point = len(planned(CURVE_SET, question.eps, question.norm))
    return len(MODELS) * (per_matrix + per_point * len(question.eps_grid))


class _Run:
    def __init__(
        self,
        question: Question,
        partial: Partial,
        on_done: Callable[[int], None],
        on_progress: Callable[[AtWork], None],
    ) -> None:
        self._question, self._partial, self._on_done, self._on_progress = question, partial, on_done, on_progress
        self._x: Floats = question.data.x
        self._labels: Labels = question.data.required_labels()
        planned(question.attacks, question.eps, question.norm)  # complain before the work begins
        _check_grid(question.eps_grid, question.norm)
        check_scale(question.data, question.original.bounds)
        with naming(question.data.name, DataError):
            self._classifiers: dict[ModelName, OnnxClassifier] = {
                model: question.target(model).classifier() for model in MODELS
            }
            self._correct: dict[ModelName, Bools] = {
                model: ~is_wrong(classifier.logits(self._x), self._labels)
                for model, classifier in self._classifiers.items()
            }
        if len({classifier.n_classes for classifier in self._classifiers.values()}) > 1:
            raise DataError(f"{question.patched.name}: has another number of classes than {question.original.name}")

    def verdict(self) -> Verdict:
        question = self._question
        rows: list[Row] = []
        plans = self._planned(question.attacks, question.eps)
        verdict = Verdict(question.eps, question.norm, self._correct, rows, about=about(question))
        try:
            for row in self._matrix(plans, MATRIX, 0):
                rows.append(row)  # noqa: PERF402 - one by one: an interruption must not lose what is there
            verdict = replace(verdict, curve=tuple(self._curve(rows)))
            flags = [flag for model in MODELS for flag in raised(self._evidence(model, verdict.own_rows))]
            verdict = replace(verdict, flags=tuple(flags))
            if question.latency:
                original, patched = (self._classifiers[model] for model in MODELS)
                verdict = replace(verdict, latency_ratio=latency_ratio(original, patched, self._x))
        except KeyboardInterrupt:
            run = {row.name for row in verdict.own_rows if row.model == MODELS[-1]}
            missing = [plan.name for plan in plans if plan.name not in run] or ["what follows the attacks"]
            return replace(verdict, complete=False, about={**verdict.about, "missing": ", ".join(missing)})
        return verdict

    def _planned(self, choice: str, eps: float) -> list[Plan]:
        return planned(choice, eps, self._question.norm, self._classifiers["original"].n_classes)

    def _matrix(self, plans: Sequence[Plan], stream: int, point: int) -> Iterator[Row]:
        """Each plan on each model: its own row, and one for its examples on the other model."""
        for index, plan in enumerate(plans):
            for number, model in enumerate(MODELS):
                place = f"{stream}/{point}/{index}/{model}"
                outcome = self._partial.outcome(place)
                if outcome is None:
                    rng = np.random.default_rng([self._question.seed, stream, point, index, number])
                    outcome = self._attacked(plan, model, rng)
                    self._partial.keep(place, outcome)
                yield from self._rows(plan, model, outcome)
                self._on_done(1)

    def _rows(self, plan: Plan, model: ModelName, outcome: Outcome) -> Iterator[Row]:
        other: ModelName = "patched" if model == "original" else "original"
        kind: Kind = "gray-box" if other == "patched" else "transfer"
        eps = self._other_eps(plan)
        yield Row(plan.name, plan.kind, model, outcome.success, outcome.zero_gradients, outcome.seconds, eps)
        yield Row(f"{plan.name} from the {model}", kind, other, outcome.replayed, None, 0.0, eps)

    def _other_eps(self, plan: Plan) -> float | None:
        return None if plan.attack.eps == self._question.eps else plan.attack.eps

    def _attacked(self, plan: Plan, model: ModelName, rng: np.random.Generator) -> Outcome:
        def tell(share: float) -> None:
            self._on_progress(AtWork(plan.name, model, self._other_eps(plan), share))

        classifier = self._classifiers[model].with_surrogate(plan.surrogate)
        with naming(self._question.data.name, DataError):
            result = plan.attack(classifier, self._x, self._labels, rng=rng, on_progress=tell)
        zero = None if not result.n_gradients else result.zero_gradients / result.n_gradients
        return Outcome(result.success, self._replayed(model, result), zero, result.seconds)

    def _replayed(self, model: ModelName, result: AttackResult) -> Bools:
        """Whether the other model is wrong on the examples that were made on this one, or without an attack."""
        other: ModelName = "patched" if model == "original" else "original"
        return is_wrong(self._classifiers[other].logits(result.x_adv), self._labels) | ~self._correct[other]

    def _evidence(self, model: ModelName, rows: Sequence[Row]) -> Evidence:
        rng = np.random.default_rng([self._question.seed, FLAGS, MODELS.index(model)])
        question = self._question
        return gathered(
            model, self._classifiers[model], self._x, self._labels, rows, eps=question.eps, norm=question.norm, rng=rng
        )

    def _curve(self, rows: list[Row]) -> Iterator[CurvePoint]:
        """Point by point, up to where nothing of the original is left. What fooled a model within less counts too.

        Args:
            rows: Those of the verdict's own eps; those of the points below it are added, since they count for it.
        """
        beyond: list[Row] = []
        for point, eps in enumerate(sorted(self._question.eps_grid)):
            below = eps < self._question.eps
            if eps != self._question.eps:
                for row in self._matrix(self._planned(CURVE_SET, eps), CURVE, point):
                    (rows if below else beyond).append(row)
            counted = [row for row in rows if row.eps is not None] if below else [*rows, *beyond]
            found = self._point(eps, counted)
            yield found
            if found.worst_case["original"] == 0:
                return

    def _point(self, eps: float, rows: Sequence[Row]) -> CurvePoint:
        """The curve at an eps, out of all attacks within it: at the verdict's own eps, the verdict."""
        there = Verdict(eps, self._question.norm, self._correct, rows)
        kinds: dict[ModelName, dict[str, float]] = {
            model: {
                kind: float(there.standing(model, {kind}).mean())
                for kind in dict.fromkeys(row.kind for row in rows if row.model == model)
            }
            for model in MODELS
        }
        return CurvePoint(eps, {model: there.worst_case(model).value for model in MODELS}, kinds)


def _check_grid(grid: Sequence[float], norm: NormName) -> None:
    if any(not value > 0 for value in grid):
        raise OptionError("every eps of the grid must be above 0")
    for value in grid:
        if list(grid).count(value) > 1:
            raise OptionError(f"eps {value:g} is in the grid more than once")
        planned(CURVE_SET, value, norm)
