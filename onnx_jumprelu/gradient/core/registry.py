"""The derivative of each operator: a table of small rules, and the list of operators without a derivative.

A rule takes a node and one cotangent per output. It returns one cotangent per input (the gradient of the loss with
respect to that input, as a `Value`), or None for an input without one. If only the first input has a cotangent, a rule
may return that `Value` alone. A rule is registered with the first version of its operator that has these semantics and
supports all later versions, up to the audited opset.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import NodeProto, helper

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import GradientError
from onnx_jumprelu.gradient.core.values import Emitter, Value
from onnx_jumprelu.graphs.constants import NotConstantError, attribute_proto
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, Scope, domain_of
from onnx_jumprelu.graphs.tensor_types import TensorType

# The newest version of the standard domain whose operators were compared with the rules.
AUDITED_OPSET = 28

Cotangents = Sequence[Value | None]
RuleFunction = Callable[..., "Value | Cotangents"]
Shape = tuple[int | str | None, ...]


@dataclass(frozen=True)
class Rule:
    """A derivative.

    Attributes:
        function: Takes a node and its outputs' cotangents.
        since: First version of the operator that it supports.
        broadcasts: Inputs that the operator broadcasts: the driver sums their cotangents over the repeated axes.
        core: How many of the last axes are not broadcast.
        types_only: Inputs whose values are not used, only their type: they get no cotangent.
    """

    function: RuleFunction
    since: int
    broadcasts: Container[int] = ()
    core: int = 0
    types_only: Container[int] = ()


RULES: dict[str, list[Rule]] = {}

# Shapes, comparisons, integers, random numbers, and step functions: the derivative is 0 or does not exist.
NON_DIFFERENTIABLE = frozenset(
    [
        "And",
        "ArgMax",
        "ArgMin",
        "Bernoulli",
        "BitShift",
        "BitwiseAnd",
        "BitwiseNot",
        "BitwiseOr",
        "BitwiseXor",
        "Ceil",
        "ConstantOfShape",
        "Equal",
        "EyeLike",
        "Floor",
        "Greater",
        "GreaterOrEqual",
        "Hardmax",
        "IsInf",
        "IsNaN",
        "Less",
        "LessOrEqual",
        "Multinomial",
        "NonMaxSuppression",
        "NonZero",
        "Not",
        "Or",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Round",
        "Shape",
        "Sign",
        "Size",
        "Xor",
    ]
)


ALL: Container[int] = range(1 << 30)


def vjp(
    *op_types: str,
    since: int,
    broadcasts: Container[int] = (),
    core: int = 0,
    types_only: Container[int] = (),
) -> Callable[[RuleFunction], RuleFunction]:
    """Register a rule for operators of the standard domain, for version `since` and later."""

    def register(function: RuleFunction) -> RuleFunction:
        for op_type in op_types:
            RULES.setdefault(op_type, []).append(Rule(function, since, broadcasts, core, types_only))
            RULES[op_type].sort(key=lambda rule: -rule.since)
        return function

    return register


@dataclass(frozen=True)
class Node:
    """A node of the forward pass, as a rule sees it."""

    proto: NodeProto
    scope: Scope
    types: Mapping[str, TensorType]
    active: frozenset[str]
    to: Emitter
    elem_type: int

    @property
    def n_inputs(self) -> int:
        """Number of inputs, including omitted ones."""
        return len(self.proto.input)

    @property
    def opset(self) -> int:
        """The model's version of the standard domain."""
        return self.to.opset

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.proto.input) and bool(self.proto.input[index])

    def x(self, index: int = 0) -> Value:
        """An input."""
        return self._value(self.proto.input[index])

    def y(self, index: int = 0) -> Value:
        """An output."""
        return self._value(self.proto.output[index])

    def is_active(self, index: int) -> bool:
        """Whether an input depends on the model's input, so that its cotangent is needed."""
        return self.has(index) and self.proto.input[index] in self.active

    def op(self, op_type: str, *inputs: Value | None, **attributes: object) -> Value:
        """Append a node."""
        return self.to.op(op_type, *inputs, **attributes)

    def attribute(self, name: str, default: object = None) -> object:
        """An attribute's value; strings are decoded."""
        entry = attribute_proto(self.proto, name)
        if entry is None:
            return default
        value = helper.get_attribute_value(entry)
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    def number(self, name: str, default: float) -> float:
        """An attribute that is a number."""
        return float(self.attribute(name, default))  # type: ignore[arg-type]

    def integer(self, name: str, default: int) -> int:
        """An attribute that is an integer."""
        return int(self.attribute(name, default))  # type: ignore[call-overload, no-any-return]

    def integers(self, name: str) -> list[int] | None:
        """An attribute that is a list of integers, None where it is omitted."""
        value = self.attribute(name)
        return None if value is None else [int(item) for item in value]  # type: ignore[attr-defined]

    def constant(self, index: int) -> Array | None:
        """Value of a constant input; None where the input is omitted.

        Raises:
            GradientError: the input is not constant.
        """
        if not self.has(index):
            return None
        try:
            return self.scope.constant(self.proto.input[index])
        except NotConstantError as error:
            raise self.error(f"input {index} must be constant: {error}") from error

    def axes(self, since: int) -> list[int] | None:
        """Axes: an attribute before the opset `since`, input 1 since then; None where they are omitted."""
        if self.opset < since:
            return self.integers("axes")
        value = self.constant(1)
        return None if value is None else [int(item) for item in value.ravel()]

    def type_of(self, index: int = 0) -> TensorType:
        """What is known of an input."""
        return self.types.get(self.proto.input[index], TensorType())

    def shape(self, index: int = 0) -> Shape:
        """An input's shape: int, symbolic name or None per dimension. Raises GradientError without a rank."""
        return self._shape(self.proto.input[index])

    def output_shape(self, index: int = 0) -> Shape:
        """An output's shape, likewise."""
        return self._shape(self.proto.output[index])

    def rank(self, index: int = 0) -> int:
        """Number of an input's dimensions. Raises GradientError where it is unknown."""
        return len(self.shape(index))

    def size(self, axis: int, index: int = 0) -> int:
        """An input's size along an axis. Raises GradientError where it is not fixed."""
        size = self.shape(index)[axis]
        if not isinstance(size, int):
            raise self.error(
                f"size of '{self.proto.input[index]}' along axis {axis} is unknown; export it with a fixed size"
            )
        return size

    def as_input(self, g: Value, index: int = 0) -> Value:
        """A cotangent reshaped to the shape of an input, which has as many elements."""
        known = self.types.get(self.proto.input[index], TensorType()).shape
        if known is not None and sum(not isinstance(size, int) for size in known) <= 1 and 0 not in known:
            return g.reshape([size if isinstance(size, int) else -1 for size in known])
        return g.reshape(self.x(index).shape())

    def error(self, message: str) -> GradientError:
        """An error that names this node."""
        return GradientError(f"{label(self.proto)}: {message}")

    def _value(self, name: str) -> Value:
        return Value(name, self.types.get(name, TensorType()).elem_type or self.elem_type, self.to)

    def _shape(self, name: str) -> Shape:
        shape = self.types.get(name, TensorType()).shape
        if shape is None:
            raise self.error(
                f"rank of '{name}' cannot be inferred; run onnxruntime.tools.symbolic_shape_infer on the model first"
            )
        return shape


def label(node: NodeProto) -> str:
    """A node for messages: its name (or else its output) and its operator."""
    name = node.name or next((output for output in node.output if output), "")
    return f"node '{name}' ({node.op_type})"


def is_differentiable(node: NodeProto) -> bool:
    """Whether a derivative may pass through a node: it is not declared non-differentiable."""
    return domain_of(node.domain) != STANDARD_DOMAIN or node.op_type not in NON_DIFFERENTIABLE


def rule_for(node: NodeProto, opset: int) -> Rule:
    """The rule for a node.

    Raises:
        GradientError: there is no rule; the message names the operator and says how to add one.
    """
    domain = domain_of(node.domain)
    how = "add one with @vjp in onnx_jumprelu/gradient/rules (see docs/extending.md), or replace the node"
    if domain != STANDARD_DOMAIN:
        raise GradientError(f"{label(node)}: no gradient rule for {domain}::{node.op_type}; {how}")
    try:
        version = onnx.defs.get_schema(node.op_type, opset).since_version
    except onnx.defs.SchemaError as error:
        raise GradientError(f"{label(node)}: opset {opset} has no operator {node.op_type}") from error
    if version <= AUDITED_OPSET:
        for rule in RULES.get(node.op_type, []):
            if rule.since <= version:
                return rule
    raise GradientError(
        f"{label(node)}: no gradient rule for {node.op_type}, version {version} of the standard domain ai.onnx; {how}"
    )
