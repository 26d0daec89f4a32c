"""Which attack of a verdict is running, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_jumprelu.names import ModelName


@dataclass(frozen=True)
class RunningAttack:
    """An attack that is running.

    Attributes:
        attack: Its label, with the surrogate unless that is the exact gradient: `apgd-t (relu)`.
        model: The model that it attacks.
        eps: Its eps, in data space, if it belongs to another point of the curve; None for the verdict's own.
        share: The share of its work that is done, from 0 to 1.
    """

    attack: str
    model: ModelName
    eps: float | None
    share: float

    def __str__(self) -> str:
        where = "" if self.model == "model" else f" on {self.model}"
        point = "" if self.eps is None else f" at eps {self.eps:g}"
        return f"{self.attack}{where}{point}"
