"""Calls of a model's own functions: none in a circle, and none that would make the model huge when it is inlined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from onnx import FunctionProto, NodeProto

from onnx_jumprelu.errors import ModelFileError
from onnx_jumprelu.graphs.scopes import function_key, subgraphs_of

MOST_NODES = 30_000  # that calls stand for; functions that call two of the next level reach millions in 20 levels
MOST_LEVELS = 100
MAIN = ""
WAY_OUT = "export the model without functions, or inline them"


def check_calls(main: Iterable[NodeProto], bodies: Mapping[str, FunctionProto]) -> None:
    """Refuse functions that cannot be inlined at a bounded cost. Nothing is inlined to find out.

    Args:
        main: The nodes of the main graph.
        bodies: The functions by `function_key`.

    Raises:
        ModelFileError: a function calls itself, or the calls stand for too many nodes.
    """
    own: dict[str, int] = {}
    calls: dict[str, Counter[str]] = {}
    for name, nodes in [(MAIN, main), *((key, body.node) for key, body in bodies.items())]:
        keys = [function_key(node) for node in _with_subgraphs(nodes)]
        own[name], calls[name] = len(keys), Counter(key for key in keys if key in bodies)
    try:
        callees_first = list(TopologicalSorter(calls).static_order())
    except CycleError as error:
        raise ModelFileError(f"function {error.args[1][0]} calls itself; export the model again") from None
    sizes: dict[str, int] = {}
    levels: dict[str, int] = {}
    for name in callees_first:
        sizes[name] = own[name] + sum(times * sizes[key] for key, times in calls[name].items())
        levels[name] = max((1 + levels[key] for key in calls[name]), default=0)
    if levels[MAIN] > MOST_LEVELS:
        raise ModelFileError(f"functions call each other more than {MOST_LEVELS} levels deep; {WAY_OUT}")
    if sizes[MAIN] - own[MAIN] > MOST_NODES:
        raise ModelFileError(f"calls of functions stand for more than {MOST_NODES:,} nodes; {WAY_OUT}")


def _with_subgraphs(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for _, graph in subgraphs_of(node):
            yield from _with_subgraphs(graph.node)
