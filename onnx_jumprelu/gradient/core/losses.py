"""Losses as ONNX nodes on the logits, one value per example, larger where the model is more wrong.

They are part of the forward pass: their derivatives come from the same rules as the model's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from onnx import TensorProto

from onnx_jumprelu.gradient.core.values import Emitter, Value

FAR_BELOW = -1e30  # no logit is
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
        """The largest logits, from the first on, each of shape (N,)."""
        largest = top_k(self.logits, count)
        return [largest.slice([rank], [rank + 1], [1]).squeeze([1]) for rank in range(count)]

    def target(self) -> Value:
        """The logit of each example's target, of shape (N,)."""
        if self.targets is None:
            raise ValueError("this loss needs targets")
        return self.at(self.targets)


def _picked(values: Value, mask: Value) -> Value:
    return mask.where(values, 0).sum([1], keepdims=False)


def top_k(values: Value, count: int) -> Value:
    """The largest `count` numbers of each row, in falling order."""
    to: Emitter = values.to
    if to.opset < 10:  # k becomes an input
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
    """How a loss is written, whether it needs targets, and how many classes it needs at least."""

    write: Callable[[Scores], Value]
    targeted: bool = False
    n_classes: int = 2


LOSSES: dict[str, Loss] = {
    "ce": Loss(_cross_entropy),
    "dlr": Loss(_dlr, n_classes=3),
    "dlr-targeted": Loss(_targeted_dlr, targeted=True, n_classes=4),
    "margin": Loss(_margin),
    "difference": Loss(_difference, targeted=True),
    "logit": Loss(_logit),
}
