"""If nodes whose condition the file fixes: the branch that runs replaces the node."""

from __future__ import annotations

import copy
from collections.abc import Callable

from onnx import GraphProto, ModelProto, NodeProto, helper

from onnx_jumprelu.graphs.builder import FreshNames
from onnx_jumprelu.graphs.constants import NotConstantError
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, Scope, domain_of, subgraphs_of, walk_scopes


def is_if(node: NodeProto) -> bool:
    """Whether a node is an If of the standard domain."""
    return node.op_type == "If" and domain_of(node.domain) == STANDARD_DOMAIN


def inline_ifs(model: ModelProto) -> None:
    """Replace each If of the main graph whose condition the file fixes by the branch that runs. Changes the model."""
    names = FreshNames(model)
    changed = True
    while changed:  # once for each If whose condition another If gives
        changed = False
        main = next(iter(walk_scopes(model)))
        nodes: list[NodeProto] = []
        for node in main.nodes:
            branch = _branch_that_runs(node, main)
            nodes.extend([node] if branch is None else _as_nodes(model, branch, list(node.output), names))
            changed = changed or branch is not None
        if changed:
            del model.graph.node[:]
            model.graph.node.extend(nodes)


def _branch_that_runs(node: NodeProto, scope: Scope) -> GraphProto | None:
    """The branch that an If takes each time; None where the file does not fix it, and for other nodes."""
    if not is_if(node):
        return None
    try:
        chosen = "then_branch" if bool(scope.constant(node.input[0]).all()) else "else_branch"
    except NotConstantError:
        return None
    return next(graph for name, graph in subgraphs_of(node) if name == chosen)


def _as_nodes(model: ModelProto, branch: GraphProto, outputs: list[str], names: FreshNames) -> list[NodeProto]:
    """The branch's nodes under fresh names, and Identity nodes that give its results the names of the If's outputs."""
    graph = with_fresh_names(branch, names)
    model.graph.initializer.extend(graph.initializer)
    model.graph.sparse_initializer.extend(graph.sparse_initializer)
    ends = [
        helper.make_node("Identity", [result.name], [output], name=names(f"{output}/Identity"))
        for result, output in zip(graph.output, outputs, strict=True)
        if output
    ]
    return [*graph.node, *ends]


def with_fresh_names(branch: GraphProto, names: Callable[[str], str]) -> GraphProto:
    """A copy of a branch in which every node and every tensor that it defines has a fresh name."""
    graph = copy.deepcopy(branch)
    tensors = [*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)]
    own = [name for node in graph.node for name in node.output if name] + [tensor.name for tensor in tensors]
    renamed = {name: names(name) for name in dict.fromkeys(own)}
    for tensor in tensors:
        tensor.name = renamed[tensor.name]
    for node in graph.node:
        _rename(node, renamed)
        node.name = names(node.name or node.op_type)
    for result in graph.output:
        result.name = renamed.get(result.name, result.name)
    return graph


def _rename(node: NodeProto, renamed: dict[str, str]) -> None:
    """Rename tensors in a node and in its subgraphs, except where a subgraph defines the same name itself."""
    for names in (node.input, node.output):
        for index, name in enumerate(names):
            names[index] = renamed.get(name, name)
    for _, graph in subgraphs_of(node):
        hidden = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        hidden.update(name for inner in graph.node for name in inner.output)
        visible = {old: new for old, new in renamed.items() if old not in hidden}
        for inner in graph.node:
            _rename(inner, visible)
        for result in graph.output:
            result.name = visible.get(result.name, result.name)
