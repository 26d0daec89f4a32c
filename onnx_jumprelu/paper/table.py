"""The table of JumpReLU's authors (arXiv:1904.03750): their attacks, white-box and gray-box, for several jumps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_jumprelu.arrays import Floats
from onnx_jumprelu.attacks.probe import is_wrong
from onnx_jumprelu.classifier.normalization import normalized
from onnx_jumprelu.classifier.target import ModelLike, target_of
from onnx_jumprelu.data.reading import DataLike, check_scale, data_of
from onnx_jumprelu.errors import DataError, PatchError, naming
from onnx_jumprelu.paper.attacks import PAPER_ATTACKS, mean_lengths
from onnx_jumprelu.rewrite.patch import patch_model
from onnx_jumprelu.rewrite.revert import before_patch

JUMPS = (0.0, 0.5, 1.0, 1.5)


@dataclass(frozen=True)
class PaperCell:
    """One attack at one jump.

    Attributes:
        attack: The attack.
        white_box: Accuracy after the attack on the model itself.
        gray_box: Accuracy on the examples that the attack made on the model without a jump.
        relative_length: Length of the perturbation divided by the length of the image, in normalized space; the mean
            over all images.
        absolute_length: Length of the perturbation in normalized space; the mean over all images.
        zero_gradients: Share of the gradients that were 0. A step with such a gradient leaves the image as it is.
    """

    attack: str
    white_box: float
    gray_box: float
    relative_length: float
    absolute_length: float
    zero_gradients: float


@dataclass(frozen=True)
class PaperRow:
    """One jump: clean accuracy, and one cell per attack."""

    jump: float
    clean_accuracy: float
    cells: tuple[PaperCell, ...]


def paper_table(
    original: ModelLike,
    data: DataLike,
    jumps: Sequence[float] = JUMPS,
    *,
    seed: int = 0,
    on_done: Callable[[int], None] = lambda _: None,
) -> tuple[PaperRow, ...]:
    """Attack a model with the same jump at every site, for several jumps, as the authors did; see `paper.attacks`.

    Args:
        original: The model without a jump, or its file; a `Target` where it expects normalized inputs.
        data: Inputs in data space, and labels.
        jumps: The jumps. Jump 0, the original itself, always comes first: its adversarial examples are the gray-box
            examples of all jumps.
        seed: Seed of all randomness.
        on_done: Called with the number of attacks that have just finished, of `len(jumps) * len(PAPER_ATTACKS)` where
            `jumps` contains 0.

    Raises:
        DataError: the data do not fit the model.
        PatchError: the model has nothing to patch, or is patched already.
    """
    target, given = target_of(original), data_of(data)
    check_scale(given, target.bounds)
    labels, x = given.required_labels(), normalized(given.x, target.mean, target.std)
    model = target.opened().with_external_weights()
    if before_patch(model).record is not None:
        raise PatchError(f"{target.name}: is patched already; give the original ('onnx-jumprelu revert' gives it back)")
    made_on_original: dict[str, Floats] = {}
    rows = []
    for jump in (0.0, *(value for value in jumps if value)):
        with naming(target.name, PatchError):
            patched = patch_model(model, jump).model if jump else model
        classifier = replace(target, model=patched, surrogate="exact").classifier(
            bounds=(float(x.min()), float(x.max())), in_data_space=False
        )
        cells = []
        for name, new_attack in PAPER_ATTACKS.items():
            attack = new_attack()
            with naming(given.name, DataError):
                result = attack(classifier, x, labels, rng=np.random.default_rng(seed))
            gray = made_on_original.setdefault(name, result.x_adv)
            relative, absolute = mean_lengths(result.x_adv, x, attack.norm)
            cells.append(
                PaperCell(
                    attack=name,
                    white_box=result.robust_accuracy,
                    gray_box=float((~is_wrong(classifier.logits(gray), labels)).mean()),
                    relative_length=relative,
                    absolute_length=absolute,
                    zero_gradients=result.zero_gradients / max(1, result.n_gradients),
                )
            )
            on_done(1)
        rows.append(PaperRow(jump, result.clean_accuracy, tuple(cells)))
    return tuple(rows)
