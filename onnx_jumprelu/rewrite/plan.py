"""Choosing before anything is changed: which sites are patched, with which jump and lowering; why others are not."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from onnx_jumprelu.activation.lowerings import JumpSite, choose, jump_type
from onnx_jumprelu.activation.parameters import Jump, numbers_of, rounded
from onnx_jumprelu.errors import OptionError, PatchError
from onnx_jumprelu.graphs.scopes import FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS, main_opset
from onnx_jumprelu.graphs.tensor_types import dtype_name
from onnx_jumprelu.rewrite.options import PatchOptions
from onnx_jumprelu.rewrite.recognisers import Found, find
from onnx_jumprelu.rewrite.site import ActivationSite


@dataclass(frozen=True)
class SkippedSite:
    """A site that stays as it was, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Planned:
    """A site that will be rewritten."""

    found: Found
    jump: Jump
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


def _plan_site(model: ModelProto, found: Found, jump: Jump, options: PatchOptions) -> Planned | str:
    """How one site is patched, or the reason why it cannot be."""
    site = found.site
    if options.jump_input:
        if model.ir_version < FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS:
            return f"IR version {model.ir_version} has no overridable inputs; leave out the jump input"
        if site.scope.startswith("function "):
            return "a function body cannot see a graph input; inline the function, or leave out the jump input"
    held_in = jump_type(found.elem_type) if options.jump_input else found.elem_type
    if isinstance(jump, tuple):
        _check_channels(site, len(jump))
        jump = jump if len(jump) > 1 else jump[0]  # of a single channel it is the site's
    in_type = _rounded(jump, held_in, site.name)
    opset, main = found.scope.opset or 0, main_opset(model)
    target = JumpSite(
        x=site.input,
        jump=in_type,
        rank=site.rank,
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


def _rounded(jump: Jump, elem_type: int | None, site: str) -> Jump:
    """The jump in the element type. Raises OptionError where that has no such number."""
    in_type = rounded(jump, elem_type)
    for asked, held in zip(numbers_of(jump), numbers_of(in_type), strict=True):
        if held == float("inf"):
            raise OptionError(f"site '{site}': jump {asked!r} is out of range for {dtype_name(elem_type or 0)}")
        if asked and not held:
            raise OptionError(
                f"site '{site}': jump {asked!r} is 0 in {dtype_name(elem_type or 0)}; give 0 or a larger one"
            )
    return in_type


def _check_channels(site: ActivationSite, count: int) -> None:
    """Raise OptionError where a site has not this number of channels, or the file does not say how many.

    A wrong number could broadcast, and the model would then compute something else without a word.
    """
    channels = site.n_channels
    if channels is None:
        raise OptionError(
            f"site '{site.name}': a jump per channel needs a known number of channels (axis 1), its shape is "
            f"{list(site.shape) if site.shape is not None else 'unknown'}; give one number"
        )
    if channels != count:
        raise OptionError(f"site '{site.name}': has {channels} channels, and the recipe gives it {count} jumps")
