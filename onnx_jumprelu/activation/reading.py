"""The parameters that a site's nodes hold, read without a record, whatever the lowering."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from onnx_jumprelu.activation.parameters import Parameters, shaped
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import JumpReLUError
from onnx_jumprelu.graphs.constants import attribute, constant_node_value


class NotParametersError(JumpReLUError):
    """Nodes that hold something else than the parameters of a JumpReLU; the message says what."""


def parameters_in(
    nodes: Sequence[NodeProto], defaults: Mapping[str, Array], rank: int | None, n_channels: int | None
) -> Parameters:
    """The parameters of a site: the jump is the largest constant of its nodes, the only other constant being 0.

    Args:
        nodes: The site's nodes.
        defaults: Default values of the model's parameter inputs, by name.
        rank: Number of dimensions of the site's tensor, None where unknown.
        n_channels: Size of its axis 1, None where unknown.

    Raises:
        NotParametersError: a number is negative or not finite, or several numbers do not lie along the channels.
    """
    values = [np.zeros(())]
    for node in nodes:
        values += [defaults[name] for name in node.input if name in defaults]
        if node.op_type == "Constant":
            values.append(constant_node_value(node).astype(np.float64))
        elif node.op_type == "ThresholdedRelu":
            values.append(np.asarray(attribute(node, "alpha", 1.0)))
    for value in values:
        if not (np.isfinite(value) & (value >= 0)).all():
            raise NotParametersError("holds a jump that is not a finite number of at least 0")
    largest = max(values, key=lambda value: (value.max(initial=0.0), value.size))
    if largest.size == 1:
        return Parameters(float(largest.item()))
    jump = tuple(largest.ravel().tolist())
    shape: tuple[int, ...] = largest.shape
    if len(shape) == rank and shape[0] == 1:
        shape = shape[1:]  # broadcasts the same way without it
    if n_channels != len(jump) or shaped(jump, rank).shape != shape:
        raise NotParametersError(f"holds jumps of shape {list(largest.shape)}, which do not lie along its channels")
    return Parameters(jump)


def set_to_relu(nodes: Iterable[NodeProto]) -> None:
    """Set every parameter that a site's nodes hold to the value at which the site is ReLU. Changes the nodes."""
    for node in nodes:
        if node.op_type == "Constant":
            zeros = np.zeros_like(constant_node_value(node))
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(zeros)))
        elif node.op_type == "ThresholdedRelu":
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("alpha", 0.0))
