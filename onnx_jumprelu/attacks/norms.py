"""The two norms in which perturbations are measured, and what an attack needs to know of each."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from onnx_jumprelu.arrays import Array, Floats, per_example, rows
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.names import NormName

TINY = np.float32(1e-12)


class Norm(ABC):
    """Lengths and directions of perturbations `delta` of shape (N, ...), each example on its own."""

    name: NormName

    @abstractmethod
    def length(self, delta: Array) -> Array:
        """Lengths, of shape (N,)."""

    @abstractmethod
    def dual_length(self, gradient: Array) -> Array:
        """Lengths in the dual norm, of shape (N,): how fast a unit step can change a linear function."""

    @abstractmethod
    def direction(self, gradient: Floats) -> Floats:
        """The step of length 1 along which a linear function with this gradient grows most; 0 for gradient 0."""

    @abstractmethod
    def project(self, delta: Floats, eps: float) -> Floats:
        """The nearest perturbation of length at most `eps`, up to float32 rounding."""

    @abstractmethod
    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """Perturbations spread evenly over the unit ball."""

    @abstractmethod
    def confine(self, x_adv: Array, x: Array, eps: float) -> Floats:
        """`x_adv` moved towards `x` until its exact distance is at most `eps`, in spite of float32 rounding."""


class _Linf(Norm):
    name = "Linf"

    def length(self, delta: Array) -> Array:
        length: Array = np.abs(rows(delta)).max(axis=1, initial=0.0)
        return length

    def dual_length(self, gradient: Array) -> Array:
        length: Array = np.abs(rows(gradient)).sum(axis=1)
        return length

    def direction(self, gradient: Floats) -> Floats:
        return np.sign(gradient)

    def project(self, delta: Floats, eps: float) -> Floats:
        return np.clip(delta, np.float32(-eps), np.float32(eps))

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return rng.uniform(-1.0, 1.0, shape).astype(np.float32)

    def confine(self, x_adv: Array, x: Array, eps: float) -> Floats:
        exact = x.astype(np.float64)
        result = np.clip(x_adv, exact - eps, exact + eps).astype(np.float32)
        # The sums and the cast may round past the border; one step back is enough.
        result = np.where(result - exact > eps, np.nextafter(result, np.float32(-np.inf)), result)
        return np.where(exact - result > eps, np.nextafter(result, np.float32(np.inf)), result)


class _L2(Norm):
    name = "L2"

    def length(self, delta: Array) -> Array:
        flat = rows(delta)
        squares: Array = np.einsum("nd,nd->n", flat, flat, dtype=np.float64)
        return np.sqrt(squares).astype(delta.dtype)

    def dual_length(self, gradient: Array) -> Array:
        return self.length(gradient)

    def direction(self, gradient: Floats) -> Floats:
        # Scaled by the largest entry first: squares of tiny gradients would underflow.
        largest = per_example(np.abs(rows(gradient)).max(axis=1, initial=0.0), gradient)
        scaled = np.divide(gradient, largest, out=np.zeros_like(gradient), where=largest > 0)
        unit: Floats = scaled / np.maximum(per_example(self.length(scaled), scaled), TINY)
        return unit

    def project(self, delta: Floats, eps: float) -> Floats:
        factor = np.minimum(np.float32(1), np.float32(eps) / np.maximum(self.length(delta), TINY))
        return delta * per_example(factor, delta)

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        towards = self.direction(rng.standard_normal(shape).astype(np.float32))
        dimensions = max(1, int(np.prod(shape[1:])))
        radius = rng.uniform(0.0, 1.0, shape[0]) ** (1.0 / dimensions)
        return towards * per_example(radius.astype(np.float32), towards)

    def confine(self, x_adv: Array, x: Array, eps: float) -> Floats:
        exact = x.astype(np.float64)
        result = x_adv.astype(np.float32)
        slack = 0.0
        while True:
            delta = result.astype(np.float64) - exact
            length = self.length(delta)
            outside = length > eps
            if not outside.any():
                return result
            factor = per_example(max(0.0, 1.0 - slack) * eps / length[outside], delta)
            result[outside] = (exact[outside] + factor * delta[outside]).astype(np.float32)
            # Rounding may have moved it out again: aim further inside each time, at x itself in the end.
            slack = 2 * slack + 1e-7


NORMS: dict[str, Norm] = {norm.name: norm for norm in (_Linf(), _L2())}


def norm_named(name: str) -> Norm:
    """The norm of this name. Raises OptionError where there is none."""
    if name not in NORMS:
        raise OptionError(f"norm '{name}' is unknown; choose {' or '.join(NORMS)}")
    return NORMS[name]
