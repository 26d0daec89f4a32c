"""What the tensors of one scope are: which node made each, which are the same, which hold fixed numbers."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.constants import NotConstantError, attribute, attribute_proto, converted, decoded
from onnx_jumprelu.graphs.fused_kernels import CONTRIB_DOMAIN
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, Scope, domain_of
from onnx_jumprelu.graphs.tensor_types import FLOAT_TYPES

# Operators that move or repeat numbers without changing them; the numbers are their first input's.
REARRANGING = frozenset({"CastLike", "Expand", "Flatten", "Reshape", "Squeeze", "Tile", "Transpose", "Unsqueeze"})
MADE_OF_A_CONSTANT = REARRANGING | {"Cast", "ConstantOfShape", "DequantizeLinear"}
QUANTIZING = frozenset({"QuantizeLinear", "DequantizeLinear"})
# Steps that keep positive numbers and their order: exactly, also up to rounding, and where other numbers do not count.
RECTIFYING = frozenset({"Relu", "LeakyRelu", "Max", "Clip"})
KEEPING = RECTIFYING | QUANTIZING | {"Cast", "ReorderInput", "ReorderOutput"}
KEEPING_WHERE_POSITIVE = KEEPING | {"Abs"}
KNOWN_ELSEWHERE = {
    **dict.fromkeys(QUANTIZING, CONTRIB_DOMAIN),
    **dict.fromkeys(("ReorderInput", "ReorderOutput"), "com.microsoft.nchwc"),
}
MOST_STEPS = 8  # of rounding and rectifying between a pre-activation and its use


class Tensors:
    """Looks tensors of a scope up by name."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._makers = {output: node for node in scope.nodes for output in node.output if output}
        self._plain: dict[str, str] = {}
        self._constants: dict[str, Array | NotConstantError] = {}

    def maker(self, name: str, *op_types: str) -> NodeProto | None:
        """The node that makes a tensor, behind Identity nodes, where it has one of these types; else None."""
        node = self._makers.get(self.plain(name))
        if node is None or node.op_type not in op_types:
            return None
        known = domain_of(node.domain) in {STANDARD_DOMAIN, KNOWN_ELSEWHERE.get(node.op_type, STANDARD_DOMAIN)}
        return node if known else None

    def maker_of(self, name: str) -> NodeProto | None:
        """The node that makes a tensor, whatever its type; None for inputs and initializers."""
        return self._makers.get(name)

    def plain(self, name: str) -> str:
        """The tensor that Identity nodes pass on under this name."""
        passed: dict[str, None] = {}
        end = name
        while end not in self._plain and end not in passed:
            node = self._makers.get(end)
            if node is None or node.op_type != "Identity" or domain_of(node.domain) != STANDARD_DOMAIN:
                break
            passed[end] = None
            end = node.input[0]
        end = self._plain.get(end, end)
        self._plain.update(dict.fromkeys(passed, end))
        return end

    def behind(self, name: str, steps: frozenset[str]) -> list[str]:
        """The tensors that a tensor equals where they are positive: itself, and what it comes from by such steps."""
        found = [self.plain(name)]
        while len(found) < MOST_STEPS:
            node = self.maker(found[-1], *steps)
            source = None if node is None else self._source(node)
            if source is None or source in found:
                break
            found.append(source)
        return found

    def _source(self, node: NodeProto) -> str | None:
        """The input that a node returns where it is positive, None where there is none."""
        if node.op_type == "Max":
            others = [name for name in node.input if not self.is_zero(name)]
            return self.plain(others[0]) if len(others) == 1 and len(node.input) > 1 else None
        if node.op_type == "Clip" and self.cap(node) < np.inf:
            return None
        try:
            if node.op_type == "LeakyRelu" and attribute(node, "alpha", 0.01) < 0:
                return None
            if node.op_type == "Cast" and int(attribute(node, "to", 0)) not in FLOAT_TYPES:
                return None
        except NotConstantError:
            return None
        return self.plain(node.input[0])

    def cap(self, clip: NodeProto) -> float:
        """The fixed maximum of a Clip whose minimum is not above 0, infinite for none; 0 for any other Clip."""
        try:
            low, high = (
                self.largest(clip.input[place])
                if len(clip.input) > place and clip.input[place]
                else attribute(clip, name, default)
                for place, name, default in ((1, "min", -np.inf), (2, "max", np.inf))
            )
        except NotConstantError:
            return 0.0
        return high if low <= 0 else 0.0

    def largest(self, held: str | float) -> float:
        """A number, or the largest one that a tensor holds. Raises NotConstantError where the file does not fix it."""
        return float(self.constant(held).max(initial=-np.inf)) if isinstance(held, str) else held

    def is_zero(self, name: str) -> bool:
        """Whether every number of a tensor is fixed and 0."""
        return self._holds(name, 0.0)

    def is_one(self, name: str) -> bool:
        """Whether every number of a tensor is fixed and 1."""
        return self._holds(name, 1.0)

    def _holds(self, name: str, number: float) -> bool:
        try:
            value = self.constant(name)
        except NotConstantError:
            return False
        return value.size > 0 and bool((value == number).all())

    def constant(self, name: str) -> Array:
        """The numbers of a tensor that the file fixes; its shape may be another one. Raises NotConstantError."""
        if name not in self._constants:
            try:
                self._constants[name] = self._fixed(name)
            except NotConstantError as error:
                self._constants[name] = error
        value = self._constants[name]
        if isinstance(value, NotConstantError):
            raise value
        return value

    def _fixed(self, name: str) -> Array:
        casts: list[int] = []
        for _ in range(MOST_STEPS):
            node = self.maker(name, *MADE_OF_A_CONSTANT)
            if node is None:
                return _cast(self._scope.constant(name), casts)
            if node.op_type == "ConstantOfShape":
                filled = attribute_proto(node, "value")
                return _cast(np.zeros(1, np.float32) if filled is None else decoded(filled.t), casts)
            if node.op_type == "DequantizeLinear":
                return _cast(self._dequantized(node), casts)
            if node.op_type == "Cast":
                casts.append(int(attribute(node, "to", 0)))
            name = node.input[0]
        return _cast(self._scope.constant(name), casts)

    def _dequantized(self, node: NodeProto) -> Array:
        given = [self._scope.constant(name) for name in node.input if name]
        quantized, scale, zero = (*given, np.zeros((), np.int32))[:3]
        if scale.size != 1 or zero.size != 1:
            raise NotConstantError(f"'{node.output[0]}' is dequantized with several scales")
        whole: Array = (quantized.astype(np.int32) - zero.astype(np.int32)).astype(scale.dtype) * scale
        return whole

    def default(self, name: str) -> Array | None:
        """Default of an overridable initializer of this scope or one around it, None for anything else."""
        while (node := self.maker(name, "CastLike")) is not None:
            name = node.input[0]
        scope: Scope | None = self._scope
        while scope is not None:
            value = scope.default(name)
            if value is not None:
                return value
            scope = scope.parent
        return None


def _cast(value: Array, types: list[int]) -> Array:
    for to in reversed(types):
        value = converted(value, to)
    return value
