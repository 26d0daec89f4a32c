"""What the flags need to know about a model in addition to the attacks on it: a few trials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from onnx_jumprelu.activation.derivatives import SURROGATES
from onnx_jumprelu.arrays import Bools, Floats, Labels, rows
from onnx_jumprelu.attacks import PGD
from onnx_jumprelu.attacks.norms import norm_named
from onnx_jumprelu.attacks.probe import clip, is_wrong
from onnx_jumprelu.classifier.classifier import OnnxClassifier
from onnx_jumprelu.data.reading import Data
from onnx_jumprelu.names import ModelName, NormName
from onnx_jumprelu.verdict.findings import EXACT, SMOOTH, Row
from onnx_jumprelu.verdict.flags import Evidence

FEW_EXAMPLES = 50  # enough for what must hold for nearly all of them
UNBOUNDED_STEPS = 100
PROBABILITIES_SUM = 1e-3  # how far from 1 their sum may be
FEW_ALONE = 3
ALONE = 0.01  # relative difference that other orders of summation do not explain
FLAT_LOSS = "margin"  # a difference of logits: its gradient is 0 only where the logits' own are


def gathered(
    model: ModelName,
    classifier: OnnxClassifier,
    data: Data,
    found: Iterable[Row],
    *,
    jump_sites: int,
    eps: float,
    norm: NormName,
    rng: np.random.Generator,
) -> Evidence:
    """Measure what the checks need to know about a model in addition to the attacks on it.

    Args:
        model: Its name.
        classifier: The model.
        data: Inputs and labels.
        found: The attacks with the verdict's eps, on any model.
        jump_sites: Number of its sites whose gradient a surrogate replaces.
        eps: Largest perturbation, in data space.
        norm: Norm of the perturbations.
        rng: Source of all randomness.
    """
    metric, x, labels = norm_named(norm), data.x, data.required_labels()
    logits = classifier.logits(x)
    wrong = is_wrong(logits, labels)
    noisy = clip(x + np.float32(eps) * metric.random(rng, x.shape), classifier.bounds)
    noisy_logits = classifier.logits(noisy)
    own = [row for row in found if row.model == model]
    standing = ~np.logical_or.reduce([wrong, *(row.success for row in own)])
    surrogates = list(SURROGATES) if jump_sites else [EXACT]
    views = [classifier.with_surrogate(surrogate) for surrogate in surrogates]
    return Evidence(
        model=model,
        rows=own,
        n_examples=len(x),
        n_classes=classifier.n_classes,
        clean=float(1 - wrong.mean()),
        under_noise=float(1 - is_wrong(noisy_logits, labels).mean()),
        unbounded=_unbounded(classifier.with_surrogate(SMOOTH if jump_sites else EXACT), x, labels, norm, rng),
        flat=float((standing & _flat(views, x, noisy, labels)).mean()),
        looks_like_probabilities=_are_probabilities(logits),
        repeats=_repeat(classifier, x, logits) and _repeat(classifier, noisy, noisy_logits),
        alone=_are_alone(classifier, noisy, noisy_logits),
        n_answers=len(np.unique(logits.argmax(axis=1))),
        distinct=len(np.unique(rows(x), axis=0)) / len(x),
    )


def _repeat(classifier: OnnxClassifier, x: Floats, logits: Floats) -> bool:
    """Whether a second run gives the same logits."""
    return bool(np.array_equal(logits, classifier.logits(x), equal_nan=True))


def _are_alone(classifier: OnnxClassifier, x: Floats, logits: Floats) -> bool:
    """Whether a few examples have the same logits when they are run one by one, but for rounding."""
    few = np.concatenate([classifier.logits(one[None]) for one in x[:FEW_ALONE]])
    together = logits[:FEW_ALONE]
    return bool(np.allclose(few, together, rtol=ALONE, atol=ALONE * np.abs(together).max(), equal_nan=True))


def _unbounded(
    classifier: OnnxClassifier, x: Floats, labels: Labels, norm: NormName, rng: np.random.Generator
) -> float:
    """Accuracy under PGD whose budget covers the whole data space, on a few examples."""
    low, high = classifier.bounds
    whole = high - low if norm == "Linf" else (high - low) * float(np.sqrt(x[0].size))
    attack = PGD(eps=whole, norm=norm, n_iter=UNBOUNDED_STEPS)
    return attack(classifier, x[:FEW_EXAMPLES], labels[:FEW_EXAMPLES], rng=rng).robust_accuracy


def _flat(views: Sequence[OnnxClassifier], x: Floats, noisy: Floats, labels: Labels) -> Bools:
    """Whether every gradient is 0 at an example and at a random point near it, of shape (N,)."""
    flat = np.ones(len(x), np.bool_)
    for view in views:
        for at in (x, noisy):
            _, _, gradient = view.evaluate(at, labels, FLAT_LOSS)
            flat &= ~np.nan_to_num(rows(gradient), posinf=0.0, neginf=0.0).any(axis=1)  # attacks take these for 0
    return flat


def _are_probabilities(logits: Floats) -> bool:
    sums = rows(logits).sum(axis=1)
    return bool((logits >= 0).all() and (logits <= 1).all() and np.allclose(sums, 1, atol=PROBABILITIES_SUM))
