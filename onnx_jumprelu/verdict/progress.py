"""Which attack of a verdict is at work, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_jumprelu.names import ModelName


@dataclass(frozen=True)
class AtWork:
    """An attack that is running.

    Attributes:
        attack: Its name, with its gradient where that is not the exact one: `apgd-t (relu)`.
        model: The model that it attacks.
        eps: Its budget, in data space, where it measures another point of the curve; None for the verdict's own.
        share: The share of its work that is done, from 0 to 1.
    """

    attack: str
    model: ModelName
    eps: float | None
    share: float

    def __str__(self) -> str:
        point = "" if self.eps is None else f" at eps {self.eps:g}"
        return f"{self.attack} on {self.model}{point}"
