"""The fast gradient sign method: one step of full length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.attacks.probe import Probe
from onnx_jumprelu.attacks.steps import budget, check_classes, check_loss
from onnx_jumprelu.gradient.core.losses import LossLike


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """One step of length `eps` up the loss (Goodfellow et al. 2015, https://arxiv.org/abs/1412.6572).

    In Linf along the gradient's signs, in L2 along the gradient. An example whose gradient is 0 stays where it is.

    Attributes:
        loss: `ce`, `dlr` or `margin`; or a function that appends the nodes of another loss.
    """

    loss: LossLike = "ce"

    name = "fgsm"

    def __post_init__(self) -> None:
        """Check the settings. Raises OptionError."""
        super().__post_init__()
        check_loss(self, self.loss)

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        """See `Attack`. Raises DataError where the model has too few classes for the loss."""
        del rng  # nothing here is random
        check_classes(self, self.loss, model.n_classes)
        _, _, gradient = model.evaluate(x, labels, self.loss)
        model.step(len(x))
        return model.clip(x + np.float32(budget(self)) * self.metric.direction(gradient))
