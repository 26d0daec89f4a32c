"""Each site on its own: its nodes as a model, run on values that distinguish JumpReLU from its look-alikes.

Most sites of a network have the same nodes and parameters and differ in names only. Such sites are one model once their
names are numbered, and are run once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_jumprelu.activation.definition import activate, at_discontinuity, edge_values, tolerance
from onnx_jumprelu.activation.lowerings import DOMAIN
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.graphs.constants import NotConstantError, numpy_dtype
from onnx_jumprelu.graphs.scopes import FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS, subgraphs_of
from onnx_jumprelu.verification.comparison import FailedError, difference
from onnx_jumprelu.verification.pair import Pair
from onnx_jumprelu.verification.structure import Region

# A site whose element type is unknown must be right for each type that onnxruntime computes with.
POSSIBLE_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
LARGEST_PIECE = 2**22  # values per run of a site: all numbers of a 16-bit type for each of many channels are too many
X, Y = "x", "y"  # the pre-activation and the activation of a site as a model


@dataclass(frozen=True)
class _Case:
    """What decides what a site computes, and what it must compute; sites with equal cases are run once.

    Attributes:
        model: The site's nodes as a model from `x` to `y`, serialized.
        elem_type: Type of the values.
        parameters: The site's parameters, as numbers of that type.
        cap: Upper bound of the site, None for none.
        keeps_nan: Whether NaN stays NaN; None where that is not known.
        rank: Number of dimensions where there are parameters per channel.
        known_type: Whether the graph fixes the element type.
    """

    model: bytes
    elem_type: int
    parameters: Parameters
    cap: float | None
    keeps_nan: bool | None
    rank: int
    known_type: bool


def check_alone(pair: Pair) -> int:
    """Run the nodes of each site on edge cases and random numbers, optimized and not; returns how many values agreed.

    Raises:
        FailedError: a site is not JumpReLU; the message names it.
        StructureError: a site's constants are not the parameters of a JumpReLU.
    """
    counts: dict[_Case, int] = {}
    n_values = 0
    for region in pair.regions:
        for case in _cases(pair, region):
            if case not in counts:
                counts[case] = _run(pair, case, region.found.site.name)
            n_values += counts[case]
    return n_values


def _cases(pair: Pair, region: Region) -> Iterator[_Case]:
    site, known = region.found.site, region.found.elem_type
    given = pair.parameters(region)
    for elem_type in POSSIBLE_TYPES if known is None else (known,):
        yield _Case(
            model=_site_model(pair, region, elem_type, given.n_channels).SerializeToString(deterministic=True),
            elem_type=elem_type,
            parameters=given.rounded(elem_type),
            cap=region.found.cap,
            keeps_nan=pair.keeps_nan(site.name),
            rank=site.rank or 1,
            known_type=known is not None,
        )


def _run(pair: Pair, case: _Case, name: str) -> int:
    x = edge_values(case.elem_type, case.parameters, case.cap, pair.seed, case.rank)
    undecided = np.zeros(x.shape, bool)
    if case.keeps_nan is None or (case.keeps_nan and case.cap is not None):
        undecided |= np.isnan(x)  # the record does not say, or the capping operator decides
    if not case.known_type and case.elem_type == TensorProto.FLOAT16:
        undecided |= at_discontinuity(x, case.parameters)  # see inside.py: the jump may be left unrounded
    x[undecided] = 0
    model = ModelProto.FromString(case.model)
    for optimize in (False, True):
        runner = pair.runner(model, pair.patched, optimize=optimize, threads=1)  # to start threads takes longest
        for piece in np.array_split(x, -(-x.size // LARGEST_PIECE)):
            (y,) = runner.run(None, {X: piece})
            expected = activate(piece, case.parameters, case.cap, keep_nan=bool(case.keeps_nan))
            wrong = difference(y, expected, tolerance(piece, case.parameters))
            if wrong:
                raise FailedError(f"site '{name}' is not JumpReLU of its input: {wrong}")
    return 2 * int((~undecided).sum())


def _site_model(pair: Pair, region: Region, elem_type: int, n_channels: int | None) -> ModelProto:
    """A site's nodes as a model from `x` to `y`, without the names that distinguish it from other sites."""
    site, root, patched = region.found.site, _root(region), pair.patched.model
    names = {"": "", region.x: X, site.tensor: Y}
    nodes = [_renamed(node, lambda name: names.setdefault(name, str(len(names)))) for node in region.nodes]
    dims: list[str | int | None] = ["N"]
    if n_channels is not None:
        dims += [n_channels, *[1] * ((site.rank or 1) - 2)]
    bound = [name for name in names if name in pair.defaults or name in region.found.node.input]
    graph = helper.make_graph(
        nodes,
        "site",
        [helper.make_tensor_value_info(X, elem_type, dims)],
        [helper.make_tensor_value_info(Y, elem_type, dims)],
        [_bound(pair, region, name, names[name], elem_type) for name in bound if name not in (region.x, "")],
    )
    imports = root.opset_import if isinstance(root, FunctionProto) else patched.opset_import
    functions = [function for function in patched.functions if function.domain == DOMAIN]
    # Before IR 4 every initializer had to be an input too; the nodes mean the same in both versions.
    ir_version = max(patched.ir_version, FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS)
    return helper.make_model(graph, opset_imports=list(imports), functions=functions, ir_version=ir_version)


def _renamed(node: NodeProto, rename: Callable[[str], str]) -> NodeProto:
    """A copy of a node, and of the graphs that it carries, with other names of tensors and none of nodes."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.ClearField("name")
    copy.ClearField("doc_string")
    copy.ClearField("metadata_props")
    copy.input[:] = [rename(name) for name in node.input]
    copy.output[:] = [rename(name) for name in node.output]
    for _, graph in subgraphs_of(copy):
        _rename_graph(graph, rename)
    return copy


def _rename_graph(graph: GraphProto, rename: Callable[[str], str]) -> None:
    for values in (graph.input, graph.initializer, graph.output, graph.value_info):
        for value in values:
            value.name = rename(value.name)
    nodes = [_renamed(node, rename) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _root(region: Region) -> object:
    scope = region.scope
    while scope.parent is not None:
        scope = scope.parent
    return scope.proto


def _bound(pair: Pair, region: Region, name: str, renamed: str, elem_type: int) -> TensorProto:
    """A tensor that a site's nodes read beside the pre-activation: a parameter's default, or a bound."""
    if name in pair.defaults:
        default = TensorProto()
        default.CopyFrom(pair.defaults[name])
        default.name = renamed
        return default
    try:
        return numpy_helper.from_array(region.found.scope.constant(name), renamed)
    except NotConstantError:  # a slope in an external file, which the patched nodes do not read
        return numpy_helper.from_array(np.zeros((), numpy_dtype(elem_type)), renamed)
