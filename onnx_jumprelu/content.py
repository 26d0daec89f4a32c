"""Results as values: two with the same content are equal, and each can be pickled and copied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any

import numpy as np


class ByContent:  # noqa: PLW1641 - arrays have no hash
    """Base of frozen dataclasses that hold arrays or read-only mappings; declare them with `eq=False`."""

    def __eq__(self, other: object) -> bool:
        """Whether both have the same type and content."""
        return type(self) is type(other) and _same_fields(self, other)

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and copy, which cannot handle read-only mappings."""
        content = vars(self)
        read_only = [name for name, value in content.items() if isinstance(value, MappingProxyType)]
        return _restored, (type(self), {**content, **{name: dict(content[name]) for name in read_only}}, read_only)


def _restored(kind: type[Any], content: dict[str, Any], read_only: list[str]) -> Any:  # noqa: ANN401 - of that type
    value = object.__new__(kind)
    for name, entry in content.items():
        object.__setattr__(value, name, MappingProxyType(entry) if name in read_only else entry)
    return value


def _same_fields(one: Any, other: Any) -> bool:  # noqa: ANN401 - dataclasses of one type
    return all(_same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one) if field.compare)


def _same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(np.asarray(one), np.asarray(other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if is_dataclass(one) and type(one) is type(other):
        return _same_fields(one, other)
    return bool(one == other)
