"""Arithmetic on shapes whose result the file fixes, done before the gradient is built.

Exporters compute the target of a Reshape, the bounds of a Slice or the condition of an If from Shape nodes, though
often only the size of the batch is open. What is certain becomes a Constant, and the shape of a tensor that is given
such a target is declared, so that rules find the sizes that they need.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import RunError
from onnx_jumprelu.graphs.constants import NotConstantError, attribute
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, Scope, domain_of, main_opset, walk_scopes
from onnx_jumprelu.graphs.tensor_types import (
    INVENTED_DIMENSION,
    LARGEST_KEPT_TENSOR,
    Dimension,
    TensorType,
    infer_types,
)
from onnx_jumprelu.runtime import ReferenceRunner

# Operators that only move numbers, so that some sizes in a list may be open.
MOVING = frozenset(["Cast", "Concat", "Gather", "Identity", "Slice", "Squeeze", "Unsqueeze"])
ARITHMETIC = frozenset(["Add", "Ceil", "Div", "Floor", "Max", "Min", "Mod", "Mul", "Neg", "ReduceProd", "Sqrt", "Sub"])
LOGICAL = frozenset(["And", "Equal", "Greater", "Less", "Not", "Or", "Where"])
COMPUTING = MOVING | ARITHMETIC | LOGICAL | {"ConstantOfShape", "Expand", "Reshape"}
SIZED = {"ConstantOfShape": 0, "Expand": 1}  # Operators that make as many numbers as this input says
# Which input says what shape the output has.
SHAPE_GIVEN_BY = {"ConstantOfShape": 0, "Reshape": 1, "Resize": 3}
# Represents an open size: symbol number k is OPEN - k. Real sizes and indices are never that far below 0.
OPEN = -1_000_000_000


def fold_shapes(model: ModelProto) -> bool:
    """Replace nodes of the main graph by Constants and declare shapes; returns whether anything changed."""
    scope = next(iter(walk_scopes(model)))
    fold = _Fold(scope, infer_types(model)["main"])
    found = [fold.visit(node) for node in scope.nodes]
    return any(found)


class _Fold:
    def __init__(self, scope: Scope, types: Mapping[str, TensorType]) -> None:
        self._scope, self._types = scope, types
        self._known: dict[str, Array] = {}
        self._symbols: list[str] = []
        self._declared = {value.name for value in scope.model.graph.value_info}

    def visit(self, node: NodeProto) -> bool:
        """Find a node's value, or declare its shape."""
        if domain_of(node.domain) != STANDARD_DOMAIN or not node.output:
            return False
        declared = self._declare(node)
        value = self._value(node)
        if value is None:
            return declared
        self._known[node.output[0]] = value
        if _is_open(value):
            return declared
        tensor = numpy_helper.from_array(value)
        node.CopyFrom(helper.make_node("Constant", [], [node.output[0]], name=node.name, value=tensor))
        return True

    def _value(self, node: NodeProto) -> Array | None:
        if node.op_type == "Shape":
            return self._shape(node)
        if node.op_type not in COMPUTING or len(node.output) > 1 or self._is_large(node.output[0]):
            return None
        inputs: dict[str, Array] = {}
        for index, name in enumerate(node.input):
            if not name:
                continue
            value = self._input(name)
            if value is None or (_is_open(value) and not _moves(node, index)):
                return None
            inputs[name] = value
        if node.op_type in SIZED and _count(node, inputs) > LARGEST_KEPT_TENSOR:
            return None
        value = _run(node, inputs, main_opset(self._scope.model) or 0)
        if value is not None and any(map(_is_open, inputs.values())) and value.dtype not in (np.int32, np.int64):
            return None  # in another type, an open size could not be distinguished from a number
        return value

    def _input(self, name: str) -> Array | None:
        if name in self._known:
            return self._known[name]
        if self._is_large(name):
            return None
        try:
            return self._scope.constant(name)
        except NotConstantError:
            return None

    def _is_large(self, name: str) -> bool:
        """Whether a tensor is, or may be, something larger than a list of sizes, such as a weight."""
        shape = self._types.get(name, TensorType()).shape
        if shape is None:
            return True
        # The length of a list of sizes is known, unless it is cut from one.
        return len(shape) > 1 or math.prod(size for size in shape if isinstance(size, int)) > LARGEST_KEPT_TENSOR

    def _shape(self, node: NodeProto) -> Array | None:
        shape = self._types.get(node.input[0], TensorType()).shape
        if shape is None:
            return None
        start, end = int(attribute(node, "start", 0)), int(attribute(node, "end", len(shape)))
        return np.asarray([self._number(size) for size in shape[start:end]], np.int64)

    def _number(self, size: Dimension) -> int:
        if isinstance(size, int):
            return size
        name = size or f"{INVENTED_DIMENSION}{len(self._symbols)}"  # an unnamed size equals no other
        if name not in self._symbols:
            self._symbols.append(name)
        return OPEN - self._symbols.index(name)

    def _declare(self, node: NodeProto) -> bool:
        """Declare the shape of an output whose sizes are an input of the node; returns whether it was declared."""
        index, output = SHAPE_GIVEN_BY.get(node.op_type), node.output[0]
        if index is None or index >= len(node.input) or output in self._declared:
            return False
        known = self._types.get(output, TensorType())
        target = self._input(node.input[index]) if node.input[index] else None
        # -1 and 0 of a Reshape are not sizes. Where all sizes are fixed, shape inference already knows the shape.
        if target is None or not _is_open(target) or known.elem_type is None or ((target <= 0) & (target > OPEN)).any():
            return False
        sizes = [int(size) if size > 0 else self._symbols[OPEN - int(size)] for size in target]
        named = [None if isinstance(size, str) and size.startswith(INVENTED_DIMENSION) else size for size in sizes]
        self._scope.model.graph.value_info.append(helper.make_tensor_value_info(output, known.elem_type, named))
        return True


def _count(node: NodeProto, inputs: Mapping[str, Array]) -> int:
    """How many numbers a node of `SIZED` makes, at least."""
    sizes = inputs.get(node.input[SIZED[node.op_type]], np.zeros(0))
    return math.prod(int(size) for size in sizes.ravel())


def _moves(node: NodeProto, index: int) -> bool:
    """Whether a node only moves the numbers of this input; other inputs are bounds, axes or indices."""
    return node.op_type in MOVING and (index == 0 or node.op_type == "Concat")


def _is_open(value: Array) -> bool:
    """Whether some of the numbers stand for open sizes."""
    return value.dtype.kind == "i" and bool((value <= OPEN).any())


def _run(node: NodeProto, inputs: Mapping[str, Array], opset: int) -> Array | None:
    """One node's value, None where it is too large or cannot be computed."""
    graph = GraphProto(name="node", node=[node])
    for name, value in inputs.items():
        elem_type = helper.np_dtype_to_tensor_dtype(value.dtype)
        graph.input.append(helper.make_tensor_value_info(name, elem_type, list(value.shape)))
    graph.output.append(helper.make_tensor_value_info(node.output[0], TensorProto.INT64, None))
    try:
        (result,) = ReferenceRunner(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])).run(
            None, inputs
        )
    except RunError:
        return None
    return result if result.size <= LARGEST_KEPT_TENSOR else None
