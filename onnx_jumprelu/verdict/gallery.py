"""Examples worth looking at: an input before and after an attack, and what the models say to both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Floats
from onnx_jumprelu.attacks import PGD
from onnx_jumprelu.names import ModelName
from onnx_jumprelu.verdict.experiment import Question
from onnx_jumprelu.verdict.result import MODELS

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


N_TRIED = 24  # inputs
N_SHOWN = 6
SURROGATE = "relu"


def examples(question: Question) -> list[Example]:
    """A few inputs before and after PGD on the patched model, fooled ones first; none without images."""
    x, labels = question.data.x[:N_TRIED], question.data.required_labels()[:N_TRIED]
    if not is_image(x.shape[1:]):
        return []
    classifiers = {model: question.target(model).classifier() for model in MODELS}
    attack = PGD(eps=question.eps, norm=question.norm)
    rng = np.random.default_rng(question.seed)
    result = attack(classifiers["patched"].with_surrogate(SURROGATE), x, labels, rng=rng)
    before = {model: classifier.predict(x) for model, classifier in classifiers.items()}
    after = {model: classifier.predict(result.x_adv) for model, classifier in classifiers.items()}
    fooled = result.success & result.correct
    order = [*np.flatnonzero(fooled), *np.flatnonzero(~fooled & result.correct)]
    return [
        Example(
            index=int(index),
            clean=x[index],
            perturbed=result.x_adv[index],
            label=int(labels[index]),
            predictions={model: (int(before[model][index]), int(after[model][index])) for model in MODELS},
            attack=f"pgd ({SURROGATE}) on the patched model",
            bounds=question.patched.bounds,
        )
        for index in order[:N_SHOWN]
    ]
