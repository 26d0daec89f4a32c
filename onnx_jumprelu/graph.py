"""Walking a model's graphs, constants, fresh names, and new nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableSequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from onnx_jumprelu.arrays import Array

STANDARD_DOMAIN = ""
# Before IR 4 an initializer had to be a graph input too, and onnxruntime takes it as constant all the same.
FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS = 4


def domain_of(name: str) -> str:
    """The domain in its canonical spelling: the standard one is empty, `ai.onnx` is its alias."""
    return STANDARD_DOMAIN if name == "ai.onnx" else name


class NotConstantError(Exception):
    """A tensor whose value the file does not fix; the message says why, to stand in a refusal."""


@dataclass(frozen=True)
class Scope:
    """One list of nodes (the main graph, a subgraph, a function body) and what can be seen from it.

    `path` is unique in its model and does not depend on the rectifiers in it, so that the same scope is found
    again after a rewrite: `main`, `main/if_1.then_branch`, `function my.domain::Block`.
    """

    path: str
    model: ModelProto
    proto: GraphProto | FunctionProto
    opsets: Mapping[str, int]
    parent: Scope | None = None

    @property
    def nodes(self) -> MutableSequence[NodeProto]:
        """The live node list: changing it changes the model."""
        return self.proto.node

    @property
    def opset(self) -> int | None:
        """Version of the standard domain, None where the scope does not import it."""
        return self.opsets.get(STANDARD_DOMAIN)

    @cached_property
    def _producers(self) -> dict[str, NodeProto]:
        return {output: node for node in self.proto.node for output in node.output if output}

    @cached_property
    def _initializers(self) -> dict[str, TensorProto]:
        if isinstance(self.proto, FunctionProto):
            return {}
        return {tensor.name: tensor for tensor in self.proto.initializer}

    @cached_property
    def _inputs(self) -> frozenset[str]:
        if isinstance(self.proto, FunctionProto):
            return frozenset(self.proto.input)
        return frozenset(value.name for value in self.proto.input)

    def constant(self, name: str) -> Array:
        """Value of the tensor `name` as the file fixes it: an initializer or a Constant, through Identity and Cast.

        Raises:
            NotConstantError: it is computed, fed from outside, or kept in an external weights file.
        """
        casts: list[int] = []
        value, seen = None, {name}
        while value is None:
            value = self._stored(name)
            if value is None:
                node = self._maker(name)
                if node.op_type == "Cast":
                    casts.append(int(attribute(node, "to", 0)))
                name = node.input[0] if node.input else ""
                if name in seen:
                    raise NotConstantError(f"'{name}' depends on itself")
                seen.add(name)
        for to in reversed(casts):
            value = value.astype(numpy_dtype(to))
        return value

    def default(self, name: str) -> Array | None:
        """Value of an initializer of this scope that may be overridden when the model runs, None for anything else."""
        if name not in self._initializers or name not in self._inputs:
            return None
        return _decode(self._initializers[name])

    def _stored(self, name: str) -> Array | None:
        """The value that the file stores for `name` itself, None where a node makes it."""
        if name in self._initializers:
            if name in self._inputs and self.model.ir_version >= FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS:
                raise NotConstantError(f"'{name}' is a graph input and can be overridden")
            return _decode(self._initializers[name])
        if name in self._inputs:
            raise NotConstantError(f"'{name}' is an input")
        node = self._producers.get(name)
        if node is not None:
            return constant_node_value(node) if _is(node, "Constant") else None
        return None if self.parent is None else self.parent._stored(name)  # noqa: SLF001 - of its own class

    def _maker(self, name: str) -> NodeProto:
        """The Identity or Cast that makes `name`."""
        node = self._producers.get(name)
        if node is None and self.parent is not None:
            return self.parent._maker(name)  # noqa: SLF001 - of its own class
        if node is None:
            raise NotConstantError(f"'{name}' is not a plain constant")
        if not _is(node, "Identity") and not _is(node, "Cast"):
            raise NotConstantError(f"'{name}' is computed by {node.op_type}")
        return node


def _is(node: NodeProto, op_type: str) -> bool:
    return node.op_type == op_type and domain_of(node.domain) == STANDARD_DOMAIN


def _decode(tensor: TensorProto) -> Array:
    if tensor.data_location == TensorProto.EXTERNAL:
        raise NotConstantError(f"'{tensor.name}' lies in an external data file")
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (TypeError, ValueError) as error:
        raise NotConstantError(f"'{tensor.name}' cannot be decoded") from error


def constant_node_value(node: NodeProto) -> Array:
    """Value of a Constant node. Raises NotConstantError where it is no fixed number."""
    for entry in node.attribute:
        if entry.ref_attr_name:
            break
        if entry.name == "value":
            return _decode(entry.t)
        if entry.name in ("value_float", "value_floats"):
            return np.asarray(helper.get_attribute_value(entry), np.float32)
        if entry.name in ("value_int", "value_ints"):
            return np.asarray(helper.get_attribute_value(entry), np.int64)
    raise NotConstantError(f"'{node.output[0]}' has no fixed numeric value")


def attribute(node: NodeProto, name: str, default: float) -> float:
    """A numeric attribute of a node, or its default.

    Raises:
        NotConstantError: the attribute is a reference to an attribute of the enclosing function.
    """
    for entry in node.attribute:
        if entry.name == name:
            if entry.ref_attr_name:
                raise NotConstantError(f"'{name}' is set by the function's caller")
            return float(helper.get_attribute_value(entry))
    return default


def walk_scopes(model: ModelProto) -> Iterator[Scope]:
    """Every scope of a model: the main graph, its subgraphs depth first, then functions and their subgraphs."""
    main = Scope("main", model, model.graph, _opsets(model.opset_import))
    seen: dict[str, int] = {}  # one for all: a function may have the name of another function's subgraph
    yield from _walk(main, seen)
    for function in model.functions:
        path = _unique(f"function {function_key(function)}", seen)
        yield from _walk(Scope(path, model, function, _opsets(function.opset_import)), seen)


def function_key(function: FunctionProto | NodeProto) -> str:
    """What a model-local function is called by: `domain::Name`, with `:overload` where there is one."""
    name = function.name if isinstance(function, FunctionProto) else function.op_type
    key = f"{domain_of(function.domain)}::{name}"
    return f"{key}:{function.overload}" if function.overload else key


def subgraphs_of(node: NodeProto) -> Iterator[tuple[str, GraphProto]]:
    """The graphs that a node carries (If, Loop, Scan), each with its attribute's name."""
    for entry in node.attribute:
        if entry.type == AttributeProto.GRAPH:
            yield entry.name, entry.g
        elif entry.type == AttributeProto.GRAPHS:
            for index, graph in enumerate(entry.graphs):
                yield f"{entry.name}[{index}]", graph


def _walk(scope: Scope, seen: dict[str, int]) -> Iterator[Scope]:
    yield scope
    for node in scope.proto.node:
        for name, graph in subgraphs_of(node):
            label = node.name or next((output for output in node.output if output), node.op_type)
            path = _unique(f"{scope.path}/{label}.{name}", seen)
            yield from _walk(Scope(path, scope.model, graph, scope.opsets, scope), seen)


def _unique(path: str, seen: dict[str, int]) -> str:
    """Number repeated paths in the order of the walk: `a`, `a#2`, `a#3`."""
    seen[path] = seen.get(path, 0) + 1
    return path if seen[path] == 1 else f"{path}#{seen[path]}"


def _opsets(imports: object) -> dict[str, int]:
    return {domain_of(entry.domain): int(entry.version) for entry in imports}  # type: ignore[attr-defined]


def numpy_dtype(elem_type: int) -> np.dtype[np.generic]:
    """NumPy's dtype for an ONNX element type (bfloat16 comes from ml_dtypes)."""
    return np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))


def tensor(elem_type: int, values: float | Array, name: str = "") -> TensorProto:
    """A tensor that holds `values`, of any shape, rounded to the nearest numbers of the element type."""
    array = np.asarray(values, np.float64).astype(numpy_dtype(elem_type))
    return numpy_helper.from_array(array, name)


class FreshNames:
    """Names that no node, tensor, graph input or function attribute of a model uses yet."""

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
        """`base` itself where it is free, else with the first free number behind it; taken from then on."""
        name = base
        while name in self._taken:
            self._last[base] = self._last.get(base, 1) + 1
            name = f"{base}_{self._last[base]}"
        self._taken.add(name)
        return name


@dataclass
class GraphBuilder:
    """Collects new nodes for one scope; every name is fresh, every constant is made once."""

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

    def constant(self, elem_type: int, values: float | Array, base: str) -> str:
        """Name of a Constant with this element type and these values, shared within the scope."""
        content = tensor(elem_type, values)
        key = content.SerializeToString()
        if key not in self._constants:
            self._constants[key] = self.op("Constant", [], base, value=content)
        return self._constants[key]

    def take(self) -> list[NodeProto]:
        """The nodes since the last call, in order; the constants stay known."""
        nodes, self.nodes = self.nodes, []
        return nodes


def required_inputs(model: ModelProto) -> list[ValueInfoProto]:
    """The graph inputs that have no default value."""
    defaults = {tensor.name for tensor in model.graph.initializer}
    defaults.update(sparse.values.name for sparse in model.graph.sparse_initializer)
    return [value for value in model.graph.input if value.name not in defaults]


def newest_opset() -> int:
    """Newest version of the standard domain that the installed onnx package knows."""
    return onnx.defs.onnx_opset_version()


def main_opset(model: ModelProto) -> int | None:
    """Version of the standard domain that the main graph uses, None where the model does not import it."""
    return _opsets(model.opset_import).get(STANDARD_DOMAIN)
