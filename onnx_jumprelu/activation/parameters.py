"""The parameters of one JumpReLU site. Code outside this package passes `Parameters` on without looking inside."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from onnx_jumprelu.activation.values import (
    Jump,
    are_close,
    checked_values,
    numbers_of,
    rounded_values,
    shaped,
)
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.graphs.tensor_types import dtype_name


@dataclass(frozen=True)
class Parameters:
    """What a JumpReLU site computes.

    With softness 0 the hard form, `x if x > jump else 0`; with a softness t above 0 the soft form,
    `t * softplus((x - jump) / t) + jump * sigmoid((x - jump) / t) - center`: the mean of the hard form over logistic
    noise of scale t, less a constant.

    Each field is one parameter: one number for the whole site, or one per channel. Its name is also the name of the
    operand that the finder reports, and of the graph input that `--jump-input` makes.

    Attributes:
        jump: Finite, at least 0, in units of the pre-activations.
        softness: Finite, at least 0, in the same units; 0 for all channels or above 0 for all.
        center: Finite; what is subtracted from the soft form. 0 for a hard site.
    """

    jump: Jump = 0.0
    softness: Jump = 0.0
    center: Jump = 0.0

    @staticmethod
    def checked(value: object, where: str) -> Parameters:
        """Parameters from what a caller gave: a jump (a number, or a list of numbers, one per channel), or an object.

        Args:
            value: A number, a list of numbers, `Parameters`, or a mapping with their fields.
            where: What the value is for, such as `the jump of site 'a'`.

        Raises:
            OptionError: a number is out of range, or the parameters do not fit each other.
        """
        if isinstance(value, Parameters):
            given: Mapping[str, object] = {field.name: getattr(value, field.name) for field in fields(Parameters)}
        elif isinstance(value, Mapping) and value:
            given = value
        else:
            return Parameters(checked_values(value, where))
        unknown = sorted(str(name) for name in given if name not in FIELDS)
        if unknown:
            raise OptionError(f"{where}: unknown key '{unknown[0]}'; there are {', '.join(FIELDS)}")
        site = where.removeprefix("the jump of ")
        parameters = Parameters(
            checked_values(given.get("jump", 0.0), where),
            checked_values(given.get("softness", 0.0), f"the softness of {site}"),
            checked_values(given.get("center", 0.0), f"the center of {site}", lowest=-math.inf),
        )
        parameters._check_together(where)
        return parameters

    def _check_together(self, where: str) -> None:
        """Raise OptionError where the parameters do not fit each other."""
        if len({len(value) for value in self._all if isinstance(value, tuple)}) > 1:
            raise OptionError(f"{where}: its lists have different lengths; give one number per channel in each")
        if self.is_soft and not all(numbers_of(self.softness)):
            raise OptionError(f"{where}: its softness is 0 in some channels; give 0 for all, or above 0 for all")
        if not self.is_soft and any(numbers_of(self.center)):
            raise OptionError(f"{where}: a center needs a softness above 0")

    @staticmethod
    def from_json(value: object, where: str) -> Parameters:
        """Parameters from a recipe or a record, where a number or a list is a jump. Raises OptionError."""
        return Parameters.checked(value, where)

    def to_json(self) -> object:
        """A number, or a list with one number per channel; for a soft site an object of those."""
        values = {name: _listed(value) for name, value in self._in_use.items()}
        return values if self.is_soft else values["jump"]

    def to_fields(self) -> dict[str, float | list[float]]:
        """Every parameter by name, each a number or a list with one number per channel."""
        return {name: _listed(getattr(self, name)) for name in FIELDS}

    def as_entry(self) -> Jump | Parameters:
        """The parameters as an entry of a `Recipe`: a jump, or for a soft site these parameters."""
        return self if self.is_soft else self.jump

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters in use, in a fixed order."""
        return tuple(self._in_use)

    @property
    def _in_use(self) -> dict[str, Jump]:
        used = {"jump": self.jump}
        if self.is_soft:
            used["softness"] = self.softness
        if any(numbers_of(self.center)):
            used["center"] = self.center
        return used

    @property
    def _all(self) -> tuple[Jump, Jump, Jump]:
        return self.jump, self.softness, self.center

    @property
    def is_soft(self) -> bool:
        """Whether the site has the soft form."""
        return any(numbers_of(self.softness))

    @property
    def per_channel(self) -> bool:
        """Whether some parameter has one number per channel."""
        return self.n_channels is not None

    @property
    def n_channels(self) -> int | None:
        """For how many channels there are numbers, None where one number holds for all channels."""
        return next((len(value) for value in self._all if isinstance(value, tuple)), None)

    @property
    def is_relu(self) -> bool:
        """Whether the site computes what ReLU computes."""
        return not self.is_soft and not any(numbers_of(self.jump))

    @property
    def size(self) -> float:
        """Jump plus softness, averaged over the channels: how far the site is from ReLU."""
        return float(np.mean(numbers_of(self.jump)) + np.mean(numbers_of(self.softness)))

    def simplified(self) -> Parameters:
        """The same, with a number in place of a list for a single channel."""
        return self._each(lambda value: value[0] if isinstance(value, tuple) and len(value) == 1 else value)

    def spread(self, n_channels: int | None) -> Parameters:
        """The same, with one number per channel for each parameter in use; unchanged for None."""
        if n_channels is None:
            return self
        return replace(self, **{name: _repeated(value, n_channels) for name, value in self._in_use.items()})

    def channels(self) -> tuple[Parameters, ...]:
        """The parameters of each channel; one for all of them where there are no lists."""
        lists = (numbers_of(_repeated(value, self.n_channels or 1)) for value in self._all)
        return tuple(Parameters(*each) for each in zip(*lists, strict=True))

    def rounded(self, elem_type: int | None) -> Parameters:
        """The nearest parameters in an element type, infinite where out of range; unchanged for an unknown type."""
        return self if elem_type is None else self._each(lambda value: rounded_values(value, elem_type))

    def held_in(self, elem_type: int | None, where: str) -> Parameters:
        """The parameters rounded to an element type.

        Raises:
            OptionError: a number is out of the type's range, or a jump or a softness above 0 becomes 0; `where` names
                the site.
        """
        in_type = self.rounded(elem_type)
        for name in FIELDS:
            pairs = zip(numbers_of(getattr(self, name)), numbers_of(getattr(in_type, name)), strict=True)
            for asked, held in pairs:
                dtype = dtype_name(elem_type or 0)
                if math.isinf(held):
                    raise OptionError(f"{where}: {name} {asked!r} is out of range for {dtype}")
                if asked and not held and name != "center":
                    raise OptionError(f"{where}: {name} {asked!r} is 0 in {dtype}; give 0 or a larger one")
        return in_type

    def arrays(self, rank: int | None) -> dict[str, Array]:
        """Each parameter in use as float64, in a shape that broadcasts along a tensor of this rank; see `shaped`."""
        return {name: shaped(value, rank) for name, value in self._in_use.items()}

    def is_close(self, other: Parameters) -> bool:
        """Whether both are the same up to rounding; one number equals a list that repeats it."""
        return all(are_close(one, another) for one, another in zip(self._all, other._all, strict=True))

    def shown(self) -> str:
        """The parameters for people: `0.5`, `0 to 1.5, per channel`, `0.5, softness 0.1, centered`."""
        softness = f", softness {_shown(self.softness)}" if self.is_soft else ""
        return f"{_shown(self.jump)}{softness}{', centered' if 'center' in self._in_use else ''}"

    def __str__(self) -> str:
        """The exact parameters with their names: `jump 0.5`."""
        return ", ".join(f"{name} {value!r}" for name, value in self._in_use.items())

    def cell(self) -> str:
        """The parameters as the cell of a table for programs: exact numbers, those of channels with spaces between."""
        cells = {name: " ".join(map(repr, numbers_of(value))) for name, value in self._in_use.items()}
        return cells.pop("jump") + "".join(f"; {name} {cell}" for name, cell in cells.items())

    def _each(self, change: Callable[[Jump], Jump]) -> Parameters:
        return replace(self, **{name: change(getattr(self, name)) for name in FIELDS})


FIELDS = tuple(field.name for field in fields(Parameters))


def _listed(value: Jump) -> float | list[float]:
    return list(value) if isinstance(value, tuple) else value


def _repeated(value: Jump, n_channels: int) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,) * n_channels


def _shown(values: Jump) -> str:
    low, high = min(numbers_of(values)), max(numbers_of(values))
    return f"{low:g} to {high:g}, per channel" if isinstance(values, tuple) else f"{high:g}"
