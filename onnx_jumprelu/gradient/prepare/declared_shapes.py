"""Checks the tensor shapes that a file declares against those that shape inference finds."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import GraphProto, ModelProto, helper

from onnx_jumprelu.graphs.scopes import required_inputs, walk_scopes
from onnx_jumprelu.graphs.tensor_types import TensorType, infer_types


def forget_doubtful_shapes(model: ModelProto) -> None:
    """Drop declared shapes except for sizes that shape inference cannot find. Changes the model.

    Exporters trace a model with one example and store its sizes; they are wrong if the batch was made open later.
    """
    _open_dimensions(model)
    declared = infer_types(model)["main"]
    for scope in walk_scopes(model):
        if isinstance(scope.proto, GraphProto):
            del scope.proto.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    found = infer_types(model)["main"]
    sources = [found.get(value.name, TensorType()).shape for value in required_inputs(model)]
    open_batch = any(shape and not isinstance(shape[0], int) for shape in sources)
    made = sorted({name for node in model.graph.node for name in node.output if name})
    completed = {
        name: _completed(found.get(name, TensorType()), declared.get(name, TensorType()), open_batch=open_batch)
        for name in made
    }
    _declare(model, {name: known for name, known in completed.items() if known != found.get(name)})


def _open_dimensions(model: ModelProto) -> None:
    """Clear negative sizes and a batch of 0, which some exporters write for open dimensions."""
    for value in model.graph.input:
        for index, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value < 0 or (index == 0 and dim.HasField("dim_value") and dim.dim_value == 0):
                dim.ClearField("dim_value")


def _declare(model: ModelProto, types: Mapping[str, TensorType]) -> None:
    """Declare types in a model: in its outputs, or in value_info for all other tensors."""
    results = {value.name: value for value in model.graph.output}
    for name, known in types.items():
        if known.elem_type is None or known.shape is None:
            continue
        info = helper.make_tensor_value_info(name, known.elem_type, list(known.shape))
        if name in results:
            results[name].type.CopyFrom(info.type)
        else:
            model.graph.value_info.append(info)


def _completed(found: TensorType, declared: TensorType, *, open_batch: bool) -> TensorType:
    """The inferred type, completed with declared sizes, except for the size of an open batch."""
    if declared.shape is None:
        return found
    inferred = found.shape if found.shape is not None else (None,) * len(declared.shape)
    if len(inferred) != len(declared.shape):
        return found
    sizes = [
        size if size is not None or (index == 0 and open_batch and isinstance(stored, int)) else stored
        for index, (size, stored) in enumerate(zip(inferred, declared.shape, strict=True))
    ]
    return TensorType(found.elem_type or declared.elem_type, tuple(sizes))
