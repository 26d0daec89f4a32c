"""A model in the form that the gradient builder takes: no functions, no branches that never run, opset 9 or later."""

from __future__ import annotations

import copy
from collections.abc import Callable

import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, inliner

from onnx_jumprelu.errors import GradientError
from onnx_jumprelu.gradient.core.registry import label
from onnx_jumprelu.gradient.prepare.declared_shapes import forget_doubtful_shapes
from onnx_jumprelu.gradient.prepare.fold import fold_shapes
from onnx_jumprelu.graphs.builder import FreshNames
from onnx_jumprelu.graphs.constants import NotConstantError
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, domain_of, main_opset, newest_opset, subgraphs_of, walk_scopes

OLDEST_OPSET = 7
# The first with Where, OneHot, Sign and MaxUnpool, which the rules use.
LOWEST_WORKING_OPSET = 9


def prepared(model: ModelProto) -> ModelProto:
    """A copy with functions and constant Ifs inlined and arithmetic on shapes done, at opset 9 or later.

    Raises:
        GradientError: the opset is out of range, or cannot be raised without changing what a node means.
    """
    opset = main_opset(model)
    if opset is None or not OLDEST_OPSET <= opset <= newest_opset():
        raise GradientError(f"the model has opset {opset}; opsets {OLDEST_OPSET} to {newest_opset()} are supported")
    result = inliner.inline_local_functions(model) if model.functions else copy.deepcopy(model)
    forget_doubtful_shapes(result)
    _inline_ifs(result)
    while fold_shapes(result):  # which may fix the condition of an If, whose branch may hold the next to fold
        _inline_ifs(result)
    if opset < LOWEST_WORKING_OPSET:
        _raise_opset(result, opset, LOWEST_WORKING_OPSET)
    return result


def _inline_ifs(model: ModelProto) -> None:
    """Replace each If of the main graph whose condition the file fixes by the branch that runs."""
    names = FreshNames(model)
    changed = True
    while changed:
        changed = False
        main = next(iter(walk_scopes(model)))
        for position, node in enumerate(main.nodes):
            if node.op_type != "If" or domain_of(node.domain) != STANDARD_DOMAIN:
                continue
            try:
                chosen = "then_branch" if bool(main.constant(node.input[0]).all()) else "else_branch"
            except NotConstantError:
                continue
            branch = next(graph for name, graph in subgraphs_of(node) if name == chosen)
            nodes = _as_nodes(model, branch, list(node.output), names)
            del model.graph.node[position]
            for offset, new in enumerate(nodes):
                model.graph.node.insert(position + offset, new)
            changed = True
            break


def _as_nodes(model: ModelProto, branch: GraphProto, outputs: list[str], names: FreshNames) -> list[NodeProto]:
    """A branch's nodes with names of their own, and Identity nodes that give its results the If's names."""
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
    """A copy of a branch in which everything that it defines itself has a new name."""
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
    """Give tensors other names in a node and in the graphs that it carries, where those do not hide them."""
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


def _raise_opset(model: ModelProto, old: int, new: int) -> None:
    """Import a later version of the standard domain, where that changes no node's meaning."""
    for scope in walk_scopes(model):
        for node in scope.nodes:
            if domain_of(node.domain) == STANDARD_DOMAIN:
                _keep_meaning(node, old, new, model)
    for entry in model.opset_import:
        if domain_of(entry.domain) == STANDARD_DOMAIN:
            entry.version = new


def _keep_meaning(node: NodeProto, old: int, new: int, model: ModelProto) -> None:
    """Bring a node into the form that means the same at the new opset. Raises GradientError where there is none."""
    if node.op_type == "Upsample":  # the factors were an attribute and became an input
        scales = next((entry for entry in node.attribute if entry.name == "scales"), None)
        if scales is not None:
            name = FreshNames(model)(f"{node.output[0]}/scales")
            model.graph.initializer.append(
                helper.make_tensor(name, onnx.TensorProto.FLOAT, [len(scales.floats)], scales.floats)
            )
            node.input.append(name)
            node.attribute.remove(scales)
        return
    spatial = next((entry for entry in node.attribute if entry.name == "spatial"), None)
    if node.op_type == "BatchNormalization" and spatial is not None and spatial.i == 1:
        node.attribute.remove(spatial)  # the only form that is left
    try:
        before, after = (onnx.defs.get_schema(node.op_type, opset) for opset in (old, new))
    except onnx.defs.SchemaError as error:
        raise GradientError(f"{label(node)}: opset {old} has no operator {node.op_type}") from error
    if not _serves(before, after, {entry.name for entry in node.attribute}) or after.deprecated:
        raise GradientError(
            f"{label(node)}: means something else at opset {new}; convert the model to opset {new} or later"
        )


def _serves(before: onnx.defs.OpSchema, after: onnx.defs.OpSchema, used: set[str]) -> bool:
    """Whether a later definition only adds to an earlier one: types, optional inputs and outputs, attributes."""
    if before.since_version == after.since_version:
        return True
    if not used <= set(after.attributes):
        return False
    same_defaults = all(
        before.attributes[name].default_value == attribute.default_value
        for name, attribute in after.attributes.items()
        if name in before.attributes
    )
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    same_ends = all(
        [item.name for item in old] == [item.name for item in new[: len(old)]]
        and all(item.option == optional for item in new[len(old) :])
        for old, new in ((before.inputs, after.inputs), (before.outputs, after.outputs))
    )
    return same_defaults and same_ends
