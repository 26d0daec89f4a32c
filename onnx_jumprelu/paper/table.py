"""The table of JumpReLU's authors (arXiv:1904.03750): their attacks, white-box and gray-box, for several jumps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Floats
from onnx_jumprelu.attacks.base import is_wrong
from onnx_jumprelu.classifier.classifier import OnnxClassifier
from onnx_jumprelu.classifier.normalization import normalized
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import Data
from onnx_jumprelu.errors import DataError, naming
from onnx_jumprelu.paper.attacks import PAPER_ATTACKS, noise
from onnx_jumprelu.rewrite.patch import patch_model

JUMPS = (0.0, 0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Cell:
    """One attack at one jump.

    Attributes:
        attack: The attack.
        white: Accuracy after the attack on the model itself.
        gray: Accuracy on examples that were made on the model without a jump.
        relative_noise: Mean over all images of the perturbation's length over the image's, in normalized space.
        absolute_noise: Mean length of the perturbation, likewise.
        zero_gradients: Share of the gradients that were 0: steps that could not be made.
    """

    attack: str
    white: float
    gray: float
    relative_noise: float
    absolute_noise: float
    zero_gradients: float


@dataclass(frozen=True)
class PaperRow:
    """One jump: clean accuracy and one cell per attack."""

    jump: float
    clean: float
    cells: tuple[Cell, ...]


def paper_table(
    original: Target,
    data: Data,
    jumps: Sequence[float] = JUMPS,
    *,
    seed: int = 0,
    on_done: Callable[[int], None] = lambda _: None,
) -> list[PaperRow]:
    """Attack the original with one jump everywhere, as the authors did: see `attacks.paper`.

    Args:
        original: The model without a jump.
        data: Inputs in data space, and labels.
        jumps: The jumps to try; 0 is the original itself.
        seed: Seed of all randomness.
        on_done: Called with the number of attacks that were just finished, of `len(jumps) * len(PAPER_ATTACKS)`.

    Raises:
        DataError: the data do not fit the model.
        PatchError: the model has nothing to patch.
    """
    labels, x = data.required_labels(), normalized(data.x, original.mean, original.std)
    model, bounds = original.opened().model, (float(x.min()), float(x.max()))
    gray: dict[str, Floats] = {}
    rows = []
    for jump in (0.0, *(value for value in jumps if value)):
        classifier = OnnxClassifier(
            patch_model(model, jump).model if jump else model,
            bounds=bounds,
            input_name=original.input_name,
            output_name=original.output_name,
            threads=original.threads,
        )
        cells = []
        for name, attack in PAPER_ATTACKS.items():
            made = attack()
            with naming(data.name, DataError):
                result = made(classifier, x, labels, rng=np.random.default_rng(seed))
            gray.setdefault(name, result.x_adv)
            relative, absolute = noise(result.x_adv, x, made.norm)
            replayed = float(1 - is_wrong(classifier.logits(gray[name]), labels).mean())
            zero = result.zero_gradients / max(1, result.n_gradients)
            cells.append(Cell(name, result.robust_accuracy, replayed, relative, absolute, zero))
            on_done(1)
        rows.append(PaperRow(jump, result.clean_accuracy, tuple(cells)))
    return rows
