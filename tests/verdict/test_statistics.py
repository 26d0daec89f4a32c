"""Intervals, against figures from the literature and against simulation."""

import numpy as np
import pytest

from onnx_jumprelu.arrays import Bools
from onnx_jumprelu.statistics import paired_difference, share


def of(hits: int, n: int) -> Bools:
    return np.arange(n) < hits


def test_wilson() -> None:
    """Newcombe 1998, Statistics in Medicine 17, 857-872, table I: 81 of 263 and 0 of 20."""
    found = share(of(81, 263))
    assert (found.value, found.low, found.high) == pytest.approx((0.3080, 0.2553, 0.3662), abs=5e-5)
    assert share(of(0, 20)).high == pytest.approx(0.1611, abs=5e-5)
    assert share(of(20, 20)).low == pytest.approx(1 - 0.1611, abs=5e-5)


def paired(both: int, first: int, second: int, neither: int) -> tuple[Bools, Bools]:
    one = np.repeat([True, True, False, False], [both, first, second, neither])
    other = np.repeat([True, False, True, False], [both, first, second, neither])
    return one, other


def test_newcombe() -> None:
    """Newcombe 1998, Statistics in Medicine 17, 2635-2650, table II, method 10: 36, 12, 2, 0."""
    found = paired_difference(*paired(36, 12, 2, 0))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)


def test_no_difference_is_no_certainty() -> None:
    same = of(30, 50)
    found = paired_difference(same, same)
    assert found.value == 0
    assert found.low < 0 < found.high


def test_it_covers_the_truth() -> None:
    """Of 95 % intervals about 95 % hold the true difference."""
    rng, hits, trials = np.random.default_rng(0), 0, 600
    for _ in range(trials):
        before = rng.random(80) < 0.5
        after = before ^ (rng.random(80) < np.where(before, 0.05, 0.15))
        found = paired_difference(after, before)
        hits += found.low <= 0.05 <= found.high
    assert 0.92 <= hits / trials <= 0.99


def test_the_order_counts() -> None:
    one, other = paired(10, 8, 2, 30)
    there, back = paired_difference(one, other), paired_difference(other, one)
    assert there.value == -back.value
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
