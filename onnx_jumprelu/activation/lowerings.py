"""JumpReLU as ONNX nodes: one small function per lowering.

Each emits `x if x > jump else 0`, with the last node's output not yet named; the driver gives it the activation's own
name. A capped rectifier (ReLU6) is the lowering followed by the original node, which then only caps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import FunctionProto, TensorProto, helper

from onnx_jumprelu.activation.parameters import Jump, numbers_of, shaped
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.builder import GraphBuilder

DOMAIN = "onnx_jumprelu"
AUTO = "auto"


@dataclass(frozen=True)
class JumpSite:
    """One activation as a lowering sees it.

    Attributes:
        x: Name of the pre-activation.
        jump: The jump, rounded to the element type where that is known.
        rank: Number of dimensions, None where it is not known (then there is no jump per channel).
        jump_input: Name of the graph input that holds the jump, None where it is a constant.
        elem_type: Element type, None where only the run will tell (then CastLike makes the constants).
        opset: Version of the standard domain in the site's scope.
        ir_version: The model's IR version.
        keep_nan: Whether NaN stays NaN, as in Relu.
        base: What new names start with: the name of the activation's output.
        function: Name of the model-local function for the site's opset.
        main_opset: Version of the standard domain in the main graph, which may differ from a function's.
    """

    x: str
    jump: Jump
    rank: int | None
    jump_input: str | None
    elem_type: int | None
    opset: int
    ir_version: int
    keep_nan: bool
    base: str
    function: str = "JumpReLU"
    main_opset: int | None = None

    def constant(self, values: float | Array, what: str, to: GraphBuilder) -> str:
        """A constant of the site's element type."""
        if self.elem_type is not None:
            return to.constant(self.elem_type, values, f"jumprelu/{what}")
        double = to.constant(TensorProto.DOUBLE, values, f"jumprelu/{what}_double")
        return to.op("CastLike", [double, self.x], f"{self.base}/{what}")

    def threshold(self, to: GraphBuilder) -> str:
        """Name of the tensor that holds the jump in the site's element type: a scalar, or one number per channel."""
        if self.jump_input is None:
            return self.constant(shaped(self.jump, self.rank), "jump", to)
        if self.elem_type is None:
            return to.op("CastLike", [self.jump_input, self.x], f"{self.base}/jump")
        return self.jump_input

    def oldest(self, opset: int, bfloat16: int) -> str | None:
        """A refusal where the opset is too low for a lowering; bfloat16 came to most operators later."""
        needed = bfloat16 if self.elem_type == TensorProto.BFLOAT16 else opset
        return f"needs opset {needed}, the model has {self.opset}; use auto" if self.opset < needed else None


@dataclass(frozen=True)
class Lowering:
    """`emit` appends the nodes and returns the output's name; `refuse` says why a site cannot be served, or None."""

    emit: Callable[[JumpSite, GraphBuilder], str]
    refuse: Callable[[JumpSite], str | None]


def _select(x: str, jump: str, zero: str, site: JumpSite, to: GraphBuilder) -> str:
    """Greater and Where; with `keep_nan` the complement with the branches swapped, so that NaN falls through to x."""
    if not site.keep_nan:
        mask = to.op("Greater", [x, jump], f"{site.base}/above")
        return to.op("Where", [mask, x, zero], f"{site.base}/jumprelu")
    if site.opset >= 12:  # noqa: PLR2004 - LessOrEqual arrives
        mask = to.op("LessOrEqual", [x, jump], f"{site.base}/below")
        return to.op("Where", [mask, zero, x], f"{site.base}/jumprelu")
    above = to.op("Greater", [x, jump], f"{site.base}/above")
    nan = to.op("IsNaN", [x], f"{site.base}/nan")
    mask = to.op("Or", [above, nan], f"{site.base}/kept")
    return to.op("Where", [mask, x, zero], f"{site.base}/jumprelu")


def _where(site: JumpSite, to: GraphBuilder) -> str:
    jump = site.threshold(to)
    return _select(site.x, jump, site.constant(0.0, "zero", to), site, to)


def _thresholded_relu(site: JumpSite, to: GraphBuilder) -> str:
    (alpha,) = numbers_of(site.jump)
    return to.op("ThresholdedRelu", [site.x], f"{site.base}/jumprelu", alpha=alpha)


def _refuse_thresholded_relu(site: JumpSite) -> str | None:
    if site.jump_input is not None:
        return "its alpha is an attribute and cannot be an input"
    if isinstance(site.jump, tuple):
        return "its alpha is one number and cannot hold a jump per channel"
    if site.keep_nan:
        return "it turns NaN into 0 and has no NaN-keeping form"
    if site.elem_type is None:
        return "the element type cannot be inferred, so the jump cannot be rounded to it"
    if float(np.float32(site.jump)) != site.jump:
        return f"its alpha is a float32 attribute and cannot hold {site.jump!r}"
    return site.oldest(10, bfloat16=22)


def _function(site: JumpSite, to: GraphBuilder) -> str:
    return to.op(site.function, [site.x, site.threshold(to)], f"{site.base}/jumprelu", domain=DOMAIN)


def _refuse_function(site: JumpSite) -> str | None:
    if site.ir_version < FIRST_IR_WITH_FUNCTIONS:
        return f"needs IR version {FIRST_IR_WITH_FUNCTIONS}, the model has {site.ir_version}"
    return site.oldest(15, bfloat16=16)


def _cast_mul(site: JumpSite, to: GraphBuilder) -> str:
    # Relu first: x * 0 would be NaN for an infinite x and -0 for every negative one.
    kept = to.op("Relu", [site.x], f"{site.base}/relu")
    above = to.op("Greater", [site.x, site.threshold(to)], f"{site.base}/above")
    if site.elem_type is None:
        mask = to.op("CastLike", [above, site.x], f"{site.base}/mask")
    else:
        mask = to.op("Cast", [above], f"{site.base}/mask", to=site.elem_type)
    return to.op("Mul", [kept, mask], f"{site.base}/jumprelu")


LOWERINGS: dict[str, Lowering] = {
    "where": Lowering(_where, lambda site: site.oldest(9, bfloat16=16)),
    "thresholded-relu": Lowering(_thresholded_relu, _refuse_thresholded_relu),
    "function": Lowering(_function, _refuse_function),
    "cast-mul": Lowering(_cast_mul, lambda site: site.oldest(7, bfloat16=13)),
}
# In the order of preference.
AUTO_ORDER = ("where", "cast-mul")

FIRST_IR_WITH_FUNCTIONS = 8


def choose(lowering: str, site: JumpSite) -> tuple[str, str | None]:
    """The lowering for one site, and the reason why it cannot be served (None where it can)."""
    if lowering != AUTO:
        reason = _refusal(lowering, site)
        return lowering, reason and f"lowering {lowering}: {reason}"
    for name in AUTO_ORDER:
        reason = _refusal(name, site)
        if reason is None:
            return name, None
    return AUTO_ORDER[-1], f"no lowering fits: {reason}"


def _refusal(lowering: str, site: JumpSite) -> str | None:
    return LOWERINGS[lowering].refuse(site) or _opset_conflict(lowering, site)


def _opset_conflict(lowering: str, site: JumpSite) -> str | None:
    """ONNX wants every operator of a function to be the same at the function's opset and at the main graph's."""
    if site.main_opset in (None, site.opset):
        return None
    opsets, trial = (site.opset, site.main_opset), GraphBuilder(lambda base: base)
    LOWERINGS[lowering].emit(site, trial)
    if lowering == "function":
        _select("x", "jump", "zero", site, trial)
    for node in trial.take():
        if node.domain != DOMAIN:
            versions = {onnx.defs.get_schema(node.op_type, opset).since_version for opset in opsets if opset}
            if len(versions) > 1:
                return f"{node.op_type} differs between opset {site.opset} here and {site.main_opset} in the main graph"
    return None


def jump_type(elem_type: int | None) -> int:
    """Element type of a graph input that holds a jump: the site's, float32 where only the run will tell."""
    return TensorProto.FLOAT if elem_type is None else elem_type


def function_body(site: JumpSite, to: GraphBuilder) -> FunctionProto:
    """The model-local function `JumpReLU(x, jump)` that the `function` lowering calls, for every element type."""
    inside = replace(site, x="x", jump_input="jump", elem_type=None, base="jumprelu")
    output = _select("x", "jump", inside.constant(0.0, "zero", to), inside, to)
    return helper.make_function(
        DOMAIN,
        site.function,
        ["x", "jump"],
        [output],
        to.take(),
        [helper.make_opsetid("", site.opset)],
        doc_string="JumpReLU: x if x > jump else 0 (arXiv:1904.03750)",
    )
