"""The backward pass of an If whose condition is known only at run time, which is an If too.

What a branch computes is not visible outside it. Each branch of the new If therefore computes it again, then pulls the
cotangents back to the tensors that the branch reads from outside. Ifs with a fixed condition were inlined before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from onnx import GraphProto, ModelProto, helper, numpy_helper

from onnx_jumprelu.gradient.core.registry import Node
from onnx_jumprelu.gradient.core.values import Emitter, Value
from onnx_jumprelu.gradient.prepare.control_flow import with_fresh_names
from onnx_jumprelu.graphs.constants import NotConstantError
from onnx_jumprelu.graphs.scopes import Scope, subgraphs_of
from onnx_jumprelu.graphs.tensor_types import LARGEST_KEPT_TENSOR, TensorType, infer_types
from onnx_jumprelu.graphs.uses import needed_nodes, tensors_used

# Takes a branch, the types of its tensors, the cotangents of its outputs, the tensors that gradients are wanted for,
# and where the nodes go.
PullBack = Callable[
    [Scope, Mapping[str, TensorType], Mapping[str, Value], Sequence[str], Emitter], Mapping[str, Value | None]
]


def through_if(at: Node, gs: Sequence[Value | None], pull_back: PullBack) -> dict[str, Value]:
    """Cotangents of the tensors that an If's branches read from outside, given those of its outputs."""
    wanted = [name for name in dict.fromkeys(tensors_used(at.proto)) if name in at.active]
    branches = {name: _backwards(at, name, graph, gs, wanted, pull_back) for name, graph in subgraphs_of(at.proto)}
    outputs = at.to.op_with_outputs("If", [at.x(0)], len(wanted), **branches)
    return {name: Value(output.name, at.elem_type, at.to) for name, output in zip(wanted, outputs, strict=True)}


def _backwards(
    at: Node, name: str, branch: GraphProto, gs: Sequence[Value | None], wanted: Sequence[str], pull_back: PullBack
) -> GraphProto:
    """A branch of the new If: the old branch again, then the gradients of the wanted tensors as outputs."""
    names = at.to.builder.names
    graph = with_fresh_names(branch, names)
    scope = Scope(f"{at.scope.path}/{name}", at.scope.model, graph, at.scope.opsets, at.scope)
    to = Emitter(names, at.opset)
    to.base = at.to.base
    # The cotangents come from outside the branch; what is computed from them is part of the branch.
    cotangents = {value.name: replace(g, to=to) for value, g in zip(graph.output, gs, strict=True) if g is not None}
    found = pull_back(scope, _types(at, graph), cotangents, wanted, to)
    results = []
    for source in wanted:
        value = found[source]
        if value is None:
            value = to.full(Value(source, at.elem_type, to).shape(), 0.0, at.elem_type)
        results.append(value.op("Identity"))  # an output must be made in the branch itself
    nodes = needed_nodes([*graph.node, *to.builder.take()], {value.name for value in results})
    read = {name for node in nodes for name in tensors_used(node)}
    outputs = [
        helper.make_tensor_value_info(value.name, at.elem_type, at.types.get(source, TensorType()).shape)
        for source, value in zip(wanted, results, strict=True)
    ]
    initializers = [tensor for tensor in graph.initializer if tensor.name in read]
    return helper.make_graph(nodes, names(f"{to.base}/{name}"), [], outputs, initializers)


def _types(at: Node, graph: GraphProto) -> dict[str, TensorType]:
    """Types of a branch's own tensors and of those that it reads from outside."""
    alone = GraphProto(name="branch", node=graph.node, initializer=graph.initializer)
    made = {tensor.name for tensor in graph.initializer}
    made.update(name for node in graph.node for name in node.output)
    for name in dict.fromkeys(name for node in graph.node for name in tensors_used(node)):
        known = at.types.get(name, TensorType())
        if name in made or known.elem_type is None:
            continue
        try:
            value = at.scope.constant(name)
        except NotConstantError:
            value = None
        if value is not None and value.size <= LARGEST_KEPT_TENSOR:
            alone.initializer.append(numpy_helper.from_array(value, name))
        else:
            shape = None if known.shape is None else list(known.shape)
            alone.input.append(helper.make_tensor_value_info(name, known.elem_type, shape))
    opsets = [helper.make_opsetid(domain, version) for domain, version in at.scope.opsets.items()]
    inferred = infer_types(ModelProto(ir_version=at.scope.model.ir_version, opset_import=opsets, graph=alone))
    return {**at.types, **inferred["main"]}
