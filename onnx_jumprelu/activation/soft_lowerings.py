"""The soft form of JumpReLU as ONNX nodes: one small function per lowering.

Each emits `t * softplus(z) + jump * sigmoid(z) - center` with z = (x - jump) / t, from standard nodes of opset 7.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import TensorProto

from onnx_jumprelu.activation.lowering import LoweringSite
from onnx_jumprelu.activation.values import numbers_of
from onnx_jumprelu.graphs.builder import GraphBuilder

# Softplus of an infinite z is infinite, so x / t must not overflow: with this softness it does above 3e8.
SMALLEST_FOR_SOFTPLUS = 1e-30


def softplus(site: LoweringSite, to: GraphBuilder) -> str:
    """Softplus and Sigmoid, the fewest nodes."""
    t = site.operand("softness", to)
    z = to.op("Div", [_above(site, to), t], f"{site.base}/scaled")
    ramp = to.op("Softplus", [z], f"{site.base}/softplus")
    return _with_step(site, to.op("Mul", [ramp, t], f"{site.base}/ramp"), lambda: z, to)


def refuse_softplus(site: LoweringSite) -> str | None:
    """Why `softplus` does not fit a site, None where it does."""
    if site.elem_type is None:
        return "the element type cannot be inferred, and Softplus does not run in every type"
    if site.elem_type == TensorProto.DOUBLE:
        return "onnxruntime's CPU provider has no float64 kernel for Softplus"
    if site.elem_type == TensorProto.FLOAT16:
        return "in float16 the argument of Softplus overflows"
    if min(numbers_of(site.parameters.softness)) < SMALLEST_FOR_SOFTPLUS:
        return f"a softness below {SMALLEST_FOR_SOFTPLUS:g} makes the argument of Softplus overflow"
    return site.oldest(7, bfloat16=22)


def exp_log(site: LoweringSite, to: GraphBuilder) -> str:
    """Softplus written as `relu(x - jump) + t * log(1 + exp(-|x - jump| / t))`, which overflows for no x and t."""
    above, t = _above(site, to), site.operand("softness", to)
    distance = to.op("Neg", [to.op("Abs", [above], f"{site.base}/distance")], f"{site.base}/minus_distance")
    decay = to.op("Exp", [to.op("Div", [distance, t], f"{site.base}/exponent")], f"{site.base}/decay")
    log = to.op("Log", [to.op("Add", [decay, site.constant(1.0, "one", to)], f"{site.base}/sum")], f"{site.base}/log")
    tail = to.op("Mul", [log, t], f"{site.base}/tail")
    ramp = to.op("Add", [to.op("Relu", [above], f"{site.base}/relu"), tail], f"{site.base}/ramp")
    return _with_step(site, ramp, lambda: to.op("Div", [above, t], f"{site.base}/scaled"), to)


def refuse_exp_log(site: LoweringSite) -> str | None:
    """Why `exp-log` does not fit a site, None where it does."""
    return site.oldest(7, bfloat16=14)


def _has_jump(site: LoweringSite) -> bool:
    return "jump" in site.inputs or any(numbers_of(site.parameters.jump))


def _above(site: LoweringSite, to: GraphBuilder) -> str:
    """X - jump."""
    if not _has_jump(site):
        return site.x
    return to.op("Sub", [site.x, site.operand("jump", to)], f"{site.base}/above")


def _with_step(site: LoweringSite, ramp: str, z: Callable[[], str], to: GraphBuilder) -> str:
    """The ramp plus `jump * sigmoid(z)`, minus the center; what is 0 is left out."""
    output = ramp
    if _has_jump(site):
        gate = to.op("Sigmoid", [z()], f"{site.base}/gate")
        step = to.op("Mul", [gate, site.operand("jump", to)], f"{site.base}/step")
        output = to.op("Add", [ramp, step], f"{site.base}/jumprelu")
    if "center" in site.parameters.names:
        output = to.op("Sub", [output, site.operand("center", to)], f"{site.base}/centered")
    return output
