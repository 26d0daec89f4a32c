"""The latency ratio, by a clock that the models themselves move."""

import time

import numpy as np
import pytest

from onnx_jumprelu.arrays import Floats
from onnx_jumprelu.verdict import latency


class _Model:
    """Takes so many seconds per run, ten times as many once the clock is past `slow_at`."""

    batch_size = 4

    def __init__(self, seconds: float, clock: list[float], slow_at: float) -> None:
        self._seconds, self._clock, self._slow_at = seconds, clock, slow_at

    def logits(self, x: Floats) -> Floats:
        self._clock[0] += self._seconds * (10 if self._clock[0] > self._slow_at else 1)
        return x


def ratio(monkeypatch: pytest.MonkeyPatch, original: float, patched: float, slow_at: float = np.inf) -> float:
    """What is measured of two models; from `slow_at` on the machine takes ten times as long for anything."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    before, after = (_Model(seconds, clock, slow_at) for seconds in (original, patched))
    return latency.latency_ratio(before, after, np.zeros((8, 2), np.float32))  # type: ignore[arg-type]


def test_patched_over_original(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ratio(monkeypatch, 0.01, 0.03) == pytest.approx(3)


def test_a_machine_that_slows_down_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ratio(monkeypatch, 0.01, 0.03, slow_at=1.0) == pytest.approx(3)


def test_a_slow_model_is_still_run_some_times(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ratio(monkeypatch, 5.0, 10.0) == pytest.approx(2)
