"""Patching a model: plan the sites, lower them, record what was done.

Only node lists change, and with some options graph inputs with defaults and model-local functions. Weights are never
decoded, copied or re-encoded. The same model and options give the same bytes.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper

from onnx_jumprelu.activation.lowerings import AUTO, DOMAIN, LOWERINGS, function_body, parameter_type
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.values import Jump
from onnx_jumprelu.errors import OptionError, PatchError
from onnx_jumprelu.files.models import proto_of
from onnx_jumprelu.graphs.builder import FreshNames, GraphBuilder
from onnx_jumprelu.graphs.constants import tensor
from onnx_jumprelu.graphs.scopes import Scope
from onnx_jumprelu.names import LoweringName
from onnx_jumprelu.rewrite.find_sites import find_sites
from onnx_jumprelu.rewrite.options import PatchOptions
from onnx_jumprelu.rewrite.recipe import Recipe
from onnx_jumprelu.rewrite.record import PatchedSite, Provenance, set_aside, write_provenance
from onnx_jumprelu.rewrite.revert import BeforePatch, before_patch
from onnx_jumprelu.rewrite.site import ActivationSite, SkippedSite
from onnx_jumprelu.rewrite.site_plan import SitePlan, plan_sites
from onnx_jumprelu.version import __version__

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from onnx_jumprelu.rewrite.options import PatchKeywords


@dataclass(frozen=True)
class SiteJump:
    """A patched site.

    Attributes:
        name: The site's name.
        parameters: The parameters that it was given.
        inputs: Names of the graph inputs that override them, by the parameter's name; empty where all are fixed.
    """

    name: str
    parameters: Parameters
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def jump(self) -> Jump:
        """The jump that the site was given, one number or one per channel."""
        return self.parameters.jump

    @property
    def jump_input(self) -> str | None:
        """The graph input that overrides the jump, None where it is fixed."""
        return self.inputs.get("jump")


@dataclass(frozen=True)
class PatchSummary:
    """What a patch did.

    Attributes:
        lowering: The lowerings used, joined by commas.
        sites: The sites that were rewritten.
        skipped: The sites that were not.
        repatched: Whether the model was already patched, so that new parameters replaced old ones.
        notes: What else to know: why the record of an earlier patch was set aside.
    """

    lowering: str
    sites: tuple[SiteJump, ...]
    skipped: tuple[SkippedSite, ...]
    repatched: bool
    notes: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class PatchResult(PatchSummary):
    """A patched model, and what was done to it."""

    model: ModelProto = field(repr=False)


@dataclass
class _Edits:
    """What the rewrite adds to a model, as `revert` needs to know it."""

    names: FreshNames
    builders: dict[str, GraphBuilder] = field(default_factory=dict)
    insertions: dict[str, list[tuple[int, list[NodeProto]]]] = field(default_factory=dict)
    shared: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sites: list[PatchedSite] = field(default_factory=list)


def find_activations(model: ModelProto | str | Path) -> list[ActivationSite]:
    """Every rectifier of a model, and every look-alike with the reason why it cannot be patched, scope by scope.

    For a patched model these are the sites of the original, each with its current parameters, unless the record of the
    patch no longer fits the graph: then they are what is there now, and `record_note` says so. The model, which may be
    given as its path, is not changed.

    Raises:
        ModelFileError: the file cannot be read.
        OptionError: `model` is neither a path nor a model.
    """
    return list(inspected(proto_of(model)).sites)


@dataclass(frozen=True)
class Inspection:
    """The activation sites of a model, and notes: why the record of an earlier patch is set aside."""

    sites: tuple[ActivationSite, ...]
    notes: tuple[str, ...]


def inspected(model: ModelProto) -> Inspection:
    """`find_activations` for a model that has been checked; the data of its initializers may have been left out."""
    before = before_patch(model)
    sites = tuple(_with_parameters(found.site, before) for found in find_sites(before.model))
    return Inspection(sites, before.notes)


def _with_parameters(site: ActivationSite, before: BeforePatch) -> ActivationSite:
    held = before.parameters.get((site.scope, site.tensor))
    return site if held is None else replace(site, parameters=held)


def patch_model(
    model: ModelProto | str | Path, jump: float | None = None, **options: Unpack[PatchKeywords]
) -> PatchResult:
    """Rewrite the ReLUs of a model into JumpReLU: `x if x > jump else 0` (arXiv:1904.03750).

    A model that is already patched gets new parameters, as if its original were patched. A record that no longer fits
    its graph is set aside, with a note: what is a JumpReLU stays as it is, and the remaining ReLUs are patched.

    Args:
        model: The model, or its path; it is not changed.
        jump: One jump for all sites, in units of the pre-activations, at least 0.
        **options: See `PatchOptions`.

    Raises:
        ModelFileError: the file cannot be read.
        OptionError: options out of range, or that name sites the model does not have.
        PatchError: nothing in the model can be patched.
    """
    patched = copy.deepcopy(proto_of(model))
    summary = patch_in_place(patched, PatchOptions(jump=jump, **options))
    return PatchResult(**vars(summary), model=patched)


def patch_in_place(model: ModelProto, options: PatchOptions, input_sha256: str | None = None) -> PatchSummary:
    """`patch_model` on the model itself; `input_sha256` is the hash of its file if it came from one."""
    before = before_patch(model)
    if before.record is not None:
        input_sha256 = before.record.input_sha256
        model.CopyFrom(before.model)
    elif input_sha256 is None:
        input_sha256 = hashlib.sha256(model.SerializeToString()).hexdigest()
    set_aside(model)
    plans, skipped = plan_sites(model, options)
    record = _rewrite(model, plans, options, input_sha256)
    return PatchSummary(
        lowering=record.lowering,
        sites=tuple(SiteJump(site.name, site.parameters, site.inputs) for site in record.sites),
        skipped=tuple(skipped),
        repatched=before.record is not None,
        notes=before.notes,
    )


def patch_as_recorded(original: ModelProto, record: Provenance) -> ModelProto:
    """A copy of a model, patched as another record says, by this version of the tool.

    Raises:
        OptionError, PatchError: the model does not have the recorded sites.
    """
    patched = copy.deepcopy(original)
    given = {site.name: site.parameters for site in record.sites}
    one = record.jump_input == "one"
    options = PatchOptions(
        jump=record.sites[0].parameters if one else None,
        recipe=None if one else Recipe(None, given),
        include=tuple(given),
        lowering=cast("LoweringName", record.asked_lowering or (AUTO if "," in record.lowering else record.lowering)),
        keep_nan=record.keep_nan,
        jump_input=bool(record.jump_input),
    )
    patch_in_place(patched, options, record.input_sha256)
    return patched


def _lowering_names(plans: list[SitePlan]) -> str:
    return ",".join(sorted({plan.lowering for plan in plans}))


def _rewrite(model: ModelProto, plans: list[SitePlan], options: PatchOptions, input_sha256: str) -> Provenance:
    """Carry out the plans and record what was done."""
    edits = _Edits(FreshNames(model))
    defaults: dict[str, TensorProto] = {}
    if options.jump_input:
        plans = _with_inputs(plans, edits.names, defaults, shared=options.recipe is None)
    functions = _add_functions(model, plans, edits.names)
    scopes = {plan.found.scope.path: plan.found.scope for plan in plans}
    positions = {path: _positions(scope) for path, scope in scopes.items()}
    for plan in plans:
        _lower(plan, positions[plan.found.scope.path][plan.found.site.tensor], edits)
    for path, insertions in edits.insertions.items():
        # Insert the last nodes first, so that the earlier positions stay valid.
        for index, nodes in reversed(insertions):
            for node in reversed(nodes):
                scopes[path].nodes.insert(index, node)
    for default in defaults.values():
        model.graph.input.append(helper.make_tensor_value_info(default.name, default.data_type, default.dims))
        model.graph.initializer.append(default)
    record = Provenance(
        version=__version__,
        lowering=_lowering_names(plans),
        keep_nan=options.keep_nan,
        input_sha256=input_sha256,
        sites=tuple(edits.sites),
        shared=edits.shared,
        jump_input=("one" if options.recipe is None else "each") if options.jump_input else "",
        jump_inputs=tuple(defaults),
        functions=tuple(functions),
        imports=tuple(_import_domain(model, plans)) if functions else (),
        # Hard and soft sites have different lowerings, and one of them may be what `auto` chose.
        asked_lowering=options.lowering if "," in _lowering_names(plans) and options.lowering != AUTO else "",
    )
    write_provenance(model, record)
    return record


def _positions(scope: Scope) -> dict[str, int]:
    return {output: index for index, node in enumerate(scope.nodes) for output in node.output}


def _lower(plan: SitePlan, index: int, edits: _Edits) -> None:
    """Emit a site's nodes. The node at `index` becomes the last one and keeps its name, output and doc string."""
    site, scope, node = plan.found.site, plan.found.scope, plan.found.node
    original = node.SerializeToString()
    builder = edits.builders.setdefault(scope.path, GraphBuilder(edits.names))
    output = _emit(plan, builder)
    nodes = builder.take()
    if plan.found.cap is None or plan.found.bare is not None:
        last = nodes.pop()
        node.op_type, node.domain = last.op_type, last.domain
        node.ClearField("overload")
        del node.input[:], node.attribute[:]
        node.input.extend(last.input)
        node.attribute.extend(last.attribute)
    else:
        node.input[0] = output
    constants = [entry.output[0] for entry in nodes if entry.op_type == "Constant"]
    edits.shared[scope.path] = (*edits.shared.get(scope.path, ()), *constants)
    edits.insertions.setdefault(scope.path, []).append((index, nodes))
    edits.sites.append(
        PatchedSite(
            name=site.name,
            scope=scope.path,
            tensor=site.tensor,
            parameters=plan.parameters,
            lowering=plan.lowering,
            inputs=plan.emitted.inputs,
            added=tuple(entry.output[0] for entry in nodes if entry.op_type != "Constant"),
            original=original,
            input=site.input,
        )
    )


def _emit(plan: SitePlan, builder: GraphBuilder) -> str:
    """Append a site's nodes; returns the name of their output. A rectifier is first taken out of its fused kernel."""
    bare, site = plan.found.bare, plan.emitted
    if bare is None:
        return LOWERINGS[plan.lowering].emit(site, builder)
    site = replace(site, x=builder.copy(bare, f"{site.base}/pre_activation"))
    output = LOWERINGS[plan.lowering].emit(site, builder)
    if plan.found.cap is None:
        return output
    if plan.parameters.is_soft:  # a center can make it negative, and a Clip from 0 to the cap was there
        output = builder.op("Max", [output, site.constant(0.0, "zero", builder)], f"{site.base}/rectified")
    # Not shared with other constants, of which one may be a jump.
    cap = builder.op("Constant", [], f"{site.base}/cap", value=tensor(parameter_type(site.elem_type), plan.found.cap))
    if site.elem_type is None:
        cap = builder.op("CastLike", [cap, output], f"{site.base}/cap_like")
    return builder.op("Min", [output, cap], f"{site.base}/capped")


def _with_inputs(
    plans: list[SitePlan], names: FreshNames, defaults: dict[str, TensorProto], *, shared: bool
) -> list[SitePlan]:
    """Name the graph input of each parameter and add its default: one for all sites, or one per site."""
    types = {parameter_type(plan.found.elem_type) for plan in plans}
    if shared and len(types) > 1:
        listed = ", ".join(sorted({str(plan.found.site.dtype) for plan in plans}))
        raise OptionError(f"one jump input cannot be used by sites of different types ({listed}); give a recipe")
    common: dict[str, str] = {}
    result = []
    for plan in plans:
        inputs = {}
        for parameter, value in plan.parameters.arrays(plan.emitted.rank).items():
            if shared:
                name = common[parameter] if parameter in common else common.setdefault(parameter, names(parameter))
            else:
                name = names(f"{parameter}.{plan.found.site.name}")
            defaults[name] = tensor(parameter_type(plan.found.elem_type), value, name)
            inputs[parameter] = name
        result.append(replace(plan, emitted=replace(plan.emitted, inputs=inputs)))
    return result


def _add_functions(model: ModelProto, plans: list[SitePlan], names: FreshNames) -> list[str]:
    """One function per version of the standard domain that the sites' scopes import."""
    emitted = {plan.emitted.function: plan.emitted for plan in plans if plan.lowering == "function"}
    imports = (*model.opset_import, *(entry for function in model.functions for entry in function.opset_import))
    domains = {entry.domain for entry in imports} | {function.domain for function in model.functions}
    if emitted and DOMAIN in domains:
        raise PatchError(f"already uses the domain {DOMAIN}; choose another lowering")
    for site in emitted.values():
        model.functions.append(function_body(site, GraphBuilder(names)))
    return list(emitted)


def _import_domain(model: ModelProto, plans: list[SitePlan]) -> list[str]:
    """Import the function's domain into the model and into the functions that call it; returns where."""
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    where = ["main"]
    for plan in plans:
        scope: Scope | None = plan.found.scope
        while scope is not None and scope.parent is not None:
            scope = scope.parent
        if scope is not None and isinstance(scope.proto, FunctionProto) and scope.path not in where:
            scope.proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
            where.append(scope.path)
    return where
