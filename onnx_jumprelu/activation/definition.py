"""JumpReLU in NumPy: the reference for lowerings, verification and derivatives (arXiv:1904.03750)."""

from __future__ import annotations

import numpy as np
from ml_dtypes import finfo  # NumPy's does not know bfloat16

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.arrays import Array, Bools
from onnx_jumprelu.graphs.constants import numpy_dtype

N_RANDOM = 4096
# How far the nodes of a soft site may be from the reference, in units in the last place of the largest of |y|, jump +
# softness and |center|. Each of the (at most nine) operations rounds by half a unit of a number of that size; the
# argument z of exp has a relative error of two units, but |z| exp(-|z|) is at most 0.37. Added up, that is below four;
# the largest seen was two.
SOFT_ULPS = 4


def activate(x: Array, parameters: Parameters, cap: float | None = None, *, keep_nan: bool = False) -> Array:
    """`x if x > jump else 0`, or the soft form, capped.

    The hard form is computed in the type of x, the soft form in float64 and then rounded to that type.

    Args:
        x: Pre-activations of any shape and floating-point type; (N, C, ...) for parameters per channel.
        parameters: The site's parameters, as numbers of that type.
        cap: Upper bound (6 for ReLU6), None for none. A capped site is also cut off at 0, as the original Clip does.
        keep_nan: NaN stays NaN; otherwise it becomes 0, since NaN is not greater than the jump. The soft form always
            keeps NaN.

    Returns:
        An array of x's shape and type.
    """
    zero = x.dtype.type(0)
    with np.errstate(all="ignore"):  # NaN, infinities, subnormal numbers
        y: Array
        if parameters.is_soft:
            y = _soft(x, parameters).astype(x.dtype)
            return y if cap is None else np.clip(y, zero, x.dtype.type(cap))
        y = np.where(x > _jump(x, parameters), x, zero)
        if cap is not None:
            y = np.minimum(y, x.dtype.type(cap))
        return np.where(np.isnan(x), x, y) if keep_nan else y


def _soft(x: Array, parameters: Parameters) -> Array:
    """`t * softplus((x - jump) / t) + jump * sigmoid((x - jump) / t) - center` in float64, without overflow."""
    held = parameters.arrays(x.ndim)
    jump, t = held["jump"], held["softness"]
    above = x.astype(np.float64) - jump
    decay = np.exp(-np.abs(above) / t)
    softplus = np.maximum(above, 0) + t * np.log1p(decay)
    sigmoid = np.where(above >= 0, 1, decay) / (1 + decay)
    soft: Array = softplus + jump * sigmoid - held.get("center", 0.0)
    return soft


def tolerance(x: Array, parameters: Parameters) -> Array:
    """How far the nodes of a site may be from `activate`; of x's shape, in float64. 0 for a hard site.

    It is infinite where (x - jump) / softness overflows in x's type: the lowering `softplus` then returns infinity.

    Args:
        x: Pre-activations, as for `activate`.
        parameters: The site's parameters.
    """
    if not parameters.is_soft:
        return np.zeros(x.shape)
    held, info = parameters.arrays(x.ndim), finfo(x.dtype)  # type: ignore[no-untyped-call]
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(_soft(x, parameters)), held["jump"] + held["softness"])
        largest = np.maximum(size, np.abs(held.get("center", np.zeros(()))))
        units = float(info.eps) * np.exp2(np.floor(np.log2(np.maximum(largest, float(info.smallest_normal)))))
        overflows = np.abs(x.astype(np.float64) - held["jump"]) / held["softness"] > float(info.max)
    return np.where(overflows, np.inf, np.where(np.isfinite(units), SOFT_ULPS * units, 0.0))


def at_discontinuity(x: Array, parameters: Parameters) -> Bools:
    """Where the output jumps, so that rounding a parameter decides it; of x's shape. Nowhere for a soft site."""
    if parameters.is_soft:
        return np.zeros(x.shape, dtype=bool)
    return np.asarray(x == _jump(x, parameters), dtype=bool)


def _jump(x: Array, parameters: Parameters) -> Array:
    jump: Array = parameters.arrays(x.ndim)["jump"].astype(x.dtype)
    return jump


def edge_values(elem_type: int, parameters: Parameters, cap: float | None, seed: int, rank: int = 1) -> Array:
    """Inputs that distinguish JumpReLU from its look-alikes.

    For a 16-bit type: every number. For any other type: edge cases (around the jump, the cap and zero, infinities, NaN)
    and seeded random numbers on the scale of the jump and, for a soft site, of the softness.

    Args:
        elem_type: Type of the values.
        parameters: The site's parameters.
        cap: Upper bound of the site, None for none.
        seed: Seed of the random numbers.
        rank: Number of dimensions where there are parameters per channel.

    Returns:
        An array of shape (N,), or (N, C, 1, ...) for parameters per channel.
    """
    if not parameters.per_channel:
        return _edge_values(elem_type, parameters, cap, seed)
    channels = [_edge_values(elem_type, each, cap, seed + place) for place, each in enumerate(parameters.channels())]
    stacked = np.stack(channels, axis=1)
    return stacked.reshape(*stacked.shape, *[1] * (rank - 2))


def _edge_values(elem_type: int, parameters: Parameters, cap: float | None, seed: int) -> Array:
    dtype = numpy_dtype(elem_type)
    if dtype.itemsize == 2:  # noqa: PLR2004 - bytes
        return np.arange(2**16, dtype=np.uint16).view(dtype)
    held = {name: float(value) for name, value in parameters.arrays(None).items()}
    jump, softness = held["jump"], held.get("softness", 0.0)
    info = np.finfo(np.float64 if dtype == np.float64 else np.float32)
    centres = np.asarray([jump, 0.0, info.tiny, 1.0, *([] if cap is None else [cap])], dtype)
    around = [np.nextafter(centres, dtype.type(towards)) for towards in (-np.inf, np.inf)]
    special = np.asarray([-0.0, info.max, info.min, np.inf, -np.inf, np.nan], dtype)
    rng = np.random.default_rng(seed)
    random = (rng.standard_normal(N_RANDOM) * (1.0 + jump)).astype(dtype)
    near = (jump + 5 * softness * rng.standard_normal(N_RANDOM if softness else 0)).astype(dtype)
    return np.concatenate([centres, *around, -centres, special, random, near])
