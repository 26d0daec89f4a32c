"""One attack on one model and one data set."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnx_jumprelu.arrays import Floats
from onnx_jumprelu.attacks.base import Attack, AttackResult
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import Data, check_scale
from onnx_jumprelu.errors import DataError, naming
from onnx_jumprelu.files.atomic import replacing
from onnx_jumprelu.names import ProtocolName


@dataclass(frozen=True)
class AttackRun:
    """An attack's result.

    Attributes:
        target: What was attacked.
        protocol: How; under `paper` the result's lengths are in normalized space.
        result: What came of it.
        x_adv: Its examples in data space, of shape (N, ...).
        n_jumprelus: How many JumpReLUs the model has.
    """

    target: Target
    protocol: ProtocolName
    result: AttackResult
    x_adv: Floats
    n_jumprelus: int

    def save(self, path: Path) -> None:
        """Write `x` (the examples after the attack), `y`, `correct` (before) and `success` to an `.npz` file.

        Raises:
            ModelFileError: it cannot be written.
        """
        with replacing(path) as beside, beside.open("wb") as file:
            result = self.result
            np.savez_compressed(file, x=self.x_adv, y=result.labels, correct=result.correct, success=result.success)
            file.flush()
            os.fsync(file.fileno())


def attack_data(
    target: Target,
    data: Data,
    attack: Attack,
    *,
    seed: int = 0,
    on_done: Callable[[int], None] = lambda _: None,
    on_progress: Callable[[float], None] = lambda _: None,
) -> AttackRun:
    """Attack a model on labelled data.

    Args:
        target: The model.
        data: Inputs in data space, and labels.
        attack: The attack.
        seed: Seed of all randomness.
        on_done: Called with the number of examples that were just finished.
        on_progress: Called with the share of the work that is done: 0 at first, then ever more, 1 at last.

    Raises:
        DataError: the data have no labels, or do not fit the model.
        GradientError: the model is not a classifier with gradients.
    """
    check_scale(data, target.bounds)
    labels = data.required_labels()
    with naming(data.name, DataError):
        classifier = target.classifier()
        rng = np.random.default_rng(seed)
        result = attack(classifier, data.x, labels, rng=rng, on_done=on_done, on_progress=on_progress)
    return AttackRun(target, "standard", result, result.x_adv, classifier.n_jumprelus)
