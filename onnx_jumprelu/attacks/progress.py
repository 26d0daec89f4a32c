"""How far an attack is, counted in its own steps, without a clock or a guess."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


class Progress:
    """Reports the share of an attack's work that is done, from 0 to 1, whenever it has grown.

    Work is steps on single examples. Examples are attacked in pieces, each as large a share of the whole as it has
    examples; within a piece, the share is the steps made over those made and at most still to make. An example that
    is fooled needs no more steps, so the share then jumps ahead; the time left remains the number of steps to make
    times the time per step.
    """

    def __init__(self, report: Callable[[float], None], n_steps: int) -> None:
        """Begin at 0, with at most `n_steps` steps per example."""
        self._report, self._n_steps = report, n_steps
        self._before, self._piece = 0.0, 0.0  # shares of the whole: the pieces done, and the one at work
        self._steps = 0  # made in this piece, each on all examples that were left
        self._work = 0  # made in this piece on single examples
        self._reported = 0.0
        report(0.0)

    @contextlib.contextmanager
    def piece(self, share: float) -> Iterator[None]:
        """Work on the next examples, which make up this share of all examples."""
        self._piece, self._steps, self._work = share, 0, 0
        yield
        self._before += share
        self._grown(self._before)

    def step(self, n_examples: int) -> None:
        """Count a step on `n_examples` examples: those of the piece that are still under attack."""
        self._steps += 1
        self._work += n_examples
        most = self._work + n_examples * max(0, self._n_steps - self._steps)
        if most:
            self._grown(self._before + self._piece * self._work / most)

    def end(self) -> None:
        """Everything is done."""
        self._grown(1.0)

    def _grown(self, share: float) -> None:
        share = min(share, 1.0)  # shares of pieces may add up to a rounding error more
        if share > self._reported:
            self._reported = share
            self._report(share)
