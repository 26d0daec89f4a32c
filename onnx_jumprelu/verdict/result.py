"""What a defence is worth: the outcome of many attacks on the original and on the patched model, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from onnx_jumprelu.arrays import Bools
from onnx_jumprelu.names import Kind, ModelName
from onnx_jumprelu.statistics import Share, paired_difference, share

MODELS: tuple[ModelName, ModelName] = ("original", "patched")
NAIVE = "pgd"  # what a hurried evaluator runs: PGD, exact gradients


@dataclass(frozen=True)
class Row:
    """One attack on one model.

    Attributes:
        name: The attack, with the gradient that it used: `apgd-ce (relu)`.
        kind: `white-box` (exact gradients), `adaptive` (gradients that see through a jump), `black-box` (none),
            `gray-box` (made on the original, replayed on the patched model), `transfer` (the other way round).
        model: Which model was asked.
        success: Whether the model is wrong after the attack, of shape (N,); wrong from the start included.
        zero_gradients: Share of the attack's gradients that were 0, None where it needs none.
        seconds: Time taken.
        eps: The attack's largest perturbation where that is another one, of the curve; None for the verdict's own.
    """

    name: str
    kind: Kind
    model: ModelName
    success: Bools
    zero_gradients: float | None
    seconds: float
    eps: float | None = None

    @property
    def robust_accuracy(self) -> float:
        """Share of examples that the model gets right after the attack."""
        return float((~self.success).mean())


@dataclass(frozen=True)
class Flag:
    """A sign that a number may not be what it seems.

    Attributes:
        name: Short and stable, such as `zero-gradients`.
        model: Which model shows it.
        message: One sentence of what it means and what to do.
    """

    name: str
    model: ModelName
    message: str


@dataclass(frozen=True)
class Gate:
    """A condition that the user set, and whether it holds; `detail` says by how much."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class CurvePoint:
    """Robust accuracy of both models at one eps: the worst case, and per kind of attack."""

    eps: float
    worst_case: dict[ModelName, float]
    kinds: dict[ModelName, dict[str, float]]


SMOOTH = "(smooth)"  # how the name of an attack with that gradient ends


@dataclass(frozen=True)
class Verdict:
    """The outcome of all attacks on the same examples.

    Attributes:
        eps: Largest perturbation, in data space.
        norm: Norm of the perturbations.
        correct: Whether each model is right without an attack, of shape (N,).
        rows: One per attack and model, in the order in which they ran. Attacks within smaller budgets, for the curve,
            are among them: what fools a model within less fools it within `eps`.
        flags: Reasons to doubt the numbers.
        gates: Conditions that were set.
        latency_ratio: Latency of the patched model over that of the original, None where it was not measured.
        curve: Robust accuracy against eps.
        about: What is needed to repeat it: versions, hashes, seed, command.
        complete: Whether every planned attack has run.
    """

    eps: float
    norm: str
    correct: dict[ModelName, Bools]
    rows: Sequence[Row]
    flags: Sequence[Flag] = ()
    gates: Sequence[Gate] = ()
    latency_ratio: float | None = None
    curve: Sequence[CurvePoint] = ()
    about: dict[str, str] = field(default_factory=dict)
    complete: bool = True

    @property
    def n_examples(self) -> int:
        """Number of examples."""
        return len(self.correct["original"])

    @property
    def own_rows(self) -> list[Row]:
        """The rows of the attacks that had the whole budget."""
        return [row for row in self.rows if row.eps is None]

    def clean_accuracy(self, model: ModelName) -> Share:
        """Share of examples that a model gets right without an attack."""
        return share(self.correct[model])

    def standing(self, model: ModelName, kinds: Iterable[str] | None = None) -> Bools:
        """Whether no attack (of these kinds) fooled the model, of shape (N,)."""
        chosen = [row.success for row in self.rows if row.model == model and (kinds is None or row.kind in kinds)]
        standing: Bools = self.correct[model].copy()
        for success in chosen:
            standing &= ~success
        return standing

    def worst_case(self, model: ModelName) -> Share:
        """Share of examples on which a model withstood every attack."""
        return share(self.standing(model))

    @property
    def gain(self) -> Share:
        """Worst case of the patched model less that of the original, over the same examples."""
        return paired_difference(self.standing("patched"), self.standing("original"))

    @property
    def gain_shown(self) -> bool:
        """Whether the gain's interval lies above 0, every planned attack has run, and so have those that it takes."""
        return self.complete and self.gain.low > 0 and not self.missing_attacks

    @property
    def missing_attacks(self) -> list[str]:
        """What has to run on the patched model before a gain can be claimed, and did not.

        A jump hides gradients: exact ones show nothing alone, and `relu` ones can miss what smooth ones find.
        """
        rows = [row for row in self.rows if row.model == "patched"]
        ran = {
            "smooth-gradient": any(row.name.endswith(SMOOTH) for row in rows),
            "black-box": any(row.kind == "black-box" for row in rows),
        }
        return [what for what, has_run in ran.items() if not has_run]

    def naive(self, model: ModelName) -> float | None:
        """What PGD with exact gradients alone would have claimed, None where it did not run."""
        return next((row.robust_accuracy for row in self.own_rows if (row.model, row.name) == (model, NAIVE)), None)
