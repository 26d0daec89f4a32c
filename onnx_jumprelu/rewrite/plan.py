"""Choosing before anything is changed: which sites are patched, with which jump and lowering; why others are not."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from onnx_jumprelu.errors import OptionError, PatchError
from onnx_jumprelu.graph import FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS, main_opset
from onnx_jumprelu.rewrite.activations import Found, find
from onnx_jumprelu.rewrite.lowerings import JumpSite, choose, jump_type, rounded
from onnx_jumprelu.rewrite.options import PatchOptions
from onnx_jumprelu.tensor_types import dtype_name


@dataclass(frozen=True)
class SkippedSite:
    """A site that stays as it was, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Planned:
    """A site that will be rewritten."""

    found: Found
    jump: float
    lowering: str
    target: JumpSite


def plan_sites(model: ModelProto, options: PatchOptions) -> tuple[list[Planned], list[SkippedSite]]:
    """Choose jump and lowering of every site; nothing is changed yet."""
    everything = list(find(model))
    if not everything:
        raise PatchError("has no activation that JumpReLU could replace; nothing to patch")
    jumps = options.jumps([found.site.name for found in everything])
    planned: list[Planned] = []
    skipped: list[SkippedSite] = []
    for found in everything:
        jump = jumps[found.site.name]
        plan = found.site.reason or (jump if isinstance(jump, str) else _plan_site(model, found, jump, options))
        if isinstance(plan, Planned):
            planned.append(plan)
        else:
            skipped.append(SkippedSite(found.site.name, plan))
    if not planned:
        first = skipped[0]
        raise PatchError(f"none of its activations ({len(skipped)}) is patched; '{first.name}': {first.reason}")
    return planned, skipped


def _plan_site(model: ModelProto, found: Found, jump: float, options: PatchOptions) -> Planned | str:
    """How one site is patched, or the reason why it cannot be."""
    site = found.site
    if options.jump_input:
        if model.ir_version < FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS:
            return f"IR version {model.ir_version} has no overridable inputs; leave out the jump input"
        if site.scope.startswith("function "):
            return "a function body cannot see a graph input; inline the function, or leave out the jump input"
    held_in = jump_type(found.elem_type) if options.jump_input else found.elem_type
    in_type = rounded(jump, held_in)
    if in_type == float("inf"):
        raise OptionError(f"site '{site.name}': jump {jump!r} is out of range for {dtype_name(held_in or 0)}")
    if jump and not in_type:
        raise OptionError(
            f"site '{site.name}': jump {jump!r} is 0 in {dtype_name(held_in or 0)}; give 0 or a larger one"
        )
    opset, main = found.scope.opset or 0, main_opset(model)
    target = JumpSite(
        x=site.input,
        jump=in_type,
        jump_input="jump" if options.jump_input else None,
        elem_type=found.elem_type,
        opset=opset,
        ir_version=model.ir_version,
        keep_nan=options.keep_nan,
        base=site.tensor,
        function="JumpReLU" if opset == main else f"JumpReLU_opset{opset}",
        main_opset=main,
    )
    lowering, reason = choose(options.lowering, target)
    return reason or Planned(found, jump, lowering, target)
