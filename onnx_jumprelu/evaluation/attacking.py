"""One attack on one model and one data set, under today's protocol or the JumpReLU authors' own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np

from onnx_jumprelu.arrays import Floats
from onnx_jumprelu.atomic import replacing
from onnx_jumprelu.attacks import ATTACKS, attack_named
from onnx_jumprelu.attacks.base import Attack, AttackResult
from onnx_jumprelu.attacks.norms import NormName
from onnx_jumprelu.attacks.paper import PAPER_ATTACKS
from onnx_jumprelu.classifier import OnnxClassifier
from onnx_jumprelu.errors import DataError, OptionError
from onnx_jumprelu.evaluation.data import Data
from onnx_jumprelu.normalization import normalized, statistics
from onnx_jumprelu.runtime import CPU

Protocol = Literal["standard", "paper"]


@dataclass(frozen=True)
class Target:
    """A model as it is attacked.

    Attributes:
        model: Its file.
        bounds: Smallest and largest value of an input, in data space.
        mean: What it wants subtracted from the data, one value or one per channel; None for 0.
        std: What it wants the data then divided by; None for 1.
        surrogate: The derivative at JumpReLU sites.
        input_name: Which input, where it has several.
        output_name: Which output, where it has several.
        providers: onnxruntime's execution providers.
        threads: Threads within an operator.
    """

    model: Path
    bounds: tuple[float, float] = (0.0, 1.0)
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    surrogate: str = "exact"
    input_name: str | None = None
    output_name: str | None = None
    providers: Sequence[str] = CPU
    threads: int | None = None

    def __post_init__(self) -> None:
        """A file may be given by its name."""
        object.__setattr__(self, "model", Path(self.model))

    def classifier(self, *, bounds: tuple[float, float] | None = None, in_data_space: bool = True) -> OnnxClassifier:
        """The model with gradients; without its normalization where inputs come normalized. Raises what it raises."""
        return OnnxClassifier(
            self.model,
            bounds=self.bounds if bounds is None else bounds,
            mean=self.mean if in_data_space else None,
            std=self.std if in_data_space else None,
            surrogate=self.surrogate,
            input_name=self.input_name,
            output_name=self.output_name,
            providers=self.providers,
            threads=self.threads,
        )


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
    protocol: Protocol
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
    protocol: Protocol = "standard",
    seed: int = 0,
    on_done: Callable[[int], None] = lambda _: None,
    on_progress: Callable[[float], None] = lambda _: None,
) -> AttackRun:
    """Attack a model on labelled data.

    Args:
        target: The model.
        data: Inputs in data space, and labels.
        attack: The attack, from `chosen_attack`.
        protocol: `paper` attacks normalized inputs within their own smallest and largest value, as the authors did.
        seed: Seed of all randomness.
        on_done: Called with the number of examples that were just finished.
        on_progress: Called with the share of the work that is done: 0 at first, then ever more, 1 at last.

    Raises:
        DataError: the data have no labels, or do not fit the model.
        GradientError: the model is no classifier with gradients.
    """
    check_scale(data, target.bounds)
    labels, x, shift, scale = data.required_labels(), data.x, np.float32(0), np.float32(1)
    try:
        if protocol == "paper":
            x = normalized(data.x, target.mean, target.std)
            shift, scale = statistics(target.mean, target.std, x.shape[1] if x.ndim > 1 else None, x.ndim)
            classifier = target.classifier(bounds=(float(x.min()), float(x.max())), in_data_space=False)
        else:
            classifier = target.classifier()
        rng = np.random.default_rng(seed)
        result = attack(classifier, x, labels, rng=rng, on_done=on_done, on_progress=on_progress)
    except DataError as error:
        raise DataError(f"{data.path}: {error}") from error
    x_adv = result.x_adv if protocol == "standard" else (result.x_adv * scale + shift).astype(np.float32)
    return AttackRun(target, protocol, result, x_adv, classifier.n_jumprelus)


def check_scale(data: Data, bounds: tuple[float, float]) -> None:
    """Refuse bounds such as 0 to 255 for pixels that were divided by 255: `eps` would be 255 times too large.

    Raises:
        DataError: see above.
    """
    if data.scaled and bounds[1] > 1:
        raise DataError(
            f"{data.path}: uint8 pixels are divided by 255 and lie between 0 and 1, not {bounds[0]:g} and "
            f"{bounds[1]:g}; "
            "leave out --bounds and give eps on that scale, or store the data as float32"
        )


def settings_of(name: str) -> list[str]:
    """Names of an attack's settings. Raises OptionError where there is no such attack."""
    if name not in ATTACKS:
        raise OptionError(f"attack '{name}' is unknown; choose {', '.join(ATTACKS)}")
    return [field.name for field in fields(ATTACKS[name])]


def chosen_attack(
    name: str,
    *,
    protocol: Protocol = "standard",
    eps: float | None = None,
    norm: NormName | None = None,
    **settings: float | None,
) -> Attack:
    """The attack of this name; settings that are None keep their default.

    Raises:
        OptionError: there is no such attack, or it has no such setting.
    """
    if protocol == "standard":
        return attack_named(name, eps=eps, norm=norm or "Linf", **settings)
    if name not in PAPER_ATTACKS:
        raise OptionError(f"the paper's protocol has no attack '{name}'; choose {', '.join(PAPER_ATTACKS)}")
    given = {"eps": eps, "norm": norm, **settings}
    fixed = [setting for setting, value in given.items() if value is not None]
    if fixed:
        raise OptionError(f"the paper's protocol fixes every setting; leave out {', '.join(fixed)}")
    return PAPER_ATTACKS[name]()
