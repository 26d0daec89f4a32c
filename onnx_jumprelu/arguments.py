"""Checks of what a user passes: a value of the wrong type is a wrong option, and the error is one line."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import TypeVar

from onnx_jumprelu.errors import OptionError

MOST_CHARACTERS_SHOWN = 60
Item = TypeVar("Item")


def check_number(value: object, name: str) -> None:
    """Raises OptionError unless the value is a real number; NumPy's numbers are, True and False are not."""
    if isinstance(value, bool) or not isinstance(value, Real):
        wanted = "a number such as 8 / 255" if isinstance(value, str) and "/" in value else "a number"
        raise OptionError(f"{name} must be {wanted}, not {shown(value)}")


def check_integer(value: object, name: str, lowest: int | None = None) -> None:
    """Raises OptionError unless the value is an integer, and at least `lowest`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise OptionError(f"{name} must be an integer, not {shown(value)}")
    if lowest is not None and int(value) < lowest:
        raise OptionError(f"{name} must be at least {lowest}, not {value}")


def listed(values: Iterable[Item], name: str) -> tuple[Item, ...]:
    """The items of a list or another iterable. Raises OptionError for a single value."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise OptionError(f"{name} must be a list, not {shown(values)}")
    return tuple(values)


def shown(value: object) -> str:
    """A wrong value, short and on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= MOST_CHARACTERS_SHOWN else f"{text[:MOST_CHARACTERS_SHOWN]}..."
