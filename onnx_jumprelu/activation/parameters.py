"""The parameters of one JumpReLU site. Code outside this package passes `Parameters` on without looking inside.

A parameter is one number for the whole site, or one number per channel. Channels lie along axis 1, as in ONNX's Conv.
"""

from __future__ import annotations

import contextlib
import json
import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Union

import numpy as np

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.graphs.constants import numpy_dtype
from onnx_jumprelu.graphs.tensor_types import dtype_name

Jump = Union[float, tuple[float, ...]]  # noqa: UP007 - a name for annotations in Python 3.10 too
MOST_CHARACTERS_SHOWN = 40
ROUNDING = 1e-3  # relative; element types as narrow as float16 round a jump by up to 0.5e-3

if TYPE_CHECKING:
    from typing import TypeGuard


@dataclass(frozen=True)
class Parameters:
    """What a JumpReLU site computes: `x if x > jump else 0`.

    Each field is one parameter. Its name is also the name of the operand that the finder reports, and of the graph
    input that `--jump-input` makes.

    Attributes:
        jump: One number, or one per channel; finite, at least 0, in units of the pre-activations.
    """

    jump: Jump = 0.0

    @staticmethod
    def checked(value: object, where: str) -> Parameters:
        """Parameters from what a caller gave: a number, a list of numbers (one per channel), or `Parameters`.

        Raises:
            OptionError: a number is not finite or is below 0; `where` says what the value is for.
        """
        if isinstance(value, Parameters):
            return replace(value, jump=checked_jump(value.jump, where))
        return Parameters(checked_jump(value, where))

    @staticmethod
    def from_json(value: object, where: str) -> Parameters:
        """Parameters from a recipe or a record, where a number or a list is a jump. Raises OptionError."""
        return Parameters.checked(value, where)

    def to_json(self) -> float | list[float]:
        """A number, or a list with one number per channel."""
        return list(self.jump) if isinstance(self.jump, tuple) else self.jump

    def as_entry(self) -> Jump:
        """The parameters as an entry of a `Recipe`: a number, or a tuple with one number per channel."""
        return self.jump

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters in use, in a fixed order."""
        return tuple(field.name for field in fields(self))

    @property
    def per_channel(self) -> bool:
        """Whether some parameter has one number per channel."""
        return self.n_channels is not None

    @property
    def n_channels(self) -> int | None:
        """For how many channels there are numbers, None where one number holds for all channels."""
        return next((len(value) for value in self._values if isinstance(value, tuple)), None)

    @property
    def is_relu(self) -> bool:
        """Whether the site computes what ReLU computes."""
        return not any(numbers_of(self.jump))

    @property
    def size(self) -> float:
        """The jump averaged over the channels: how far the site is from ReLU."""
        return float(np.mean(numbers_of(self.jump)))

    @property
    def _values(self) -> tuple[Jump, ...]:
        return tuple(getattr(self, name) for name in self.names)

    def simplified(self) -> Parameters:
        """The same, with a number in place of a list for a single channel."""
        return self._each(lambda value: value[0] if isinstance(value, tuple) and len(value) == 1 else value)

    def spread(self, n_channels: int | None) -> Parameters:
        """The same, with one number per channel; unchanged for None."""
        if n_channels is None:
            return self
        return self._each(lambda value: value if isinstance(value, tuple) else (value,) * n_channels)

    def rounded(self, elem_type: int | None) -> Parameters:
        """The nearest parameters in an element type, infinite where out of range; unchanged for an unknown type."""
        return self if elem_type is None else self._each(lambda value: _rounded(value, elem_type))

    def held_in(self, elem_type: int | None, where: str) -> Parameters:
        """The parameters rounded to an element type.

        Raises:
            OptionError: a number is out of the type's range, or is above 0 and becomes 0; `where` names the site.
        """
        in_type = self.rounded(elem_type)
        for name in self.names:
            pairs = zip(numbers_of(getattr(self, name)), numbers_of(getattr(in_type, name)), strict=True)
            for asked, held in pairs:
                dtype = dtype_name(elem_type or 0)
                if math.isinf(held):
                    raise OptionError(f"{where}: {name} {asked!r} is out of range for {dtype}")
                if asked and not held:
                    raise OptionError(f"{where}: {name} {asked!r} is 0 in {dtype}; give 0 or a larger one")
        return in_type

    def arrays(self, rank: int | None) -> dict[str, Array]:
        """Each parameter in use as float64, in a shape that broadcasts along a tensor of this rank; see `shaped`."""
        return {name: shaped(getattr(self, name), rank) for name in self.names}

    def is_close(self, other: Parameters) -> bool:
        """Whether both are the same up to rounding; one number equals a list that repeats it."""
        return all(_is_close(one, another) for one, another in zip(self._values, other._values, strict=True))

    def shown(self) -> str:
        """The parameters for people: `0.5`, or `0 to 1.5, per channel`."""
        values = numbers_of(self.jump)
        low, high = min(values), max(values)
        return f"{low:g} to {high:g}, per channel" if isinstance(self.jump, tuple) else f"{high:g}"

    def __str__(self) -> str:
        """The exact parameters with their names: `jump 0.5`."""
        return ", ".join(f"{name} {value!r}" for name, value in zip(self.names, self._values, strict=True))

    def cell(self) -> str:
        """The parameters as the cell of a table for programs: exact numbers, those of channels with spaces between."""
        return " ".join(map(repr, numbers_of(self.jump)))

    def _each(self, change: Callable[[Jump], Jump]) -> Parameters:
        return replace(self, **{name: change(getattr(self, name)) for name in self.names})


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return (isinstance(value, Sequence) and not isinstance(value, (str, bytes))) or (
        isinstance(value, np.ndarray) and value.ndim > 0
    )


def checked_jump(value: object, where: str) -> Jump:
    """A jump, or a list of them, one per channel.

    Raises:
        OptionError: a number is not finite or is below 0; `where` says what the value is for.
    """
    if _is_list(value):
        if not len(value):
            raise OptionError(f"{where} is an empty list; give one number per channel, or a single one")
        return tuple(checked_number(entry, f"{where}, channel {channel},") for channel, entry in enumerate(value))
    return checked_number(value, where)


def checked_number(value: object, where: str) -> float:
    """A single jump as a float.

    Raises:
        OptionError: it is not a finite number of at least 0; `where` says what the value is for.
    """
    jump = math.nan
    # Real includes NumPy's numbers. True is not a jump.
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        with contextlib.suppress(OverflowError):  # an integer of 400 digits
            jump = float(value)
    if not math.isfinite(jump) or jump < 0:
        shown = str(value) if isinstance(value, float) else json.dumps(value, default=str)
        raise OptionError(f"{where} must be a finite number of at least 0, not {shown[:MOST_CHARACTERS_SHOWN]}")
    return jump + 0.0  # -0.0 becomes 0.0


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


def _rounded(values: Jump, elem_type: int) -> Jump:
    with np.errstate(over="ignore"):
        in_type = np.asarray(values, np.float64).astype(numpy_dtype(elem_type)).astype(np.float64)
    return float(in_type) if in_type.ndim == 0 else tuple(in_type.tolist())


def _is_close(one: Jump, other: Jump) -> bool:
    first, second = np.atleast_1d(one), np.atleast_1d(other)
    fit = first.size == second.size or 1 in {first.size, second.size}
    return fit and np.allclose(first, second, rtol=ROUNDING, atol=0.0)
