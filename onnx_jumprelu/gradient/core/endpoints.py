"""Finds the input of a classifier, and its logits before any trailing Softmax."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto, NodeProto, TensorProto

from onnx_jumprelu.errors import GradientError
from onnx_jumprelu.graphs.constants import attribute
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, domain_of, required_inputs
from onnx_jumprelu.graphs.tensor_types import Dimension, TensorType, dtype_name, infer_types

SUPPORTED = (TensorProto.FLOAT, TensorProto.DOUBLE)
MOST_CLASSES = 1_000_000  # losses have arrays of this size
FIRST_OPSET_WITH_SOFTMAX_OVER_ONE_AXIS = 13


@dataclass(frozen=True)
class Endpoints:
    """Names of a classifier's input and logits.

    Attributes:
        input: Name of the input, of shape `shape`, (N, ...).
        shape: Its shape, int, symbolic name or None per dimension.
        elem_type: Its element type, float32 or float64.
        logits: Name of the tensor of logits.
        n_classes: Number of classes.
        trailing: How many dimensions of size 1 follow (N, classes) in the shape of the logits.
        stripped: Names of the nodes between the logits and the output, such as a Softmax.
    """

    input: str
    shape: tuple[Dimension, ...]
    elem_type: int
    logits: str
    n_classes: int
    trailing: int
    stripped: tuple[str, ...]

    @property
    def batch(self) -> int | str:
        """Size or name of the batch."""
        return "N" if self.shape[0] is None else self.shape[0]


def find_endpoints(model: ModelProto, input_name: str | None = None, output_name: str | None = None) -> Endpoints:
    """The input and the logits of a classifier.

    Args:
        model: The model, without model-local functions.
        input_name: Which input, where there are several.
        output_name: Which output, where there are several; the first one by default.

    Raises:
        GradientError: the model is not a classifier with one float32 or float64 input and logits of shape (N, classes).
    """
    types = infer_types(model)["main"]
    source = _input(model, input_name)
    given = types.get(source, TensorType())
    if given.elem_type not in SUPPORTED:
        known = "unknown" if given.elem_type is None else dtype_name(given.elem_type)
        raise GradientError(f"input '{source}' is {known}; gradients need float32: convert the model to float32")
    if not given.shape:
        raise GradientError(f"input '{source}' has no known shape (N, ...); give it one in the file")
    output = _output(model, output_name)
    logits, stripped = _before_softmax(model, output, types)
    shape = types.get(logits, TensorType()).shape or types.get(output, TensorType()).shape
    if shape is None or len(shape) < 2 or any(size != 1 for size in shape[2:]) or not isinstance(shape[1], int):
        shown = "unknown shape" if shape is None else f"shape {['?' if size is None else size for size in shape]}"
        raise GradientError(
            f"output '{output}' has {shown}; logits of shape (N, classes) are needed, with the classes fixed"
        )
    if shape[0] == 1 and given.shape[0] != 1:
        raise GradientError(
            f"output '{output}' has a batch of 1 for every input; logits of shape (N, classes) are needed"
        )
    if types.get(logits, given).elem_type not in (given.elem_type, None):
        raise GradientError(
            f"output '{output}' has another element type than input '{source}'; leave out the final Cast"
        )
    if shape[1] > MOST_CLASSES:
        raise GradientError(f"output '{output}' has {shape[1]} classes; at most {MOST_CLASSES:,} are supported")
    if shape[1] < 2:
        raise GradientError(f"output '{output}' has {shape[1]} class; a classifier with at least 2 is needed")
    return Endpoints(source, given.shape, given.elem_type, logits, shape[1], len(shape) - 2, stripped)


def _input(model: ModelProto, name: str | None) -> str:
    names = [value.name for value in required_inputs(model)]
    if name is not None:
        if name not in names:
            raise GradientError(f"the model has no input '{name}'; it has {', '.join(names)}")
        if len(names) > 1:
            raise GradientError(
                f"the model needs {len(names)} inputs ({', '.join(names)}); a classifier with one input is needed"
            )
        return name
    if len(names) != 1:
        raise GradientError(
            f"the model has {len(names)} inputs ({', '.join(names)}); a classifier with one input is needed"
        )
    return names[0]


def _output(model: ModelProto, name: str | None) -> str:
    names = [value.name for value in model.graph.output]
    if name is not None and name not in names:
        raise GradientError(f"the model has no output '{name}'; it has {', '.join(names)}")
    if name is None and not names:
        raise GradientError("the model has no output")
    return names[0] if name is None else name


def _before_softmax(model: ModelProto, output: str, types: dict[str, TensorType]) -> tuple[str, tuple[str, ...]]:
    """The logits behind a Softmax over the classes, and the nodes from them to the output."""
    makers = {name: node for node in model.graph.node for name in node.output}
    name, passed, logits, stripped = output, [], output, 0
    while (node := makers.get(name)) is not None and _is_softmax_or_identity(node, model, types):
        name = node.input[0]
        passed.append(node.name or node.output[0])
        if node.op_type != "Identity":
            logits, stripped = name, len(passed)
    return logits, tuple(passed[:stripped])


def _is_softmax_or_identity(node: NodeProto, model: ModelProto, types: dict[str, TensorType]) -> bool:
    if domain_of(node.domain) != STANDARD_DOMAIN or node.op_type not in ("Softmax", "LogSoftmax", "Identity"):
        return False
    if node.op_type == "Identity":
        return True
    opset = max(entry.version for entry in model.opset_import if domain_of(entry.domain) == STANDARD_DOMAIN)
    default = -1 if opset >= FIRST_OPSET_WITH_SOFTMAX_OVER_ONE_AXIS else 1
    axis = int(attribute(node, "axis", default))
    shape = types.get(node.output[0], TensorType()).shape
    return shape is not None and shape != () and axis % len(shape) == 1
