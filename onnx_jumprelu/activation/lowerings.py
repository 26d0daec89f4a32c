"""JumpReLU as ONNX nodes: one small function per lowering.

Each function emits `x if x > jump else 0`. The caller renames the last node's output to the activation's own name. A
capped rectifier (ReLU6) is the lowering followed by the original node, which then only caps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import onnx
from onnx import FunctionProto, TensorProto, helper

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.builder import GraphBuilder

DOMAIN = "onnx_jumprelu"
AUTO = "auto"


@dataclass(frozen=True)
class LoweringSite:
    """One activation as a lowering sees it.

    Attributes:
        x: Name of the pre-activation.
        parameters: The parameters, rounded to the element type where that is known.
        rank: Number of dimensions, None where it is not known (then no parameter is per channel).
        inputs: Names of the graph inputs that hold parameters, by the parameter's name; empty where all are constants.
        elem_type: Element type, None where it is known only at run time (then CastLike makes the constants).
        opset: Version of the standard domain in the site's scope.
        ir_version: The model's IR version.
        keep_nan: Whether NaN stays NaN, as in Relu.
        base: Prefix of new names: the name of the activation's output.
        function: Name of the model-local function for the site's opset.
        main_opset: Version of the standard domain in the main graph, which may differ from that of a function.
    """

    x: str
    parameters: Parameters
    rank: int | None
    inputs: Mapping[str, str]
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

    def operand(self, name: str, to: GraphBuilder) -> str:
        """Name of the tensor that holds a parameter in the site's element type: a scalar, or one number per channel."""
        given = self.inputs.get(name)
        if given is None:
            return self.constant(self.parameters.arrays(self.rank)[name], name, to)
        if self.elem_type is None:
            return to.op("CastLike", [given, self.x], f"{self.base}/{name}")
        return given

    def oldest(self, opset: int, bfloat16: int) -> str | None:
        """A refusal where the opset is too low for a lowering, else None; most operators accept bfloat16 only later."""
        needed = bfloat16 if self.elem_type == TensorProto.BFLOAT16 else opset
        return f"needs opset {needed}, the model has {self.opset}; use auto" if self.opset < needed else None


@dataclass(frozen=True)
class Lowering:
    """One way to write JumpReLU as nodes.

    Attributes:
        emit: Appends the nodes and returns the output's name.
        refuse: Says why the lowering does not fit a site, None where it does.
        nan: What becomes of NaN: `kept`, `dropped` (it becomes 0), or kept `on request` and dropped otherwise.
        inputs: Whether the parameters can be graph inputs.
    """

    emit: Callable[[LoweringSite, GraphBuilder], str]
    refuse: Callable[[LoweringSite], str | None]
    nan: Literal["kept", "dropped", "on request"] = "on request"
    inputs: bool = True

    def lacks(self, *, keep_nan: bool, inputs: bool) -> str | None:
        """Which of these options it does not have, None where it has all that are asked for."""
        if keep_nan and self.nan == "dropped":
            return "NaN-keeping form"
        return "jump input" if inputs and not self.inputs else None


def _select(x: str, jump: str, zero: str, site: LoweringSite, to: GraphBuilder) -> str:
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


def _where(site: LoweringSite, to: GraphBuilder) -> str:
    jump = site.operand("jump", to)
    return _select(site.x, jump, site.constant(0.0, "zero", to), site, to)


def _thresholded_relu(site: LoweringSite, to: GraphBuilder) -> str:
    alpha = site.parameters.jump
    return to.op("ThresholdedRelu", [site.x], f"{site.base}/jumprelu", alpha=alpha)


def _refuse_thresholded_relu(site: LoweringSite) -> str | None:
    if site.parameters.per_channel:
        return "its alpha is one number and cannot hold a jump per channel"
    if site.elem_type is None:
        return "the element type cannot be inferred, so the jump cannot be rounded to it"
    if site.parameters.rounded(TensorProto.FLOAT) != site.parameters:
        return f"its alpha is a float32 attribute and cannot hold {site.parameters.jump!r}"
    return site.oldest(10, bfloat16=22)


def _function(site: LoweringSite, to: GraphBuilder) -> str:
    return to.op(site.function, [site.x, site.operand("jump", to)], f"{site.base}/jumprelu", domain=DOMAIN)


def _refuse_function(site: LoweringSite) -> str | None:
    if site.ir_version < FIRST_IR_WITH_FUNCTIONS:
        return f"needs IR version {FIRST_IR_WITH_FUNCTIONS}, the model has {site.ir_version}"
    return site.oldest(15, bfloat16=16)


def _cast_mul(site: LoweringSite, to: GraphBuilder) -> str:
    # Relu first: x * 0 would be NaN for an infinite x and -0 for every negative one.
    kept = to.op("Relu", [site.x], f"{site.base}/relu")
    above = to.op("Greater", [site.x, site.operand("jump", to)], f"{site.base}/above")
    if site.elem_type is None:
        mask = to.op("CastLike", [above, site.x], f"{site.base}/mask")
    else:
        mask = to.op("Cast", [above], f"{site.base}/mask", to=site.elem_type)
    return to.op("Mul", [kept, mask], f"{site.base}/jumprelu")


LOWERINGS: dict[str, Lowering] = {
    "where": Lowering(_where, lambda site: site.oldest(9, bfloat16=16)),
    "thresholded-relu": Lowering(_thresholded_relu, _refuse_thresholded_relu, nan="dropped", inputs=False),
    "function": Lowering(_function, _refuse_function),
    "cast-mul": Lowering(_cast_mul, lambda site: site.oldest(7, bfloat16=13), nan="kept"),
}
# In order of preference.
AUTO_ORDER = ("where", "cast-mul")

FIRST_IR_WITH_FUNCTIONS = 8


def choose(lowering: str, site: LoweringSite) -> tuple[str, str | None]:
    """The lowering for one site, and the reason why it cannot be lowered (None where it can)."""
    if lowering != AUTO:
        reason = _refusal(lowering, site)
        return lowering, reason and f"lowering {lowering}: {reason}"
    for name in AUTO_ORDER:
        reason = _refusal(name, site)
        if reason is None:
            return name, None
    return AUTO_ORDER[-1], f"no lowering fits: {reason}"


def _refusal(lowering: str, site: LoweringSite) -> str | None:
    chosen = LOWERINGS[lowering]
    lacking = chosen.lacks(keep_nan=site.keep_nan, inputs=bool(site.inputs))
    return (lacking and f"it has no {lacking}") or chosen.refuse(site) or _opset_conflict(lowering, site)


def _opset_conflict(lowering: str, site: LoweringSite) -> str | None:
    """A refusal where an operator means something else at the function's opset than at the main graph's, else None.

    ONNX's checker requires both to be the same.
    """
    if site.main_opset in (None, site.opset):
        return None
    opsets, trial = (site.opset, site.main_opset), GraphBuilder(lambda base: base)
    LOWERINGS[lowering].emit(site, trial)
    nodes = trial.take()
    if lowering == "function":
        nodes.extend(function_body(site, trial).node)
    for node in nodes:
        if node.domain != DOMAIN:
            versions = {onnx.defs.get_schema(node.op_type, opset).since_version for opset in opsets if opset}
            if len(versions) > 1:
                return f"{node.op_type} differs between opset {site.opset} here and {site.main_opset} in the main graph"
    return None


def parameter_type(elem_type: int | None) -> int:
    """Element type of a graph input that holds a parameter: the site's, or float32 if that is not known."""
    return TensorProto.FLOAT if elem_type is None else elem_type


def function_body(site: LoweringSite, to: GraphBuilder) -> FunctionProto:
    """The model-local function `JumpReLU(x, jump)` that the `function` lowering calls, for every element type."""
    inside = replace(site, x="x", elem_type=None, base="jumprelu")
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
