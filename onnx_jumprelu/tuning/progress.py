"""Progress of `tune`: counting steps, and lines on stderr with an estimate of the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = "bool | Callable[[float], None]"
OnDone = Callable[[int], None]
SECONDS_BETWEEN_LINES = 10.0
MINUTE = 60


def counting(progress: Progress, on_done: OnDone, n_steps: int, name: str) -> tuple[OnDone, Callable[[], None]]:
    """Functions to call with the number of steps just done, and at the end, which may come after fewer steps.

    Args:
        progress: True for lines on stderr, a function that takes the share of the work done (above 0, at most 1), or
            False.
        on_done: Called with the number of steps just done.
        n_steps: Number of steps of the whole work.
        name: Name of the work for the lines.
    """
    if progress is False:
        return on_done, lambda: None
    show = _Lines(name, n_steps) if progress is True else progress
    n_done = 0

    def count(n_new: int) -> None:
        nonlocal n_done
        n_done += n_new
        on_done(n_new)
        show(n_done / n_steps)

    return count, lambda: show(1.0)


class _Lines:
    """Writes a line on stderr at the start, every few seconds, and at the end."""

    def __init__(self, name: str, n_steps: int) -> None:
        self._name, self._start = name, time.monotonic()
        self._last = self._start
        self._write(f"at most {n_steps} steps")

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if share < 1 and now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        left = (now - self._start) * (1 - share) / share
        self._write(f"{share:.0%}" + (f", at most {_duration(left)} left" if share < 1 else ""))

    def _write(self, text: str) -> None:
        sys.stderr.write(f"tuning {self._name}: {text}\n")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < MINUTE else f"{seconds / MINUTE:.0f} min"
