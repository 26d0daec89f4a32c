"""Builds, from a classifier, one model that computes logits, loss and input gradient in a single run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableSequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from onnx import ModelProto, TensorProto, helper

from onnx_jumprelu.activation.derivatives import SURROGATES
from onnx_jumprelu.errors import GradientError, OptionError, naming
from onnx_jumprelu.files.models import proto_of
from onnx_jumprelu.gradient.core.backward import pull_back, reached_from
from onnx_jumprelu.gradient.core.endpoints import Endpoints, find_endpoints
from onnx_jumprelu.gradient.core.losses import LOSSES, Loss, LossLike, Scores, loss_name, loss_of
from onnx_jumprelu.gradient.core.registry import label
from onnx_jumprelu.gradient.core.values import Emitter, Value
from onnx_jumprelu.gradient.prepare.pipeline import prepared
from onnx_jumprelu.graphs.builder import FreshNames
from onnx_jumprelu.graphs.scopes import main_opset, required_inputs, walk_scopes
from onnx_jumprelu.graphs.tensor_types import TensorType, dtype_name, infer_types
from onnx_jumprelu.graphs.uses import needed_nodes, tensors_used

Message = TypeVar("Message")

HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def build_gradient_model(
    model: ModelProto | str | Path,
    loss: LossLike = "ce",
    surrogate: str = "exact",
    *,
    input_name: str | None = None,
    output_name: str | None = None,
) -> ModelProto:
    """Build the model that computes forward pass, loss and the loss's gradient with respect to the input.

    The result uses only the standard domain. A trailing Softmax is dropped: the loss is computed from the logits.

    Args:
        model: A classifier, or its path, with one float32 (or float64) input of shape (N, ...) and logits of shape
            (N, classes).
        loss: `ce`, `dlr`, `dlr-targeted`, `margin`, `difference` or `logit`, see `LOSSES`; or a function that appends
            the nodes of another loss, see `gradient.core.losses`.
        surrogate: The derivative at JumpReLU sites, `exact`, `relu` or `smooth`, see `SURROGATES`.
        input_name: Which input, where it has several.
        output_name: Which output, where it has several; the first one by default.

    Returns:
        A model whose inputs are the classifier's input, `labels` (int64, shape (N,)) and, for a targeted loss,
        `targets` (likewise), and whose outputs are, in this order, the logits (N, classes), `loss` (N,), and `gradient`
        of the input's shape. Losses of different examples do not mix. A name that the model already uses gets a number.

    Raises:
        GradientError: the model is not such a classifier, or a node has no derivative.
        ModelFileError: the file cannot be read.
        OptionError: the loss or the surrogate is unknown, or a function does not return values of shape (N,).
    """
    chosen = loss_of(loss)
    if surrogate not in SURROGATES:
        raise OptionError(f"surrogate '{surrogate}' is unknown; choose {', '.join(SURROGATES)}")
    whole = prepared(proto_of(model))
    ends = find_endpoints(whole, input_name, output_name)
    if ends.n_classes < chosen.n_classes:
        raise GradientError(
            f"loss {loss_name(loss)} needs at least {chosen.n_classes} classes; the model has {ends.n_classes}"
        )
    with naming(f"loss {loss_name(loss)}", OptionError):
        forward = _with_loss(whole, ends, chosen)
    types = infer_types(whole)["main"]
    _refuse_halves(whole, ends, types)
    scope = next(iter(walk_scopes(whole)))
    to = forward.to
    seed = to.full(forward.loss.shape(), 1.0, forward.loss.elem_type)
    x = Value(ends.input, ends.elem_type, to)
    gradient = pull_back(scope, types, {forward.loss.name: seed}, ends.input, surrogate, to)
    to.base = "grad"
    if gradient is None:
        gradient = to.full(x.shape(), 0.0, ends.elem_type)
    whole.graph.node.extend(to.builder.take())
    _rename(whole, gradient.name, forward.gradient)
    whole.graph.output.append(helper.make_tensor_value_info(forward.gradient, ends.elem_type, list(ends.shape)))
    _prune(whole)
    return whole


def build_logits_model(
    model: ModelProto, *, input_name: str | None = None, output_name: str | None = None
) -> ModelProto:
    """The model up to its logits, of shape (N, classes), as its only output: the forward pass of a gradient model."""
    whole = prepared(model)
    ends = find_endpoints(whole, input_name, output_name)
    _end_at(whole, _logits(whole, ends, FreshNames(whole)), ends)
    _prune(whole)
    return whole


def _logits(whole: ModelProto, ends: Endpoints, names: Callable[[str], str]) -> str:
    """Name of the logits in the shape (N, classes)."""
    if not ends.trailing:
        return ends.logits
    flat = names(f"{ends.logits}/flat")
    whole.graph.node.append(helper.make_node("Flatten", [ends.logits], [flat], name=names(f"{flat}/Flatten"), axis=1))
    return flat


def _end_at(whole: ModelProto, logits: str, ends: Endpoints) -> None:
    """Make the logits the only output."""
    del whole.graph.output[:]
    whole.graph.output.append(helper.make_tensor_value_info(logits, ends.elem_type, [ends.batch, ends.n_classes]))


@dataclass(frozen=True)
class _Forward:
    """The forward pass with its loss: where new nodes go, the loss, and the name kept for the gradient."""

    to: Emitter
    loss: Value
    gradient: str


def _with_loss(whole: ModelProto, ends: Endpoints, loss: Loss) -> _Forward:
    """Append the nodes of a loss to a model. Its outputs become the logits and the loss."""
    opset = main_opset(whole)
    if opset is None:
        raise GradientError("the model imports no version of the standard operators")
    names = FreshNames(whole)
    to = Emitter(names, opset)
    to.base = "loss"
    labels = Value(names("labels"), TensorProto.INT64, to)
    targets = Value(names("targets"), TensorProto.INT64, to) if loss.targeted else None
    logits = Value(_logits(whole, ends, names), ends.elem_type, to)
    value = loss.write(Scores(logits, ends.n_classes, labels, targets))
    value_name, gradient_name = names("loss"), names("gradient")
    whole.graph.node.extend(to.builder.take())
    for given in (labels, targets):
        if given is not None:
            whole.graph.input.append(helper.make_tensor_value_info(given.name, TensorProto.INT64, [ends.batch]))
    if loss not in LOSSES.values():
        _check_written(whole, value, ends)
    _rename(whole, value.name, value_name)
    _end_at(whole, logits.name, ends)
    whole.graph.output.append(helper.make_tensor_value_info(value_name, ends.elem_type, [ends.batch]))
    return _Forward(to, Value(value_name, ends.elem_type, to), gradient_name)


def _check_written(whole: ModelProto, value: object, ends: Endpoints) -> None:
    """Check what a caller's own loss returned, as far as shape inference can tell."""
    if not isinstance(value, Value):
        raise OptionError(f"its function must return a Value, not {type(value).__name__}")
    found = infer_types(whole)["main"].get(value.name, TensorType())
    if found.shape is not None and len(found.shape) != 1:
        raise OptionError(f"must have one value per example, shape (N,), not {len(found.shape)} dimensions")
    if found.elem_type not in (None, ends.elem_type):
        raise OptionError(f"must be {dtype_name(ends.elem_type)}, as the logits are, not {found.dtype}")


def _refuse_halves(whole: ModelProto, ends: Endpoints, types: Mapping[str, TensorType]) -> None:
    """Refuse a model that computes in a 16-bit type, in which gradients would overflow or vanish."""
    active = reached_from(ends.input, whole.graph.node, types)
    for node in whole.graph.node:
        for name in active.intersection(node.output):
            elem_type = types.get(name, TensorType()).elem_type
            if elem_type in HALVES:
                raise GradientError(
                    f"{label(node)}: computes in {dtype_name(elem_type)}; gradients need float32: "
                    "convert the model to float32"
                )


def _rename(model: ModelProto, old: str, new: str) -> None:
    """Give a tensor of the main graph another name."""
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def _prune(model: ModelProto) -> None:
    """Drop nodes and initializers on which no output depends, and the types of tensors that no node makes."""
    graph, outputs = model.graph, {value.name for value in model.graph.output}
    required = {value.name for value in required_inputs(model)}
    kept = needed_nodes(graph.node, outputs)
    needed = outputs.union(*(tensors_used(node) for node in kept))
    _keep(graph.node, kept)
    made = {name for node in kept for name in node.output}
    _keep(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed])
    _keep(graph.sparse_initializer, [sparse for sparse in graph.sparse_initializer if sparse.values.name in needed])
    _keep(graph.input, [value for value in graph.input if value.name in needed | required])
    _keep(graph.value_info, [value for value in graph.value_info if value.name in made])


def _keep(field: MutableSequence[Message], items: list[Message]) -> None:
    """Leave only some entries of a repeated field."""
    if len(items) < len(field):
        del field[:]
        field.extend(items)
