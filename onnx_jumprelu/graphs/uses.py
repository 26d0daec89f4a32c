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


def outer_tensors_used(node: NodeProto) -> Iterator[str]:
    """Names of the tensors of its own graph, or of one around it, that a node and its subgraphs read."""
    yield from (name for name in node.input if name)
    for _, graph in subgraphs_of(node):
        own = {value.name for values in (graph.input, graph.initializer) for value in values}
        own.update(sparse.values.name for sparse in graph.sparse_initializer)
        own.update(name for inner in graph.node for name in inner.output)
        used = (name for inner in graph.node for name in outer_tensors_used(inner))
        results = (value.name for value in graph.output)
        yield from (name for names in (used, results) for name in names if name not in own)


def needed_nodes(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """The nodes on which tensors depend, in order; `nodes` are in topological order."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(tensors_used(node))
    return kept[::-1]
