"""Finds soft JumpReLUs in a graph by structure, whatever tool put them there.

A ramp, `t * softplus(x / t)`, is recognised in these spellings:

    Softplus(x)    Log(1 + Exp(x))    Softplus(x / t) * t    Softplus(x * beta) / beta
    Relu(x) + Log(1 + Exp(-Abs(x) / t)) * t

It is a soft JumpReLU with jump 0. With `jump * Sigmoid(x / t)` added, and x the pre-activation minus the jump, it is
one with a jump. A constant may be subtracted afterwards, the center.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from onnx import NodeProto

from onnx_jumprelu.activation.tensors import Tensors
from onnx_jumprelu.graphs.constants import NotConstantError
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, domain_of

Operand = str | float


@dataclass(frozen=True)
class SoftSite:
    """A soft JumpReLU: names of its pre-activation and output, its operands, and outputs of the nodes inside."""

    x: str
    y: str
    jump: Operand
    softness: Operand
    center: Operand = 0.0
    inside: tuple[str, ...] = ()


def soft_site(node: NodeProto, at: Tensors) -> SoftSite | None:
    """The soft JumpReLU that a node ends, None where it ends none."""
    if domain_of(node.domain) != STANDARD_DOMAIN:
        return None
    if node.op_type == "Sub":
        return _centered(node, at)
    return (_with_jump(node, at) if node.op_type == "Add" else None) or _ramp(node, at)


def _centered(node: NodeProto, at: Tensors) -> SoftSite | None:
    """A soft JumpReLU minus a constant."""
    inner = at.maker(node.input[0], "Add", "Mul", "Div", "Softplus", "Log")
    site = None if inner is None or not _is_fixed(at, node.input[1]) else soft_site(inner, at)
    if site is None or site.center != 0.0:
        return None
    return replace(site, y=node.output[0], center=node.input[1], inside=(site.y, *site.inside))


def _with_jump(node: NodeProto, at: Tensors) -> SoftSite | None:
    """`ramp(x - jump) + jump * Sigmoid((x - jump) / t)`."""
    for first, second in _both_ways(node):
        step, made = at.maker(second, "Mul"), at.maker(first, "Add", "Mul", "Div", "Softplus", "Log")
        ramp = None if made is None or step is None else _ramp(made, at)
        above = None if ramp is None else at.maker(ramp.x, "Sub")
        if ramp is None or above is None or step is None:
            continue
        for gate, jump in _both_ways(step):
            sigmoid = at.maker(gate, "Sigmoid")
            z = None if sigmoid is None else at.maker(sigmoid.input[0], "Div")
            same = z is not None and (at.plain(z.input[0]), z.input[1]) == (ramp.x, ramp.softness)
            if same and jump == above.input[1]:
                x, inside = at.plain(above.input[0]), (ramp.y, *ramp.inside)
                return SoftSite(x, node.output[0], jump, ramp.softness, inside=inside)
    return None


def _ramp(node: NodeProto, at: Tensors) -> SoftSite | None:
    """`t * softplus(x / t)` that a node ends."""
    if node.op_type == "Softplus":
        return SoftSite(at.plain(node.input[0]), node.output[0], 0.0, 1.0)
    if node.op_type == "Log":
        exp = _one_plus(node.input[0], at, "Exp")
        return None if exp is None else SoftSite(at.plain(exp.input[0]), node.output[0], 0.0, 1.0)
    if node.op_type == "Mul":
        return _scaled(node, at)
    if node.op_type == "Div":
        return _sharpened(node, at)
    return _stable(node, at) if node.op_type == "Add" else None


def _scaled(node: NodeProto, at: Tensors) -> SoftSite | None:
    """`Softplus(x / t) * t`."""
    for first, t in _both_ways(node):
        softplus = at.maker(first, "Softplus")
        z = None if softplus is None else at.maker(softplus.input[0], "Div")
        if z is not None and z.input[1] == t:
            return SoftSite(at.plain(z.input[0]), node.output[0], 0.0, t, inside=(at.plain(first),))
    return None


def _sharpened(node: NodeProto, at: Tensors) -> SoftSite | None:
    """`Softplus(x * beta) / beta`, as PyTorch writes it."""
    first, beta = node.input
    softplus, value = at.maker(first, "Softplus"), _number(at, beta)
    product = None if softplus is None else at.maker(softplus.input[0], "Mul")
    for x, factor in _both_ways(product) if product is not None else ():
        if value is not None and value > 0 and _number(at, factor) == value:
            return SoftSite(at.plain(x), node.output[0], 0.0, 1 / value, inside=(at.plain(first),))
    return None


def _stable(node: NodeProto, at: Tensors) -> SoftSite | None:
    """`Relu(x) + Log(1 + Exp(-Abs(x) / t)) * t`."""
    for first, second in _both_ways(node):
        relu, tail = at.maker(first, "Relu"), at.maker(second, "Mul")
        for log_name, t in _both_ways(tail) if tail is not None else ():
            log = at.maker(log_name, "Log")
            exp = None if log is None else _one_plus(log.input[0], at, "Exp")
            z = None if exp is None else at.maker(exp.input[0], "Div")
            minus = None if z is None or z.input[1] != t else at.maker(z.input[0], "Neg")
            distance = None if minus is None else at.maker(minus.input[0], "Abs")
            if relu is None or distance is None:
                continue
            x = at.plain(relu.input[0])
            if at.plain(distance.input[0]) == x:
                return SoftSite(x, node.output[0], 0.0, t, inside=(at.plain(first), at.plain(log_name)))
    return None


def _one_plus(name: str, at: Tensors, op_type: str) -> NodeProto | None:
    """The node of this operator to whose output 1 is added under a name."""
    total = at.maker(name, "Add")
    for one, other in _both_ways(total) if total is not None else ():
        if _number(at, one) == 1:
            return at.maker(other, op_type)
    return None


def _both_ways(node: NodeProto) -> Iterator[tuple[str, str]]:
    """The two inputs of a commutative operator, in either order."""
    first, second = node.input
    yield first, second
    yield second, first


def _number(at: Tensors, name: str) -> float | None:
    """The value of a constant with one number, None for anything else."""
    try:
        value = at.constant(name)
    except NotConstantError:
        return None
    return float(value.item()) if value.size == 1 and value.dtype.kind in "fV" else None


def _is_fixed(at: Tensors, name: str) -> bool:
    """Whether a tensor is a constant or an overridable initializer."""
    try:
        return at.constant(name).size > 0
    except NotConstantError:
        return at.default(name) is not None
