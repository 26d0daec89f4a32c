"""The parameters that a site's nodes hold, read without a record, whatever the lowering."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from onnx_jumprelu.activation.lowerings import DOMAIN
from onnx_jumprelu.activation.parameters import FIELDS, Parameters
from onnx_jumprelu.activation.values import Jump, shaped
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import JumpReLUError, OptionError
from onnx_jumprelu.graphs.constants import attribute, constant_node_value

SOFT = frozenset({"Softplus", "Exp"})  # every soft lowering has one of them, no hard one has


class NotParametersError(JumpReLUError):
    """Nodes that hold something else than the parameters of a JumpReLU; the message says what."""


def parameters_in(
    nodes: Sequence[NodeProto], defaults: Mapping[str, Array], rank: int | None, n_channels: int | None
) -> Parameters:
    """The parameters of a site.

    A hard site holds its jump, and no other number but 0. A soft site holds its parameters as the operands of Sub and
    Div, or of a function.

    Args:
        nodes: The site's nodes.
        defaults: Default values of the model's parameter inputs, by name.
        rank: Number of dimensions of the site's tensor, None where unknown.
        n_channels: Size of its axis 1, None where unknown.

    Raises:
        NotParametersError: a number is out of range, or several numbers do not lie along the channels.
    """
    held, caps = dict(defaults), _caps(nodes)
    for node in nodes:
        if node.op_type == "Constant" and node.output[0] not in caps:
            held[node.output[0]] = constant_node_value(node).astype(np.float64)
        elif node.op_type == "CastLike" and node.input[0] in held:
            held[node.output[0]] = held[node.input[0]]
    arrays = _soft_operands(nodes, held) if is_soft(nodes) else {"jump": _largest(nodes, held)}
    values = {name: _along_channels(name, array, rank, n_channels) for name, array in arrays.items()}
    try:
        return Parameters.checked(values, "the jump")
    except OptionError as error:
        raise NotParametersError(f"holds parameters of no JumpReLU: {error}") from error


def _caps(nodes: Iterable[NodeProto]) -> frozenset[str]:
    """Names of what caps a site whose rectifier was taken out of a fused kernel."""
    return frozenset(name for node in nodes if node.op_type == "Min" for name in node.input)


def is_soft(nodes: Iterable[NodeProto]) -> bool:
    """Whether a site's nodes write the soft form."""
    return any(node.op_type in SOFT or (node.domain == DOMAIN and len(node.input) > len("xj")) for node in nodes)


def _largest(nodes: Sequence[NodeProto], held: Mapping[str, Array]) -> Array:
    values = [np.zeros(())]
    for node in nodes:
        values += [held[name] for name in (*node.input, *node.output) if name in held]
        if node.op_type == "ThresholdedRelu":
            values.append(np.asarray(attribute(node, "alpha", 1.0)))
    for value in values:
        if not (np.isfinite(value) & (value >= 0)).all():
            raise NotParametersError("holds a jump that is not a finite number of at least 0")
    return max(values, key=lambda value: (value.max(initial=0.0), value.size))


def _soft_operands(nodes: Sequence[NodeProto], held: Mapping[str, Array]) -> dict[str, Array]:
    names: dict[str, str] = {}
    made = {output for node in nodes for output in node.output}
    for node in nodes:
        if node.domain == DOMAIN:
            names.update(zip(FIELDS, node.input[1:], strict=False))
        elif node.op_type == "Div":
            names["softness"] = node.input[1]
        elif node.op_type == "Sub":  # the jump is subtracted from what the site reads, the center from what it made
            names["center" if node.input[0] in made else "jump"] = node.input[1]
    missing = sorted(set(names.values()) - held.keys())
    if missing:
        raise NotParametersError(f"reads '{missing[0]}', which is not a constant")
    return {name: held[tensor] for name, tensor in names.items()}


def _along_channels(name: str, array: Array, rank: int | None, n_channels: int | None) -> Jump:
    """A parameter as one number, or as one per channel. Raises NotParametersError."""
    if array.size == 1:
        return float(array.item())
    values = tuple(array.ravel().tolist())
    shape: tuple[int, ...] = array.shape
    if len(shape) == rank and shape[0] == 1:
        shape = shape[1:]  # broadcasts the same way without it
    if n_channels != len(values) or shaped(values, rank).shape != shape:
        what = "jumps" if name == "jump" else f"a {name}"
        raise NotParametersError(f"holds {what} of shape {list(array.shape)}, which do not lie along its channels")
    return values


def set_to_relu(nodes: Iterable[NodeProto]) -> None:
    """Set every parameter that a hard site's nodes hold to the value at which it is ReLU. Changes the nodes."""
    given = list(nodes)
    caps = _caps(given)
    for node in given:
        if node.op_type == "Constant" and node.output[0] not in caps:
            zeros = np.zeros_like(constant_node_value(node))
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(zeros)))
        elif node.op_type == "ThresholdedRelu":
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("alpha", 0.0))
