"""JumpReLU in NumPy: the reference for lowerings, verification and derivatives (arXiv:1904.03750)."""

from __future__ import annotations

import numpy as np

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.arrays import Array, Bools
from onnx_jumprelu.graphs.constants import numpy_dtype

N_RANDOM = 4096


def activate(x: Array, parameters: Parameters, cap: float | None = None, *, keep_nan: bool = False) -> Array:
    """`x if x > jump else 0`, capped, computed in the type of x.

    Args:
        x: Pre-activations of any shape and floating-point type; (N, C, ...) for parameters per channel.
        parameters: The site's parameters, as numbers of that type.
        cap: Upper bound (6 for ReLU6), None for none.
        keep_nan: NaN stays NaN; otherwise it becomes 0, since NaN is not greater than the jump.

    Returns:
        An array of x's shape and type.
    """
    zero = x.dtype.type(0)
    with np.errstate(invalid="ignore"):  # NaN
        y: Array = np.where(x > _jump(x, parameters), x, zero)
        if cap is not None:
            y = np.minimum(y, x.dtype.type(cap))
        return np.where(np.isnan(x), x, y) if keep_nan else y


def at_discontinuity(x: Array, parameters: Parameters) -> Bools:
    """Where the output jumps, so that rounding a parameter decides it; of x's shape."""
    return np.asarray(x == _jump(x, parameters), dtype=bool)


def _jump(x: Array, parameters: Parameters) -> Array:
    jump: Array = parameters.arrays(x.ndim)["jump"].astype(x.dtype)
    return jump


def edge_values(elem_type: int, parameters: Parameters, cap: float | None, seed: int, rank: int = 1) -> Array:
    """Inputs that distinguish JumpReLU from its look-alikes.

    For a 16-bit type: every number. For any other type: edge cases (around the jump, the cap and zero, infinities, NaN)
    and seeded random numbers on the jump's scale.

    Args:
        elem_type: Type of the values.
        parameters: The site's parameters.
        cap: Upper bound of the site, None for none.
        seed: Seed of the random numbers.
        rank: Number of dimensions where there are parameters per channel.

    Returns:
        An array of shape (N,), or (N, C, 1, ...) for parameters per channel.
    """
    jump = parameters.jump
    if not isinstance(jump, tuple):
        return _edge_values(elem_type, jump, cap, seed)
    channels = [_edge_values(elem_type, value, cap, seed + place) for place, value in enumerate(jump)]
    stacked = np.stack(channels, axis=1)
    return stacked.reshape(*stacked.shape, *[1] * (rank - 2))


def _edge_values(elem_type: int, jump: float, cap: float | None, seed: int) -> Array:
    dtype = numpy_dtype(elem_type)
    if dtype.itemsize == 2:  # noqa: PLR2004 - bytes
        return np.arange(2**16, dtype=np.uint16).view(dtype)
    info = np.finfo(np.float64 if dtype == np.float64 else np.float32)
    centres = np.asarray([jump, 0.0, info.tiny, 1.0, *([] if cap is None else [cap])], dtype)
    around = [np.nextafter(centres, dtype.type(towards)) for towards in (-np.inf, np.inf)]
    special = np.asarray([-0.0, info.max, info.min, np.inf, -np.inf, np.nan], dtype)
    rng = np.random.default_rng(seed)
    random = (rng.standard_normal(N_RANDOM) * (1.0 + jump)).astype(dtype)
    return np.concatenate([centres, *around, -centres, special, random])
