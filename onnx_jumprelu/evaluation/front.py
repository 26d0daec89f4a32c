"""The trade-off that tuning saw: clean accuracy against the worst case, one point per choice of jumps."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_jumprelu.rewrite.jump import Jump


@dataclass(frozen=True)
class TrialPoint:
    """One choice of jumps, measured on the validation split.

    Attributes:
        jumps: The jump of each site, or of each of its channels, by the site's name.
        clean_accuracy: Share of examples right without an attack.
        worst_case: Share of examples that withstood every attack.
        chosen: Whether this one became the recipe.
        family: How the jumps were chosen, such as `uniform` or `per site`.
    """

    jumps: dict[str, Jump]
    clean_accuracy: float
    worst_case: float
    chosen: bool
    family: str
