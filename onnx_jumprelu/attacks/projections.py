"""The shortest way from a point to a hyperplane without leaving the box of allowed inputs.

Both norms lead to the same question. Every coordinate moves in the direction that brings the hyperplane nearer, and is
filled up to a common level unless it meets its bound first; the level is the one at which the contributions of the
coordinates, `rate * min(level, cap)`, add up to the distance that is missing. That sum is increasing and concave in the
level, so raising the level coordinate set by coordinate set reaches the answer from below, after finitely many rounds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnx_jumprelu.arrays import Array, Floats, rows
from onnx_jumprelu.names import NormName

# Slopes this much smaller than an example's largest are 0: they are beyond float32's reach, and divisions stay finite.
NEGLIGIBLE = np.float32(1e-12)


def to_plane(x: Floats, normal: Floats, change: Array, bounds: tuple[float, float], norm: NormName) -> Floats:
    """The smallest moves `d` with `normal . d = change` that keep `x + d` within the bounds.

    Where no point of the box lies on the hyperplane, the move leads to the corner that comes nearest to it. A normal
    of 0 gives a move of 0.

    Args:
        x: Points within the bounds, of shape (N, ...).
        normal: Normals of the hyperplanes, of the same shape.
        change: By how much `normal . x` has to change, of shape (N,).
        bounds: Smallest and largest value of a coordinate.
        norm: In which norm the move is smallest.

    Returns:
        The moves, of the same shape as `x`.
    """
    steepness: Floats = np.abs(rows(normal))
    largest = steepness.max(axis=1, initial=0)
    # Only the direction of the normal matters: scaled, its squares neither overflow nor vanish.
    steepness = steepness / np.where(largest > 0, largest, np.float32(1))[:, None]
    steepness[steepness < NEGLIGIBLE] = 0
    amount = np.divide(np.abs(change), largest, out=np.zeros(len(x)), where=largest > 0)
    sign = (np.sign(rows(normal)) * np.sign(change)[:, None]).astype(np.float32)
    flat = rows(x)
    low, high = map(np.float32, bounds)
    room: Floats = np.where(sign > 0, high - flat, np.where(sign < 0, flat - low, np.float32(0)))
    move: Floats = (sign * _LENGTHS[norm](steepness, room, amount)).reshape(x.shape)
    return move


def _lengths_linf(steepness: Floats, room: Floats, amount: Array) -> Floats:
    # All coordinates go equally far.
    level = _fill_level(steepness, room, steepness * room, amount)
    return np.minimum(level[:, None], room)


def _lengths_l2(steepness: Floats, room: Floats, amount: Array) -> Floats:
    # Coordinates go as far as they are steep.
    cap = np.divide(room, steepness, out=np.zeros_like(room), where=steepness > 0)
    level = _fill_level(steepness * steepness, cap, steepness * room, amount)
    lengths: Floats = np.minimum(level[:, None] * steepness, room)
    return lengths


_LENGTHS: dict[NormName, Callable[[Floats, Floats, Array], Floats]] = {"Linf": _lengths_linf, "L2": _lengths_l2}


def _fill_level(rate: Floats, cap: Floats, full: Floats, amount: Array) -> Floats:
    """The levels (N,) at which `sum_i rate_i min(level, cap_i) = amount`, or at which all is full.

    Args:
        rate: What a coordinate contributes per unit of the level, of shape (N, D).
        cap: The level at which it is full, of shape (N, D).
        full: `rate * cap`, what it then contributes, of shape (N, D).
        amount: What is asked for, of shape (N,).
    """
    top = cap.max(axis=1, initial=0)
    level, n_free = np.zeros(len(rate), np.float32), np.full(len(rate), -1)
    todo = np.arange(len(rate))
    while len(todo):
        free = cap > level[todo, None]
        filled = np.einsum("nd,nd->n", full, ~free, dtype=np.float64)
        slope = np.einsum("nd,nd->n", rate, free, dtype=np.float64)
        missing = amount[todo] - filled
        needed = np.divide(missing, slope, out=np.full(len(todo), np.inf), where=slope > 0)
        # The level never falls, so that rounding cannot make it swing between two sets of free coordinates for ever.
        level[todo] = np.maximum(level[todo], np.minimum(needed, top[todo]))
        count = free.sum(axis=1)
        unsettled = (count != n_free[todo]) & (count > 0)
        n_free[todo] = count
        if not unsettled.all():
            rate, cap, full = rate[unsettled], cap[unsettled], full[unsettled]
            todo = todo[unsettled]
    return level
