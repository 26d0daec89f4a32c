"""Which attacks a verdict runs: the same ones on both models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx_jumprelu.attacks import ATTACKS, Attack, attack_named
from onnx_jumprelu.attacks.norms import NormName
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.evaluation.verdict import Kind
from onnx_jumprelu.gradient.surrogates import SURROGATES

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
        ("apgd-ce", "smooth", {}),
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


def planned(choice: str, eps: float, norm: NormName) -> list[Plan]:
    """The attacks of a set, or of a list such as `pgd,apgd-ce:relu,square`.

    Raises:
        OptionError: there is no such set, attack or gradient.
    """
    rows = SETS[choice] if choice in SETS else [_parsed(item.strip()) for item in choice.split(",")]
    return [Plan(attack_named(name, eps=eps, norm=norm, **settings), gradient) for name, gradient, settings in rows]


def _parsed(item: str) -> Row:
    name, _, gradient = item.partition(":")
    if name not in ATTACKS:
        raise OptionError(
            f"attacks: '{name}' is neither a set ({', '.join(SETS)}, paper) nor an attack ({', '.join(ATTACKS)})"
        )
    if gradient and gradient not in SURROGATES:
        raise OptionError(f"attacks: gradient '{gradient}' of {name} is unknown; choose {', '.join(SURROGATES)}")
    return name, gradient or EXACT, {}
