"""New nodes: unused names, and a builder that collects the nodes of one scope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, helper

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.constants import tensor
from onnx_jumprelu.graphs.scopes import walk_scopes


class FreshNames:
    """Makes names that no node, tensor, graph input or function attribute of a model uses."""

    def __init__(self, model: ModelProto) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}
        for scope in walk_scopes(model):
            self._collect(scope.proto)
        for training in model.training_info:
            self._collect(training.initialization)
            self._collect(training.algorithm)

    def _collect(self, proto: GraphProto | FunctionProto) -> None:
        taken = self._taken
        for node in proto.node:
            taken.add(node.name)
            taken.update(node.input)
            taken.update(node.output)
        if isinstance(proto, FunctionProto):
            taken.update(proto.input, proto.output, proto.attribute)
            taken.update(entry.name for entry in proto.attribute_proto)
            return
        taken.update(sparse.values.name for sparse in proto.sparse_initializer)
        for values in (proto.input, proto.output, proto.value_info, proto.initializer):
            taken.update(value.name for value in values)

    def __call__(self, base: str) -> str:
        """`base` if it is unused, else `base` with the first unused number appended; the name is then in use."""
        name = base
        while name in self._taken:
            self._last[base] = self._last.get(base, 1) + 1
            name = f"{base}_{self._last[base]}"
        self._taken.add(name)
        return name


@dataclass
class GraphBuilder:
    """Collects new nodes for one scope. Every name is new; equal constants are made once."""

    names: Callable[[str], str]
    nodes: list[NodeProto] = field(default_factory=list)
    _constants: dict[bytes, str] = field(default_factory=dict)

    def op(self, op_type: str, inputs: list[str], base: str, domain: str = "", **attributes: object) -> str:
        """Append a node with one output, named after `base`; returns the output's name."""
        output = self.names(base)
        node = helper.make_node(op_type, inputs, [output], name=self.names(f"{base}/{op_type}"), domain=domain)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self.nodes.append(node)
        return output

    def copy(self, node: NodeProto, base: str) -> str:
        """Append a copy of a node with one output, under new names; returns the output's name."""
        copied = NodeProto()
        copied.CopyFrom(node)
        copied.name = self.names(f"{base}/{node.op_type}")
        copied.output[:] = [self.names(base)]
        self.nodes.append(copied)
        return copied.output[0]

    def constant(self, elem_type: int, values: float | Array, base: str) -> str:
        """Name of a Constant with this element type and these values, shared within the scope."""
        content = tensor(elem_type, values)
        key = content.SerializeToString()
        if key not in self._constants:
            self._constants[key] = self.op("Constant", [], base, value=content)
        return self._constants[key]

    def take(self) -> list[NodeProto]:
        """The nodes appended since the last call, in order; later nodes may still use the constants."""
        nodes, self.nodes = self.nodes, []
        return nodes
