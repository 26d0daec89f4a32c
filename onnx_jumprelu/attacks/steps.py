"""What the gradient attacks share: a step that stays inside, the best of several attempts, checks of settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Bools, Floats, Labels
from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.attacks.norms import Norm
from onnx_jumprelu.attacks.probe import Probe
from onnx_jumprelu.errors import DataError, OptionError
from onnx_jumprelu.gradient.core.losses import LOSSES, LossLike, loss_name, loss_of


@dataclass(frozen=True)
class Attempt:
    """What one climb came to.

    Attributes:
        x_adv: Where the model was fooled, or else where the loss was highest, of shape (N, ...).
        loss: The loss there, of shape (N,).
        fooled: Whether the model was fooled there, of shape (N,).
    """

    x_adv: Floats
    loss: Floats
    fooled: Bools


def inside(model: Probe, metric: Norm, x_adv: Floats, x: Floats, eps: float) -> Floats:
    """`x_adv` brought back to at most `eps` from `x`, up to float32 rounding, and then within the bounds."""
    delta = metric.project(x_adv - x, eps)
    delta += x
    return model.clip(delta)


def best_of(climbs: Iterable[Callable[[Labels], Attempt]], x: Floats) -> Floats:
    """Climb again and again, each time with the examples that are not fooled yet.

    Args:
        climbs: Each takes the positions in `x` of the examples that are left, and tries them.
        x: Inputs of shape (N, ...).

    Returns:
        Per example, the attempt that fooled the model, or else the one with the highest loss.
    """
    best: Floats = x.copy()
    best_loss = np.full(len(x), -np.inf, np.float32)
    left = np.arange(len(x))
    for climb in climbs:
        if not len(left):
            break
        attempt = climb(left)
        better = attempt.fooled | (attempt.loss > best_loss[left])
        best[left[better]] = attempt.x_adv[better]
        best_loss[left[better]] = attempt.loss[better]
        left = left[~attempt.fooled]
    return best


def budget(attack: Attack) -> float:
    """The attack's `eps`. Raises OptionError where it has none."""
    if attack.eps is None:
        raise OptionError(f"{attack.name} needs eps, the largest perturbation")
    return attack.eps


def at_least(attack: Attack, lowest: int, *fields: str) -> None:
    """Check that these settings are not below `lowest`. Raises OptionError."""
    for name in fields:
        value = getattr(attack, name)
        if not value >= lowest:
            raise OptionError(f"{attack.name}: {name} must be at least {lowest}, not {value}")


def check_loss(attack: Attack, loss: LossLike) -> None:
    """Check that a loss can be climbed without a target. Raises OptionError."""
    climbable = [name for name, each in LOSSES.items() if each.climbable and not each.targeted]
    if isinstance(loss, str) and loss not in climbable:
        raise OptionError(f"{attack.name}: loss '{loss}' is unknown; choose {', '.join(climbable)}, or pass a function")
    if loss_of(loss).targeted:
        raise OptionError(f"{attack.name}: loss {loss_name(loss)} needs targets, which this attack does not choose")


def check_classes(attack: Attack, loss: LossLike, n_classes: int) -> None:
    """Check that the model has as many classes as the loss needs. Raises DataError."""
    fewest = loss_of(loss).n_classes
    if n_classes < fewest:
        raise DataError(
            f"{attack.name}: loss {loss_name(loss)} needs a model with at least {fewest} classes; "
            f"this one has {n_classes}"
        )
