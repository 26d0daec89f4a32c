"""Losses as ONNX nodes on the logits, one value per example, larger where the model is more wrong.

Losses are part of the forward pass: their derivatives come from the same rules as the model's. A loss is a function
that appends nodes, and a caller may pass its own. For example, the mean of the other logits minus the label's:

    def mean_gap(scores: Scores) -> Value:
        label = scores.at(scores.labels)
        others = scores.logits.sum([1], keepdims=False) - label
        return others / (scores.n_classes - 1) - label

    classifier.loss_and_grad(x, labels, mean_gap)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from onnx import TensorProto

from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.gradient.core.values import Emitter, Value

FAR_BELOW = -1e30  # lower than any logit
SMALLEST_SPREAD = 1e-12  # as in the reference code of DLR


@dataclass(frozen=True)
class Scores:
    """Logits of shape (N, classes), and the classes chosen by `labels` and `targets`, of shape (N,)."""

    logits: Value
    n_classes: int
    labels: Value
    targets: Value | None

    def chosen(self, classes: Value) -> Value:
        """A mask of shape (N, classes) that is true at each example's class."""
        all_classes = classes.to.ints(list(range(self.n_classes)))
        return replace(classes.unsqueeze([1]).op("Equal", all_classes), elem_type=TensorProto.BOOL)

    def at(self, classes: Value) -> Value:
        """The logit of each example's class, of shape (N,)."""
        return _picked(self.logits, self.chosen(classes))

    def largest_other(self) -> Value:
        """The largest logit that is not the label's, of shape (N,)."""
        return self.chosen(self.labels).where(FAR_BELOW, self.logits).max([1]).squeeze([1])

    def ranked(self, count: int) -> list[Value]:
        """The `count` largest logits in falling order, each of shape (N,)."""
        largest = top_k(self.logits, count)
        return [largest.slice([rank], [rank + 1], [1]).squeeze([1]) for rank in range(count)]

    def target(self) -> Value:
        """The logit of each example's target, of shape (N,)."""
        if self.targets is None:
            raise OptionError("a loss that reads targets must be Loss(write, targeted=True)")
        return self.at(self.targets)


def _picked(values: Value, mask: Value) -> Value:
    return mask.where(values, 0).sum([1], keepdims=False)


def top_k(values: Value, count: int) -> Value:
    """The largest `count` numbers of each row, in falling order."""
    to: Emitter = values.to
    if to.opset < 10:  # opset 10 makes k an input
        return to.op_with_outputs("TopK", [values], 2, axis=1, k=count)[0]
    return to.op_with_outputs("TopK", [values, to.ints([count])], 2, axis=1)[0]


def _cross_entropy(scores: Scores) -> Value:
    return -_picked(scores.logits.op("LogSoftmax", axis=1), scores.chosen(scores.labels))


def _margin(scores: Scores) -> Value:
    return scores.largest_other() - scores.at(scores.labels)


def _difference(scores: Scores) -> Value:
    return scores.target() - scores.at(scores.labels)


def _logit(scores: Scores) -> Value:
    return scores.at(scores.labels)


def _dlr(scores: Scores) -> Value:
    """Difference of logits ratio (Croce and Hein 2020, arXiv:2003.01690)."""
    first, _, third = scores.ranked(3)
    return _margin(scores) / (first - third + SMALLEST_SPREAD)


def _targeted_dlr(scores: Scores) -> Value:
    first, _, third, fourth = scores.ranked(4)
    return _difference(scores) / (first - 0.5 * (third + fourth) + SMALLEST_SPREAD)


@dataclass(frozen=True)
class Loss:
    """A loss, and what it needs.

    Attributes:
        write: Appends the nodes of the loss to those of the logits; returns its values, one per example, of shape (N,).
            Values of different examples must not depend on each other.
        targeted: Whether it needs targets.
        n_classes: The fewest classes with which it is defined.
        climbable: Whether attacks may maximize it on its own.
    """

    write: Callable[[Scores], Value]
    targeted: bool = False
    n_classes: int = 2
    climbable: bool = True


LossLike: TypeAlias = "str | Loss | Callable[[Scores], Value]"
LOSSES: dict[str, Loss] = {
    "ce": Loss(_cross_entropy),
    "dlr": Loss(_dlr, n_classes=3),
    "dlr-targeted": Loss(_targeted_dlr, targeted=True, n_classes=4),
    "margin": Loss(_margin),
    "difference": Loss(_difference, targeted=True),
    "logit": Loss(_logit, climbable=False),  # one row of the Jacobian
}


def loss_of(loss: LossLike) -> Loss:
    """A loss by its name in `LOSSES`, or the caller's own: a `Loss`, or only its function.

    Raises:
        OptionError: there is no loss of this name.
    """
    if isinstance(loss, Loss):
        return loss
    if callable(loss):
        return Loss(loss)
    if loss not in LOSSES:
        raise OptionError(f"loss '{loss}' is unknown; choose {', '.join(LOSSES)}, or pass a function")
    return LOSSES[loss]


def loss_name(loss: LossLike) -> str:
    """What messages call a loss: its name, or that of its function."""
    if isinstance(loss, str):
        return loss
    return str(getattr(loss.write if isinstance(loss, Loss) else loss, "__name__", "loss"))
