"""One attack on one model and one data set."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnx_jumprelu.arguments import shown
from onnx_jumprelu.arrays import Array, Floats
from onnx_jumprelu.attacks import ATTACKS, attack_named
from onnx_jumprelu.attacks.base import Attack, AttackResult
from onnx_jumprelu.classifier.target import ModelLike, Target, target_of
from onnx_jumprelu.content import ByContent
from onnx_jumprelu.data.reading import Data, DataLike, check_scale, data_of
from onnx_jumprelu.errors import DataError, OptionError, naming
from onnx_jumprelu.files.atomic import write_arrays
from onnx_jumprelu.names import NormName, ProtocolName, SurrogateName


@dataclass(frozen=True, eq=False, repr=False)
class AttackRun(ByContent):
    """An attack's result.

    Attributes:
        target: What was attacked.
        protocol: How; under `paper` the result's lengths are in normalized space.
        result: The outcome.
        x_adv: Its examples in data space, of shape (N, ...).
        n_jumprelus: How many JumpReLUs the model has.
    """

    target: Target
    protocol: ProtocolName
    result: AttackResult
    x_adv: Floats
    n_jumprelus: int

    def __repr__(self) -> str:
        return f"AttackRun({self.target.name!r}, {self.protocol!r}, {self.result!r})"

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write `x` (the examples after the attack), `y`, `correct` (before) and `success` to an `.npz` file.

        Args:
            path: The file; examples that were saved before are replaced.
            force: Replace an `.npz` file even if it was not saved here.

        Raises:
            ModelFileError: it cannot be written, or the file that exists must not be lost.
        """
        result = self.result
        arrays: dict[str, Array] = {
            "x": self.x_adv,
            "y": result.labels,
            "correct": result.correct,
            "success": result.success,
        }
        write_arrays(path, arrays, force=force)


def attack(
    model: ModelLike,
    data: DataLike,
    attack: str | Attack = "pgd",
    *,
    eps: float | None = None,
    norm: NormName | None = None,
    surrogate: SurrogateName | None = None,
    seed: int = 0,
    progress: bool | Callable[[float], None] = False,
    **settings: Any,  # noqa: ANN401 - the attack checks them
) -> AttackRun:
    """Attack a model: `attack("model.onnx", (x, labels), "apgd-ce", eps=8/255)`.

    Args:
        model: A model, or its file; a `Target` where it expects normalized inputs.
        data: `Data`, arrays `(x, labels)`, or an `.npz` file with `x` and `y`.
        attack: The name of an attack, see `attacks.ATTACKS`, or an attack with its settings.
        eps: Largest perturbation, in data space.
        norm: `Linf` (the default) or `L2`.
        surrogate: The derivative at JumpReLU sites: `exact` (the default), `relu` or `smooth`.
        seed: Seed of all randomness.
        progress: True for lines on stderr, or a function that is called with the share of the work done, up to 1.
        **settings: Other settings of a named attack, such as `n_iter`.

    Raises:
        OptionError: there is no such attack or setting, a value is out of range, or settings are given next to an
            attack that has its own.
        DataError: the data have no labels, or do not fit the model.
        GradientError, ModelFileError, RunError: see `OnnxClassifier`.
    """
    target, given = target_of(model), data_of(data)
    if isinstance(attack, Attack):
        repeated = {"eps": eps, "norm": norm, **settings}
        twice = [name for name, value in repeated.items() if value is not None]
        if twice:
            raise OptionError(f"attack {attack.name} is given with its own settings; leave out {', '.join(twice)}")
        chosen = attack
    elif isinstance(attack, str) and attack.partition(":")[0] in ATTACKS and ":" in attack:
        name, _, its_surrogate = attack.partition(":")
        raise OptionError(f"attack '{attack}': give '{name}' and surrogate='{its_surrogate}'")
    elif isinstance(attack, str):
        chosen = attack_named(attack, eps=eps, norm=norm or "Linf", **settings)
    else:
        raise OptionError(f"attack: give a name or an attack such as attacks.PGD(eps=0.1), not {shown(attack)}")
    if surrogate is not None:
        target = replace(target, surrogate=surrogate)
    return attack_data(
        target, given, chosen, seed=seed, on_progress=_shown(progress, f"{chosen.name} on {target.name}")
    )


def _shown(progress: bool | Callable[[float], None], work: str) -> Callable[[float], None]:  # noqa: FBT001 - of `attack`
    """What to call with the share of the work done; for True it writes a line at each tenth."""
    if callable(progress):
        return progress
    if not isinstance(progress, bool):
        raise OptionError(f"progress is True, False or a function, not {shown(progress)}")
    if not progress:
        return lambda _: None
    tenths = -1

    def show(share: float) -> None:
        nonlocal tenths
        if int(share * 10) > tenths:
            tenths = int(share * 10)
            sys.stderr.write(f"{work}: {share:.0%}\n")

    return show


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
        on_progress: Called with the share of the work that is done, from 0 to 1, whenever it has grown.

    Raises:
        DataError: the data have no labels, or do not fit the model.
        GradientError: the model is not a classifier with gradients.
    """
    check_scale(data, target.bounds)
    labels = data.required_labels()
    with naming(target.name, DataError):
        classifier = target.classifier()
    with naming(data.name, DataError):
        result = attack(classifier, data.x, labels, seed=seed, on_done=on_done, on_progress=on_progress)
    return AttackRun(target, "standard", result, result.x_adv, classifier.n_jumprelus)
