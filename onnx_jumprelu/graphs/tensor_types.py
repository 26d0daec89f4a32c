"""Element type and shape of every tensor, without touching the weights.

onnx's own shape inference runs over a skeleton of the model in which graph inputs of the same type stand for large
weights, so that its cost does not depend on the size of the file. It leaves function bodies out: those are inferred
once per call, with the types of that call.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, helper

from onnx_jumprelu.graphs.order import sort_nodes
from onnx_jumprelu.graphs.scopes import function_key, subgraphs_of, walk_scopes
from onnx_jumprelu.graphs.stand_ins import stand_in_for_contrib_operators

# Elements. Shape inference reads small integer tensors (the target of a Reshape); anything larger is a weight.
LARGEST_KEPT_TENSOR = 64
FLOAT_TYPES = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
DISCRETE = frozenset(
    TensorProto.DataType.Value(name)
    for name in ("BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
)
# Calls of one function with different types. More differ in most of what matters, and may double with each level of
# functions that call functions: the types in the function are then not known.
MOST_SIGNATURES = 64
INFERENCE_ERROR = "Inference error(s)"  # how shape inference begins the list of what it found in one graph
UNKNOWN_OPERATOR = "Cannot infer type and shape for node"
INVENTED_DIMENSION = "unk__"  # how shape inference names an unknown dimension
Dimension = int | str | None


@dataclass(frozen=True)
class TensorType:
    """Element type (a `TensorProto.DataType`) and shape of a tensor; None for what is not known.

    `shape` holds an int for a fixed dimension, a str for a symbolic one, None for an unknown one.
    """

    elem_type: int | None = None
    shape: tuple[Dimension, ...] | None = None

    @property
    def dtype(self) -> str | None:
        """The element type by NumPy's name: `float32`, `float16`, `bfloat16`, `float64`, `int64`, ..."""
        return None if self.elem_type is None else dtype_name(self.elem_type)

    def merged(self, other: TensorType) -> TensorType:
        """What two calls of a function agree on."""
        return TensorType(
            self.elem_type if self.elem_type == other.elem_type else None,
            self.shape if self.shape == other.shape else None,
        )


ScopeTypes = Mapping[str, TensorType]


def dtype_name(elem_type: int) -> str:
    """An element type by NumPy's name."""
    name = TensorProto.DataType.Name(elem_type)
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(name, name.lower())


def infer_types(model: ModelProto) -> dict[str, dict[str, TensorType]]:
    """Types of the tensors visible in each scope, by the scope's path and the tensor's name; unknown ones are left out.

    Tensors of a function have the types on which all its calls agree.
    """
    table: dict[str, dict[str, TensorType]] = {}
    skeleton = _skeleton(model)
    bodies = {function_key(function): function for function in skeleton.functions}
    done: dict[str, set[bytes]] = {key: set() for key in bodies}
    _record(_infer(skeleton), "main", bodies, table, done)
    for key, signatures in done.items():
        if len(signatures) > MOST_SIGNATURES:
            for called in (key, *_called(bodies[key], bodies)):
                _forget(f"function {called}", table)
    return table


def _forget(root: str, table: dict[str, dict[str, TensorType]]) -> None:
    """Make the types in a function and its subgraphs unknown."""
    for path, types in table.items():
        if path == root or path.startswith(f"{root}/"):
            types.clear()


def _record(
    inferred: ModelProto,
    root: str,
    bodies: Mapping[str, FunctionProto],
    table: dict[str, dict[str, TensorType]],
    done: dict[str, set[bytes]],
) -> None:
    """Add the types of a model's main graph (its path is `root`), subgraphs and calls to `table`."""
    visible: dict[str, dict[str, TensorType]] = {}
    for scope in walk_scopes(inferred):
        if not isinstance(scope.proto, GraphProto):
            break  # functions come last; their types come from their calls
        outer = visible[scope.parent.path] if scope.parent else {}
        seen = visible[scope.path] = {**outer, **dict(_declared(scope.proto))}
        path = root + scope.path.removeprefix("main")
        known = table.get(path)
        table[path] = (
            seen if known is None else {name: seen[name].merged(known[name]) for name in seen.keys() & known.keys()}
        )
        for node in scope.proto.node:
            key = function_key(node)
            if key in bodies:
                if len(done[key]) > MOST_SIGNATURES:
                    continue
                call = _call(node, bodies[key], seen, inferred, bodies)
                signature = call.graph.SerializeToString()
                if signature not in done[key]:
                    done[key].add(signature)
                    _record(_infer(call), f"function {key}", bodies, table, done)


def _infer(model: ModelProto) -> ModelProto:
    """The types of a skeleton, which is changed."""
    stand_in_for_contrib_operators(model)
    try:
        return onnx.shape_inference.infer_shapes(model)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return model  # the types that the file declares are still known


def conflict(model: ModelProto) -> str | None:
    """What shape inference finds wrong with the shapes or attributes of the main graph, on one line; None for nothing.

    What the file declares for tensors in between is not looked at. onnxruntime refuses a model with such a conflict.
    """
    given = _skeleton(model)
    del given.graph.value_info[:]
    for value in given.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    try:
        onnx.shape_inference.infer_shapes(given, strict_mode=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        # Errors within an operator's own definition may be onnx's; onnxruntime has definitions of its own. An operator
        # that onnx does not know is not a conflict.
        return text if text.count(INFERENCE_ERROR) == 1 and UNKNOWN_OPERATOR not in text else None
    return None


def _skeleton(model: ModelProto) -> ModelProto:
    """A copy for shape inference: same nodes, large weights of the main graph replaced by inputs of their type."""
    graph = GraphProto(name=model.graph.name)
    for field in ("input", "output", "value_info"):
        getattr(graph, field).extend(getattr(model.graph, field))
    declared = {value.name for value in graph.input}
    stand_ins: list[TensorProto] = [_sparse_type(sparse) for sparse in model.graph.sparse_initializer]
    for tensor in model.graph.initializer:
        if _is_small(tensor):
            graph.initializer.append(tensor)
        else:
            stand_ins.append(tensor)
    for node in model.graph.node:
        weight = next((entry.t for entry in node.attribute if entry.name == "value" and entry.HasField("t")), None)
        if node.op_type == "Constant" and weight is not None and not _is_small(weight):
            graph.input.append(helper.make_tensor_value_info(node.output[0], weight.data_type, list(weight.dims)))
        else:
            graph.node.append(node)
    for tensor in stand_ins:
        if tensor.name not in declared:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    skeleton = ModelProto(
        ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions, graph=graph
    )
    sort_nodes(skeleton)
    return skeleton


def _sparse_type(sparse: onnx.SparseTensorProto) -> TensorProto:
    """A tensor without data that has a sparse initializer's name, type and shape."""
    return TensorProto(name=sparse.values.name, data_type=sparse.values.data_type, dims=sparse.dims)


def _is_small(tensor: TensorProto) -> bool:
    return tensor.data_location != TensorProto.EXTERNAL and math.prod(tensor.dims) <= LARGEST_KEPT_TENSOR


def _declared(graph: GraphProto) -> Iterator[tuple[str, TensorType]]:
    for tensor in graph.initializer:
        yield tensor.name, TensorType(tensor.data_type, tuple(tensor.dims))
    for values in (graph.input, graph.value_info, graph.output):
        for value in values:
            if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type:
                yield value.name, declared_type(value.type)


def declared_type(proto: TypeProto) -> TensorType:
    """The element type and shape that a file declares for a tensor; an open dimension may be written as -1."""
    tensor = proto.tensor_type
    if not tensor.HasField("shape"):
        return TensorType(tensor.elem_type)
    return TensorType(tensor.elem_type, tuple(_dimension(dim) for dim in tensor.shape.dim))


def _dimension(dim: onnx.TensorShapeProto.Dimension) -> Dimension:
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value >= 0 else None  # some exporters write -1 for an open dimension
    name = str(dim.dim_param)
    return None if not name or name.startswith(INVENTED_DIMENSION) else name


def _call(
    node: NodeProto, body: FunctionProto, types: ScopeTypes, caller: ModelProto, bodies: Mapping[str, FunctionProto]
) -> ModelProto:
    """A function's body as a model of its own, with the input types and attributes of one call."""
    graph = GraphProto(name=body.name, node=body.node)
    for parameter, argument in zip(body.input, node.input, strict=False):
        given = types.get(argument)
        if given is not None and given.elem_type is not None:
            shape = None if given.shape is None else list(given.shape)
            graph.input.append(helper.make_tensor_value_info(parameter, given.elem_type, shape))
    _bind(graph, {entry.name: entry for entry in (*body.attribute_proto, *node.attribute)})
    model = ModelProto(ir_version=caller.ir_version, opset_import=body.opset_import, graph=graph)
    model.functions.extend(bodies[key] for key in _called(body, bodies))
    return model


def _called(body: FunctionProto, bodies: Mapping[str, FunctionProto]) -> list[str]:
    """Keys of the functions that a function calls, directly or not."""
    found: dict[str, None] = {}
    todo = [body]
    while todo:
        holder = ModelProto(functions=[todo.pop()])
        for scope in walk_scopes(holder):
            for node in scope.proto.node:
                key = function_key(node)
                if key in bodies and key not in found:
                    found[key] = None
                    todo.append(bodies[key])
    return list(found)


def _bind(graph: GraphProto, bindings: Mapping[str, AttributeProto]) -> None:
    """Replace references to the function's attributes by their values; one without a value takes the op's default."""
    for node in graph.node:
        bound = []
        for entry in node.attribute:
            if not entry.ref_attr_name:
                bound.append(entry)
            elif entry.ref_attr_name in bindings:
                value = copy.deepcopy(bindings[entry.ref_attr_name])
                value.name = entry.name
                bound.append(value)
        if any(entry.ref_attr_name for entry in node.attribute):
            copies = NodeProto(attribute=bound)
            del node.attribute[:]
            node.attribute.extend(copies.attribute)
        for _, subgraph in subgraphs_of(node):
            _bind(subgraph, bindings)
