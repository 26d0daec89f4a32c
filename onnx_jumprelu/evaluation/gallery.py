"""Examples worth looking at: an input before and after an attack, and what the models say to both."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_jumprelu.arrays import Floats
from onnx_jumprelu.evaluation.verdict import ModelName

CHANNELS = (1, 3)  # gray, or red, green and blue: more channels are no picture that a person can look at


@dataclass(frozen=True)
class Example:
    """One input before and after an attack.

    Attributes:
        index: Its place in the data.
        clean: The input, of shape (C, H, W), in data space.
        perturbed: The same after the attack.
        label: Its class.
        predictions: The class that each model predicts before and after the attack.
        attack: The attack that made `perturbed`, with the model it was made on.
        bounds: Smallest and largest value of data space: black and white.
    """

    index: int
    clean: Floats
    perturbed: Floats
    label: int
    predictions: dict[ModelName, tuple[int, int]]
    attack: str = ""
    bounds: tuple[float, float] = (0.0, 1.0)


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether one input of this shape, without the batch axis, is a picture (C, H, W)."""
    return len(shape) == len("CHW") and shape[0] in CHANNELS and min(shape[1:]) > 1
