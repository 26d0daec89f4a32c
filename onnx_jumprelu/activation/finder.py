"""JumpReLU as found in a graph, whoever put it there.

Recognised, with Less for Greater and the like, and with the branches either way round:

    Where(Greater(x, jump), x, 0)            also with Relu(x) chosen, and keeping NaN
    Mul(x, Cast(Greater(x, jump)))           also with Relu(x)
    ThresholdedRelu(x, alpha=jump)

The jump may be any number that is not negative, one per channel too, or an overridable initializer. A cap is a Clip
behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from onnx import NodeProto

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.constants import NotConstantError, attribute
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, Scope, domain_of


@dataclass(frozen=True)
class JumpReLU:
    """One JumpReLU.

    Attributes:
        x: Name of the pre-activation.
        y: Name of the output.
        jump: Name of the tensor that holds the jump, or the jump itself.
    """

    x: str
    y: str
    jump: str | float


@dataclass(frozen=True)
class _Mask:
    """`above` is true where x > jump; the mask itself may say the opposite."""

    x: str
    jump: str
    above: bool


_GREATER = {
    "Greater": (0, 1, True),
    "Less": (1, 0, True),
    "LessOrEqual": (0, 1, False),
    "GreaterOrEqual": (1, 0, False),
}


def find_jumprelus(scope: Scope) -> dict[str, JumpReLU]:
    """Every JumpReLU of a scope, by the name of its output."""
    finder = _Finder(scope)
    found = (finder.at(node) for node in scope.nodes)
    return {site.y: site for site in found if site is not None}


class _Finder:
    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._makers = {output: node for node in scope.nodes for output in node.output if output}

    def at(self, node: NodeProto) -> JumpReLU | None:
        """The JumpReLU whose output a node makes."""
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
        return JumpReLU(self._plain(node.input[0]), node.output[0], alpha) if alpha >= 0 else None

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
        """The site, where what is kept is the masked tensor itself, or its ReLU: above a jump they are the same."""
        rectified = self._maker(kept, "Relu")
        same = {self._plain(kept)} | ({self._plain(rectified.input[0])} if rectified is not None else set())
        if mask.x not in same or not self._may_be_jump(mask.jump):
            return None
        return JumpReLU(mask.x, node.output[0], mask.jump)

    def _masks(self, name: str) -> Iterable[_Mask]:
        """What a boolean tensor says of a comparison, where it is one."""
        node = self._makers.get(self._plain(name))
        if node is None or domain_of(node.domain) != STANDARD_DOMAIN:
            return
        if node.op_type in _GREATER:
            x, jump, above = _GREATER[node.op_type]
            yield _Mask(self._plain(node.input[x]), node.input[jump], above)
            # The same comparison read the other way round: `jump >= x` is "not above", `x >= jump` nearly "above".
            yield _Mask(self._plain(node.input[jump]), node.input[x], not above)
        elif node.op_type == "Not":
            for mask in self._masks(node.input[0]):
                yield _Mask(mask.x, mask.jump, not mask.above)
        elif node.op_type == "Or":  # x > jump or x is NaN
            for comparison, other in (node.input, reversed(node.input)):
                nan = self._maker(other, "IsNaN")
                for mask in self._masks(comparison) if nan is not None else ():
                    if nan is not None and mask.above and self._plain(nan.input[0]) == mask.x:
                        yield mask

    def _maker(self, name: str, *op_types: str) -> NodeProto | None:
        node = self._makers.get(self._plain(name))
        if node is None or node.op_type not in op_types or domain_of(node.domain) != STANDARD_DOMAIN:
            return None
        return node

    def _plain(self, name: str) -> str:
        """The tensor behind Identity nodes."""
        while (node := self._makers.get(name)) is not None and node.op_type == "Identity":
            name = node.input[0]
        return name

    def _is_zero(self, name: str) -> bool:
        try:
            return not self._constant(name).any()
        except NotConstantError:
            return False

    def _may_be_jump(self, name: str) -> bool:
        """Whether a tensor is a threshold: constant and nowhere negative, or a graph input with such a default."""
        try:
            value = self._constant(name)
        except NotConstantError:
            default = self._default(name)
            return default is not None and bool((default >= 0).all())
        return bool((value >= 0).all())

    def _constant(self, name: str) -> Array:
        """Value of a constant, before CastLike gave it another type. Raises NotConstantError for anything else."""
        while (node := self._maker(name, "CastLike")) is not None:
            name = node.input[0]
        return self._scope.constant(name)

    def _default(self, name: str) -> Array | None:
        """Default of an overridable initializer, which may stand in a scope around this one."""
        while (node := self._maker(name, "CastLike")) is not None:
            name = node.input[0]
        scope: Scope | None = self._scope
        while scope is not None:
            value = scope.default(name)
            if value is not None:
                return value
            scope = scope.parent
        return None
