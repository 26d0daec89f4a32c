"""The hard form of JumpReLU, `x if x > jump else 0`, as ONNX nodes: one small function per lowering."""

from __future__ import annotations

from onnx import TensorProto

from onnx_jumprelu.activation.lowering import LoweringSite
from onnx_jumprelu.graphs.builder import GraphBuilder


def select(x: str, jump: str, zero: str, site: LoweringSite, to: GraphBuilder) -> str:
    """Greater and Where; with `keep_nan` LessOrEqual with the branches swapped, so that NaN selects x."""
    if not site.keep_nan:
        mask = to.op("Greater", [x, jump], f"{site.base}/above")
        return to.op("Where", [mask, x, zero], f"{site.base}/jumprelu")
    if site.opset >= 12:  # noqa: PLR2004 - the first with LessOrEqual
        mask = to.op("LessOrEqual", [x, jump], f"{site.base}/below")
        return to.op("Where", [mask, zero, x], f"{site.base}/jumprelu")
    above = to.op("Greater", [x, jump], f"{site.base}/above")
    nan = to.op("IsNaN", [x], f"{site.base}/nan")
    mask = to.op("Or", [above, nan], f"{site.base}/kept")
    return to.op("Where", [mask, x, zero], f"{site.base}/jumprelu")


def where(site: LoweringSite, to: GraphBuilder) -> str:
    """Greater, Where."""
    jump = site.operand("jump", to)
    return select(site.x, jump, site.constant(0.0, "zero", to), site, to)


def thresholded_relu(site: LoweringSite, to: GraphBuilder) -> str:
    """One ThresholdedRelu."""
    alpha = site.parameters.jump
    return to.op("ThresholdedRelu", [site.x], f"{site.base}/jumprelu", alpha=alpha)


def refuse_thresholded_relu(site: LoweringSite) -> str | None:
    """Why ThresholdedRelu does not fit a site, None where it does."""
    if site.parameters.per_channel:
        return "its alpha is one number and cannot hold a jump per channel"
    if site.elem_type is None:
        return "the element type cannot be inferred, so the jump cannot be rounded to it"
    if site.parameters.rounded(TensorProto.FLOAT) != site.parameters:
        return f"its alpha is a float32 attribute and cannot hold {site.parameters.jump!r}"
    return site.oldest(10, bfloat16=22)


def cast_mul(site: LoweringSite, to: GraphBuilder) -> str:
    """Relu, Greater, Cast, Mul."""
    # Relu first: x * 0 would be NaN for an infinite x and -0 for every negative one.
    kept = to.op("Relu", [site.x], f"{site.base}/relu")
    above = to.op("Greater", [site.x, site.operand("jump", to)], f"{site.base}/above")
    if site.elem_type is None:
        mask = to.op("CastLike", [above, site.x], f"{site.base}/mask")
    else:
        mask = to.op("Cast", [above], f"{site.base}/mask", to=site.elem_type)
    return to.op("Mul", [kept, mask], f"{site.base}/jumprelu")
