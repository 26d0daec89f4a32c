"""PGD along gradients that are averaged over noise, for models whose own gradients mislead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.attacks.pgd import PGD
from onnx_jumprelu.attacks.probe import Probe
from onnx_jumprelu.attacks.steps import at_least, budget
from onnx_jumprelu.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class NoisyPGD(PGD):
    """PGD along the mean gradient over Gaussian noise around the input, as was done to k-WTA.

    An activation that jumps gives a model whose gradient at one point says little about its surroundings; the mean
    over a neighbourhood is the gradient of a smoothed model (https://arxiv.org/abs/2002.08347, section 5).

    Attributes:
        n_samples: Gradients per mean.
        sigma: Standard deviation of the noise in each coordinate, in data space. None for noise half as large as the
            budget: eps / 2 in Linf, and in L2, where eps is the length of a whole perturbation of D numbers,
            eps / (2 sqrt(D)).
    """

    n_samples: int = 16
    sigma: float | None = None

    name = "pgd-noise"
    sees_past_jumps = True

    def __post_init__(self) -> None:
        """Check the settings. Raises OptionError."""
        super().__post_init__()
        at_least(self, 1, "n_samples")
        if self.sigma is not None and not 0 < self.sigma < np.inf:
            raise OptionError(f"{self.name}: sigma must be a finite number above 0, not {self.sigma:g}")

    def gradient(
        self, model: Probe, x_adv: Floats, labels: Labels, rng: np.random.Generator
    ) -> tuple[Floats, Floats, Floats]:
        """See `PGD`: the logits are those of `x_adv` itself, loss and gradient are means over the noise."""
        loss, gradient = np.zeros(len(x_adv), np.float32), np.zeros_like(x_adv)
        sigma = np.float32(self._deviation(x_adv[0].size))
        # One run per sample, not one for all of them: the batch is large already.
        for _ in range(self.n_samples):
            noisy = model.clip(x_adv + sigma * rng.standard_normal(x_adv.shape, np.float32))
            _, some_loss, some_gradient = model.evaluate(noisy, labels, self.loss)
            loss += some_loss
            gradient += some_gradient
        return model.logits(x_adv), loss / np.float32(self.n_samples), gradient

    def _deviation(self, n_features: int) -> float:
        if self.sigma is not None:
            return self.sigma
        # Of a tenth of the budget to twice the budget, half was best or near the best on networks with jumps of 0.5
        # to 2.5; the steps themselves look no further than the budget.
        return budget(self) / 2 / (1 if self.norm == "Linf" else n_features**0.5)
