"""Projections onto a hyperplane within a box, against a search that knows nothing of their method."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_jumprelu.arrays import Array, Floats
from onnx_jumprelu.attacks.norms import norm_named
from onnx_jumprelu.attacks.projections import to_plane
from onnx_jumprelu.names import NormName

BOUNDS = (-1.0, 2.0)
NORMS: list[NormName] = ["Linf", "L2"]


def by_bisection(x: Array, normal: Array, change: float, norm: NormName) -> Array:
    """The smallest move of one point (D,), from the optimality conditions alone, in float64.

    Linf: the best use of a budget `t` is to go `t` along the sign of the normal, clipped: bisect on `t`. L2: the
    minimum of |d|^2 / 2 - m (normal . d) over the box is m times the normal, clipped: bisect on the multiplier `m`.
    """
    towards = np.sign(normal) if norm == "Linf" else normal
    towards = towards * np.sign(change)

    def move(size: float) -> Array:
        moved: Array = np.clip(x + size * towards, *BOUNDS) - x
        return moved

    low, high = 0.0, 1.0
    while abs(normal @ move(high)) < abs(change) and high < 1e9:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if abs(normal @ move(middle)) < abs(change) else (low, middle)
    return move(high)


def points(n: int, d: int, seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(*BOUNDS, (n, d)).astype(np.float32)
    x[rng.random((n, d)) < 0.2] = BOUNDS[0]  # images have many values on their bounds
    return x, rng.standard_normal((n, d)).astype(np.float32)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("d", [1, 2, 7, 300])
def test_as_short_as_a_bisection_finds_and_on_the_plane(norm: NormName, d: int) -> None:
    x, normal = points(200, d, seed=d)
    # From small changes to such as need nearly the whole box, in both directions.
    corner = np.where(normal > 0, BOUNDS[1], BOUNDS[0]) - x
    share = np.linspace(0.001, 0.999, 200)
    change = (normal * corner).sum(axis=1, dtype=np.float64) * share
    change[::2] *= -1
    opposite = (normal[::2] * (np.where(normal[::2] > 0, BOUNDS[0], BOUNDS[1]) - x[::2])).sum(axis=1, dtype=np.float64)
    change[::2] = opposite * share[::2]
    moves = to_plane(x, normal, change, BOUNDS, norm)
    np.testing.assert_allclose((normal.astype(np.float64) * moves).sum(axis=1), change, rtol=1e-5, atol=1e-5)
    exact = np.stack([by_bisection(*row, norm) for row in zip(x.astype(np.float64), normal, change, strict=True)])
    lengths = norm_named(norm).length(moves)
    np.testing.assert_allclose(lengths, norm_named(norm).length(exact), rtol=1e-5, atol=1e-6)
    if norm == "L2":  # in Linf, several moves may be equally short
        np.testing.assert_allclose(moves, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_moves_stay_in_the_box(norm: NormName) -> None:
    x, normal = points(300, 20, seed=5)
    moves = to_plane(x, normal, np.linspace(-30, 30, 300), BOUNDS, norm)
    moved = x + moves
    assert moved.min() >= BOUNDS[0] - 1e-6
    assert moved.max() <= BOUNDS[1] + 1e-6
    assert (np.abs(moves).max(axis=1) > 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_out_of_reach_leads_to_the_nearest_corner(norm: NormName) -> None:
    x, normal = points(50, 9, seed=6)
    moved = x + to_plane(x, normal, np.full(50, 1e6), BOUNDS, norm)
    np.testing.assert_allclose(moved, np.where(normal > 0, BOUNDS[1], BOUNDS[0]), atol=1e-6)
    moved = x + to_plane(x, normal, np.full(50, -np.inf), BOUNDS, norm)
    np.testing.assert_allclose(moved, np.where(normal > 0, BOUNDS[0], BOUNDS[1]), atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_normal_of_zero_moves_nothing_and_other_rows_still_move(norm: NormName) -> None:
    x, normal = points(4, 5, seed=7)
    x = np.clip(x, -0.5, 0.5)
    normal[1] = 0
    moves = to_plane(x, normal, np.full(4, 0.1), BOUNDS, norm)
    assert not moves[1].any()
    np.testing.assert_allclose((normal * moves).sum(axis=1), [0.1, 0, 0.1, 0.1], rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1e-36, 1e36])
def test_only_the_direction_of_the_normal_matters(norm: NormName, scale: float) -> None:
    x, normal = points(20, 6, seed=8)
    change = np.linspace(-1, 1, 20)
    expected = to_plane(x, normal, change, BOUNDS, norm)
    scaled = to_plane(x, normal * np.float32(scale), change * scale, BOUNDS, norm)
    np.testing.assert_allclose(scaled, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_coordinate_of_almost_no_slope_is_no_overflow(norm: NormName) -> None:
    x = np.zeros((2, 2), np.float32)
    normal = np.array([[1e5, 1e-38], [1e5, 1e-38]], np.float32)
    moves = to_plane(x, normal, np.array([1e5, 1e9]), BOUNDS, norm)
    np.testing.assert_allclose(moves[:, 0], [1, 2], rtol=1e-6)


def test_linf_spreads_what_a_full_coordinate_cannot_give() -> None:
    x = np.array([[1.9, 0.0, 0.0]], np.float32)
    normal = np.array([[1.0, 1.0, 2.0]], np.float32)
    # Equal parts would be 0.5 each; the first coordinate has room for 0.1 only: 0.1 + 3 t = 2.
    np.testing.assert_allclose(
        to_plane(x, normal, np.array([2.0]), BOUNDS, "Linf"), [[0.1, 1.9 / 3, 1.9 / 3]], rtol=1e-5
    )


def test_l2_spreads_what_a_full_coordinate_cannot_give() -> None:
    x = np.array([[1.9, 0.0, 0.0]], np.float32)
    normal = np.array([[1.0, 1.0, 2.0]], np.float32)
    # 0.1 + m + 4 m = 2.
    np.testing.assert_allclose(to_plane(x, normal, np.array([2.0]), BOUNDS, "L2"), [[0.1, 0.38, 0.76]], rtol=1e-5)


def test_any_shape_of_input() -> None:
    x, normal = points(6, 12, seed=9)
    change = np.full(6, 0.3)
    flat = to_plane(x, normal, change, BOUNDS, "L2")
    images = to_plane(x.reshape(6, 3, 2, 2), normal.reshape(6, 3, 2, 2), change, BOUNDS, "L2")
    np.testing.assert_array_equal(images.reshape(6, 12), flat)
