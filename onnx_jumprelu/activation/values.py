"""The values of one parameter: one number for a whole site, or one number per channel.

Channels lie along axis 1, as in ONNX's Conv.
"""

from __future__ import annotations

import contextlib
import json
import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Union

import numpy as np

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.graphs.constants import numpy_dtype

Jump = Union[float, tuple[float, ...]]  # noqa: UP007 - a name for annotations in Python 3.10 too
MOST_CHARACTERS_SHOWN = 40
ROUNDING = 1e-3  # relative; element types as narrow as float16 round a jump by up to 0.5e-3

if TYPE_CHECKING:
    from typing import TypeGuard


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return (isinstance(value, Sequence) and not isinstance(value, (str, bytes))) or (
        isinstance(value, np.ndarray) and value.ndim > 0
    )


def checked_values(value: object, where: str, *, lowest: float = 0.0) -> Jump:
    """A number, or a list of them, one per channel.

    Raises:
        OptionError: a number is not finite or is below `lowest`; `where` says what the value is for.
    """
    if _is_list(value):
        if not len(value):
            raise OptionError(f"{where} is an empty list; give one number per channel, or a single one")
        return tuple(
            checked_number(entry, f"{where}, channel {channel},", lowest=lowest) for channel, entry in enumerate(value)
        )
    return checked_number(value, where, lowest=lowest)


def checked_number(value: object, where: str, *, lowest: float = 0.0) -> float:
    """A single number as a float.

    Raises:
        OptionError: it is not a finite number of at least `lowest`; `where` says what the value is for.
    """
    number = math.nan
    # Real includes NumPy's numbers. True is not a number here.
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        with contextlib.suppress(OverflowError):  # an integer of 400 digits
            number = float(value)
    if not math.isfinite(number) or number < lowest:
        shown = str(value) if isinstance(value, float) else json.dumps(value, default=str)
        least = "" if math.isinf(lowest) else f" of at least {lowest:g}"
        raise OptionError(f"{where} must be a finite number{least}, not {shown[:MOST_CHARACTERS_SHOWN]}")
    return number + 0.0  # -0.0 becomes 0.0


def shaped(values: Jump, rank: int | None) -> Array:
    """A parameter as float64, in a shape that broadcasts along the channels of a tensor of this rank.

    Returns:
        An array of shape () for one number, (C, 1, ..., 1) with `rank` - 1 dimensions for one per channel.

    Raises:
        ValueError: there is one number per channel, and `rank` is unknown or below 2.
    """
    array = np.asarray(values, np.float64)
    if not array.ndim:
        return array
    if rank is None or rank < 2:  # noqa: PLR2004 - (N, C, ...)
        raise ValueError(f"a tensor of rank {rank} has no channels")
    return array.reshape(-1, *[1] * (rank - 2))


def numbers_of(values: Jump) -> tuple[float, ...]:
    """All numbers of a parameter: one, or one per channel."""
    return values if isinstance(values, tuple) else (values,)


def rounded_values(values: Jump, elem_type: int) -> Jump:
    """The nearest numbers in an element type, infinite where out of range."""
    with np.errstate(over="ignore"):
        in_type = np.asarray(values, np.float64).astype(numpy_dtype(elem_type)).astype(np.float64)
    return float(in_type) if in_type.ndim == 0 else tuple(in_type.tolist())


def are_close(one: Jump, other: Jump) -> bool:
    """Whether both are the same up to rounding; one number equals a list that repeats it."""
    first, second = np.atleast_1d(one), np.atleast_1d(other)
    fit = first.size == second.size or 1 in {first.size, second.size}
    return fit and np.allclose(first, second, rtol=ROUNDING, atol=0.0)
