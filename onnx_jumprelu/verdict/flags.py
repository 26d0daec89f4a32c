"""Signs that a robust accuracy is not what it seems: one small check each (Carlini et al. 2019, arXiv:1902.06705)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Floats, Labels, rows
from onnx_jumprelu.attacks import PGD
from onnx_jumprelu.attacks.base import clip, is_wrong
from onnx_jumprelu.attacks.norms import norm_named
from onnx_jumprelu.classifier.classifier import OnnxClassifier
from onnx_jumprelu.names import ModelName, NormName
from onnx_jumprelu.verdict.result import Flag, Row

MANY = 0.05  # share of the gradients that may be 0 before it is worth a word
CLEAR = 0.02  # difference of two robust accuracies that is more than chance and different steps
ENOUGH_FOOLED = 0.1  # share of the examples that one step must fool before more steps can show their worth
FEW_EXAMPLES = 50  # enough for what must hold for nearly all of them
UNBOUNDED_STEPS = 100


@dataclass(frozen=True)
class Evidence:
    """What a check looks at: one model, the attacks on it, and what it did in a few trials of its own.

    Attributes:
        model: Which model.
        rows: The attacks on it.
        clean: Its clean accuracy.
        noise: Its accuracy under random noise of the attacks' size.
        unbounded: Its accuracy under PGD without a budget to speak of.
        looks_like_probabilities: Whether its outputs are probabilities, not logits.
        repeats: Whether the same input gives the same output.
        n_jumprelus: How many JumpReLUs it has.
    """

    model: ModelName
    rows: Sequence[Row]
    clean: float
    noise: float
    unbounded: float
    looks_like_probabilities: bool
    repeats: bool
    n_jumprelus: int = 0

    @property
    def margin(self) -> float:
        """Difference of two robust accuracies that is clear: not one or two examples."""
        n_examples = max((len(row.success) for row in self.rows), default=1)
        return max(CLEAR, 2 / n_examples)

    def lowest(self, kind: str) -> float | None:
        """The lowest robust accuracy under attacks of a kind, None where there are none."""
        return min((row.robust_accuracy for row in self.rows if row.kind == kind), default=None)

    def of(self, name: str) -> float | None:
        """The robust accuracy under one attack, None where it did not run."""
        return next((row.robust_accuracy for row in self.rows if row.name == name), None)


def gathered(
    model: ModelName,
    classifier: OnnxClassifier,
    x: Floats,
    labels: Labels,
    found: Iterable[Row],
    *,
    eps: float,
    norm: NormName,
    rng: np.random.Generator,
) -> Evidence:
    """Try a model for what the checks need to know besides the attacks on it."""
    few, few_labels = x[:FEW_EXAMPLES], labels[:FEW_EXAMPLES]
    metric = norm_named(norm)
    logits = classifier.logits(x)
    noisy = clip(x + np.float32(eps) * metric.random(rng, x.shape), classifier.bounds)
    low, high = classifier.bounds
    whole = high - low if norm == "Linf" else (high - low) * float(np.sqrt(x[0].size))
    far = PGD(eps=whole, norm=norm, n_iter=UNBOUNDED_STEPS)(classifier, few, few_labels, rng=rng)
    return Evidence(
        model=model,
        rows=[row for row in found if row.model == model],
        clean=float(1 - is_wrong(logits, labels).mean()),
        noise=float(1 - is_wrong(classifier.logits(noisy), labels).mean()),
        unbounded=far.robust_accuracy,
        looks_like_probabilities=_are_probabilities(logits),
        repeats=bool(np.array_equal(logits, classifier.logits(x), equal_nan=True)),
        n_jumprelus=classifier.n_jumprelus,
    )


def _are_probabilities(logits: Floats) -> bool:
    sums = rows(logits).sum(axis=1)
    return bool((logits >= 0).all() and (logits <= 1).all() and np.allclose(sums, 1, atol=1e-3))


def _zero_gradients(seen: Evidence) -> str | None:
    zero = max((row.zero_gradients or 0.0 for row in seen.rows if row.kind == "white-box"), default=0.0)
    if zero <= MANY:
        return None
    return (
        f"up to {zero:.0%} of an attack's exact gradients were 0: such an attack fails because it sees nothing, not "
        "because the model is robust; trust the adaptive and black-box numbers instead"
    )


def _exact_gradients_mislead(seen: Evidence) -> str | None:
    """Compared with the same attack where both forms of it ran, so that a stronger attack is not taken for a sign."""
    exact, adaptive = seen.lowest("white-box"), seen.lowest("adaptive")
    pairs = [
        (exact if same is None else same, row.robust_accuracy)
        for row in seen.rows
        if row.kind == "adaptive"
        for same in [seen.of(row.name.partition(" ")[0])]
    ]
    apart = any(before is not None and after < before - seen.margin for before, after in pairs)
    if not seen.n_jumprelus or exact is None or adaptive is None or not apart or adaptive >= exact:
        return None
    return (
        f"the best single attack with exact gradients leaves {exact:.2%} standing, the best adaptive one "
        f"{adaptive:.2%}: the jump hides gradients, so quote the worst case and never the exact-gradient number"
    )


def _black_box_beats_white_box(seen: Evidence) -> str | None:
    exact, black = seen.lowest("white-box"), seen.lowest("black-box")
    if exact is None or black is None or black >= exact - seen.margin:
        return None
    return (
        f"an attack without gradients leaves {black:.2%} standing, the best single one with exact gradients "
        f"{exact:.2%}: the gradients mislead; look for what hides them, and do not trust gradient attacks alone"
    )


def _iterating_does_not_help(seen: Evidence) -> str | None:
    single, iterative = seen.of("fgsm"), seen.of("pgd")
    if single is None or iterative is None or single <= CLEAR or iterative < single:
        return None
    if single > seen.clean - ENOUGH_FOOLED:  # of the few at the border one step fools as many as forty
        return None
    return (
        f"many steps (PGD, {iterative:.1%} standing) do no more than one (FGSM, {single:.1%}): the gradient leads "
        "nowhere after the first step; use adaptive gradients and more restarts"
    )


def _no_budget_is_large_enough(seen: Evidence) -> str | None:
    if seen.unbounded <= CLEAR:
        return None
    return (
        f"{seen.unbounded:.1%} still stand when PGD may change everything: no model is that robust, the attack is "
        "broken by the model's gradients; rely on attacks that do not need them"
    )


def _noise_is_as_good(seen: Evidence) -> str | None:
    best = min((row.robust_accuracy for row in seen.rows), default=None)
    if best is None or seen.noise >= seen.clean - CLEAR or best < seen.noise - CLEAR:
        return None
    return (
        f"random noise leaves {seen.noise:.1%} standing and the best attack {best:.1%}: the attacks do no better than "
        "chance, so they are not working; check the data's scale, mean and std"
    )


def _probabilities(seen: Evidence) -> str | None:
    if not seen.looks_like_probabilities:
        return None
    return (
        "the outputs are probabilities that could not be traced back to logits: where they saturate, gradients vanish; "
        "give the tensor before the softmax with --output"
    )


def _random_outputs(seen: Evidence) -> str | None:
    if seen.repeats:
        return None
    return (
        "the same input gives different outputs: one run per attack proves little against randomness; average over "
        "many runs (pgd-noise), or take the randomness out of the model"
    )


FLAGS: dict[str, Callable[[Evidence], str | None]] = {
    "zero-gradients": _zero_gradients,
    "exact-gradients-mislead": _exact_gradients_mislead,
    "black-box-beats-white-box": _black_box_beats_white_box,
    "iterating-does-not-help": _iterating_does_not_help,
    "no-budget-is-large-enough": _no_budget_is_large_enough,
    "noise-is-as-good": _noise_is_as_good,
    "probabilities": _probabilities,
    "random-outputs": _random_outputs,
}


def raised(seen: Evidence) -> Iterator[Flag]:
    """Every flag that a model's evidence raises."""
    for name, check in FLAGS.items():
        message = check(seen)
        if message is not None:
            yield Flag(name, seen.model, message)
