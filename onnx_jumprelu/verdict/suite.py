"""Which attacks a verdict runs: the same ones on both models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx_jumprelu.activation.derivatives import SURROGATES
from onnx_jumprelu.attacks import APGDDLR, ATTACKS, Attack, TargetedAPGD, attack_named
from onnx_jumprelu.attacks.steps import FEWEST_CLASSES
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.names import Kind, NormName

EXACT = "exact"
BLIND = frozenset({"square"})  # they ask for no gradient
AVERAGED = frozenset({"pgd-noise"})  # they see past a jump even with exact gradients


@dataclass(frozen=True)
class Plan:
    """One attack of the matrix.

    Attributes:
        attack: The attack with its settings.
        surrogate: The derivative at JumpReLU sites that it uses.
    """

    attack: Attack
    surrogate: str = EXACT

    @property
    def name(self) -> str:
        """The attack, and its gradient where that is not the exact one."""
        return self.attack.name if self.surrogate == EXACT else f"{self.attack.name} ({self.surrogate})"

    @property
    def kind(self) -> Kind:
        """White-box with exact gradients, adaptive with others, black-box without any."""
        if self.attack.name in BLIND:
            return "black-box"
        return "white-box" if self.surrogate == EXACT and self.attack.name not in AVERAGED else "adaptive"


# Name, gradient, settings.
Row = tuple[str, str, dict[str, Any]]
SETS: dict[str, tuple[Row, ...]] = {
    "standard": (
        ("fgsm", "exact", {}),
        ("pgd", "exact", {}),
        ("apgd-ce", "exact", {}),
        ("apgd-t", "exact", {}),
        ("fab-t", "exact", {}),
        ("apgd-ce", "relu", {}),
        ("apgd-t", "relu", {}),
        ("fab-t", "relu", {}),
        ("apgd-ce", "smooth", {"n_restarts": 3}),
        ("apgd-t", "smooth", {}),
        ("pgd-noise", "exact", {"n_iter": 20, "n_samples": 8}),
        ("square", "exact", {}),
    ),
    "quick": (
        ("fgsm", "exact", {}),
        ("pgd", "exact", {"n_iter": 20}),
        ("apgd-ce", "exact", {"n_iter": 40}),
        ("apgd-ce", "relu", {"n_iter": 40}),
        ("apgd-ce", "smooth", {"n_iter": 60}),
        ("apgd-t", "relu", {"n_iter": 40, "n_target_classes": 3}),
        ("square", "exact", {"n_queries": 1000}),
    ),
}


def planned(choice: str, eps: float, norm: NormName, n_classes: int | None = None) -> list[Plan]:
    """The attacks of a set, or of a list such as `pgd,apgd-ce:relu,square`.

    Args:
        choice: The set or the list. A set leaves out what a model of few classes has no loss for.
        eps: Largest perturbation, in data space.
        norm: Norm of the perturbations.
        n_classes: How many classes the model has, None for enough of them.

    Raises:
        OptionError: there is no such set, attack or gradient, or a list has an attack twice.
    """
    if choice in SETS:
        rows = [suited for row in SETS[choice] for suited in _suited(row, n_classes)]
    else:
        rows = _each_once([_parsed(item.strip()) for item in choice.split(",")])
    return [Plan(attack_named(name, eps=eps, norm=norm, **settings), gradient) for name, gradient, settings in rows]


def _suited(row: Row, n_classes: int | None) -> list[Row]:
    """An attack of a set in the form that the number of classes allows: its ratio of logits needs some."""
    name, gradient, settings = row
    if name != TargetedAPGD.name or n_classes is None or n_classes >= FEWEST_CLASSES[TargetedAPGD.loss]:
        return [row]
    if n_classes < FEWEST_CLASSES[APGDDLR.loss]:
        return []  # of two classes, cross-entropy and margin rise together
    return [(APGDDLR.name, gradient, {key: value for key, value in settings.items() if key != "n_target_classes"})]


def _parsed(item: str) -> Row:
    name, _, gradient = item.partition(":")
    if name not in ATTACKS:
        raise OptionError(
            f"attacks: '{name}' is neither a set ({', '.join(SETS)}, paper) nor an attack ({', '.join(ATTACKS)})"
        )
    if gradient and gradient not in SURROGATES:
        raise OptionError(f"attacks: gradient '{gradient}' of {name} is unknown; choose {', '.join(SURROGATES)}")
    return name, gradient or EXACT, {}


def _each_once(rows: list[Row]) -> list[Row]:
    """The list, unless it names an attack twice: that would be one more run with another seed, not another attack."""
    seen: set[tuple[str, str]] = set()
    for name, gradient, _ in rows:
        if (name, gradient) in seen:
            shown = f"'{name}' (or '{name}:{EXACT}')" if gradient == EXACT else f"'{name}:{gradient}'"
            raise OptionError(f"attacks: {shown} is given more than once")
        seen.add((name, gradient))
    return rows
