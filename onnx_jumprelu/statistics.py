"""Intervals for shares of examples, and for the difference of two shares of the same examples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Bools

Z95 = 1.959963984540054  # 95 % of a normal distribution lie within this many standard deviations


@dataclass(frozen=True)
class Share:
    """A share of examples, with the ends of its 95 % interval (all between 0 and 1, or -1 and 1 for a difference)."""

    value: float
    low: float
    high: float


def share(hits: Bools) -> Share:
    """Share of true entries, with Wilson's score interval (Wilson 1927)."""
    n, p = len(hits), float(hits.mean())
    center = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    return Share(p, max(0.0, center - half), min(1.0, center + half))


def paired_difference(after: Bools, before: Bools) -> Share:
    """Difference of two shares over the same examples, `after` minus `before`, with Newcombe's interval.

    Method 10 of Newcombe 1998 (Statistics in Medicine 17, 2635-2650): Wilson's intervals of the two shares,
    combined with the correlation of the pairs. Unlike a normal approximation, it does not shrink to a point when no
    example differs.
    """
    first, second = share(after), share(before)
    low1, high1 = first.value - first.low, first.high - first.value
    low2, high2 = second.value - second.low, second.high - second.value
    phi = _correlation(after, before)
    difference = first.value - second.value
    low = difference - math.sqrt(max(0.0, low1**2 - 2 * phi * low1 * high2 + high2**2))
    high = difference + math.sqrt(max(0.0, high1**2 - 2 * phi * high1 * low2 + low2**2))
    return Share(difference, max(-1.0, low), min(1.0, high))


def _correlation(one: Bools, other: Bools) -> float:
    """Newcombe's estimate of the correlation of two paired shares, 0 where one of them is constant."""
    n = len(one)
    both, only_one = int((one & other).sum()), int((one & ~other).sum())
    only_other, neither = int((~one & other).sum()), int((~one & ~other).sum())
    product = (both + only_one) * (only_other + neither) * (both + only_other) * (only_one + neither)
    if product == 0:
        return 0.0
    excess = both * neither - only_one * only_other
    corrected = max(excess - n / 2, 0.0) if excess > 0 else float(excess)
    return corrected / float(np.sqrt(float(product)))
