"""JumpReLU as ONNX nodes: the lowerings by name, and which one a site gets.

A lowering emits the hard form, `x if x > jump else 0`, or the soft one. The caller renames the last node's output to
the activation's own name. A capped rectifier (ReLU6) is the lowering followed by the original node, which then only
caps.
"""

from __future__ import annotations

from dataclasses import replace

import onnx
from onnx import FunctionProto, TensorProto, helper

from onnx_jumprelu.activation import hard_lowerings, soft_lowerings
from onnx_jumprelu.activation.lowering import Lowering, LoweringSite
from onnx_jumprelu.activation.parameters import FIELDS, Parameters
from onnx_jumprelu.graphs.builder import GraphBuilder

DOMAIN = "onnx_jumprelu"
AUTO = "auto"


def _function(site: LoweringSite, to: GraphBuilder) -> str:
    operands = [site.operand(name, to) for name in _function_operands(site)]
    return to.op(site.function, [site.x, *operands], f"{site.base}/jumprelu", domain=DOMAIN)


def _function_operands(site: LoweringSite) -> tuple[str, ...]:
    return FIELDS if site.parameters.is_soft else ("jump",)


def _refuse_function(site: LoweringSite) -> str | None:
    if site.ir_version < FIRST_IR_WITH_FUNCTIONS:
        return f"needs IR version {FIRST_IR_WITH_FUNCTIONS}, the model has {site.ir_version}"
    return site.oldest(15, bfloat16=16)


LOWERINGS: dict[str, Lowering] = {
    "where": Lowering(hard_lowerings.where, lambda site: site.oldest(9, bfloat16=16)),
    "thresholded-relu": Lowering(
        hard_lowerings.thresholded_relu, hard_lowerings.refuse_thresholded_relu, nan="dropped", inputs=False
    ),
    "function": Lowering(_function, _refuse_function, form="both"),
    "cast-mul": Lowering(hard_lowerings.cast_mul, lambda site: site.oldest(7, bfloat16=13), nan="kept"),
    "softplus": Lowering(soft_lowerings.softplus, soft_lowerings.refuse_softplus, nan="kept", form="soft"),
    "exp-log": Lowering(soft_lowerings.exp_log, soft_lowerings.refuse_exp_log, nan="kept", form="soft"),
}
# For each form, in order of preference.
AUTO_ORDER = ("where", "cast-mul", "softplus", "exp-log")

FIRST_IR_WITH_FUNCTIONS = 8


def choose(lowering: str, site: LoweringSite) -> tuple[str, str | None]:
    """The lowering for one site, and the reason why it cannot be lowered (None where it can).

    A lowering of the other form is passed over: where a recipe has hard and soft sites, it is meant for some of them.
    """
    if lowering != AUTO and LOWERINGS[lowering].writes(site.parameters):
        reason = _refusal(lowering, site)
        return lowering, reason and f"lowering {lowering}: {reason}"
    for name in (name for name in AUTO_ORDER if LOWERINGS[name].writes(site.parameters)):
        reason = _refusal(name, site)
        if reason is None:
            return name, None
    return name, f"no lowering fits: {reason}"


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
    """The model-local function that the `function` lowering calls, for every element type.

    `JumpReLU(x, jump)`, or `SoftJumpReLU(x, jump, softness, center)`.
    """
    inside = replace(site, x="x", elem_type=None, base="jumprelu")
    operands = _function_operands(site)
    if site.parameters.is_soft:
        # Every parameter is an operand here, so that one body fits all sites.
        inside = replace(
            inside, parameters=Parameters(1.0, 1.0, 1.0), inputs={name: name for name in operands}, typed_inputs=True
        )
        output = soft_lowerings.exp_log(inside, to)
        text = "soft JumpReLU: softness * softplus(z) + jump * sigmoid(z) - center, with z = (x - jump) / softness"
    else:
        output = hard_lowerings.select("x", "jump", inside.constant(0.0, "zero", to), inside, to)
        text = "JumpReLU: x if x > jump else 0 (arXiv:1904.03750)"
    return helper.make_function(
        DOMAIN,
        site.function,
        ["x", *operands],
        [output],
        to.take(),
        [helper.make_opsetid("", site.opset)],
        doc_string=text,
    )
