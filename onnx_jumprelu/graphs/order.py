"""Nodes in topological order: onnxruntime sorts the nodes of a file, and other tools rely on them being sorted."""

from __future__ import annotations

from collections.abc import MutableSequence
from graphlib import TopologicalSorter

from onnx import ModelProto, NodeProto

from onnx_jumprelu.graphs.scopes import walk_scopes
from onnx_jumprelu.graphs.uses import outer_tensors_used


def sort_nodes(model: ModelProto) -> None:
    """Sort the nodes of every graph and function of a model; those that are in order stay where they are.

    The model is one that `check_wellformed` has accepted: no node needs its own output.
    """
    for scope in walk_scopes(model):
        _sort(scope.nodes)


def _sort(nodes: MutableSequence[NodeProto]) -> None:
    makers = {output: number for number, node in enumerate(nodes) for output in node.output if output}
    needed = [{makers[name] for name in outer_tensors_used(node) if name in makers} for node in nodes]
    if all(number > max(before, default=-1) for number, before in enumerate(needed)):
        return
    order = TopologicalSorter(dict(enumerate(needed)))
    order.prepare()
    ordered: list[NodeProto] = []
    while order.is_active():
        ready = sorted(order.get_ready())  # a fixed order, close to that of the file
        ordered += [_copied(nodes[number]) for number in ready]
        order.done(*ready)
    for place, node in enumerate(ordered):
        nodes[place].CopyFrom(node)


def _copied(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
