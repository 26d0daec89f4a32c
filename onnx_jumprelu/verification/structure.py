"""Comparing two models: outside the activation sites they must be the same, to the byte.

Nothing here trusts what `patch` recorded: sites are found as the places where the node lists differ.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from onnx_jumprelu.errors import JumpReLUError
from onnx_jumprelu.graph import Scope, subgraphs_of, walk_scopes
from onnx_jumprelu.rewrite.activations import Found, find
from onnx_jumprelu.rewrite.lowerings import DOMAIN
from onnx_jumprelu.rewrite.provenance import drop_provenance


class StructureError(JumpReLUError):
    """Two models that differ where they must not."""


@dataclass(frozen=True)
class Region:
    """What stands in the patched model where the original has an activation.

    Attributes:
        found: The activation in the original.
        scope: Its scope in the patched model.
        nodes: The nodes in its place, in order; the last one puts out the activation's tensor.
    """

    found: Found
    scope: Scope
    nodes: tuple[NodeProto, ...]


def compare(original: ModelProto, patched: ModelProto) -> list[Region]:
    """The sites of a patched model, after a check that everything else is as in the original.

    Raises:
        StructureError: something else differs; the message says what.
    """
    jumps = jump_inputs(original, patched)
    if _shell(original, set()) != _shell(patched, jumps):
        raise StructureError("the models differ outside their nodes (weights, inputs, outputs, metadata or imports)")
    activations = {(found.site.scope, found.site.tensor): found for found in find(original)}
    theirs = {scope.path: scope for scope in walk_scopes(patched)}
    regions: list[Region] = []
    for ours in walk_scopes(original):
        scope = theirs.pop(ours.path, None)
        if scope is None:
            raise StructureError(f"'{ours.path}' is missing")
        regions += _compare_scope(ours, scope, activations, jumps)
    for path, scope in theirs.items():
        if not (isinstance(scope.proto, FunctionProto) and scope.proto.domain == DOMAIN):
            raise StructureError(f"'{path}' is not in the original")
    return regions


def jump_inputs(original: ModelProto, patched: ModelProto) -> set[str]:
    """Graph inputs that the patched model has and the original has not, each with a default value."""
    given = {value.name for value in original.graph.input}
    defaults = {tensor.name for tensor in patched.graph.initializer}
    return {value.name for value in patched.graph.input if value.name not in given and value.name in defaults}


def _shell(model: ModelProto, jumps: set[str]) -> bytes:
    """Everything but the nodes and what a patch may add: the record, its functions and their import, jump inputs."""
    shell = ModelProto()
    shell.CopyFrom(model)
    drop_provenance(shell)
    del shell.graph.node[:]
    for values in (shell.graph.input, shell.graph.initializer):
        for index in reversed(range(len(values))):
            if values[index].name in jumps:
                del values[index]
    for index in reversed(range(len(shell.functions))):
        function = shell.functions[index]
        if function.domain == DOMAIN:
            del shell.functions[index]
        else:
            del function.node[:]
            _drop_import(function)
    _drop_import(shell)
    return shell.SerializeToString()


def _drop_import(owner: ModelProto | FunctionProto) -> None:
    for index in reversed(range(len(owner.opset_import))):
        if owner.opset_import[index].domain == DOMAIN:
            del owner.opset_import[index]


def _compare_scope(
    ours: Scope, theirs: Scope, activations: dict[tuple[str, str], Found], jumps: set[str]
) -> list[Region]:
    """Walk both node lists side by side; what is only in the patched one must serve a site."""
    if ours.parent is not None and _bare(ours.proto) != _bare(theirs.proto):
        raise StructureError(f"'{ours.path}' differs outside its nodes")
    remaining = list(ours.nodes)[::-1]
    added: dict[str, NodeProto] = {}
    ends: list[tuple[Found, NodeProto]] = []
    kept: list[NodeProto] = []
    for node in theirs.nodes:
        if remaining and _own(node) == _own(remaining[-1]):
            kept.append(remaining.pop())
        elif remaining and node.output == remaining[-1].output:
            ends.append((_activation(remaining.pop(), ours, activations), node))
        else:
            added.update(dict.fromkeys(node.output, node))
    if remaining:
        raise StructureError(f"in '{ours.path}', node '{_label(remaining[-1])}' is missing or moved")
    regions = [Region(found, theirs, _region(found, end, added, jumps)) for found, end in ends]
    served = {id(node) for region in regions for node in region.nodes}
    for name, node in added.items():
        if id(node) not in served:
            raise StructureError(f"in '{ours.path}', node '{_label(node)}' is not in the original")
        if any(name in user.input for user in kept):
            raise StructureError(f"in '{ours.path}', '{name}' is used outside the activation sites")
    return regions


def _activation(node: NodeProto, scope: Scope, activations: dict[tuple[str, str], Found]) -> Found:
    found = activations.get((scope.path, next(iter(node.output), "")))
    if found is None or not found.site.patchable:
        raise StructureError(f"in '{scope.path}', node '{_label(node)}' was changed and is no activation to be patched")
    return found


def _region(found: Found, end: NodeProto, added: dict[str, NodeProto], jumps: set[str]) -> tuple[NodeProto, ...]:
    """The added nodes that a site's last node depends on, in order, and that node."""
    allowed = {found.site.input, *found.node.input, *jumps, ""}
    needed: set[str] = set()
    todo = list(end.input)
    while todo:
        name = todo.pop()
        if name in added and name not in needed:
            needed.add(name)
            todo += added[name].input
        elif name not in added and name not in allowed:
            raise StructureError(f"site '{found.site.name}' reads '{name}', which the activation did not")
    members = {id(added[name]) for name in needed}
    return (*(node for node in _each_once(added) if id(node) in members), end)


def _each_once(added: dict[str, NodeProto]) -> Sequence[NodeProto]:
    """The nodes, each once, in order."""
    return list({id(node): node for node in added.values()}.values())


def _own(node: NodeProto) -> bytes:
    """A node without the nodes of its subgraphs, which are compared as scopes of their own."""
    if not any(True for _ in subgraphs_of(node)):
        return node.SerializeToString()
    bare = NodeProto()
    bare.CopyFrom(node)
    for _, graph in subgraphs_of(bare):
        graph.Clear()
    return bare.SerializeToString()


def _bare(graph: GraphProto | FunctionProto) -> bytes:
    bare = copy.deepcopy(graph)
    del bare.node[:]
    return bare.SerializeToString()


def _label(node: NodeProto) -> str:
    return node.name or next((output for output in node.output if output), node.op_type)
