"""Decides before anything is changed which sites are patched, with which parameters and lowering."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from onnx_jumprelu.activation.lowering import LoweringSite
from onnx_jumprelu.activation.lowerings import choose, parameter_type
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.errors import OptionError, PatchError
from onnx_jumprelu.graphs.scopes import FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS, main_opset
from onnx_jumprelu.rewrite.find_sites import Found, find_sites
from onnx_jumprelu.rewrite.options import PatchOptions
from onnx_jumprelu.rewrite.site import ActivationSite, SkippedSite


@dataclass(frozen=True)
class SitePlan:
    """How one site will be rewritten.

    Attributes:
        found: The activation.
        parameters: Its parameters as given, not rounded to the element type.
        lowering: Name of the lowering.
        emitted: The site as the lowering sees it.
    """

    found: Found
    parameters: Parameters
    lowering: str
    emitted: LoweringSite


def plan_sites(model: ModelProto, options: PatchOptions) -> tuple[list[SitePlan], list[SkippedSite]]:
    """Decide for every site of a model how it is patched, or why it is not. The model is not changed.

    Raises:
        OptionError: parameters that a site cannot hold, or options that name sites the model does not have.
        PatchError: no site can be patched; or, with the option `strict`, some site cannot.
    """
    everything = list(find_sites(model))
    if not everything:
        raise PatchError("has no activation that JumpReLU can replace; nothing to patch")
    given = options.parameters([found.site.name for found in everything])
    plans: list[SitePlan] = []
    skipped: list[SkippedSite] = []
    for found in everything:
        wanted = given[found.site.name]
        plan = found.site.reason or (wanted if isinstance(wanted, str) else _plan_site(model, found, wanted, options))
        if isinstance(plan, SitePlan):
            plans.append(plan)
        else:
            skipped.append(SkippedSite(found.site.name, plan, by_choice=isinstance(wanted, str)))
    left = [site for site in skipped if not site.by_choice]
    if options.strict and plans and left:
        raise PatchError(
            f"{len(left)} of its {len(everything)} activation sites cannot be patched; '{left[0].name}': "
            f"{left[0].reason}; without strict the others are patched"
        )
    if not plans:
        first = skipped[0]
        raise PatchError(f"none of its activations ({len(skipped)}) is patched; '{first.name}': {first.reason}")
    return plans, skipped


def _plan_site(model: ModelProto, found: Found, parameters: Parameters, options: PatchOptions) -> SitePlan | str:
    """How one site is patched, or the reason why it cannot be."""
    site = found.site
    if options.jump_input:
        if model.ir_version < FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS:
            return f"IR version {model.ir_version} has no overridable inputs; leave out the jump input"
        if site.scope.startswith("function "):
            return "a function body cannot read a graph input; inline the function, or leave out the jump input"
    elem_type = parameter_type(found.elem_type) if options.jump_input else found.elem_type
    if parameters.n_channels is not None:
        _check_channels(site, parameters.n_channels)
        parameters = parameters.simplified()
    opset, main = found.scope.opset or 0, main_opset(model)
    emitted = LoweringSite(
        x=site.input,
        parameters=parameters.held_in(elem_type, f"site '{site.name}'"),
        rank=site.rank,
        inputs={name: name for name in parameters.names} if options.jump_input else {},
        elem_type=found.elem_type,
        opset=opset,
        ir_version=model.ir_version,
        keep_nan=options.keep_nan,
        base=site.tensor,
        function="JumpReLU" if opset == main else f"JumpReLU_opset{opset}",
        main_opset=main,
    )
    lowering, reason = choose(options.lowering, emitted)
    return reason or SitePlan(found, parameters, lowering, emitted)


def _check_channels(site: ActivationSite, count: int) -> None:
    """Raise OptionError where a site has another number of channels, or the file does not say how many.

    A wrong number could broadcast, and the model would silently compute something else.
    """
    channels = site.n_channels
    if channels is None:
        raise OptionError(
            f"site '{site.name}': a jump per channel needs a known number of channels (axis 1), but its shape is "
            f"{list(site.shape) if site.shape is not None else 'unknown'}; give one number"
        )
    if channels != count:
        raise OptionError(f"site '{site.name}': has {channels} channels, but the recipe gives it {count} jumps")
