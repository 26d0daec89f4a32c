"""ONNX nodes written as formulas: `g * y * (1 - y)` appends three nodes, in forms that the model's opset supports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.builder import GraphBuilder
from onnx_jumprelu.graphs.constants import numpy_dtype
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN

Number = float | int
STEEPEST = float(np.finfo(np.float32).max)
LAST = int(np.iinfo(np.int64).max)  # the end of an axis, in a Slice


@dataclass(frozen=True)
class Value:
    """A tensor that the new nodes make or read: its name and element type, and operators that append nodes."""

    name: str
    elem_type: int
    to: Emitter = field(compare=False, repr=False)

    def __add__(self, other: Value | Number) -> Value:
        return self._with("Add", other)

    def __radd__(self, other: Number) -> Value:
        return self._with("Add", other)

    def __sub__(self, other: Value | Number) -> Value:
        return self._with("Sub", other)

    def __rsub__(self, other: Number) -> Value:
        return self.like(other)._with("Sub", self)

    def __mul__(self, other: Value | Number) -> Value:
        return self if isinstance(other, Number) and other == 1 else self._with("Mul", other)

    def __rmul__(self, other: Number) -> Value:
        return self * other

    def __truediv__(self, other: Value | Number) -> Value:
        return self._with("Div", other)

    def __rtruediv__(self, other: Number) -> Value:
        return self.like(other)._with("Div", self)

    def __pow__(self, other: Value | Number) -> Value:
        return self._with("Pow", other)

    def __neg__(self) -> Value:
        return self.op("Neg")

    def __gt__(self, other: Value | Number) -> Value:
        return self._compared("Greater", other)

    def __lt__(self, other: Value | Number) -> Value:
        return self._compared("Less", other)

    def __ge__(self, other: Value | Number) -> Value:
        return self._compared("Less", other).op("Not")

    def __le__(self, other: Value | Number) -> Value:
        return self._compared("Greater", other).op("Not")

    def equals(self, other: Value | Number) -> Value:
        """Where the two are equal. Before opset 11, Equal does not accept floating-point numbers."""
        if self.to.opset >= 11:
            return self._compared("Equal", other)
        return self.to.op("Or", self > other, self < other).op("Not")

    def op(self, op_type: str, *others: Value, **attributes: object) -> Value:
        """An operator with this value first; the result has its element type."""
        return self.to.op(op_type, self, *others, **attributes)

    def like(self, value: Number | Array) -> Value:
        """A constant of this value's element type."""
        return self.to.constant(value, self.elem_type)

    def cast(self, elem_type: int) -> Value:
        """The same numbers in another element type."""
        return self if elem_type == self.elem_type else self.to.cast(self, elem_type)

    def where(self, chosen: Value | Number, otherwise: Value | Number) -> Value:
        """`chosen` where this mask is true, `otherwise` elsewhere; one of them must be a tensor."""
        known = chosen if isinstance(chosen, Value) else otherwise
        if not isinstance(known, Value):
            raise TypeError("where: one of the two must be a tensor")
        first, second = (item if isinstance(item, Value) else known.like(item) for item in (chosen, otherwise))
        return replace(self.to.op("Where", self, first, second), elem_type=known.elem_type)

    def positive(self) -> Value:
        """1 where this is above 0, else 0, in its own element type.

        HardSigmoid with the largest float32 as slope: one pass over memory, where a comparison and a cast take two.
        Exact except for numbers below 3e-39. onnxruntime has no such kernel for float64.
        """
        if self.elem_type == TensorProto.DOUBLE:
            return (self > 0).cast(self.elem_type)
        return self.op("HardSigmoid", alpha=STEEPEST, beta=0.0)

    def sigmoid(self) -> Value:
        """The logistic function."""
        return self.op("Sigmoid")

    def at_least(self, lowest: Number) -> Value:
        """The larger of this and a number."""
        return self.op("Max", self.like(lowest))

    def transpose(self, permutation: Sequence[int]) -> Value:
        """Axes in another order."""
        if list(permutation) == sorted(permutation):
            return self
        return self.op("Transpose", perm=list(permutation))

    def reshape(self, shape: Sequence[int] | Value) -> Value:
        """Reshaped; 0 keeps a dimension, -1 is computed from the others."""
        return self.op("Reshape", shape if isinstance(shape, Value) else self.to.ints(shape))

    def shape(self) -> Value:
        """The shape, as int64 of shape (rank,)."""
        return replace(self.op("Shape"), elem_type=TensorProto.INT64)

    def expand(self, shape: Value) -> Value:
        """Broadcast to a shape."""
        return self.op("Expand", shape)

    def unsqueeze(self, axes: Sequence[int]) -> Value:
        """With new dimensions of size 1; `axes` are axes of the result, not negative."""
        if not axes:
            return self
        return self._with_axes("Unsqueeze", axes, since=13)

    def squeeze(self, axes: Sequence[int]) -> Value:
        """These dimensions of size 1 removed."""
        if not axes:
            return self
        return self._with_axes("Squeeze", axes, since=13)

    def sum(self, axes: Sequence[int], *, keepdims: bool = True) -> Value:
        """Sums over axes."""
        if not axes:
            return self
        return self._with_axes("ReduceSum", axes, since=13, keepdims=int(keepdims))

    def mean(self, axes: Sequence[int]) -> Value:
        """Means over axes, which are kept with size 1."""
        return self._with_axes("ReduceMean", axes, since=18, keepdims=1)

    def max(self, axes: Sequence[int]) -> Value:
        """Maxima over axes, which are kept with size 1."""
        return self._with_axes("ReduceMax", axes, since=18, keepdims=1)

    def slice(self, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int]) -> Value:
        """The part between `starts` and `ends`."""
        if self.to.opset < 10:  # opset 10 makes them inputs
            return self.op("Slice", starts=list(starts), ends=list(ends), axes=list(axes))
        return self.op("Slice", *(self.to.ints(numbers) for numbers in (starts, ends, axes)))

    def pad(self, pads: Sequence[int]) -> Value:
        """Padded with zeros; `pads` holds all beginnings, then all ends."""
        if not any(pads):
            return self
        if self.to.opset < 11:  # opset 11 makes them an input
            return self.op("Pad", pads=list(pads), mode="constant", value=0.0)
        return self.op("Pad", self.to.ints(pads), self.like(0))

    def along(self, axis: int, rank: int, matrix: Value) -> Value:
        """Each vector along an axis times a matrix (old size, new size)."""
        order = [index for index in range(rank) if index != axis] + [axis]
        back = [order.index(index) for index in range(rank)]
        return self.transpose(order).op("MatMul", matrix).transpose(back)

    def _with(self, op_type: str, other: Value | Number) -> Value:
        return self.op(op_type, other if isinstance(other, Value) else self.like(other))

    def _compared(self, op_type: str, other: Value | Number) -> Value:
        return replace(self._with(op_type, other), elem_type=TensorProto.BOOL)

    def _with_axes(self, op_type: str, axes: Sequence[int], *, since: int, **attributes: object) -> Value:
        """An operator whose axes are an attribute before the opset `since` and an input since then."""
        if self.to.opset < since:
            return self.op(op_type, axes=list(axes), **attributes)
        return self.op(op_type, self.to.ints(axes), **attributes)


class Emitter:
    """Appends nodes whose names start with `base`, in forms that exist at `opset` (9 or later)."""

    def __init__(self, names: Callable[[str], str], opset: int) -> None:
        self._builder = GraphBuilder(names)
        self.opset = opset
        self.base = "grad"
        self._tensors: dict[tuple[int, tuple[int, ...], bytes], str] = {}

    @property
    def builder(self) -> GraphBuilder:
        """Where the nodes go."""
        return self._builder

    def op(self, op_type: str, *inputs: Value | None, **attributes: object) -> Value:
        """A node with one output of the first input's element type; None leaves an input out."""
        names = [value.name if value else "" for value in inputs]
        given = next((value.elem_type for value in inputs if value), TensorProto.FLOAT)
        present = {name: value for name, value in attributes.items() if value is not None}
        output = self._builder.op(op_type, names, f"{self.base}/{op_type}", domain=STANDARD_DOMAIN, **present)
        return Value(output, given, self)

    def op_with_outputs(self, op_type: str, inputs: Sequence[Value], count: int, **attributes: object) -> list[Value]:
        """A node with several outputs of the first input's element type."""
        first = self.op(op_type, *inputs, **attributes)
        node = self._builder.nodes[-1]
        node.output.extend(self.fresh(f"{first.name}_{number}") for number in range(1, count))
        return [Value(name, first.elem_type, self) for name in node.output]

    def cast(self, value: Value, elem_type: int) -> Value:
        """The same numbers in another element type."""
        return replace(self.op("Cast", value, to=elem_type), elem_type=elem_type)

    def constant(self, value: Number | Array, elem_type: int) -> Value:
        """A constant with this element type; equal constants share one node."""
        array = np.asarray(value, np.float64 if isinstance(value, Number) else None).astype(numpy_dtype(elem_type))
        key = (elem_type, array.shape, array.tobytes())
        if key not in self._tensors:
            self._tensors[key] = self._builder.op("Constant", [], "grad/constant", value=numpy_helper.from_array(array))
        return Value(self._tensors[key], elem_type, self)

    def ints(self, numbers: Sequence[int] | int) -> Value:
        """A constant of int64."""
        return self.constant(np.asarray(numbers, np.int64), TensorProto.INT64)

    def full(self, shape: Value, number: float, elem_type: int) -> Value:
        """A tensor of this shape, filled with a number."""
        tensor = helper.make_tensor("value", elem_type, [1], [number])
        return replace(self.op("ConstantOfShape", shape, value=tensor), elem_type=elem_type)

    def fresh(self, base: str) -> str:
        """A name that is not in use."""
        return self._builder.names(base)


def total(values: list[Value]) -> Value:
    """Sum of at least one value."""
    result = values[0]
    for value in values[1:]:
        result = result + value
    return result
