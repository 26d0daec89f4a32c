"""The axis of each input along which its examples lie, which need not be axis 0, and inputs cut along it.

A state of a recurrent network may have the shape (layers, N, features) beside inputs of shape (N, time, features).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.runtime import Feeds
from onnx_jumprelu.verification.input_types import FedInput

EXAMPLES_PER_RUN = 2  # where the model leaves that open: little memory


@dataclass(frozen=True)
class Batch:
    """Where the examples of the inputs lie.

    Attributes:
        axes: The axis of each input that has one, by the input's name.
        n_examples: How many examples the data have.
        fixed: How many the model takes at a time, None where any number.
    """

    axes: Mapping[str, int]
    n_examples: int
    fixed: int | None

    def cut(self, feeds: Feeds, limit: int | None, step: int = EXAMPLES_PER_RUN) -> list[Feeds]:
        """The first `limit` examples (all for None) in runs of `step`, or as many as the model takes; else empty."""
        n_used = self.n_examples if limit is None else min(self.n_examples, limit)
        if self.fixed is not None:
            step = self.fixed
            n_used = max(n_used, step) if self.n_examples >= step else 0
            n_used -= n_used % step
        return [
            {name: self._part(name, value, start, min(start + step, n_used)) for name, value in feeds.items()}
            for start in range(0, n_used, step)
        ]

    def _part(self, name: str, value: Array, start: int, stop: int) -> Array:
        axis = self.axes.get(name)
        return value if axis is None else value[(slice(None),) * axis + (slice(start, stop),)]


@dataclass(frozen=True)
class _Axis:
    """An axis along which examples may lie: one of open size, or one of another size than the data have."""

    input: str
    position: int
    symbol: str | None
    declared: int | None
    size: int


def find_batch(inputs: Sequence[FedInput], feeds: Feeds) -> Batch | None:
    """Where the examples of the inputs lie, None where that is not clear.

    The examples lie along the axes that the model gives one symbolic size, or along those on which the data have one
    size.

    Args:
        inputs: The model's inputs.
        feeds: The data by the input's name.
    """
    axes = [axis for each in inputs for axis in _possible_axes(each, feeds[each.name])]
    by_symbol = _batch(axes, lambda axis: axis.symbol)
    if by_symbol is not None and by_symbol.axes.keys() == {axis.input for axis in axes}:
        return by_symbol
    return _batch(axes, lambda axis: axis.size)


def _possible_axes(each: FedInput, data: Array) -> Iterator[_Axis]:
    shape = (None,) * np.ndim(data) if each.shape is None else each.shape
    if each.is_sequence or len(shape) != np.ndim(data):
        return
    for position, (size, given) in enumerate(zip(shape, data.shape, strict=True)):
        if isinstance(size, int) and size != given:
            yield _Axis(each.name, position, None, size, int(given))
        elif not isinstance(size, int):
            yield _Axis(each.name, position, size, None, int(given))


def _batch(axes: Sequence[_Axis], label: Callable[[_Axis], Hashable]) -> Batch | None:
    """The batch along the axes that share the label which most inputs have; None where these cannot be a batch."""
    groups: dict[Hashable, list[_Axis]] = {}
    for axis in axes:
        groups.setdefault(label(axis), []).append(axis)
    groups.pop(None, None)
    if not groups:
        return None
    chosen = max(groups.values(), key=lambda group: (len(_inputs(group)), -min(axis.position for axis in group)))
    declared = {axis.declared for axis in axes if axis.declared is not None}
    possible = (
        len(_inputs(chosen)) == len(chosen)
        and (len(chosen) > 1 or chosen[0].position == 0)
        and len({axis.size for axis in chosen}) == 1
        and len(declared) <= 1
        and all(axis in chosen for axis in axes if axis.declared is not None)
    )
    if not possible:
        return None
    return Batch({axis.input: axis.position for axis in chosen}, chosen[0].size, next(iter(declared), None))


def _inputs(group: Sequence[_Axis]) -> set[str]:
    return {axis.input for axis in group}
