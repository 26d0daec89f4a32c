"""Finding rectifiers: one small recogniser per form; what is not patched is refused with a reason.

Recognised: `Relu`, `Clip` with a constant minimum of 0 (ReLU6), `Max(x, 0)`, `LeakyRelu` with alpha 0, `PRelu` with an
all-zero slope; in the main graph, in If, Loop and Scan subgraphs and in model-local functions. Refused, with a reason:
rectifiers fused into another node, RNN activations, integer types, opsets outside the supported range, bounds or slopes
that are not constant, slopes that are not zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto, NodeProto

from onnx_jumprelu.activation.finder import READS_VALUES as READS_VALUES_OF_JUMPRELU
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.constants import NotConstantError, attribute
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, Scope, domain_of, newest_opset, walk_scopes
from onnx_jumprelu.graphs.tensor_types import FLOAT_TYPES, Dimension, TensorType, dtype_name, infer_types
from onnx_jumprelu.rewrite.foreign import ForeignJumpReLUs
from onnx_jumprelu.rewrite.site import ActivationSite

OLDEST_OPSET = 7
# From this version on CastLike makes constants of a type that is known only at run time (with bfloat16 from 16 on).
FIRST_OPSET_WITHOUT_TYPES = 16
FIRST_OPSET_WITH_CLIP_INPUTS = 11


@dataclass(frozen=True)
class Match:
    """A rectifier: `form`, the name of its input, and its upper bound where it has one."""

    form: str
    input: str
    cap: float | None = None


@dataclass(frozen=True)
class Refusal:
    """Something that looks like a rectifier and stays as it is."""

    reason: str
    input: str = ""


@dataclass(frozen=True)
class Found:
    """A site with what the rewrite needs to know of it."""

    site: ActivationSite
    node: NodeProto
    scope: Scope
    elem_type: int | None
    cap: float | None


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
        """One bound of a Clip: an attribute before opset 11, an input from then on."""
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
        """Name of the output, '' where nothing is put out."""
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
        return Refusal(f"the constant of shape {list(zero.shape)} may widen its input", others[0])
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
    """Whether a slope certainly makes the output larger than the input, which ONNX forbids and onnxruntime does."""
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
        return Refusal(f"the slope of shape {list(slope.shape)} widens its input", at.input(0))
    return Match("PRelu", at.input(0))


def _thresholded_relu(at: NodeInScope) -> Refusal:
    """One that is no JumpReLU: those are found by their structure."""
    try:
        alpha = f"{attribute(at.node, 'alpha', 1.0):g}"
    except NotConstantError:
        alpha = "set by the caller"
    return Refusal(f"is no ReLU: alpha is {alpha}", at.input(0))


RECOGNISERS: dict[str, Recogniser] = {
    "Relu": _relu,
    "Clip": _clip,
    "Max": _max,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "ThresholdedRelu": _thresholded_relu,
}


def _fused(node: NodeProto) -> Refusal | None:
    """A node that applies a rectifier inside: an RNN's `activations`, a fused kernel's `activation`."""
    for entry in node.attribute:
        if entry.name not in ("activation", "activations") or entry.ref_attr_name:
            continue
        names = [name.decode(errors="replace") for name in (entry.s, *entry.strings)]
        rectifiers = sorted({name for name in names if name.lower() in ("relu", "clip", "relu6")})
        if rectifiers and domain_of(node.domain) == STANDARD_DOMAIN:
            return Refusal(f"{rectifiers[0]} is inside the {node.op_type} node")
        if rectifiers:
            return Refusal(f"{rectifiers[0]} is fused into {node.domain}.{node.op_type}; save the model unoptimized")
    return None


def recognise(at: NodeInScope, foreign: ForeignJumpReLUs) -> Match | Refusal | None:
    """What one node is: a rectifier, a look-alike with the reason why it stays, or neither."""
    is_rectifier = at.node.op_type in RECOGNISERS and domain_of(at.node.domain) == STANDARD_DOMAIN
    left_alone = foreign.ends_at(at.node) or (foreign.contain(at.node) if is_rectifier else None)
    if left_alone is not None:
        return Refusal(*left_alone)
    recogniser = RECOGNISERS.get(at.node.op_type)
    if recogniser is None or domain_of(at.node.domain) != STANDARD_DOMAIN:
        return _fused(at.node)
    match = recogniser(at)
    if isinstance(match, Match):
        reason = _unsupported(at, match.input)
        if reason:
            return Refusal(reason, match.input)
    return match


# Operators whose constant inputs the recognisers read: bounds, slopes and zeros of rectifiers; jumps of JumpReLUs.
READS_VALUES = frozenset({"Clip", "Max", "PRelu"}) | READS_VALUES_OF_JUMPRELU


def tensors_to_decode(model: ModelProto) -> set[str]:
    """Names of the tensors whose values the recognisers may read, also through Identity and Cast."""
    wanted: set[str] = set()
    for scope in walk_scopes(model):
        for node in reversed(scope.nodes):
            passes_on = node.op_type in ("Identity", "Cast", "CastLike") and wanted.intersection(node.output)
            if node.op_type in READS_VALUES or passes_on:
                wanted.update(node.input)
    return wanted


def _unsupported(at: NodeInScope, pre_activation: str) -> str | None:
    """Why a rectifier cannot be patched whatever its form; None where it can."""
    opset, elem_type = at.scope.opset, _type_of(at, pre_activation).elem_type
    if not pre_activation or not at.output:
        return "has no input or no output"
    if opset is None:
        return "the file imports no version of the standard operators"
    if opset < OLDEST_OPSET:
        return f"opset {opset} is too low; convert the model to opset {OLDEST_OPSET} or later"
    if opset > newest_opset():
        return f"opset {opset} is newer than the installed onnx knows ({newest_opset()}); upgrade onnx"
    if elem_type is None and opset < FIRST_OPSET_WITHOUT_TYPES:
        return f"element type cannot be inferred; below opset {FIRST_OPSET_WITHOUT_TYPES} it must be known"
    if elem_type is not None and elem_type not in FLOAT_TYPES:
        return f"{dtype_name(elem_type)} is not a floating-point type that JumpReLU serves"
    return None


def _type_of(at: NodeInScope, pre_activation: str) -> TensorType:
    """An activation's output has its input's type; either may be the one that is known.

    Where a file declares two shapes that contradict each other, neither is believed.
    """
    before, after = (at.types.get(name) for name in (pre_activation, at.output))
    if before is None or after is None:
        return after or before or TensorType()
    return after if _agree(before.shape, after.shape) else replace(after, shape=None)


def _agree(one: tuple[Dimension, ...] | None, other: tuple[Dimension, ...] | None) -> bool:
    if one is None or other is None:
        return True
    known = (pair for pair in zip(one, other, strict=False) if all(isinstance(size, int) for size in pair))
    return len(one) == len(other) and all(before == after for before, after in known)


def find(model: ModelProto) -> Iterator[Found]:
    """Every rectifier and look-alike of a model that carries no patch, in the order of the file."""
    types = infer_types(model)
    nodes = (
        (NodeInScope(node, scope, types.get(scope.path, {})), foreign)
        for scope in walk_scopes(model)
        for foreign in [ForeignJumpReLUs(scope)]
        for node in scope.nodes
    )
    matches = [(at, match) for at, foreign in nodes if (match := recognise(at, foreign)) is not None]
    for (at, match), name in zip(matches, _site_names([at for at, _ in matches]), strict=True):
        inferred = _type_of(at, match.input)
        site = ActivationSite(
            name=name,
            scope=at.scope.path,
            form=match.form if isinstance(match, Match) else at.node.op_type,
            tensor=at.output,
            input=match.input,
            dtype=inferred.dtype,
            shape=inferred.shape,
            reason=match.reason if isinstance(match, Refusal) else None,
        )
        yield Found(site, at.node, at.scope, inferred.elem_type, match.cap if isinstance(match, Match) else None)


def _site_names(sites: list[NodeInScope]) -> list[str]:
    """A name per site: the node's own, else its output's; with the scope before it where that is not unique."""
    plain = [at.node.name or at.output or at.node.op_type for at in sites]
    times = Counter(plain)
    scoped = [name if times[name] == 1 else f"{at.scope.path}/{name}" for at, name in zip(sites, plain, strict=True)]
    taken = set(scoped)
    used: set[str] = set()
    result = []
    for name in scoped:
        unique, number = name, 2
        while unique in used or (unique != name and unique in taken):
            unique, number = f"{name}#{number}", number + 1
        used.add(unique)
        result.append(unique)
    return result
