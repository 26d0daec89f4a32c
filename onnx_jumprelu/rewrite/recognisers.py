"""Recognisers of rectifiers: one small function per form, which matches or refuses with a reason.

Matched: `Relu`, `Clip` with a constant minimum of 0 (ReLU6), `Max(x, 0)`, `LeakyRelu` and `Elu` with alpha 0, `PRelu`
with an all-zero slope. Refused: rectifiers fused into another node, RNN activations, bounds or slopes that are not
constant, slopes that are not zero, rectifiers written with arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from onnx_jumprelu.activation.finder import JUMPRELU_READS_VALUES
from onnx_jumprelu.activation.tensors import MADE_OF_A_CONSTANT, Tensors
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.constants import ExternalError, NotConstantError, attribute
from onnx_jumprelu.graphs.fused_kernels import fused_rectifier
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, Scope, domain_of, walk_scopes
from onnx_jumprelu.graphs.tensor_types import Dimension, TensorType

FIRST_OPSET_WITH_CLIP_INPUTS = 11
FUSED = frozenset({"relu", "clip", "relu6", "thresholdedrelu"})  # rectifiers and JumpReLUs inside other operators


@dataclass(frozen=True)
class Match:
    """A rectifier.

    Attributes:
        form: The operator.
        input: Name of its input, '' where that is inside a fused kernel.
        cap: Upper bound, None for none.
        typed_by: Name of a constant of its type, '' where there is none.
        bare: The fused kernel without the rectifier, None for a rectifier of its own.
    """

    form: str
    input: str
    cap: float | None = None
    typed_by: str = ""
    bare: NodeProto | None = None


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
    tensors: Tensors
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
    return Match("Clip", at.input(0), None if high == np.inf else high, typed_by=at.input(1) or at.input(2))


def _max(at: NodeInScope) -> Match | Refusal | None:
    zeros = [name for name in at.node.input if at.tensors.is_zero(name)]
    if not zeros and any(_is_zero_by_default(at, name) for name in at.node.input):
        return Refusal("the zero is not constant: it is a graph input and can be overridden")
    external = None if zeros else next(filter(None, (_external(at, name) for name in at.node.input)), None)
    if external is not None:
        return Refusal(f"may be a rectifier: {external}; store small tensors in the model itself")
    others = [name for name in at.node.input if name not in zeros]
    if not zeros or not others:
        return None
    if len(others) != 1:
        return Refusal("Max of more than two inputs")
    widening = (_not_widened(at, zero, others[0]) for zero in zeros)
    return next(filter(None, widening), None) or Match("Max", others[0], typed_by=zeros[0])


def _external(at: NodeInScope, name: str) -> str | None:
    """Where the value of a tensor is, if it is outside the file."""
    try:
        at.scope.constant(name)
    except ExternalError as error:
        return str(error)
    except NotConstantError:
        pass
    return None


def _not_widened(at: NodeInScope, zero: str, other: str) -> Refusal | None:
    """A refusal where broadcasting with a zero may make the other input larger, None where it cannot."""
    shape, given = _shape_of(at, zero), at.types.get(other, TensorType()).shape
    if isinstance(shape, tuple):
        if _keeps_shape(shape, given):
            return None
        return Refusal(f"the constant of shape {list(shape)} may broadcast its input to a larger shape", other)
    like = at.types.get(shape or zero, TensorType()).shape
    fixed = like is not None and all(isinstance(size, int) for size in like)  # names of sizes are not enforced
    if shape == other or (fixed and like == given):
        return None
    return Refusal("the shape of the zero is computed and may broadcast its input to a larger shape", other)


def _shape_of(at: NodeInScope, constant: str) -> tuple[int, ...] | str | None:
    """The shape of a constant, or the name of a tensor of the same shape; None where neither is known."""
    name = constant
    while (node := at.tensors.maker(name, "Cast", "CastLike")) is not None:
        name = node.input[0]
    node = at.tensors.maker(name, "ConstantOfShape", "Expand")
    try:
        if node is None:
            return at.scope.constant(name).shape
        repeated = at.scope.constant(node.input[0]).shape if node.op_type == "Expand" else ()
    except NotConstantError:
        return None
    return _expanded(at, repeated, node.input[-1])


def _expanded(at: NodeInScope, repeated: tuple[int, ...], target: str) -> tuple[int, ...] | str | None:
    """The shape of a constant that is repeated to the shape that a tensor holds, as `_shape_of` gives it."""
    try:
        return np.broadcast_shapes(repeated, tuple(int(size) for size in np.ravel(at.scope.constant(target))))
    except NotConstantError:
        node = at.tensors.maker(target, "Shape")
    except ValueError:  # the two do not fit
        return None
    if node is None or node.attribute or any(size != 1 for size in repeated):  # `start`, `end`: a part of the shape
        return None
    like = at.types.get(node.input[0], TensorType()).shape
    return node.input[0] if not repeated or (like is not None and len(repeated) <= len(like)) else None


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
    alpha = _alpha(at, 0.01)
    if isinstance(alpha, Refusal):
        return alpha
    if alpha != 0:
        return Refusal(f"alpha is {alpha:g}, not 0: it lets negative values through", at.input(0))
    return Match("LeakyRelu", at.input(0))


def _elu(at: NodeInScope) -> Match | Refusal | None:
    """With alpha 0 nothing is left of its negative part."""
    alpha = _alpha(at, 1.0)
    if isinstance(alpha, Refusal):
        return alpha
    return Match("Elu", at.input(0)) if alpha == 0 else None


def _alpha(at: NodeInScope, default: float) -> float | Refusal:
    try:
        return attribute(at.node, "alpha", default)
    except NotConstantError as error:
        return Refusal(f"alpha is not constant: {error}", at.input(0))


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
    return Match("PRelu", at.input(0), typed_by=at.input(1))


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
    "Elu": _elu,
    "PRelu": _prelu,
    "ThresholdedRelu": _thresholded_relu,
}


def _half_of_sum(at: NodeInScope) -> Refusal | None:
    """(x + |x|) / 2, also as a product with 0.5."""
    factor = {"Div": 2.0, "Mul": 0.5}[at.node.op_type]
    for total, half in (at.node.input, reversed(at.node.input)) if len(at.node.input) == 2 else ():  # noqa: PLR2004
        added = at.tensors.maker(total, "Add")
        if added is None or _scalar(at, half) != factor:
            continue
        for x, absolute in (added.input, reversed(added.input)):
            magnitude = at.tensors.maker(absolute, "Abs")
            if magnitude is not None and magnitude.input[0] == x:
                return Refusal("is a ReLU written as (x + |x|) / 2; write Relu instead", x)
    return None


def _difference(at: NodeInScope) -> Refusal | None:
    """X - min(x, 0)."""
    below = at.tensors.maker(at.input(1), "Min")
    if below is None or at.input(0) not in below.input:
        return None
    others = [name for name in below.input if name != at.input(0)]
    if len(others) != 1 or not at.tensors.is_zero(others[0]):
        return None
    return Refusal("is a ReLU written as x - min(x, 0); write Relu instead", at.input(0))


# Rectifiers written with arithmetic: listed, so that none is missed silently, and not patched.
ARITHMETIC: dict[str, Recogniser] = {"Div": _half_of_sum, "Mul": _half_of_sum, "Sub": _difference}


def cap_of(at: NodeInScope) -> tuple[str, float] | None:
    """The tensor that a node caps from above, and the cap, if it does nothing else to a rectified tensor; else None.

    The cap of a Clip without a maximum is infinite.
    """
    if domain_of(at.node.domain) != STANDARD_DOMAIN:
        return None
    try:
        if at.node.op_type == "Clip" and at.bound("min", 1, -np.inf) <= 0:
            cap = at.bound("max", 2, np.inf)
            return (at.tensors.plain(at.input(0)), cap) if cap > 0 else None
        if at.node.op_type == "Min" and len(at.node.input) == 2:  # noqa: PLR2004
            for x, bound in (at.node.input, reversed(at.node.input)):
                value = _scalar(at, bound)
                if value is not None and value > 0:
                    return at.tensors.plain(x), value
    except NotConstantError:
        pass
    return None


def _scalar(at: NodeInScope, name: str) -> float | None:
    """The value of a constant with one number, None for anything else."""
    try:
        value = at.scope.constant(name)
    except NotConstantError:
        return None
    return float(value.astype(np.float64).reshape(())) if value.size == 1 and value.dtype.kind in "fV" else None


def fused(node: NodeProto) -> Match | Refusal | None:
    """A rectifier inside a node: one that can be taken out of a fused kernel, or the reason why it cannot."""
    inside = fused_rectifier(node)
    if inside is not None:
        return Match(node.op_type, "", inside.cap, bare=inside.bare)
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
# (Those of a cap or of arithmetic have one number, and are never left out as large.)
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
