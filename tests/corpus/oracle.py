"""What a patch should have done, by other means than the package's: graphs and numbers only.

JumpReLU of x is `r if r > jump else 0`, r being what the rectifier made of x: a Where or a Mul behind the rectifier,
which itself stays as it was, whatever its form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, helper, numpy_helper

from onnx_jumprelu.arrays import Array

FIRST_OPSET_WITH_WHERE = 9
FIRST_OPSET_WITH_CAST_LIKE = 15
MOST_HOPS = 4  # nodes between a pre-activation and its rectifier's output
FEWEST_VALUES = 6  # that a tensor has whose rectifier is not a coincidence


@dataclass(frozen=True)
class Jump:
    """The jump of the rectifier that outputs a tensor, and the tensor's element type where that is known.

    The jump has shape (), or one that broadcasts along the channels.
    """

    value: Array
    elem_type: int | None


def rewritten(model: ModelProto, sites: Sequence[tuple[str, Jump]], *, keep_nan: bool) -> ModelProto:
    """A copy of a model with the rectifiers whose output tensors are given made JumpReLUs.

    Raises:
        ValueError: a tensor is not there, tensors of one name differ, or an element type has to be known.
    """
    jumps = dict(sites)
    if any(not np.array_equal(jump.value, jumps[tensor].value) for tensor, jump in sites):
        raise ValueError("tensors of one name have different jumps")
    result = ModelProto()
    result.CopyFrom(model)
    done: list[str] = []
    for graph, opset in _graphs(result):
        nodes = [new for node in graph.node for new in _lowered(node, jumps, opset, done, keep_nan=keep_nan)]
        del graph.node[:]
        graph.node.extend(nodes)
    if sorted(done) != sorted(tensor for tensor, _ in sites):
        raise ValueError("tensors that are no rectifiers have the names of some that are")
    return result


def _graphs(model: ModelProto) -> Iterator[tuple[GraphProto | FunctionProto, int]]:
    """Every list of nodes, subgraphs before the graphs that hold them, with its version of the standard operators."""
    roots: list[GraphProto | FunctionProto] = [model.graph, *model.functions]
    for root in roots:
        imports = root.opset_import if isinstance(root, FunctionProto) else model.opset_import
        opset = max((entry.version for entry in imports if entry.domain in ("", "ai.onnx")), default=0)
        yield from ((graph, opset) for graph in _inside(root))


def _inside(graph: GraphProto | FunctionProto) -> Iterator[GraphProto | FunctionProto]:
    for node in graph.node:
        for entry in node.attribute:
            for inner in (
                (entry.g, *entry.graphs) if entry.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) else ()
            ):
                yield from _inside(inner)
    yield graph


def _lowered(
    node: NodeProto, jumps: Mapping[str, Jump], opset: int, done: list[str], *, keep_nan: bool
) -> list[NodeProto]:
    """The node, and after it what makes a JumpReLU of it if it is one of the rectifiers."""
    before = NodeProto()
    before.CopyFrom(node)
    output = next(iter(node.output), "")
    if output not in jumps:
        return [before]
    done.append(output)
    relu, jump, zero, mask, factor = (f"corpus/{output}/{what}" for what in ("relu", "jump", "zero", "mask", "factor"))
    before.output[0] = relu
    nodes = [before, *_constant(np.zeros(()), zero, relu, jumps[output], opset)]
    nodes += _constant(jumps[output].value, jump, relu, jumps[output], opset)
    nodes.append(helper.make_node("Less", [jump, relu], [mask]))
    if keep_nan or opset < FIRST_OPSET_WITH_WHERE:
        cast = [helper.make_node("Cast", [mask], [factor], to=jumps[output].elem_type)]
        if jumps[output].elem_type is None:
            cast = [helper.make_node("CastLike", [mask, relu], [factor])]
        return [*nodes, *cast, helper.make_node("Mul", [relu, factor], [output])]
    return [*nodes, helper.make_node("Where", [mask, relu, zero], [output])]


def _constant(value: Array, name: str, like: str, jump: Jump, opset: int) -> list[NodeProto]:
    if jump.elem_type is not None:
        array = value.astype(helper.tensor_dtype_to_np_dtype(jump.elem_type))
        return [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))]
    if opset < FIRST_OPSET_WITH_CAST_LIKE:
        raise ValueError(f"the element type of {like} has to be known")
    double = numpy_helper.from_array(value.astype(np.float64))
    return [
        helper.make_node("Constant", [], [f"{name}/double"], value=double),
        helper.make_node("CastLike", [f"{name}/double", like], [name]),
    ]


def missed_by_name(model: ModelProto, listed: set[str]) -> list[str]:
    """Tensors of Relu nodes and of nodes with a fused rectifier, anywhere in a model, that no site accounts for."""
    return [
        f"{output} ({node.op_type})"
        for graph, _ in _graphs(model)
        for node in graph.node
        for output in node.output[:1]
        if output not in listed and ((node.op_type, node.domain) == ("Relu", "") or _has_fused_rectifier(node))
    ]


def _has_fused_rectifier(node: NodeProto) -> bool:
    texts = [text for entry in node.attribute if "activation" in entry.name for text in (entry.s, *entry.strings)]
    return any(text.lower() in (b"relu", b"relu6", b"clip") for text in texts)


def missed_by_value(graph: GraphProto, values: Mapping[str, Array], listed: set[str]) -> list[str]:
    """Tensors of the main graph that hold the rectified values of an earlier tensor, and that no site accounts for.

    Args:
        graph: The graph.
        values: The value of every tensor that was computed, by name.
        listed: Outputs of the known sites.
    """
    producers = {output: node for node in graph.node for output in node.output}
    missed: list[str] = []
    for node in graph.node:
        for output in node.output:
            sources = _sources(output, producers, listed | set(missed)) if output not in listed else {}
            for source in sources:
                if _rectifies(values.get(source), values.get(output)):
                    missed.append(output)
                    break
    return missed


def _sources(tensor: str, producers: Mapping[str, NodeProto], known: set[str]) -> dict[str, None]:
    """Tensors from which one is computed within a few nodes, without a known rectifier on the way."""
    found: dict[str, None] = {}
    layer = [tensor]
    for _ in range(MOST_HOPS):
        layer = [name for each in layer if each in producers for name in producers[each].input if name not in known]
        found.update(dict.fromkeys(layer))
    return found


def _rectifies(x: object, y: object) -> bool:
    """Whether y is max(x, 0), with an upper bound or without one, and differs from x."""
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
        return False
    if x.shape != y.shape or x.dtype != y.dtype or x.dtype.kind != "f" or x.size < FEWEST_VALUES:
        return False
    return bool((x < 0).any() and (y > 0).any() and np.array_equal(y, np.clip(x, 0, y.max())))
