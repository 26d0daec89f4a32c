"""The verdict's engine: every planned attack on both models, its examples replayed on the other model at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from onnx_jumprelu.arrays import Bools, Floats, Labels
from onnx_jumprelu.attacks.base import AttackResult, is_wrong
from onnx_jumprelu.attacks.norms import NormName
from onnx_jumprelu.classifier import OnnxClassifier
from onnx_jumprelu.errors import DataError, OptionError
from onnx_jumprelu.evaluation.at_work import AtWork
from onnx_jumprelu.evaluation.attacking import Target, check_scale
from onnx_jumprelu.evaluation.data import Data, load_data
from onnx_jumprelu.evaluation.flags import Evidence, gathered, raised
from onnx_jumprelu.evaluation.latency import latency_ratio
from onnx_jumprelu.evaluation.matrix import Plan, planned
from onnx_jumprelu.evaluation.partial import Partial
from onnx_jumprelu.evaluation.verdict import MODELS, CurvePoint, Kind, ModelName, Row, Verdict
from onnx_jumprelu.version import __version__

CURVE_SET = "quick"
# Streams of random numbers that belong together: attacks of the matrix, of the curve, and the flags' own trials.
MATRIX, CURVE, FLAGS = 0, 1, 2


@dataclass(frozen=True)
class Question:
    """What a verdict is about.

    Attributes:
        original: The model before the patch.
        patched: The model after it, with the same data space.
        data: Inputs that tuning never saw, with labels.
        eps: Largest perturbation, in data space.
        norm: Norm of the perturbations.
        attacks: `standard`, `quick`, or a list such as `pgd,apgd-ce:relu,square`.
        eps_grid: Where to measure the curve of robust accuracy against eps; none by default.
        seed: Seed of all randomness.
        latency: Whether to measure the latency ratio, which no seed can repeat.
    """

    original: Target
    patched: Target
    data: Data
    eps: float
    norm: NormName = "Linf"
    attacks: str = "standard"
    eps_grid: Sequence[float] = ()
    seed: int = 0
    latency: bool = True

    def target(self, model: ModelName) -> Target:
        """One of the two models."""
        return self.original if model == "original" else self.patched


def evaluate(
    original: Target | str | Path,
    patched: Target | str | Path,
    data: Data | str | Path,
    *,
    eps: float,
    norm: NormName = "Linf",
    attacks: str = "standard",
    eps_grid: Sequence[float] = (),
    seed: int = 0,
) -> Verdict:
    """Attack two models in every planned way, on the same examples; see `Question` and `verdict_on`.

    Args:
        original: The model before the patch: its file, or a `Target`, where it wants normalized inputs.
        patched: The model after it.
        data: Inputs and labels that tuning never saw, or the `.npz` file that holds them.
        eps: Largest perturbation, in data space.
        norm: Norm of the perturbations.
        attacks: `standard`, `quick`, or a list such as `pgd,apgd-ce:relu,square`.
        eps_grid: Where to measure the curve of robust accuracy against eps; none by default.
        seed: Seed of all randomness.

    Raises:
        DataError, GradientError, OptionError: as `verdict_on`.
    """
    before, after = (item if isinstance(item, Target) else Target(Path(item)) for item in (original, patched))
    given = data if isinstance(data, Data) else load_data(data)
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
        if any(not value > 0 for value in question.eps_grid):
            raise OptionError("every eps of the grid must be above 0")
        check_scale(question.data, question.original.bounds)
        try:
            self._classifiers: dict[ModelName, OnnxClassifier] = {
                model: question.target(model).classifier() for model in MODELS
            }
            self._correct: dict[ModelName, Bools] = {
                model: ~is_wrong(classifier.logits(self._x), self._labels)
                for model, classifier in self._classifiers.items()
            }
        except DataError as error:
            raise DataError(f"{question.data.path}: {error}") from error
        if len({classifier.n_classes for classifier in self._classifiers.values()}) > 1:
            raise DataError(f"{question.patched.model}: has another number of classes than {question.original.model}")

    def verdict(self) -> Verdict:
        question = self._question
        rows: list[Row] = []
        plans = self._planned(question.attacks, question.eps)
        verdict = Verdict(question.eps, question.norm, self._correct, rows, about=about(question))
        try:
            for row in self._matrix(plans, MATRIX, 0):
                rows.append(row)  # noqa: PERF402 - one by one: an interruption must not lose what is there
            verdict = replace(verdict, curve=tuple(self._curve(rows)))
            flags = [flag for model in MODELS for flag in raised(self._evidence(model, rows))]
            verdict = replace(verdict, flags=tuple(flags))
            if question.latency:
                original, patched = (self._classifiers[model] for model in MODELS)
                verdict = replace(verdict, latency_ratio=latency_ratio(original, patched, self._x))
        except KeyboardInterrupt:
            run = {row.name for row in rows if row.model == MODELS[-1]}
            missing = [plan.name for plan in plans if plan.name not in run] or ["what follows the attacks"]
            return replace(verdict, complete=False, about={**verdict.about, "missing": ", ".join(missing)})
        return verdict

    def _planned(self, choice: str, eps: float) -> list[Plan]:
        return planned(choice, eps, self._question.norm, self._classifiers["original"].n_classes)

    def _matrix(self, plans: Sequence[Plan], stream: int, point: int) -> Iterator[Row]:
        """Each plan on each model: its own row, and one for its examples on the other model."""
        for index, plan in enumerate(plans):
            for number, model in enumerate(MODELS):
                key = f"{stream}/{point}/{index}/{model}"
                pair = self._partial.rows(key)
                if pair is None:
                    rng = np.random.default_rng([self._question.seed, stream, point, index, number])
                    pair = self._attacked(plan, model, rng)
                    self._partial.keep(key, pair)
                yield from pair
                self._on_done(1)

    def _attacked(self, plan: Plan, model: ModelName, rng: np.random.Generator) -> list[Row]:
        def tell(share: float) -> None:
            eps = None if plan.attack.eps == self._question.eps else plan.attack.eps
            self._on_progress(AtWork(plan.name, model, eps, share))

        classifier = self._classifiers[model].with_surrogate(plan.surrogate)
        try:
            result = plan.attack(classifier, self._x, self._labels, rng=rng, on_progress=tell)
        except DataError as error:
            raise DataError(f"{self._question.data.path}: {error}") from error
        zero = None if not result.n_gradients else result.zero_gradients / result.n_gradients
        own = Row(plan.name, plan.kind, model, result.success, zero, result.seconds)
        return [own, self._replayed(plan, model, result)]

    def _replayed(self, plan: Plan, model: ModelName, result: AttackResult) -> Row:
        """The examples made on one model, shown to the other."""
        other: ModelName = "patched" if model == "original" else "original"
        kind: Kind = "gray-box" if other == "patched" else "transfer"
        wrong = is_wrong(self._classifiers[other].logits(result.x_adv), self._labels) | ~self._correct[other]
        return Row(f"{plan.name} from the {model}", kind, other, wrong, None, 0.0)

    def _evidence(self, model: ModelName, rows: Sequence[Row]) -> Evidence:
        rng = np.random.default_rng([self._question.seed, FLAGS, MODELS.index(model)])
        question = self._question
        return gathered(
            model, self._classifiers[model], self._x, self._labels, rows, eps=question.eps, norm=question.norm, rng=rng
        )

    def _curve(self, rows: Sequence[Row]) -> Iterator[CurvePoint]:
        """Point by point, up to where nothing of the original is left. What fooled a model within less counts too."""
        fooled: dict[tuple[ModelName, str], Bools] = {}
        added = False
        for point, eps in enumerate(sorted(self._question.eps_grid)):
            # At the verdict's own eps the curve is the verdict.
            own = eps == self._question.eps
            new = [] if own else list(self._matrix(self._planned(CURVE_SET, eps), CURVE, point))
            if eps >= self._question.eps and not added:
                new, added = [*rows, *new], True
            for row in new:
                key = (row.model, row.kind)
                fooled[key] = fooled.get(key, ~self._correct[row.model]) | row.success
            worst = {model: self._standing(model, fooled) for model in MODELS}
            kinds: dict[ModelName, dict[str, float]] = {
                model: {kind: float((~wrong).mean()) for (owner, kind), wrong in fooled.items() if owner == model}
                for model in MODELS
            }
            yield CurvePoint(eps, worst, kinds)
            if worst["original"] == 0:
                return

    def _standing(self, model: ModelName, fooled: Mapping[tuple[ModelName, str], Bools]) -> float:
        wrong = np.any([success for (owner, _), success in fooled.items() if owner == model], axis=0)
        return float((~wrong).mean())


def about(question: Question) -> dict[str, str]:
    """What is needed to repeat a verdict."""
    return {
        "onnx-jumprelu": __version__,
        "onnxruntime": onnxruntime.__version__,
        "onnx": onnx.__version__,
        "numpy": np.__version__,
        "original": str(question.original.model),
        "original SHA-256": _sha256(question.original.model),
        "patched": str(question.patched.model),
        "patched SHA-256": _sha256(question.patched.model),
        "data": str(question.data.path),
        "data SHA-256": hashlib.sha256(
            question.data.x.tobytes() + question.data.required_labels().tobytes()
        ).hexdigest(),
        "examples": str(len(question.data.x)),
        "eps": f"{question.eps:g}",
        "norm": question.norm,
        "attacks": question.attacks,
        "seed": str(question.seed),
        "settings": json.dumps(
            [question.original.bounds, question.original.mean, question.original.std, list(question.eps_grid)]
        ),
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
