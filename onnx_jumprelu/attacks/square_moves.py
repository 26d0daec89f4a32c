"""How the Square attack perturbs images: where it starts and what it tries next, for each norm.

Andriushchenko, Croce, Flammarion and Hein 2020, https://arxiv.org/abs/1912.00049, algorithms 2 and 3.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from onnx_jumprelu.arrays import Array, Floats, Labels
from onnx_jumprelu.attacks.norms import norm_named
from onnx_jumprelu.attacks.probe import clip
from onnx_jumprelu.names import NormName

SMALLEST_L2_PATCH = 3
TILES_PER_SIDE = 5
Index = tuple[Array, Array, Array, Array]


class Moves(ABC):
    """Perturbations of images (N, C, H, W) within the bounds and a ball of radius `eps`."""

    def __init__(self, images: Floats, eps: float, bounds: tuple[float, float]) -> None:
        self.images, self.eps, self.bounds = images, eps, bounds

    @abstractmethod
    def start(self, rng: np.random.Generator) -> Floats:
        """The first perturbed images, of shape (N, C, H, W)."""

    @abstractmethod
    def propose(self, rng: np.random.Generator, best: Floats, live: Array, share: float) -> Floats:
        """What to try next.

        Args:
            rng: Source of randomness.
            best: The best images so far, of shape (N, C, H, W).
            live: Indices of the images to change, of shape (M,).
            share: Share of an image that a patch covers.

        Returns:
            A changed copy of `best[live]`, of shape (M, C, H, W).
        """


class _Linf(Moves):
    """Every value of a patch goes to an end of what is allowed, one sign per channel."""

    def __init__(self, images: Floats, eps: float, bounds: tuple[float, float]) -> None:
        super().__init__(images, eps, bounds)
        confine = norm_named("Linf").confine
        self.upper = clip(confine(images + np.float32(eps), images, eps), bounds)
        self.lower = clip(confine(images - np.float32(eps), images, eps), bounds)

    def start(self, rng: np.random.Generator) -> Floats:
        n, channels, _, width = self.images.shape
        stripes = rng.integers(2, size=(n, channels, 1, width), dtype=np.int8)
        return np.where(stripes, self.upper, self.lower)

    def propose(self, rng: np.random.Generator, best: Floats, live: Array, share: float) -> Floats:
        _, channels, height, width = best.shape
        patch = patch_shape(share * height * width, height, width)
        rows, columns = _corners(rng, len(live), patch, (height, width))
        here = _patch_index(np.arange(len(live)), channels, rows, columns, patch)
        whole = (live.reshape(-1, 1, 1, 1), *here[1:])
        up = rng.integers(2, size=(len(live), channels, 1, 1), dtype=np.int8)
        candidate = best[live]
        candidate[here] = np.where(up, self.upper[whole], self.lower[whole])
        return candidate


class _L2(Moves):
    """A patch takes over the budget of another one, shaped as two neighbouring hills of opposite sign."""

    def __init__(self, images: Floats, eps: float, bounds: tuple[float, float]) -> None:
        # A little inside the ball: what float32's rounding moves outside, the final projection would change once more.
        super().__init__(images, eps * (1 - 1e-6), bounds)

    def start(self, rng: np.random.Generator) -> Floats:
        n, channels, height, width = self.images.shape
        side = max(1, min(height, width) // TILES_PER_SIDE)
        patch = (side, side) if height > 1 else (1, max(1, width // TILES_PER_SIDE))
        down, across = height // patch[0], width // patch[1]
        hills = two_hills(patch)[rng.integers(2, size=(n, 1, down, across))]
        hills = hills * _signs(rng, (n, channels, down, across, 1, 1))
        grid = hills.transpose(0, 1, 2, 4, 3, 5).reshape(n, channels, down * patch[0], across * patch[1])
        delta = np.zeros_like(self.images)
        top, left = (height - grid.shape[2]) // 2, (width - grid.shape[3]) // 2
        delta[:, :, top : top + grid.shape[2], left : left + grid.shape[3]] = grid
        return self._applied(self.images, delta)

    def propose(self, rng: np.random.Generator, best: Floats, live: Array, share: float) -> Floats:
        _, channels, height, width = best.shape
        patch = patch_shape(share * height * width, height, width, smallest=SMALLEST_L2_PATCH)
        at, images = np.arange(len(live)), self.images[live]
        delta = best[live] - images
        grown, emptied = (
            _patch_index(at, channels, *_corners(rng, len(live), patch, (height, width)), patch) for _ in range(2)
        )
        mass = _mass(delta)  # per channel: (M, C, 1, 1)
        old = delta[grown]
        delta[grown] = delta[emptied] = 0
        unused = np.maximum(self.eps**2 - mass.sum(axis=1, keepdims=True), 0)
        budget = np.sqrt(unused / channels + np.maximum(mass - _mass(delta), 0))
        hills = two_hills(patch)[rng.integers(2, size=len(live))][:, None]
        new = hills * _signs(rng, (len(live), channels, 1, 1)) + _scaled(old, np.ones_like(budget))
        delta[grown] = _scaled(new, budget)
        return self._applied(images, delta)

    def _applied(self, images: Floats, delta: Floats) -> Floats:
        """Images perturbed by `delta`, made as long as the budget allows."""
        direction = norm_named("L2").direction(delta)
        return clip(images + np.float32(self.eps) * direction, self.bounds)


MOVES: dict[NormName, type[Moves]] = {"Linf": _Linf, "L2": _L2}


def patch_shape(area: float, height: int, width: int, smallest: int = 1) -> tuple[int, int]:
    """Height and width of a patch: a square, unless the image is too narrow for it; then a run along the image.

    Args:
        area: How many pixels it should cover.
        height: Height of the image.
        width: Width of the image.
        smallest: Least side; sides of 3 and more are made odd, so that a hill has a middle.
    """
    side, short = max(round(np.sqrt(area)), smallest), min(height, width)
    if smallest > 1 and side % 2 == 0:
        side += 1
    if 1 < short >= side:
        return side, side
    run = max(round(area / short), smallest)
    return min(height, run if height > width else short), min(width, run if width >= height else short)


def two_hills(patch: tuple[int, int]) -> Floats:
    """Patterns of unit length: a hill next to a valley, split along each side, of shape (2, h, w).

    A patch that is not a square is split across its longer side, twice the same.
    """
    height, width = patch
    if height < width:
        return np.swapaxes(two_hills((width, height)), 1, 2)
    half = height // 2
    pattern = np.concatenate([_hill(half, width), -_hill(height - half, width)])
    pattern /= np.sqrt((pattern**2).sum())
    both = [pattern, pattern.T if height == width else pattern]
    return np.stack(both).astype(np.float32)


def _hill(height: int, width: int) -> Array:
    """Nested terraces around the middle of a rectangle: the innermost adds 1, the next one 1/4, then 1/9 and so on."""
    down = np.abs(np.arange(height) - height // 2)
    across = np.abs(np.arange(width) - width // 2)
    ring = np.maximum(down[:, None], across[None])
    steps = 1.0 / np.arange(1, max(height, width) // 2 + 2) ** 2
    # A pixel in ring r is part of terraces r, r + 1, ... up to the widest.
    hill: Array = np.cumsum(steps[::-1])[::-1][ring]
    return hill


def _corners(rng: np.random.Generator, n: int, patch: tuple[int, int], image: tuple[int, int]) -> tuple[Labels, Labels]:
    """Random upper left corners of patches inside an image: rows (N,) and columns (N,)."""
    return rng.integers(image[0] - patch[0] + 1, size=n), rng.integers(image[1] - patch[1] + 1, size=n)


def _patch_index(at: Array, channels: int, rows: Labels, columns: Labels, patch: tuple[int, int]) -> Index:
    """Index of one patch per image, all channels, which selects (N, C, h, w)."""
    return (
        at.reshape(-1, 1, 1, 1),
        np.arange(channels).reshape(1, -1, 1, 1),
        (rows[:, None] + np.arange(patch[0])).reshape(len(at), 1, -1, 1),
        (columns[:, None] + np.arange(patch[1])).reshape(len(at), 1, 1, -1),
    )


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.choice(np.array([-1, 1], np.float32), size=shape)


def _mass(delta: Floats) -> Array:
    """Sum of squares per channel, of shape (N, C, 1, 1)."""
    mass: Array = np.einsum("nchw,nchw->nc", delta, delta)[:, :, None, None]
    return mass


def _scaled(delta: Floats, length: Array) -> Floats:
    """Every channel stretched to its length (N, C, 1, 1); a channel of 0 stays 0."""
    own = np.sqrt(_mass(delta))
    scaled: Floats = delta * np.divide(length, own, out=np.zeros_like(own), where=own > 0)
    return scaled
