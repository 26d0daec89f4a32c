"""Finds JumpReLUs in a graph by structure, whatever tool put them there.

Recognised, with any mask that the module `gates` can read:

    Where(mask, x, 0)                        also with Relu(x), and keeping NaN
    Mul(x, mask)                             also with Relu(x), and quantized
    Add(Relu(x - jump), Mul(jump, mask))
    ThresholdedRelu(x, alpha=jump)
    F(x, jump)                               a model-local function that holds one of these

and the soft form, in the spellings that the module `soft_finder` can read. The jump is a number of at least 0, one per
channel, or an overridable initializer. A capped JumpReLU is followed by a Clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from onnx import FunctionProto, ModelProto, NodeProto

from onnx_jumprelu.activation.gates import READS_VALUES, Mask, masks
from onnx_jumprelu.activation.parameters import FIELDS
from onnx_jumprelu.activation.soft_finder import soft_site
from onnx_jumprelu.activation.tensors import KEEPING, KEEPING_WHERE_POSITIVE, RECTIFYING, Tensors
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.graphs.constants import NotConstantError, attribute
from onnx_jumprelu.graphs.fused_kernels import CONTRIB_DOMAIN
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, Scope, domain_of, function_key

N_OPERANDS, N_SOFT_OPERANDS = 2, 4  # x, jump; x, jump, softness, center
LARGEST_FUNCTION = 20  # nodes
NUMBERS = "biufV"  # kinds of element types that have an order; V are those of ml_dtypes


@dataclass(frozen=True)
class JumpReLU:
    """One JumpReLU.

    Attributes:
        x: Name of the pre-activation.
        y: Name of the output.
        operands: Each parameter by name: the name of the tensor that holds it, or the number itself.
        jumps: The jump that the file fixes, one number or one per channel; None where it is an input.
        softness: The same of the softness; None also for the hard form.
        center: The same of the center.
        inside: Outputs of nodes that are part of it and could be taken for a JumpReLU of their own.
        through: Names of other tensors that equal the pre-activation above the jump, and that the output is made from.
    """

    x: str
    y: str
    operands: Mapping[str, str | float]
    jumps: tuple[float, ...] | None = None
    through: frozenset[str] = frozenset()
    softness: tuple[float, ...] | None = None
    center: tuple[float, ...] | None = None
    inside: frozenset[str] = frozenset()

    @property
    def is_soft(self) -> bool:
        """Whether it has the soft form."""
        return "softness" in self.operands

    @property
    def inputs(self) -> frozenset[str]:
        """Names of the tensors that hold its parameters."""
        return frozenset(value for value in self.operands.values() if isinstance(value, str))

    def is_relu(self, scope: Scope) -> bool:
        """Whether it computes what ReLU computes, with the defaults of the graph inputs that are its parameters."""
        if self.is_soft:
            return False
        jump = self.operands["jump"]
        if self.jumps is None and isinstance(jump, str):
            values = scope.default(jump)
            return values is not None and not values.any()
        return not any(self.jumps or ())

    def shown(self) -> str:
        """Its parameters for people: `jump 0.5`, `jumps 0 to 1.5`, `jump from 'name', softness 0.1`."""
        shown = _shown("jump", "jumps", self.jumps, self.operands["jump"])
        if self.is_soft:
            shown += f", {_shown('softness', 'softness', self.softness, self.operands['softness'])}"
        return shown


def _shown(one: str, several: str, values: tuple[float, ...] | None, operand: str | float) -> str:
    if values is None:
        return f"{one} from '{operand}'"
    low, high = min(values), max(values)
    return f"{one} {low:g}" if low == high else f"{several} {low:g} to {high:g}"


# Operators whose inputs may be a jump or a zero, so that finding JumpReLUs needs the value.
JUMPRELU_READS_VALUES = READS_VALUES


def find_jumprelus(scope: Scope) -> dict[str, JumpReLU]:
    """Every JumpReLU of a scope, by the name of its output."""
    finder = _Finder(scope)
    found = [site for node in scope.nodes if (site := finder.find(node)) is not None]
    inside = {name for site in found for name in site.inside}
    return {site.y: site for site in found if site.y not in inside}


def check_inputs(sites: Iterable[JumpReLU], values: Mapping[str, Array]) -> None:
    """Check values given to graph inputs that are parameters of JumpReLUs.

    Args:
        sites: The JumpReLUs of the model.
        values: Values by the graph input's name; others than parameters are ignored.

    Raises:
        OptionError: a JumpReLU cannot have this value.
    """
    for site in sites:
        for name in site.inputs & values.keys():
            if name == site.operands["jump"] and not (values[name] >= 0).all():
                raise OptionError(f"'{name}' is a jump; it must be at least 0")
            if name == site.operands.get("softness") and not (values[name] > 0).all():
                raise OptionError(f"'{name}' is a softness; it must be above 0")


@dataclass(frozen=True)
class _Held:
    """Numbers that a parameter holds, None where they are set from outside."""

    fixed: tuple[float, ...] | None


class _Finder:
    def __init__(self, scope: Scope, parameters: Iterable[str] = ()) -> None:
        self._scope = scope
        self._at = Tensors(scope)
        self._open = frozenset(parameters)  # tensors that are taken for parameters, whatever they hold

    def find(self, node: NodeProto) -> JumpReLU | None:
        """The JumpReLU that a node ends, None where it ends none."""
        domain = domain_of(node.domain)
        search = _ENDS.get((domain, node.op_type))
        hard = None if search is None else search(self, node)
        if hard is not None:
            return hard
        return self._soft(node) if domain == STANDARD_DOMAIN else self._call(node)

    def _soft(self, node: NodeProto) -> JumpReLU | None:
        site = soft_site(node, self._at)
        if site is None:
            return None
        operands = {"jump": site.jump, "softness": site.softness, "center": site.center}
        return self._found_soft(site.x, site.y, operands, frozenset(site.inside))

    def _found_soft(
        self, x: str, y: str, operands: Mapping[str, str | float], inside: frozenset[str] = frozenset()
    ) -> JumpReLU | None:
        jump, softness, center = (self._held(operands[name], name) for name in FIELDS)
        if jump is None or softness is None or center is None or 0.0 in (softness.fixed or ()):
            return None
        used = {name: held for name, held in operands.items() if (name, held) != ("center", 0.0)}
        return JumpReLU(
            self._at.plain(x), y, used, jump.fixed, softness=softness.fixed, center=center.fixed, inside=inside
        )

    def _thresholded(self, node: NodeProto) -> JumpReLU | None:
        try:
            alpha = attribute(node, "alpha", 1.0)
        except NotConstantError:
            return None
        return self._found(node, node.input[0], alpha)

    def _where(self, node: NodeProto) -> JumpReLU | None:
        condition, first, second = node.input
        for mask in masks(condition, self._at):
            kept, dropped = (first, second) if mask.above else (second, first)
            site = self._site(mask, kept, node) if self._at.is_zero(dropped) else None
            if site is not None:
                return site
        return None

    def _product(self, node: NodeProto) -> JumpReLU | None:
        return self._gated(node, node.input[0], node.input[1])

    def _quantized_product(self, node: NodeProto) -> JumpReLU | None:
        return self._gated(node, node.input[0], node.input[3])

    def _gated(self, node: NodeProto, one: str, other: str) -> JumpReLU | None:
        for kept, gate in ((one, other), (other, one)):
            for mask in masks(gate, self._at):
                site = self._site(mask, kept, node) if mask.above else None
                if site is not None:
                    return site
        return None

    def _sum(self, node: NodeProto) -> JumpReLU | None:
        """Relu(x - jump) + jump * mask."""
        for rectified, step in (node.input, reversed(node.input)):
            relu, product = self._at.maker(rectified, "Relu"), self._at.maker(step, "Mul")
            shifted = None if relu is None else self._at.maker(relu.input[0], "Sub")
            if product is None or shifted is None:
                continue
            x, jump = self._at.plain(shifted.input[0]), shifted.input[1]
            for height, gate in (product.input, reversed(product.input)):
                same = self._at.plain(height) == self._at.plain(jump)
                if same and any(mask.above and mask.x == x for mask in masks(gate, self._at)):
                    return self._found(node, x, jump)
        return None

    def _site(self, mask: Mask, kept: str, node: NodeProto) -> JumpReLU | None:
        """The site, if the kept tensor equals the compared one above the jump; else None."""
        if mask.x in self._at.behind(kept, RECTIFYING):
            return self._found(node, mask.x, mask.jump)
        compared, chain = self._at.behind(mask.x, KEEPING), self._at.behind(kept, KEEPING_WHERE_POSITIVE)
        common = next((name for name in chain if name in compared), None)
        if common is not None:
            return self._found(node, kept, mask.jump, through=chain[: chain.index(common)])
        clip = self._at.maker(kept, "Clip")
        if clip is not None and set(compared).intersection(self._at.behind(clip.input[0], KEEPING)):
            return self._capped(node, clip, mask.jump)
        return None

    def _capped(self, node: NodeProto, clip: NodeProto, jump: str | float) -> JumpReLU | None:
        """The site, if a rectifier with a cap is above the jump where its input is: it is then the pre-activation."""
        try:
            above = self._at.cap(clip) > self._at.largest(jump)
        except NotConstantError:
            return None
        return self._found(node, clip.output[0], jump) if above else None

    def _call(self, node: NodeProto) -> JumpReLU | None:
        """A call of a small model-local function whose body is a JumpReLU of its inputs."""
        function = self._functions.get(function_key(node))
        if function is None or len(node.input) != len(function.input):
            return None
        if len(node.input) == N_OPERANDS and _is_jumprelu(function, self._scope.model):
            return self._found(node, node.input[0], node.input[1])
        if len(node.input) == N_SOFT_OPERANDS and _is_soft_jumprelu(function, self._scope.model):
            return self._found_soft(node.input[0], node.output[0], dict(zip(FIELDS, node.input[1:], strict=True)))
        return None

    @cached_property
    def _functions(self) -> dict[str, FunctionProto]:
        functions = self._scope.model.functions
        return {function_key(function): function for function in functions if len(function.node) <= LARGEST_FUNCTION}

    def _found(self, node: NodeProto, x: str, jump: str | float, *, through: Iterable[str] = ()) -> JumpReLU | None:
        held = self._held(jump)
        if held is None:
            return None
        return JumpReLU(self._at.plain(x), node.output[0], {"jump": jump}, held.fixed, frozenset(through))

    def _held(self, operand: str | float, parameter: str = "jump") -> _Held | None:
        """What a tensor or a number holds if it can be this parameter, None if it cannot."""
        lowest = -np.inf if parameter == "center" else 0.0
        if isinstance(operand, str) and operand in self._open:
            return _Held(None)
        try:
            values = np.asarray(operand) if isinstance(operand, float) else self._at.constant(operand)
        except NotConstantError:
            default = self._at.default(str(operand))
            return _Held(None) if default is not None and (default >= lowest).all() else None
        if not values.size or values.dtype.kind not in NUMBERS or not (values >= lowest).all():
            return None
        return _Held(tuple(values.astype(np.float64).ravel().tolist()))


_ENDS: dict[tuple[str, str], Callable[[_Finder, NodeProto], JumpReLU | None]] = {
    (STANDARD_DOMAIN, "ThresholdedRelu"): _Finder._thresholded,  # noqa: SLF001 - of this file
    (STANDARD_DOMAIN, "Where"): _Finder._where,  # noqa: SLF001
    (STANDARD_DOMAIN, "Mul"): _Finder._product,  # noqa: SLF001
    (STANDARD_DOMAIN, "Add"): _Finder._sum,  # noqa: SLF001
    (CONTRIB_DOMAIN, "QLinearMul"): _Finder._quantized_product,  # noqa: SLF001
}


def _is_jumprelu(function: FunctionProto, model: ModelProto) -> bool:
    """Whether a function computes a JumpReLU of its first input, whose jump is its second."""
    if len(function.input) != N_OPERANDS:
        return False
    x, jump = function.input
    opsets = {domain_of(entry.domain): int(entry.version) for entry in function.opset_import}
    finder = _Finder(Scope("", model, function, opsets), [jump])
    ends = (node for node in function.node if list(node.output) == list(function.output))
    sites = (_ENDS[end](finder, node) for node in ends if (end := (domain_of(node.domain), node.op_type)) in _ENDS)
    return any(site is not None and (site.x, site.operands["jump"]) == (x, jump) for site in sites)


def _is_soft_jumprelu(function: FunctionProto, model: ModelProto) -> bool:
    """Whether a function computes a soft JumpReLU of its first input, with its other inputs as the parameters."""
    x, jump, softness, center = function.input
    opsets = {domain_of(entry.domain): int(entry.version) for entry in function.opset_import}
    scope = Scope("", model, function, opsets)
    finder, tensors = _Finder(scope, [jump, softness, center]), Tensors(scope)
    end = tensors.maker(function.output[0], "Sub")
    if end is None or end.input[1] != center:
        return False
    inner = next((node for node in function.node if tensors.plain(end.input[0]) in node.output), None)
    site = None if inner is None else finder.find(inner)
    return site is not None and (site.x, dict(site.operands)) == (x, {"jump": jump, "softness": softness})
