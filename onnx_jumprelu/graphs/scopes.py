"""Scopes: the main graph, subgraphs and function bodies, and the tensors that are visible in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableSequence
from dataclasses import dataclass
from functools import cached_property

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.constants import NotConstantError, attribute, constant_node_value, converted, decoded

STANDARD_DOMAIN = ""
OLDEST_OPSET = 7  # the oldest version of the standard domain that this tool supports
LARGEST_REMEMBERED = 64  # values of a constant at the end of a chain of Identity and Cast
# Before IR 4 each initializer had to be a graph input too; onnxruntime treats such initializers as constants.
FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS = 4


def domain_of(name: str) -> str:
    """The domain in its canonical spelling: the standard one is empty, `ai.onnx` is its alias."""
    return STANDARD_DOMAIN if name == "ai.onnx" else name


@dataclass(frozen=True)
class Scope:
    """One list of nodes (the main graph, a subgraph, a function body) and the tensors that are visible in it.

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

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors that leave the scope."""
        if isinstance(self.proto, FunctionProto):
            return tuple(self.proto.output)
        return tuple(value.name for value in self.proto.output)

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
            NotConstantError: it is computed, is an input, or is stored in an external weights file.
        """
        passed: dict[str, NodeProto] = {}
        try:
            while (value := self._constants.get(name)) is None and (value := self._stored(name)) is None:
                passed[name] = node = self._maker(name)
                name = node.input[0] if node.input else ""
            if isinstance(value, NotConstantError):
                raise value
            for name, node in reversed(passed.items()):
                value = converted(value, int(attribute(node, "to", 0))) if node.op_type == "Cast" else value
                if value.size <= LARGEST_REMEMBERED:
                    self._constants[name] = value
        except NotConstantError as error:
            self._constants.update(dict.fromkeys(passed, error))
            raise
        return value

    @cached_property
    def _constants(self) -> dict[str, Array | NotConstantError]:
        """What `constant` found, so that many nodes at the end of a long chain do not follow it again."""
        return {}

    def default(self, name: str) -> Array | None:
        """Value of an initializer of this scope that may be overridden when the model runs, None for anything else."""
        if name not in self._initializers or name not in self._inputs:
            return None
        try:
            return decoded(self._initializers[name])
        except NotConstantError:
            return None

    def _stored(self, name: str) -> Array | None:
        """The value that the file stores for `name` itself, None where a node makes it."""
        if name in self._initializers:
            if name in self._inputs and self.model.ir_version >= FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS:
                raise NotConstantError(f"'{name}' is a graph input and can be overridden")
            return decoded(self._initializers[name])
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


def walk_scopes(model: ModelProto) -> Iterator[Scope]:
    """Every scope of a model: the main graph, its subgraphs depth first, then functions and their subgraphs."""
    main = Scope("main", model, model.graph, _opsets(model.opset_import))
    seen: dict[str, int] = {}  # shared: a function may have the same name as another function's subgraph
    yield from _walk(main, seen)
    for function in model.functions:
        path = _unique(f"function {function_key(function)}", seen)
        yield from _walk(Scope(path, model, function, _opsets(function.opset_import)), seen)


def function_key(function: FunctionProto | NodeProto) -> str:
    """The name that identifies a model-local function: `domain::Name`, with `:overload` where there is one."""
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
