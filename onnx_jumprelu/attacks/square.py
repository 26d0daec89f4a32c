"""Square: random search with square patches, which uses only the model's logits.

Andriushchenko, Croce, Flammarion and Hein 2020, https://arxiv.org/abs/1912.00049.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Array, Floats, Labels
from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.attacks.probe import Probe, is_wrong
from onnx_jumprelu.attacks.square_moves import MOVES
from onnx_jumprelu.attacks.steps import at_least, budget
from onnx_jumprelu.errors import OptionError

# Queries, of 10,000, after which the share of the image in a patch is halved.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Changes one random patch at a time and keeps the change where the margin of logits shrinks.

    Patches are squares over the last two dimensions of images (N, C, H, W). Other inputs are read as images: vectors
    (N, D) and sequences (N, C, L) as one line, in which a patch is a run of neighbouring features; with more than
    four dimensions, all but the last are stacked into the height.

    Attributes:
        eps: Largest perturbation, in data space.
        n_queries: How often each example may be shown to the model.
        p_init: Share of the image that the first patches cover, above 0 and at most 1.
    """

    n_queries: int = 5000
    p_init: float = 0.8

    name = "square"
    needs_gradients = False

    def __post_init__(self) -> None:
        """Check the settings. Raises OptionError."""
        super().__post_init__()
        at_least(self, 1, "n_queries")
        if not 0 < self.p_init <= 1:
            raise OptionError(f"p_init must lie above 0 and at most at 1, not {self.p_init:g}")

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        """See `Attack`."""
        images = as_images(x)
        moves = MOVES[self.norm](images, budget(self), model.bounds)
        best = moves.start(rng)
        logits = model.logits(best.reshape(x.shape))
        model.step(len(x))
        loss, live = _margin(logits, labels), np.flatnonzero(~is_wrong(logits, labels))
        for query in range(1, self.n_queries):
            if not len(live):
                break
            candidate = moves.propose(rng, best, live, self._share(query))
            logits = model.logits(candidate.reshape(len(live), *x.shape[1:]))
            model.step(len(live))
            new, wrong = _margin(logits, labels[live]), is_wrong(logits, labels[live])
            better = (new < loss[live]) | wrong
            best[live[better]], loss[live[better]] = candidate[better], new[better]
            live = live[~wrong]
        return best.reshape(x.shape)

    def n_steps(self, n_classes: int) -> int:
        """See `Attack`."""
        del n_classes
        return self.n_queries

    def _share(self, query: int) -> float:
        """Share of the image that a patch covers: halved again and again, at the same points of every budget."""
        of_10_000 = query * 10_000 // self.n_queries
        return float(self.p_init / 2 ** np.searchsorted(HALVINGS, of_10_000))


def as_images(x: Floats) -> Floats:
    """Inputs (N, ...) of any rank as images (N, C, H, W)."""
    match x.ndim:
        case 2:
            return x[:, None, None, :]
        case 3:
            return x[:, :, None, :]
        case _:
            return x.reshape(len(x), x.shape[1], -1, x.shape[-1])


def _margin(logits: Floats, labels: Labels) -> Array:
    """The label's logit minus the largest other one, of shape (N,)."""
    at = np.arange(len(logits))
    others = logits.copy()
    others[at, labels] = -np.inf
    margin: Array = logits[at, labels] - others.max(axis=1)
    return margin
