"""What every attack shares: input is checked; output is projected, clipped and counted again.

An attack's author writes `run`; the final `__call__` decides what the attack has achieved, by asking the model.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, final

import numpy as np

from onnx_jumprelu.arguments import check_integer, check_number, shown
from onnx_jumprelu.arrays import Array, Bools, Floats, Labels, rows
from onnx_jumprelu.attacks.norms import Norm, norm_named
from onnx_jumprelu.attacks.probe import Classifier, Probe, clip
from onnx_jumprelu.attacks.progress import Progress
from onnx_jumprelu.classifier.normalization import UINT8_MAX, pixels_as_floats
from onnx_jumprelu.content import ByContent
from onnx_jumprelu.errors import DataError, OptionError
from onnx_jumprelu.gradient.core.losses import loss_name
from onnx_jumprelu.names import NormName

MANY_ZERO_GRADIENTS = 0.05  # share of an attack's gradients that may be 0 before it deserves a warning
LARGEST_EPS = 1e12  # float32 can still square it
# Numbers per array (float32: 64 MB). Attacks keep several arrays of the size of their input.
LARGEST_ARRAY = 16_000_000
LARGEST_PIECE = 128  # examples: enough to keep the model busy, few enough to count those that are finished


@dataclass(frozen=True, eq=False, repr=False)
class AttackResult(ByContent):
    """What an attack achieved, as the model itself says of `x_adv`.

    Attributes:
        attack: Name of the attack.
        norm: Norm of the perturbation.
        eps: Largest perturbation allowed, in data space; None where the attack has no budget.
        x_adv: The examples after the attack, of shape (N, ...). Where it failed, its last attempt; inputs that
            the model gets wrong from the start are not touched.
        labels: True classes, of shape (N,).
        correct: Whether the model was right before the attack, of shape (N,).
        success: Whether the model is wrong on `x_adv`, of shape (N,).
        perturbation: Length of `x_adv - x`, float64, of shape (N,).
        zero_gradients: How often the model's gradient at an example was 0, so that no step could be made.
        nan_gradients: How often it was not finite; it then counts as 0 for the attack.
        n_gradients: How many gradients of single examples were asked for.
        n_queries: How many examples the model was run on in all.
        seconds: Time taken.
    """

    attack: str
    norm: NormName
    eps: float | None
    x_adv: Floats
    labels: Labels
    correct: Bools
    success: Bools
    perturbation: Array
    zero_gradients: int
    nan_gradients: int
    n_gradients: int
    n_queries: int
    seconds: float

    def __repr__(self) -> str:
        eps = "" if self.eps is None else f", eps={self.eps:g}"
        return (
            f"AttackResult({self.attack!r}, {self.norm!r}{eps}, n_examples={len(self.labels)}, "
            f"robust_accuracy={self.robust_accuracy:.4f})"
        )

    @property
    def clean_accuracy(self) -> float:
        """Share of examples that the model gets right without an attack."""
        return float(self.correct.mean())

    @property
    def robust_accuracy(self) -> float:
        """Share of examples that the model gets right after the attack."""
        return float((~self.success).mean())

    @property
    def mean_perturbation(self) -> float:
        """Mean length of the perturbations that succeeded, 0 where none did."""
        fooled = self.success & self.correct
        return float(self.perturbation[fooled].mean()) if fooled.any() else 0.0

    @property
    def max_perturbation(self) -> float:
        """Largest length of all perturbations."""
        return float(self.perturbation.max(initial=0.0))


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """An attack and its settings.

    Attributes:
        eps: Largest perturbation, in data space. None, where the attack allows it, for no limit.
        norm: `Linf` or `L2`.
    """

    eps: float | None
    norm: NormName = "Linf"

    # Facts about the attack, which planning, running and reporting read.
    name: ClassVar[str]
    norms: ClassVar[Sequence[NormName]] = ("Linf", "L2")
    needs_eps: ClassVar[bool] = True
    needs_gradients: ClassVar[bool] = True
    sees_past_jumps: ClassVar[bool] = False  # even with the exact gradients of a JumpReLU

    @property
    def settings(self) -> dict[str, object]:
        """The settings other than `eps` and `norm`, by name; a loss that is a function is given by its name."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        plain = {name: value for name, value in own.items() if name not in ("eps", "norm")}
        return {name: loss_name(value) if name == "loss" else value for name, value in plain.items()}

    def __post_init__(self) -> None:
        """Check the settings. Raises OptionError."""
        norm_named(self.norm)
        if self.norm not in self.norms:
            raise OptionError(f"{self.name} has no form for norm {self.norm}; choose {' or '.join(self.norms)}")
        if self.eps is None and self.needs_eps:
            raise OptionError(f"{self.name} needs eps, the largest perturbation")
        for entry in fields(self):
            value, where = (
                getattr(self, entry.name),
                entry.name if entry.name == "eps" else f"{self.name}: {entry.name}",
            )
            if entry.type == "int":
                check_integer(value, where)
            elif entry.type == "float" or (entry.type == "float | None" and value is not None):
                check_number(value, where)
        if self.eps is not None and not 0 < self.eps <= LARGEST_EPS:
            raise OptionError(f"eps must be a number above 0, at most {LARGEST_EPS:g}, not {self.eps:g}")

    @abstractmethod
    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        """Attack examples that the model gets right; returns the attempt for each, of the same shape as `x`.

        It calls `model.step` after each of its steps, with the number of examples that the step was made on.
        """

    def n_steps(self, n_classes: int) -> int:
        """The most steps that `run` makes on an example of a model with `n_classes` classes; 1 unless overridden."""
        del n_classes
        return 1

    @final
    def __call__(
        self,
        classifier: Classifier,
        x: Floats,
        labels: Labels,
        *,
        rng: np.random.Generator | None = None,
        seed: int | None = None,
        on_done: Callable[[int], None] = lambda _: None,
        on_progress: Callable[[float], None] = lambda _: None,
    ) -> AttackResult:
        """Attack a classifier.

        Args:
            classifier: The model, in data space.
            x: Inputs of shape (N, ...) within the classifier's bounds; uint8 inputs are divided by 255.
            labels: Their classes, of shape (N,).
            rng: Source of all randomness. Give this or a seed.
            seed: Seed of all randomness, 0 by default.
            on_done: Called with the number of examples that were just finished.
            on_progress: Called with the share of the work that is done, from 0 to 1, whenever it has grown.

        Raises:
            DataError: `x` or `labels` do not fit the classifier or lie outside its bounds.
            OptionError: both `rng` and `seed` are given, or the seed is negative.
        """
        rng = generator(rng, seed)
        x, labels = checked(classifier, x, labels)
        progress = Progress(on_progress, self.n_steps(classifier.n_classes))
        start, probe = time.perf_counter(), Probe(classifier, on_step=progress.step)
        correct = ~probe.wrong(x, labels)
        on_done(int((~correct).sum()))
        x_adv = x.copy()
        survivors = np.flatnonzero(correct)
        size = max(1, min(LARGEST_PIECE, LARGEST_ARRAY // x[0].size))
        for some in (survivors[at : at + size] for at in range(0, len(survivors), size)):
            with progress.piece(len(some) / len(survivors)):
                x_adv[some] = self._allowed(self.run(probe, x[some], labels[some], rng), x[some], classifier.bounds)
            on_done(len(some))
        result = AttackResult(
            attack=self.name,
            norm=self.norm,
            eps=self.eps,
            x_adv=x_adv,
            labels=labels,
            correct=correct,
            success=probe.wrong(x_adv, labels),
            perturbation=self.metric.length(x_adv.astype(np.float64) - x),
            zero_gradients=probe.zero_gradients,
            nan_gradients=probe.nan_gradients,
            n_gradients=probe.n_gradients,
            n_queries=probe.n_queries,
            seconds=time.perf_counter() - start,
        )
        progress.end()
        return result

    @property
    def metric(self) -> Norm:
        """The norm itself."""
        return norm_named(self.norm)

    def _allowed(self, x_adv: Floats, x: Floats, bounds: tuple[float, float]) -> Floats:
        """An attempt within the budget and the bounds; one that is not finite is given up."""
        finite = np.isfinite(rows(x_adv)).all(axis=1)
        kept = np.where(finite.reshape(-1, *[1] * (x.ndim - 1)), x_adv, x)
        if self.eps is not None:
            kept = self.metric.confine(kept, x, self.eps)
        # Bounds come last: they only bring a coordinate nearer to x, which lies within them.
        return clip(kept, bounds)


def generator(rng: np.random.Generator | None, seed: int | None) -> np.random.Generator:
    """A source of randomness: the one given, or a new one of this seed (0 by default). Raises OptionError."""
    if rng is None:
        if seed is not None:
            check_integer(seed, "the seed", 0)
        return np.random.default_rng(0 if seed is None else seed)
    if seed is not None:
        raise OptionError("give rng or seed, not both")
    if not isinstance(rng, np.random.Generator):
        raise OptionError(f"rng must be a numpy.random.Generator, not {shown(rng)}; for an integer use seed=")
    return rng


def checked(classifier: Classifier, x: Floats, labels: Labels) -> tuple[Floats, Labels]:
    """Inputs and labels in the form that attacks take.

    Raises:
        DataError: there are none, their numbers differ, a label is not a class of the model, or an input lies outside
            the bounds.
    """
    if not hasattr(classifier, "bounds") or not hasattr(classifier, "evaluate"):
        raise OptionError(f"an attack is run on an OnnxClassifier, not {shown(classifier)}; oj.attack takes a path")
    x, labels = np.asarray(pixels_as_floats(np.asarray(x), classifier.bounds)), np.asarray(labels)
    if x.dtype.kind not in "fiu":
        raise DataError(f"x holds {x.dtype}; numbers are needed")
    x = x.astype(np.float32, copy=False)
    if x.ndim < 2 or not x.size:  # noqa: PLR2004 - (N, ...)
        raise DataError(f"x has shape {list(x.shape)}; examples of shape (N, ...) are needed")
    if labels.shape != (len(x),) or labels.dtype.kind not in "iu":
        raise DataError(
            f"labels are {labels.dtype} of shape {list(labels.shape)}; {len(x)} integers are needed, one per example"
        )
    n_classes = classifier.n_classes
    outside = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(outside):
        raise DataError(
            f"label {labels[outside[0]]} of example {outside[0]} is out of range; "
            f"the model has classes 0 to {n_classes - 1}"
        )
    low, high = map(np.float32, classifier.bounds)
    if not np.isfinite(x).all():
        broken = np.flatnonzero(~np.isfinite(rows(x)).all(axis=1))
        raise DataError(f"x is not finite in {len(broken)} examples, the first of which is example {broken[0]}")
    bad = np.flatnonzero(~((rows(x) >= low) & (rows(x) <= high)).all(axis=1))
    if len(bad):
        first = x[bad[0]]
        pixels = high == 1 and x.min() >= 0 and UINT8_MAX / 2 < x.max() <= UINT8_MAX
        advice = f"divide x by {UINT8_MAX} or store it as uint8" if pixels else "give the data before normalization"
        raise DataError(
            f"x lies outside the bounds {low:g} to {high:g} in {len(bad)} examples, the first being {bad[0]} with "
            f"values from {first.min():g} to {first.max():g}; {advice}, or give other bounds"
        )
    return x, labels.astype(np.int64)
