"""Reads masks: tensors, boolean or of zeros and ones, that say where a pre-activation is above a jump.

`Greater(x, jump)` and its kind, also of `x - jump` and 0; `Not(mask)`, `Or(mask, IsNaN(x))`; and, of zeros and ones,
`Cast(mask)`, `Where(mask, 1, 0)`, `Sign(Relu(x - jump))`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto

from onnx_jumprelu.activation.tensors import QUANTIZING, Tensors
from onnx_jumprelu.graphs.constants import NotConstantError

_COMPARISONS = {
    "Greater": (0, 1, True),
    "Less": (1, 0, True),
    "LessOrEqual": (0, 1, False),
    "GreaterOrEqual": (1, 0, False),
}
_READ = ("Not", "Or", "Where", "Sign", "Relu", "Cast", "CastLike", *QUANTIZING)
DEEPEST = 6

# Operators whose inputs may be a jump, a zero or a one, so that reading a mask needs the value.
READS_VALUES = frozenset({"Where", *_COMPARISONS})


@dataclass(frozen=True)
class Mask:
    """A comparison with a jump: true where x > jump if `above`, else true where x <= jump."""

    x: str
    jump: str | float
    above: bool

    def inverted(self) -> Mask:
        """True where this mask is false."""
        return replace(self, above=not self.above)


def masks(name: str, at: Tensors, depth: int = DEEPEST) -> Iterator[Mask]:
    """The comparisons that a tensor, boolean or of zeros and ones, can be read as; `depth` bounds the search."""
    node = at.maker(name, *_COMPARISONS, *_READ)
    if node is None or not depth:
        return
    if node.op_type in _COMPARISONS:
        first, second, above = _COMPARISONS[node.op_type]
        yield from _compared(node.input[first], node.input[second], at, above=above)
        # The same comparison from the other side; `x >= jump` differs from `x > jump` only at x == jump.
        yield from _compared(node.input[second], node.input[first], at, above=not above)
    elif node.op_type == "Not":
        yield from (mask.inverted() for mask in masks(node.input[0], at, depth - 1))
    elif node.op_type == "Or":
        yield from _or_nan(node, at, depth - 1)
    elif node.op_type == "Where":
        yield from _choice(node, at, depth - 1)
    elif node.op_type in {"Relu", "Sign"}:
        yield from _sign(node, at)
    else:
        yield from masks(node.input[0], at, depth - 1)


def _or_nan(node: NodeProto, at: Tensors, depth: int) -> Iterator[Mask]:
    """`x > jump`, or x is NaN."""
    for comparison, other in (node.input, reversed(node.input)):
        nan = at.maker(other, "IsNaN")
        if nan is not None:
            x = at.plain(nan.input[0])
            yield from (mask for mask in masks(comparison, at, depth) if mask.above and mask.x == x)


def _choice(node: NodeProto, at: Tensors, depth: int) -> Iterator[Mask]:
    """1 where a mask is true and 0 elsewhere, or the other way round."""
    condition, first, second = node.input
    if at.is_one(first) and at.is_zero(second):
        yield from masks(condition, at, depth)
    elif at.is_zero(first) and at.is_one(second):
        yield from (mask.inverted() for mask in masks(condition, at, depth))


def _sign(node: NodeProto, at: Tensors) -> Iterator[Mask]:
    """The sign of a rectified difference, or the rectified sign of one."""
    inner = at.maker(node.input[0], "Relu" if node.op_type == "Sign" else "Sign")
    if inner is not None:
        yield from _difference(inner.input[0], at, above=True)


def _compared(x: str, jump: str, at: Tensors, *, above: bool) -> Iterator[Mask]:
    yield Mask(at.plain(x), jump, above)
    if at.is_zero(jump):
        yield from _difference(x, at, above=above)


def _difference(name: str, at: Tensors, *, above: bool) -> Iterator[Mask]:
    """`x - jump` compared with 0: its sign is that of the comparison, for all numbers."""
    node = at.maker(name, "Sub", "Add")
    if node is None:
        return
    if node.op_type == "Sub":
        yield Mask(at.plain(node.input[0]), node.input[1], above)
        yield Mask(at.plain(node.input[1]), node.input[0], not above)
        return
    for x, shift in (node.input, reversed(node.input)):
        try:
            value = at.constant(shift).astype(np.float64)
        except NotConstantError:
            continue
        if value.size == 1:  # several numbers would need a tensor that holds their negatives
            yield Mask(at.plain(x), -float(value.item()), above)
