"""Recognisers of rectifiers: one small function per form, which matches or refuses with a reason.

Matched: `Relu`, `Clip` with a constant minimum of 0 (ReLU6), `Max(x, 0)`, `LeakyRelu` with alpha 0, `PRelu` with an
all-zero slope. Refused: rectifiers fused into another node, RNN activations, bounds or slopes that are not constant,
slopes that are not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from onnx_jumprelu.activation.finder import JUMPRELU_READS_VALUES
from onnx_jumprelu.activation.tensors import MADE_OF_A_CONSTANT
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.constants import NotConstantError, attribute
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, Scope, domain_of, walk_scopes
from onnx_jumprelu.graphs.tensor_types import Dimension, TensorType

FIRST_OPSET_WITH_CLIP_INPUTS = 11
FUSED = frozenset({"relu", "clip", "relu6", "thresholdedrelu"})  # rectifiers and JumpReLUs inside other operators


@dataclass(frozen=True)
class Match:
    """A rectifier: its form, the name of its input, and its upper bound (None for none)."""

    form: str
    input: str
    cap: float | None = None


@dataclass(frozen=True)
class Refusal:
    """Something that looks like a rectifier and cannot be patched."""

    reason: str
    input: str = ""


@dataclass(frozen=True)
class NodeInScope:
    """What a recogniser looks at."""

    node: NodeProto
    scope: Scope
    types: Mapping[str, TensorType]

    def input(self, index: int) -> str:
        """Name of an input, '' where it is left out."""
        return self.node.input[index] if index < len(self.node.input) else ""

    def constant(self, index: int) -> Array | None:
        """Value of a constant input, None where the input is left out."""
        name = self.input(index)
        return self.scope.constant(name) if name else None

    def bound(self, attribute_name: str, index: int, default: float) -> float:
        """One bound of a Clip: an attribute before opset 11, an input since."""
        if (self.scope.opset or 0) < FIRST_OPSET_WITH_CLIP_INPUTS:
            return attribute(self.node, attribute_name, default)
        value = self.constant(index)
        if value is None:
            return default
        if value.size != 1:
            raise NotConstantError(f"'{self.input(index)}' is not a scalar")
        return float(value.astype(np.float64).reshape(()))

    @property
    def output(self) -> str:
        """Name of the output, '' where there is none."""
        return next((output for output in self.node.output if output), "")


Recogniser = Callable[[NodeInScope], Match | Refusal | None]


def _relu(at: NodeInScope) -> Match:
    return Match("Relu", at.input(0))


def _clip(at: NodeInScope) -> Match | Refusal | None:
    try:
        if at.bound("min", 1, -np.inf) != 0:
            return None
        high = at.bound("max", 2, np.inf)
    except NotConstantError as error:
        return Refusal(f"bounds are not constant: {error}", at.input(0))
    if not high > 0:
        return Refusal(f"maximum {high:g} is not above the minimum 0", at.input(0))
    return Match("Clip", at.input(0), None if high == np.inf else high)


def _max(at: NodeInScope) -> Match | Refusal | None:
    zeros = [index for index in range(len(at.node.input)) if _is_zero(at, index)]
    if not zeros and any(_is_zero_by_default(at, name) for name in at.node.input):
        return Refusal("the zero is not constant: it is a graph input and can be overridden")
    if len(zeros) != 1:
        return None
    others = [name for index, name in enumerate(at.node.input) if index != zeros[0]]
    if len(others) != 1:
        return Refusal("Max of more than two inputs")
    zero = at.constant(zeros[0])
    given = at.types.get(others[0], TensorType()).shape
    if zero is not None and not _keeps_shape(zero.shape, given):
        return Refusal(f"the constant of shape {list(zero.shape)} may broadcast its input to a larger shape", others[0])
    return Match("Max", others[0])


def _is_zero(at: NodeInScope, index: int) -> bool:
    try:
        value = at.constant(index)
    except NotConstantError:
        return False
    return value is not None and value.size > 0 and not value.any()


def _is_zero_by_default(at: NodeInScope, name: str) -> bool:
    try:
        value = at.scope.default(name)
    except NotConstantError:
        return False
    return value is not None and value.size > 0 and not value.any()


def _keeps_shape(zero: tuple[int, ...], given: tuple[Dimension, ...] | None) -> bool:
    """Whether broadcasting with a constant of shape `zero` leaves the other input's shape as it was."""
    if not zero:
        return True
    if given is None or len(zero) > len(given):
        return False
    return all(size in (1, dim) for size, dim in zip(zero[::-1], given[::-1], strict=False))


def _widens(slope: tuple[int, ...], given: tuple[Dimension, ...]) -> bool:
    """Whether a slope makes the output larger than the input: ONNX forbids this, but onnxruntime does it."""
    sizes = zip(slope[::-1], given[::-1], strict=False)
    return len(slope) > len(given) or any(isinstance(dim, int) and size not in (1, dim) for size, dim in sizes)


def _leaky_relu(at: NodeInScope) -> Match | Refusal:
    try:
        alpha = attribute(at.node, "alpha", 0.01)
    except NotConstantError as error:
        return Refusal(f"alpha is not constant: {error}", at.input(0))
    if alpha != 0:
        return Refusal(f"alpha is {alpha:g}, not 0: it lets negative values through", at.input(0))
    return Match("LeakyRelu", at.input(0))


def _prelu(at: NodeInScope) -> Match | Refusal:
    try:
        slope = at.constant(1)
    except NotConstantError as error:
        return Refusal(f"slope is not constant: {error}", at.input(0))
    if slope is None or slope.any():
        return Refusal("slope is not 0 everywhere: it lets negative values through", at.input(0))
    given = at.types.get(at.input(0), TensorType()).shape
    if given is not None and _widens(slope.shape, given):
        return Refusal(f"the slope of shape {list(slope.shape)} broadcasts its input to a larger shape", at.input(0))
    return Match("PRelu", at.input(0))


def _thresholded_relu(at: NodeInScope) -> Refusal:
    """A ThresholdedRelu that is not a JumpReLU (those are found by structure)."""
    try:
        alpha = f"{attribute(at.node, 'alpha', 1.0):g}"
    except NotConstantError:
        alpha = "set by the caller"
    return Refusal(f"is not a ReLU: alpha is {alpha}", at.input(0))


RECOGNISERS: dict[str, Recogniser] = {
    "Relu": _relu,
    "Clip": _clip,
    "Max": _max,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "ThresholdedRelu": _thresholded_relu,
}


def fused(node: NodeProto) -> Refusal | None:
    """A refusal for a node with a rectifier inside: `activations` of an RNN, `activation` of a fused kernel."""
    for entry in node.attribute:
        if entry.name not in ("activation", "activations") or entry.ref_attr_name:
            continue
        names = [name.decode(errors="replace") for name in (entry.s, *entry.strings)]
        rectifiers = sorted({name for name in names if name.lower() in FUSED})
        if rectifiers and domain_of(node.domain) == STANDARD_DOMAIN:
            return Refusal(f"{rectifiers[0]} is inside the {node.op_type} node")
        if rectifiers:
            return Refusal(f"{rectifiers[0]} is fused into {node.domain}.{node.op_type}; save the model unoptimized")
    return None


# Operators whose constant inputs the recognisers read: bounds, slopes and zeros of rectifiers; jumps of JumpReLUs.
READS_VALUES = frozenset({"Clip", "Max", "PRelu"}) | JUMPRELU_READS_VALUES
PASSING_ON = MADE_OF_A_CONSTANT | {"Identity"}


def tensors_to_decode(model: ModelProto) -> set[str]:
    """Names of the tensors whose values the recognisers may read, also through operators that keep them."""
    wanted: set[str] = set()
    for scope in walk_scopes(model):
        for node in reversed(scope.nodes):
            passes_on = node.op_type in PASSING_ON and wanted.intersection(node.output)
            if node.op_type in READS_VALUES or passes_on:
                wanted.update(node.input)
    return wanted
