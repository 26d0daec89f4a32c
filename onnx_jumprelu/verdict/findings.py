"""What a verdict is made of, as plain data: rows, flags, points of the curve, examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from onnx_jumprelu.arrays import Bools, Floats
from onnx_jumprelu.content import ByContent
from onnx_jumprelu.names import Kind, ModelName

EXACT, SMOOTH = "exact", "smooth"  # surrogates that have a part in what may be claimed
GRADIENT_KINDS: frozenset[Kind] = frozenset({"white-box", "adaptive"})
REPLAYED_KINDS: frozenset[Kind] = frozenset({"gray-box", "transfer"})
IMAGE_CHANNELS = (1, 3)  # gray, or red, green and blue
WORKING = 0.5  # an attack with at least this share of its gradients 0 could not work


@dataclass(frozen=True, eq=False)
class Row(ByContent):
    """One attack on one model, or its examples replayed on the other model.

    Attributes:
        attack: The attack's name in `ATTACKS`, such as `apgd-ce`.
        surrogate: The derivative at JumpReLU sites that it used: `exact`, `relu` or `smooth`.
        model: The model that was asked.
        source: The model that the examples were made on.
        kind: `white-box` (exact gradients), `adaptive` (gradients that see past a jump), `black-box` (none),
            `gray-box` (made on the original, replayed on the patched model), `transfer` (the other way round).
        eps: The attack's largest perturbation, in data space. Rows of the curve have another one than the verdict.
        success: Whether the model is wrong after the attack, of shape (N,). Examples that it gets wrong without an
            attack count as successes.
        zero_gradients: Share of the attack's gradients that were 0, None where it asked for none.
        seconds: Time taken.
        settings: The attack's other settings.
    """

    attack: str
    surrogate: str
    model: ModelName
    source: ModelName
    kind: Kind
    eps: float
    success: Bools
    zero_gradients: float | None
    seconds: float
    settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def label(self) -> str:
        """The attack for people: `pgd`, `apgd-ce (smooth)`, `pgd from the original`."""
        name = self.attack if self.surrogate == EXACT else f"{self.attack} ({self.surrogate})"
        return name if self.source == self.model else f"{name} from the {self.source}"

    @property
    def robust_accuracy(self) -> float:
        """Share of examples that the model gets right after the attack."""
        return float((~self.success).mean())

    @property
    def worked(self) -> bool:
        """Whether it is an attack with gradients, less than half of which were 0."""
        return self.kind in GRADIENT_KINDS and self.zero_gradients is not None and self.zero_gradients < WORKING


@dataclass(frozen=True)
class Flag:
    """A sign that a number may not be what it seems.

    Attributes:
        name: Short and stable, such as `zero-gradients`.
        model: The model that shows it.
        message: One sentence that says what it means and what to do.
        undermines: Whether the model's worst case cannot be trusted, so that it cannot show a gain.
    """

    name: str
    model: ModelName
    message: str
    undermines: bool = False


@dataclass(frozen=True, eq=False)
class CurvePoint(ByContent):
    """Robust accuracy of each model at one eps: the worst case, and per kind of attack."""

    eps: float
    worst_case: Mapping[ModelName, float]
    kinds: Mapping[ModelName, Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Example(ByContent):
    """One input before and after an attack.

    Attributes:
        index: Its position in the data.
        clean: The input, of shape (C, H, W), in data space.
        perturbed: The same after the attack.
        label: Its class.
        predictions: The class that each model predicts before and after the attack.
        attack: The attack that made `perturbed`, and the model that it was made on.
        bounds: Smallest and largest value of data space: black and white.
    """

    index: int
    clean: Floats
    perturbed: Floats
    label: int
    predictions: Mapping[ModelName, tuple[int, int]]
    attack: str = ""
    bounds: tuple[float, float] = (0.0, 1.0)


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether one input of this shape, without the batch axis, is a gray or colour picture (C, H, W)."""
    return len(shape) == len("CHW") and shape[0] in IMAGE_CHANNELS and min(shape[1:]) > 1
