"""JSON that this tool writes and reads back.

What is written names its schema and the tool's version. What is read back is checked entry by entry, and anything else
is refused with a reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnx_jumprelu.arguments import shown
from onnx_jumprelu.arrays import Bools
from onnx_jumprelu.files.inputs import read_text
from onnx_jumprelu.version import __version__

LARGEST = 1e300  # float() fails on an integer of 400 digits; a comparison does not


def stamped(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with the name of its schema (see `report/schemas/`) and the version of this tool in front."""
    return {"schema": schema_id(name), "version": __version__, **content}


def schema_id(name: str) -> str:
    """The value of `schema` in a result. Its number changes only if a key changes its meaning or disappears."""
    return f"onnx-jumprelu/{name}/1"


class UnfitError(Exception):
    """A file does not hold what this tool writes; the message says what is wrong with which entry."""


def read_record(path: Path) -> Entries:
    """The object in a JSON file.

    Raises:
        OSError: the file cannot be read.
        UnfitError: it is not JSON, or not an object.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise UnfitError("it is not JSON") from error
    return Entries(content, "it")


class Entries:
    """An object of a JSON file. Each method raises UnfitError where an entry is missing or is something else."""

    def __init__(self, content: object, where: str) -> None:
        """Take an object; `where` names it in messages."""
        if not isinstance(content, dict):
            raise UnfitError(f"{where} is not an object")
        self._content: dict[str, Any] = content
        self._where = where

    def only(self, *keys: str) -> Entries:
        """Check that it has no other entries than these."""
        for key in self._content:
            if key not in keys:
                raise UnfitError(f"{self._where} has an unknown entry {shown(key)}")
        return self

    def value(self, key: str) -> Any:  # noqa: ANN401 - any JSON value
        """An entry of any type."""
        if key not in self._content:
            raise UnfitError(f"{self._where} has no '{key}'")
        return self._content[key]

    def text(self, key: str) -> str:
        """A string."""
        value = self.value(key)
        if not isinstance(value, str):
            raise self.unfit(key, "a string")
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.value(key)
        if not isinstance(value, bool):
            raise self.unfit(key, "true or false")
        return value

    def count(self, key: str) -> int:
        """A whole number of at least 1."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.unfit(key, "a whole number of at least 1")
        return value

    def number(self, key: str, most: float = math.inf) -> float:
        """A finite number from 0 to `most`."""
        value = self.value(key)
        # NaN is not within any bounds.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= min(most, LARGEST):
            raise self.unfit(key, "a number of at least 0" if most == math.inf else f"a number from 0 to {most:g}")
        return float(value)

    def number_or_none(self, key: str, most: float = math.inf) -> float | None:
        """`number`, or None for null."""
        return None if self.value(key) is None else self.number(key, most)

    def positive(self, key: str) -> float:
        """A finite number above 0."""
        value = self.number(key)
        if not value:
            raise self.unfit(key, "a number above 0")
        return value

    def bits(self, key: str, count: int) -> Bools:
        """`count` digits, 0 or 1, in a string; see `bits_text`."""
        value = self.value(key)
        if not isinstance(value, str) or set(value) - {"0", "1"} or len(value) != count:
            raise self.unfit(key, f"a string of {count} digits, each 0 or 1")
        return np.asarray([digit == "1" for digit in value], np.bool_)

    def inner(self, key: str) -> Entries:
        """An object."""
        return Entries(self.value(key), f"'{key}'")

    def each(self, key: str) -> list[Entries]:
        """The objects of a list that is not empty."""
        value = self.value(key)
        if not isinstance(value, list) or not value:
            raise self.unfit(key, "a list with at least one entry")
        return [Entries(entry, f"'{key}', entry {place},") for place, entry in enumerate(value)]

    def by_name(self, key: str) -> dict[str, Entries]:
        """The objects of an object that is not empty, by their names."""
        value = self.value(key)
        if not isinstance(value, dict) or not value:
            raise self.unfit(key, "an object with at least one entry")
        return {name: Entries(entry, f"'{key}', entry {shown(name)},") for name, entry in value.items()}

    def holds(self, key: str, value: object) -> bool:
        """Whether an entry is there and equals a value."""
        return bool(self._content.get(key) == value)

    def unfit(self, key: str, wanted: str) -> UnfitError:
        """The error for an entry that is not what is wanted."""
        return UnfitError(f"in {self._where} '{key}' is not {wanted}")


def bits_text(values: Bools) -> str:
    """Booleans as digits, 0 or 1, as `Entries.bits` reads them."""
    return "".join("1" if each else "0" for each in values)
