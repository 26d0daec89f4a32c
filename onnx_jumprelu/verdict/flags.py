"""Signs that a robust accuracy is not what it seems: one small check each (Carlini et al. 2019, arXiv:1902.06705)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from onnx_jumprelu.attacks.base import MANY_ZERO_GRADIENTS
from onnx_jumprelu.names import ModelName
from onnx_jumprelu.verdict.findings import EXACT, GRADIENT_KINDS, Flag, Row

CLEAR = 0.02  # difference of two robust accuracies that chance and different steps do not explain
ENOUGH_FOOLED = 0.1  # share of the examples that one step must fool before more steps can show their worth
MOST_COPIES = 0.05  # share of copies among the examples that does not change an interval
NEAR_CHANCE = 0.05  # clean accuracy above that of guessing, up to which the data or their scale must be wrong


@dataclass(frozen=True)
class Evidence:
    """What a check looks at: one model, the attacks on it, and what `evidence.gathered` tried.

    Attributes:
        model: Which model.
        rows: The attacks on it, with the verdict's eps.
        n_examples: Number of examples.
        n_classes: Number of classes.
        clean: Clean accuracy.
        under_noise: Accuracy under random noise of the attacks' size.
        unbounded: Accuracy under PGD with a budget that covers the whole data space.
        flat: Share of the examples that no attack fooled and at which every gradient is 0.
        looks_like_probabilities: Whether the outputs are probabilities, not logits.
        repeats: Whether the same input gives the same output.
        alone: Whether an example's output does not depend on the others that it is run with.
        n_answers: How many different classes the model predicts without an attack.
        distinct: Share of the examples that are not copies of an earlier one.
    """

    model: ModelName
    rows: Sequence[Row]
    n_examples: int
    n_classes: int
    clean: float
    under_noise: float
    unbounded: float
    flat: float
    looks_like_probabilities: bool
    repeats: bool
    alone: bool
    n_answers: int
    distinct: float

    @property
    def margin(self) -> float:
        """Smallest difference of two robust accuracies that counts: more than one or two examples."""
        return max(CLEAR, 2 / self.n_examples)

    @property
    def near_chance(self) -> bool:
        """Whether the clean accuracy is about that of guessing."""
        return self.clean <= 1 / self.n_classes + NEAR_CHANCE

    def lowest(self, *kinds: str) -> Row | None:
        """The attack of these kinds that left the fewest examples standing, None where there is none."""
        return min((row for row in self.rows if row.kind in kinds), key=_robust, default=None)

    def exact(self, attack: str) -> Row | None:
        """An attack with exact gradients by its name, None where it did not run."""
        return next((row for row in self._own if (row.attack, row.surrogate) == (attack, EXACT)), None)

    def same_with_exact_gradients(self, adaptive: Row) -> Row | None:
        """The attack with the same settings and exact gradients, None where it did not run."""
        alike = (row for row in self._own if (row.attack, row.settings) == (adaptive.attack, adaptive.settings))
        return next((row for row in alike if row.surrogate == EXACT), None)

    @property
    def _own(self) -> Iterator[Row]:
        return (row for row in self.rows if row.source == self.model)


def _robust(row: Row) -> float:
    return row.robust_accuracy


@dataclass(frozen=True)
class FlagRule:
    """A flag of the registry.

    Attributes:
        message: What it means and what to do, None where the evidence does not raise it.
        undermines: Whether the model's worst case cannot be trusted where it is raised.
    """

    message: Callable[[Evidence], str | None]
    undermines: bool


FLAGS: dict[str, FlagRule] = {}


def _flag(name: str, *, undermines: bool) -> Callable[[Callable[[Evidence], str | None]], object]:
    def register(message: Callable[[Evidence], str | None]) -> FlagRule:
        FLAGS[name] = FlagRule(message, undermines)
        return FLAGS[name]

    return register


@_flag("near-chance", undermines=True)
def _near_chance(seen: Evidence) -> str | None:
    if not seen.near_chance:
        return None
    return (
        f"the clean accuracy, {seen.clean:.1%}, is about that of guessing one of {seen.n_classes} classes: the data's "
        "scale, layout, labels, mean or std are probably wrong; fix them before reading any other number"
    )


@_flag("zero-gradients", undermines=False)
def _zero_gradients(seen: Evidence) -> str | None:
    zero = max((row.zero_gradients or 0.0 for row in seen.rows if row.kind == "white-box"), default=0.0)
    if zero <= MANY_ZERO_GRADIENTS:
        return None
    return (
        f"up to {zero:.0%} of an attack's exact gradients were 0: such an attack fails because it has nothing to "
        "follow, not because the model is robust; trust the adaptive and black-box numbers instead"
    )


@_flag("gradients-vanish", undermines=True)
def _gradients_vanish(seen: Evidence) -> str | None:
    if seen.flat < seen.margin:
        return None
    return (
        f"on {seen.flat:.1%} of the examples no attack succeeded and every gradient is 0, with every surrogate: no "
        "attack with gradients could work there; attack a version of the model without the rounding or saturation"
    )


@_flag("exact-gradients-mislead", undermines=False)
def _exact_gradients_mislead(seen: Evidence) -> str | None:
    exact, adaptive = seen.lowest("white-box"), seen.lowest("adaptive")
    if exact is None or adaptive is None or adaptive.robust_accuracy >= exact.robust_accuracy:
        return None
    pairs = ((seen.same_with_exact_gradients(row), row) for row in seen.rows if row.kind == "adaptive")
    for same, row in pairs:
        if same is not None and row is not same and row.robust_accuracy < same.robust_accuracy - seen.margin:
            return (
                f"{same.label} with exact gradients leaves {same.robust_accuracy:.1%} standing, the same attack with "
                f"{row.surrogate} gradients {row.robust_accuracy:.1%}: the jump hides gradients, so quote the worst "
                "case and never the exact-gradient number"
            )
    return None


@_flag("black-box-beats-white-box", undermines=True)
def _black_box_beats_white_box(seen: Evidence) -> str | None:
    """Compared with every attack with gradients: where adaptive ones do better, nothing is amiss."""
    best, black = seen.lowest(*GRADIENT_KINDS), seen.lowest("black-box")
    if best is None or black is None or black.robust_accuracy >= best.robust_accuracy - seen.margin:
        return None
    return (
        f"an attack without gradients leaves {black.robust_accuracy:.1%} standing, the best one with gradients "
        f"{best.robust_accuracy:.1%}: the gradients mislead; look for what hides them, and do not trust attacks with "
        "gradients"
    )


@_flag("transfer-beats-white-box", undermines=True)
def _transfer_beats_white_box(seen: Evidence) -> str | None:
    best, foreign = seen.lowest(*GRADIENT_KINDS), seen.lowest("gray-box", "transfer")
    if best is None or foreign is None or foreign.robust_accuracy >= best.robust_accuracy - seen.margin:
        return None
    return (
        f"examples made on the {foreign.source} model leave {foreign.robust_accuracy:.1%} standing, the best attack "
        f"with this model's own gradients {best.robust_accuracy:.1%}: the gradients mislead; look for what hides them, "
        "and do not trust attacks with gradients"
    )


@_flag("iterating-does-not-help", undermines=False)
def _iterating_does_not_help(seen: Evidence) -> str | None:
    single, iterative = seen.exact("fgsm"), seen.exact("pgd")
    if single is None or iterative is None or single.robust_accuracy <= CLEAR:
        return None
    if iterative.robust_accuracy < single.robust_accuracy:
        return None
    if single.robust_accuracy > seen.clean - ENOUGH_FOOLED:  # of the few at the border one step fools as many as forty
        return None
    return (
        f"many steps (PGD, {iterative.robust_accuracy:.1%} standing) do no more than one (FGSM, "
        f"{single.robust_accuracy:.1%}): the gradient leads nowhere after the first step; use adaptive gradients and "
        "more restarts"
    )


@_flag("no-budget-is-large-enough", undermines=True)
def _no_budget_is_large_enough(seen: Evidence) -> str | None:
    if seen.unbounded <= CLEAR or seen.near_chance:
        return None
    return (
        f"{seen.unbounded:.1%} still stand when PGD may change everything: no model is that robust, so the model's "
        "gradients break the attack; rely on attacks that do not need them"
    )


@_flag("noise-is-as-good", undermines=True)
def _noise_is_as_good(seen: Evidence) -> str | None:
    best = min((row.robust_accuracy for row in seen.rows), default=None)
    if best is None or seen.under_noise >= seen.clean - CLEAR or best < seen.under_noise - CLEAR:
        return None
    return (
        f"random noise leaves {seen.under_noise:.1%} standing and the best attack {best:.1%}: the attacks do no "
        "better than chance, so they do not work; check the data's scale, mean and std"
    )


@_flag("probabilities", undermines=True)
def _probabilities(seen: Evidence) -> str | None:
    if not seen.looks_like_probabilities:
        return None
    return (
        "the outputs are probabilities that could not be traced back to logits: where they saturate, gradients vanish; "
        "give the tensor before the softmax with --output-name"
    )


@_flag("random-outputs", undermines=True)
def _random_outputs(seen: Evidence) -> str | None:
    if seen.repeats:
        return None
    return (
        "the same input gives different outputs: one run per attack proves little against randomness; average over "
        "many runs (pgd-noise), or take the randomness out of the model"
    )


@_flag("depends-on-the-batch", undermines=True)
def _depends_on_the_batch(seen: Evidence) -> str | None:
    if seen.alone or not seen.repeats:
        return None
    return (
        "an example's output changes with the other examples in its batch: what an attack finds in one batch says "
        "nothing about another; run the model with one example at a time (fixed batch size 1), or take the statistics "
        "over the batch out of it"
    )


@_flag("same-answer", undermines=True)
def _same_answer(seen: Evidence) -> str | None:
    if seen.n_answers > 1:
        return None
    return (
        "the model predicts the same class for every example: one that ignores its input would do as well; use data "
        "with several classes, or find out why the model does not tell them apart"
    )


@_flag("repeated-examples", undermines=True)
def _repeated_examples(seen: Evidence) -> str | None:
    if seen.distinct >= 1 - MOST_COPIES:
        return None
    return (
        f"{1 - seen.distinct:.1%} of the examples are copies of others: the intervals count them as independent and "
        "are too narrow; leave each example in the data once"
    )


def raised(seen: Evidence) -> Iterator[Flag]:
    """Every flag that a model's evidence raises."""
    for name, rule in FLAGS.items():
        message = rule.message(seen)
        if message is not None:
            yield Flag(name, seen.model, message, rule.undermines)
