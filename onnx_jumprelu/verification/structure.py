"""Compares two models: outside the activation sites they must be equal to the byte.

The record of the patch is not used: sites are found as the places where the node lists differ.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from google.protobuf.message import Message
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from onnx_jumprelu.activation.lowerings import DOMAIN
from onnx_jumprelu.errors import JumpReLUError
from onnx_jumprelu.graphs.fused_kernels import is_without_activation
from onnx_jumprelu.graphs.scopes import Scope, function_key, subgraphs_of, walk_scopes
from onnx_jumprelu.rewrite.find_sites import Found, find_sites
from onnx_jumprelu.rewrite.record import drop_provenance


class StructureError(JumpReLUError):
    """Two models differ outside the activation sites."""


@dataclass(frozen=True)
class Region:
    """The nodes that replace one activation in the patched model.

    Attributes:
        found: The activation in the original.
        scope: Its scope in the patched model.
        nodes: The nodes in its place, in order; the last one outputs the activation's tensor. A fused kernel whose
            activation was taken out is not among them.
        x: Name of the pre-activation.
    """

    found: Found
    scope: Scope
    nodes: tuple[NodeProto, ...]
    x: str


def compare(original: ModelProto, patched: ModelProto) -> list[Region]:
    """The sites of a patched model, after checking that everything else is as in the original.

    Raises:
        StructureError: something else differs; the message says what.
    """
    inputs = parameter_inputs(original, patched)
    functions = {function_key(function) for function in original.functions}
    added_functions = {
        key for function in patched.functions if (key := function_key(function)) not in functions if _is_ours(function)
    }
    ours, theirs = _shell(original, set(), set()), _shell(patched, inputs, added_functions)
    drop_provenance(theirs)
    if ours.SerializeToString() != theirs.SerializeToString():
        raise StructureError(f"the models differ outside their nodes: in {_where_different(ours, theirs)}")
    activations = {(found.site.scope, found.site.tensor): found for found in find_sites(original)}
    scopes = {scope.path: scope for scope in walk_scopes(patched)}
    regions: list[Region] = []
    for scope in walk_scopes(original):
        other = scopes.pop(scope.path, None)
        if other is None:
            raise StructureError(f"'{scope.path}' is missing")
        regions += _compare_scope(scope, other, activations, inputs)
    for path in scopes:
        if path.removeprefix("function ") not in added_functions:
            raise StructureError(f"'{path}' is not in the original")
    for name in inputs - {name for region in regions for node in region.nodes for name in node.input}:
        raise StructureError(f"the graph input '{name}' is not in the original, and no activation site uses it")
    return regions


def _is_ours(function: FunctionProto) -> bool:
    return function.domain == DOMAIN


def parameter_inputs(original: ModelProto, patched: ModelProto) -> set[str]:
    """Names of the graph inputs with a default value that only the patched model has."""
    given = {value.name for value in original.graph.input}
    defaults = {tensor.name for tensor in patched.graph.initializer}
    return {value.name for value in patched.graph.input if value.name not in given and value.name in defaults}


def _shell(model: ModelProto, inputs: set[str], added_functions: set[str]) -> ModelProto:
    """A copy without nodes and without what a patch may add: parameter inputs, functions, their import."""
    shell = copy.deepcopy(model)
    del shell.graph.node[:]
    for values in (shell.graph.input, shell.graph.initializer):
        for index in reversed(range(len(values))):
            if values[index].name in inputs:
                del values[index]
    for index in reversed(range(len(shell.functions))):
        function = shell.functions[index]
        if function_key(function) in added_functions:
            del shell.functions[index]
        else:
            del function.node[:]
            _drop_import(function)
    _drop_import(shell)
    return shell


def _where_different(ours: Message, theirs: Message) -> str:
    """The first field in which two messages differ, and the name of the entry where it has one."""
    for field in ours.DESCRIPTOR.fields:
        one, other = getattr(ours, field.name), getattr(theirs, field.name)
        if one == other:
            continue
        if field.message_type is None:
            return str(field.name)
        if isinstance(one, Message):
            return f"{field.name}.{_where_different(one, other)}"
        first = next((entry for pair in zip(one, other, strict=False) if pair[0] != pair[1] for entry in pair), None)
        name = getattr(first, "name", "") or getattr(first, "key", "")
        return f"{field.name} '{name}'" if name else str(field.name)
    return "fields that this version of onnx does not know"


def _drop_import(owner: ModelProto | FunctionProto) -> None:
    for index in reversed(range(len(owner.opset_import))):
        if owner.opset_import[index].domain == DOMAIN:
            del owner.opset_import[index]


def _compare_scope(
    ours: Scope, theirs: Scope, activations: dict[tuple[str, str], Found], inputs: set[str]
) -> list[Region]:
    """Walk both node lists in parallel; nodes that are only in the patched list must belong to a site."""
    if ours.parent is not None and _bare(ours.proto) != _bare(theirs.proto):
        raise StructureError(f"'{ours.path}' differs outside its nodes")
    remaining = list(ours.nodes)[::-1]
    added: list[NodeProto] = []
    ends: list[tuple[Found, NodeProto]] = []
    used: set[str] = set()
    for node in theirs.nodes:
        if remaining and _own(node) == _own(remaining[-1]):
            used.update(remaining.pop().input)
        elif remaining and node.output == remaining[-1].output:
            ends.append((_activation(remaining.pop(), ours, activations), node))
        else:
            added.append(node)
    if remaining:
        raise StructureError(f"in '{ours.path}', node '{_label(remaining[-1])}' is missing or moved")
    makers = {name: index for index, node in enumerate(added) for name in node.output}
    for name in used & makers.keys():
        raise StructureError(f"in '{ours.path}', '{name}' is used outside the activation sites")
    regions = []
    in_sites: set[int] = set()
    for found, end in ends:
        needed = _needed(found, end, added, makers, inputs)
        in_sites |= needed
        regions.append(_region(found, theirs, [*(added[index] for index in sorted(needed)), end]))
    for index in set(range(len(added))) - in_sites:
        raise StructureError(f"in '{ours.path}', node '{_label(added[index])}' is not in the original")
    return regions


def _region(found: Found, scope: Scope, nodes: list[NodeProto]) -> Region:
    if found.bare is None:
        return Region(found, scope, tuple(nodes), found.site.input)
    kernel = next((node for node in nodes if is_without_activation(node, found.node)), None)
    if kernel is None:
        raise StructureError(f"site '{found.site.name}': the fused kernel was changed")
    return Region(found, scope, tuple(node for node in nodes if node is not kernel), kernel.output[0])


def _activation(node: NodeProto, scope: Scope, activations: dict[tuple[str, str], Found]) -> Found:
    found = activations.get((scope.path, next(iter(node.output), "")))
    if found is None or not found.site.patchable:
        raise StructureError(
            f"in '{scope.path}', node '{_label(node)}' was changed and is not an activation that can be patched"
        )
    return found


def _needed(found: Found, end: NodeProto, added: list[NodeProto], makers: dict[str, int], inputs: set[str]) -> set[int]:
    """The added nodes that a site's last node depends on, by index."""
    allowed = {found.site.input, *found.node.input, *inputs, ""}
    needed: set[int] = set()
    todo = list(end.input)
    while todo:
        name = todo.pop()
        if name in makers:
            if makers[name] not in needed:
                needed.add(makers[name])
                todo += added[makers[name]].input
        elif name not in allowed:
            raise StructureError(f"site '{found.site.name}' reads '{name}', which the activation did not read")
    return needed


def _own(node: NodeProto) -> bytes:
    """A node serialized without its subgraphs, which are compared as scopes of their own."""
    if not any(True for _ in subgraphs_of(node)):
        return node.SerializeToString()
    bare = copy.deepcopy(node)
    for _, graph in subgraphs_of(bare):
        graph.Clear()
    return bare.SerializeToString()


def _bare(graph: GraphProto | FunctionProto) -> bytes:
    bare = copy.deepcopy(graph)
    del bare.node[:]
    return bare.SerializeToString()


def _label(node: NodeProto) -> str:
    return node.name or next((output for output in node.output if output), node.op_type)
