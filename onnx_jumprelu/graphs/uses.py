"""Which tensors a node uses, and which nodes some tensors depend on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from onnx import NodeProto

from onnx_jumprelu.graphs.scopes import subgraphs_of


def tensors_used(node: NodeProto) -> Iterator[str]:
    """Names of the tensors that a node and its subgraphs read, including those that the subgraphs define."""
    yield from (name for name in node.input if name)
    for _, graph in subgraphs_of(node):
        for inner in graph.node:
            yield from tensors_used(inner)
        yield from (value.name for value in graph.output)


def needed_nodes(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """The nodes on which tensors depend, in order; `nodes` are in topological order."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(tensors_used(node))
    return kept[::-1]
