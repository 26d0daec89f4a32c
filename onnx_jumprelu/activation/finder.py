"""Finds JumpReLUs in a graph by structure, whatever tool put them there.

Recognised, also with Less in place of Greater and with the branches swapped:

    Where(Greater(x, jump), x, 0)            also with Relu(x), and keeping NaN
    Mul(x, Cast(Greater(x, jump)))           also with Relu(x)
    ThresholdedRelu(x, alpha=jump)

The jump is a number of at least 0, one per channel, or an overridable initializer. A capped JumpReLU is followed by a
Clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onnx import NodeProto

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.graphs.constants import NotConstantError, attribute
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, Scope, domain_of


@dataclass(frozen=True)
class JumpReLU:
    """One JumpReLU.

    Attributes:
        x: Name of the pre-activation.
        y: Name of the output.
        operands: Each parameter by name: the name of the tensor that holds it, or the number itself.
    """

    x: str
    y: str
    operands: Mapping[str, str | float]

    @property
    def inputs(self) -> frozenset[str]:
        """Names of the tensors that hold its parameters."""
        return frozenset(value for value in self.operands.values() if isinstance(value, str))

    def is_relu(self, scope: Scope) -> bool:
        """Whether it computes what ReLU computes, with the defaults of the graph inputs that are its parameters."""
        jump = self.operands["jump"]
        if isinstance(jump, float):
            return jump == 0
        try:
            values: Array | None = scope.constant(jump)
        except NotConstantError:
            values = scope.default(jump)
        return values is not None and not values.any()

    def shown(self, scope: Scope) -> str:
        """Its parameters for people: `jump 0.5`, `jumps 0 to 1.5`, `jump from 'name'`."""
        jump = self.operands["jump"]
        if isinstance(jump, float):
            return f"jump {jump:g}"
        try:
            values = scope.constant(jump)
        except NotConstantError:
            return f"jump from '{jump}'"
        low, high = float(values.min()), float(values.max())
        return f"jump {low:g}" if low == high else f"jumps {low:g} to {high:g}"


@dataclass(frozen=True)
class _Mask:
    """A comparison with a jump: true where x > jump if `above`, else true where x <= jump."""

    x: str
    jump: str
    above: bool


_GREATER = {
    "Greater": (0, 1, True),
    "Less": (1, 0, True),
    "LessOrEqual": (0, 1, False),
    "GreaterOrEqual": (1, 0, False),
}


MOST_NEGATIONS = 10  # of a comparison; exporters write at most one

# Operators whose inputs may be a jump or a zero, so that finding JumpReLUs needs the value.
JUMPRELU_READS_VALUES = frozenset({"Where", *_GREATER})


def find_jumprelus(scope: Scope) -> dict[str, JumpReLU]:
    """Every JumpReLU of a scope, by the name of its output."""
    finder = _Finder(scope)
    found = (finder.at(node) for node in scope.nodes)
    return {site.y: site for site in found if site is not None}


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
            if not (values[name] >= 0).all():
                raise OptionError(f"'{name}' is a jump; it must be at least 0")


def _is(node: NodeProto, *op_types: str) -> bool:
    return node.op_type in op_types and domain_of(node.domain) == STANDARD_DOMAIN


class _Finder:
    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._makers = {output: node for node in scope.nodes for output in node.output if output}
        self._origins: dict[tuple[str, ...], dict[str, str]] = {}

    def at(self, node: NodeProto) -> JumpReLU | None:
        """The JumpReLU that a node ends, None where it ends none."""
        if domain_of(node.domain) != STANDARD_DOMAIN:
            return None
        if node.op_type == "ThresholdedRelu":
            return self._thresholded(node)
        if node.op_type == "Where":
            return self._where(node)
        return self._product(node) if node.op_type == "Mul" else None

    def _thresholded(self, node: NodeProto) -> JumpReLU | None:
        try:
            alpha = attribute(node, "alpha", 1.0)
        except NotConstantError:
            return None
        return JumpReLU(self._plain(node.input[0]), node.output[0], {"jump": alpha}) if alpha >= 0 else None

    def _where(self, node: NodeProto) -> JumpReLU | None:
        condition, first, second = node.input
        for mask in self._masks(condition):
            kept, dropped = (first, second) if mask.above else (second, first)
            site = self._site(mask, kept, node) if self._is_zero(dropped) else None
            if site is not None:
                return site
        return None

    def _product(self, node: NodeProto) -> JumpReLU | None:
        for factor, cast in (node.input, reversed(node.input)):
            maker = self._maker(cast, "Cast", "CastLike")
            if maker is None:
                continue
            for mask in self._masks(maker.input[0]):
                site = self._site(mask, factor, node) if mask.above else None
                if site is not None:
                    return site
        return None

    def _site(self, mask: _Mask, kept: str, node: NodeProto) -> JumpReLU | None:
        """The site, if the kept tensor is the compared one or its ReLU, which equals it above the jump; else None."""
        rectified = self._maker(kept, "Relu")
        same = {self._plain(kept)} | ({self._plain(rectified.input[0])} if rectified is not None else set())
        if mask.x not in same or not self._may_be_jump(mask.jump):
            return None
        return JumpReLU(mask.x, node.output[0], {"jump": mask.jump})

    def _masks(self, name: str, *, with_nan: bool = True) -> Iterable[_Mask]:
        """The comparisons that a boolean tensor can be read as; `with_nan` also finds `x > jump or x is NaN`."""
        node, negations = self._makers.get(self._plain(name)), 0
        while node is not None and _is(node, "Not") and negations < MOST_NEGATIONS:
            node, negations = self._makers.get(self._plain(node.input[0])), negations + 1
        for mask in () if node is None else self._comparisons(node, with_nan=with_nan):
            yield _Mask(mask.x, mask.jump, mask.above != bool(negations % 2))

    def _comparisons(self, node: NodeProto, *, with_nan: bool) -> Iterable[_Mask]:
        """`_masks` of the node that makes the tensor, or that the tensor negates."""
        if domain_of(node.domain) != STANDARD_DOMAIN:
            return
        if node.op_type in _GREATER:
            x, jump, above = _GREATER[node.op_type]
            yield _Mask(self._plain(node.input[x]), node.input[jump], above)
            # The same comparison from the other side; `x >= jump` differs from `x > jump` only at x == jump.
            yield _Mask(self._plain(node.input[jump]), node.input[x], not above)
        elif node.op_type == "Or" and with_nan:  # x > jump or x is NaN
            for comparison, other in (node.input, reversed(node.input)):
                nan = self._maker(other, "IsNaN")
                for mask in self._masks(comparison, with_nan=False) if nan is not None else ():
                    if nan is not None and mask.above and self._plain(nan.input[0]) == mask.x:
                        yield mask

    def _maker(self, name: str, *op_types: str) -> NodeProto | None:
        node = self._makers.get(self._plain(name))
        return node if node is not None and _is(node, *op_types) else None

    def _plain(self, name: str) -> str:
        """The tensor that Identity nodes pass on under this name."""
        return self._before(name, "Identity")

    def _before(self, name: str, *op_types: str) -> str:
        """The tensor at the start of a chain of such nodes that ends here. No chain is followed twice."""
        known, passed = self._origins.setdefault(op_types, {}), []
        while name not in known and (node := self._makers.get(name)) is not None and _is(node, *op_types):
            passed.append(name)
            name = node.input[0]
        origin = known.get(name, name)
        known.update(dict.fromkeys(passed, origin))
        return origin

    def _is_zero(self, name: str) -> bool:
        try:
            return not self._constant(name).any()
        except NotConstantError:
            return False

    def _may_be_jump(self, name: str) -> bool:
        """Whether a tensor can be a jump: a constant without negative numbers, or a graph input with such a default."""
        try:
            value = self._constant(name)
        except NotConstantError:
            default = self._default(name)
            return default is not None and bool((default >= 0).all())
        return bool((value >= 0).all())

    def _constant(self, name: str) -> Array:
        """Value of a constant, before any CastLike. Raises NotConstantError for anything else."""
        return self._scope.constant(self._before(name, "CastLike", "Identity"))

    def _default(self, name: str) -> Array | None:
        """Default of an overridable initializer of this scope or one around it, None for anything else."""
        name = self._before(name, "CastLike", "Identity")
        scope: Scope | None = self._scope
        while scope is not None:
            value = scope.default(name)
            if value is not None:
                return value
            scope = scope.parent
        return None
