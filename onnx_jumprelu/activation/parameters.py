"""A site's jump: one number for all of it, or one per channel. Channels lie along axis 1, as ONNX's Conv has them."""

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

if TYPE_CHECKING:
    from typing import TypeGuard


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return (isinstance(value, Sequence) and not isinstance(value, (str, bytes))) or (
        isinstance(value, np.ndarray) and value.ndim > 0
    )


def checked_jump(value: object, where: str) -> Jump:
    """A jump, or a list of them, one per channel.

    Raises:
        OptionError: one is not a finite number of at least 0; `where` says what it was meant for.
    """
    if _is_list(value):
        if not len(value):
            raise OptionError(f"{where} is an empty list; give one number per channel, or a single one")
        return tuple(checked_number(entry, f"{where}, channel {channel},") for channel, entry in enumerate(value))
    return checked_number(value, where)


def checked_number(value: object, where: str) -> float:
    """A single jump as a float.

    Raises:
        OptionError: it is not a finite number of at least 0; `where` says what it was meant for.
    """
    jump = math.nan
    # Real: NumPy's numbers too. True is no jump.
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        with contextlib.suppress(OverflowError):  # an integer of 400 digits
            jump = float(value)
    if not math.isfinite(jump) or jump < 0:
        shown = str(value) if isinstance(value, float) else json.dumps(value, default=str)
        raise OptionError(f"{where} must be a finite number of at least 0, not {shown[:MOST_CHARACTERS_SHOWN]}")
    return jump + 0.0  # -0.0 becomes 0.0


def rounded(jump: Jump, elem_type: int | None) -> Jump:
    """The jump as the nearest number of the element type, infinite where it is out of range."""
    if elem_type is None:
        return jump
    with np.errstate(over="ignore"):
        in_type = np.asarray(jump, np.float64).astype(numpy_dtype(elem_type)).astype(np.float64)
    return float(in_type) if in_type.ndim == 0 else tuple(in_type.tolist())


def shaped(jump: Jump, rank: int | None) -> Array:
    """The jump as float64, in a shape that broadcasts along the channels of a tensor of this rank.

    Returns:
        An array of shape () for one number, (C, 1, ..., 1) with `rank` - 1 dimensions for one per channel.

    Raises:
        ValueError: there is one per channel, and no rank of at least 2.
    """
    values = np.asarray(jump, np.float64)
    if not values.ndim:
        return values
    if rank is None or rank < 2:  # noqa: PLR2004 - (N, C, ...)
        raise ValueError(f"a tensor of rank {rank} has no channels")
    return values.reshape(-1, *[1] * (rank - 2))


def numbers_of(jump: Jump) -> tuple[float, ...]:
    """All the numbers of a jump: one, or one per channel."""
    return jump if isinstance(jump, tuple) else (jump,)


def mean(jump: Jump) -> float:
    """The jump, averaged over its channels."""
    return float(np.mean(numbers_of(jump)))


def shown(jump: Jump) -> str:
    """The jump for people: `0.5`, or `0 to 1.5, per channel`."""
    values = numbers_of(jump)
    low, high = min(values), max(values)
    return f"{low:g} to {high:g}, per channel" if isinstance(jump, tuple) else f"{high:g}"
