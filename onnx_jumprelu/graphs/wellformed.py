"""The one check of a model before anything else reads it.

All other code relies on these rules of ONNX: nodes have the inputs, outputs and attributes of their operators; what a
node reads is made somewhere, and not from its own output; tensors hold as many values as their shapes need; types
exist; functions do not call themselves; names are readable. A model that breaks them is refused with one line that
names the node.

onnxruntime refuses such models too, where it reads the part in question: it drops what nothing uses. Only these rules
are stricter: names are UTF-8, which protobuf for Python needs, and there are limits on the length of a name, on graphs
nested in graphs, and on functions that call functions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TypeProto

from onnx_jumprelu.errors import ModelFileError
from onnx_jumprelu.graphs.function_calls import check_calls
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, domain_of, function_key, newest_opset, subgraphs_of
from onnx_jumprelu.graphs.signatures import signature_of, signature_problem
from onnx_jumprelu.graphs.stored_tensors import elem_type_problem, raw_data_problem, sparse_problem, tensor_problem
from onnx_jumprelu.graphs.uses import outer_tensors_used

MOST_GRAPHS = 30  # nested in each other; protobuf itself reads 33
LONGEST_NAME = 2**16
NEWEST_VERSION = 2**31 - 1  # of an opset, which onnx reads as a C int
SHOWN = 80  # characters of a name
# The field that holds the value of an attribute of each type. Numbers, texts and lists may be left out: 0, or empty.
VALUES = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    AttributeProto.TYPE_PROTO: "tp",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSORS: "tensors",
    AttributeProto.GRAPHS: "graphs",
    AttributeProto.SPARSE_TENSORS: "sparse_tensors",
    AttributeProto.TYPE_PROTOS: "type_protos",
}
FIELDS = frozenset(VALUES.values())
MESSAGES = ("g", "t", "sparse_tensor", "tp")
Names = Collection[str]
NOTHING: Mapping[str, int | None] = {}


def check_wellformed(model: ModelProto, left_out: Mapping[str, int | None] = NOTHING) -> None:
    """Check a model. The cost is linear in its size, and it is not changed.

    Args:
        model: The model.
        left_out: How many bytes of raw data have been left out on purpose of initializers of the main graph, by their
            names; None where that is not known.

    Raises:
        ModelFileError: it is not a valid model; the message says which rule it breaks, and where.
    """
    if not model.HasField("graph") or not model.ir_version or not model.opset_import:
        raise ModelFileError("is not an ONNX model, or is cut short (no graph, IR version or opset)")
    bodies = {function_key(function): function for function in model.functions}
    try:
        _refuse("metadata", _texts_problem(text for entry in model.metadata_props for text in (entry.key, entry.value)))
        if len(bodies) < len(model.functions):
            _refuse("functions", "two have the same name")
        _Nodes(model, bodies).check_graph(model.graph, (), left_out)
        for function in model.functions:
            _Nodes(function, bodies).check_function(function)
        check_calls(model.graph.node, bodies)
    except UnicodeDecodeError:
        _refuse("model", NOT_UTF8)


class _Nodes:
    """The check of all nodes that use the same versions of the operators: of the main graph or of a function."""

    def __init__(self, owner: ModelProto | FunctionProto, bodies: Mapping[str, FunctionProto]) -> None:
        self._versions = {domain_of(entry.domain): entry.version for entry in owner.opset_import}
        self._bodies = bodies
        self._in_function = isinstance(owner, FunctionProto)
        _refuse("imports", _names_problem(self._versions))

    def check_function(self, function: FunctionProto) -> None:
        where = f"function '{_shown(function.name)}'"
        _refuse(where, _names_problem([function.name, *function.input, *function.output]))
        made = self._check_nodes(function.node, (frozenset(function.input),))
        _refuse(where, _lacking(function.output, made, function.input))

    def check_graph(
        self, graph: GraphProto, outer: Sequence[Names], left_out: Mapping[str, int | None] = NOTHING
    ) -> None:
        """`outer` are the names of the tensors of each graph around this one."""
        where = f"graph '{_shown(graph.name)}'"
        if len(outer) >= 2 * MOST_GRAPHS - 1:
            _refuse(where, f"more than {MOST_GRAPHS} graphs are nested in each other")
        given = {value.name for value in graph.input}
        if len(given) < len(graph.input):
            _refuse(where, "two inputs have the same name")
        given.update(tensor.name for tensor in graph.initializer)
        given.update(sparse.values.name for sparse in graph.sparse_initializer)
        _refuse(where, _names_problem([graph.name, *given, *(value.name for value in graph.output)]))
        for value in (*graph.input, *graph.value_info, *graph.output):
            _refuse(f"tensor '{_shown(value.name)}'", _names_problem([value.name]) or _type_problem(value.type))
        for tensor in graph.initializer:
            name = tensor.name
            problem = raw_data_problem(tensor, left_out[name]) if name in left_out else tensor_problem(tensor)
            _refuse(f"initializer '{_shown(name)}'", problem)
        for sparse in graph.sparse_initializer:
            _refuse(f"initializer '{_shown(sparse.values.name)}'", sparse_problem(sparse))
        made = self._check_nodes(graph.node, (*outer, given))
        _refuse(where, _lacking((value.name for value in graph.output), made, given, *outer))

    def _check_nodes(self, nodes: Sequence[NodeProto], before: Sequence[Names]) -> Names:
        """Check nodes; returns the names of their outputs.

        `before` are the names of the tensors that exist before the first node runs, of each graph around the nodes.
        """
        made = {output for node in nodes for output in node.output if output}
        so_far: set[str] = set()
        in_order = True
        for node in nodes:
            where = _label(node)
            self._check_node(node, where, (*before, made))
            in_order = in_order and so_far.issuperset(name for name in outer_tensors_used(node) if name in made)
            if so_far.intersection(node.output) - {""}:
                _refuse(where, "makes a tensor that another node makes too")
            if any(output in before[-1] for output in node.output if output):
                _refuse(where, "makes a tensor that is an input or an initializer of its graph too")
            so_far.update(node.output)
        if not in_order:
            _refuse_circles(nodes, made)
        return made

    def _check_node(self, node: NodeProto, where: str, visible: Sequence[Names]) -> None:
        texts = [text for entry in node.attribute for text in (entry.name, entry.ref_attr_name)]
        _refuse(where, _names_problem([node.name, node.op_type, node.domain, *node.input, *node.output, *texts]))
        _refuse(where, None if node.op_type else "has no operator")
        for name in node.input:
            if name and not any(name in names for names in visible):
                _refuse(where, f"reads '{_shown(name)}', which nothing makes")
        _refuse(where, self._call_problem(node))
        for entry in node.attribute:
            problem = self._reference_problem(entry) if entry.ref_attr_name else _value_problem(entry)
            _refuse(where, problem and f"attribute '{_shown(entry.name)}': {problem}")
        for _, graph in subgraphs_of(node):
            self.check_graph(graph, visible)

    def _reference_problem(self, entry: AttributeProto) -> str | None:
        if self._in_function:
            return None
        return f"refers to the attribute '{_shown(entry.ref_attr_name)}' of a function, and its node is not in one"

    def _call_problem(self, node: NodeProto) -> str | None:
        """What of a node its function or its operator does not allow, None for an operator that onnx does not know."""
        body = self._bodies.get(function_key(node)) if self._bodies else None
        if body is not None:
            for what, given, known in (("input", node.input, body.input), ("output", node.output, body.output)):
                if len(given) > len(known):
                    return f"has {len(given)} {what}s; its function has {len(known)}"
            return None
        domain = domain_of(node.domain)
        version = self._versions.get(domain, newest_opset() if domain == STANDARD_DOMAIN else None)
        if version is None:
            return None
        if not 1 <= version <= NEWEST_VERSION:
            return f"version {version} of the operators '{_shown(domain) or 'ai.onnx'}' does not exist"
        signature = signature_of(domain, node.op_type, version)
        if signature is not None:
            return signature_problem(node, signature)
        newest = signature_of(domain, node.op_type, NEWEST_VERSION)
        return None if newest is None else f"version {version} of the operators has no {_shown(node.op_type)}"


NOT_UTF8 = "a name or text is not UTF-8"


def _refuse(where: str, problem: str | None) -> None:
    """Raise ModelFileError if there is a problem."""
    if problem:
        raise ModelFileError(f"{where}: {problem}; export it again")


def _texts_problem(texts: Iterable[object]) -> str | None:
    """Protobuf reads a text that is not UTF-8 as bytes; its older versions raise UnicodeDecodeError."""
    return None if all(isinstance(text, str) for text in texts) else NOT_UTF8


def _names_problem(names: Iterable[str]) -> str | None:
    names = list(names)
    longest = max(map(len, names), default=0)
    return _texts_problem(names) or (
        f"a name has {longest:,} characters, more than {LONGEST_NAME:,}" if longest > LONGEST_NAME else None
    )


def _lacking(wanted: Iterable[str], *known: Names) -> str | None:
    for name in wanted:
        if not any(name in names for names in known):
            return f"nothing makes its output '{_shown(name)}'"
    return None


def _value_problem(entry: AttributeProto) -> str | None:
    field = VALUES.get(entry.type)
    if field is None:
        return "has no type"
    if field in MESSAGES and not entry.HasField(field):
        return "has no value"
    if any(held.name in FIELDS and held.name != field for held, _ in entry.ListFields()):
        return "has a value of another type than its own"
    tensors = [entry.t, *entry.tensors] if entry.HasField("t") else entry.tensors
    sparse = [entry.sparse_tensor, *entry.sparse_tensors] if entry.HasField("sparse_tensor") else entry.sparse_tensors
    problems = (*map(tensor_problem, tensors), *map(sparse_problem, sparse))
    return next((problem for problem in problems if problem), None)


def _type_problem(kind: TypeProto) -> str | None:
    """What is wrong with a declared type. An element type that is left out is not known, and not wrong."""
    for _ in range(MOST_GRAPHS):
        which = kind.WhichOneof("value")
        if which in ("tensor_type", "sparse_tensor_type"):
            tensor = getattr(kind, which)
            problem = elem_type_problem(tensor.elem_type) if tensor.elem_type else None
            return problem or _names_problem(dim.dim_param for dim in tensor.shape.dim)
        if which in ("sequence_type", "optional_type"):
            kind = getattr(kind, which).elem_type
        elif which == "map_type":
            kind = kind.map_type.value_type
        else:
            return None
    return "its type is nested too deeply"


def _refuse_circles(nodes: Sequence[NodeProto], made: Names) -> None:
    """Refuse a node that needs its own output, among nodes that are not in topological order."""
    makers = {output: number for number, node in enumerate(nodes) for output in node.output if output}
    needed = {
        number: {makers[name] for name in outer_tensors_used(node) if name in made} for number, node in enumerate(nodes)
    }
    try:
        TopologicalSorter(needed).prepare()
    except CycleError as error:
        _refuse(_label(nodes[error.args[1][0]]), "needs its own output")


def _label(node: NodeProto) -> str:
    name = node.name or next((output for output in node.output if output), "")
    return f"node '{_shown(name)}' ({_shown(node.op_type)})"


def _shown(name: str) -> str:
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}..."
