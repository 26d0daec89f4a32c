"""Reverts a patch, and decides whether the record of a patch still fits its graph."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.errors import ProvenanceError
from onnx_jumprelu.files.models import proto_of
from onnx_jumprelu.graphs.constants import NotConstantError, numpy_dtype
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN
from onnx_jumprelu.rewrite.find_sites import Found, find_sites
from onnx_jumprelu.rewrite.record import PatchedSite, Provenance, is_patched, read_provenance
from onnx_jumprelu.rewrite.undo import Undo, changed, plan_undo

# The rectifier that means the same at every opset and for every type; others read numbers that another tool can change.
RELU = (STANDARD_DOMAIN, "Relu")


@dataclass(frozen=True)
class BeforePatch:
    """A model as it was before it was patched.

    Attributes:
        model: Without the patch; where there is no record, or one that is set aside, the model as it is.
        record: The record of the patch, None where there is none or it is set aside.
        parameters: What each recorded site holds now, by its scope and the name of its output.
        note: Why the record is set aside, None where it is not.
    """

    model: ModelProto
    record: Provenance | None
    parameters: dict[tuple[str, str], Parameters]
    note: str | None

    @property
    def notes(self) -> tuple[str, ...]:
        """The note, if there is one."""
        return () if self.note is None else (self.note,)


def revert_model(model: ModelProto | str | Path) -> ModelProto:
    """The model as it was before it was patched: for an unchanged patched model, the same bytes when serialized.

    Sites are found by the names of their outputs, so changes made elsewhere since the patch are kept.

    Args:
        model: A patched model, or its path; it is not changed.

    Raises:
        ModelFileError: the file cannot be read.
        OptionError: `model` is neither a path nor a model.
        ProvenanceError: the model has no record of a patch, or its sites were changed afterwards.
    """
    return reverted(proto_of(model))


def reverted(model: ModelProto) -> ModelProto:
    """`revert_model` for a model that has been checked; the data of its initializers may have been left out."""
    original = copy.deepcopy(model)
    _undo(original)
    return original


def before_patch(model: ModelProto) -> BeforePatch:
    """A copy without the patch where the record fits the graph; else the model itself, and why the record does not."""
    if not is_patched(model):
        return BeforePatch(model, None, {}, None)
    reverted = copy.deepcopy(model)
    try:
        undo = _undo(reverted)
    except ProvenanceError as error:
        return BeforePatch(model, None, {}, _note(error))
    held = {(site.scope, site.tensor): _held(site, undo) for site in undo.record.sites}
    return BeforePatch(reverted, undo.record, held, None)


def record_note(model: ModelProto | str | Path) -> str | None:
    """Why the record of a model's patch is set aside; None where it has no record, or one that fits its graph.

    Args:
        model: The model, or its path; it is not changed.

    Raises:
        ModelFileError: the file cannot be read.
        OptionError: `model` is neither a path nor a model.
    """
    return before_patch(proto_of(model)).note


def _note(error: ProvenanceError) -> str:
    reason = str(error).removesuffix("; start again from the original file")
    return (
        f"the record of an earlier patch is set aside: {reason}. JumpReLUs are recognised by their structure and left "
        "as they are; the earlier patch cannot be reverted"
    )


def _held(site: PatchedSite, undo: Undo) -> Parameters:
    """The recorded parameters, unless the graph holds others now; rounding does not count."""
    found = undo.jumprelu(site)
    held = {"jump": found.jumps, "softness": found.softness, "center": found.center}
    if any(held[name] is None for name in found.operands):
        return site.parameters
    values = {name: value[0] if len(value) == 1 else value for name, value in held.items() if value is not None}
    now = Parameters(**values)
    return site.parameters if now.is_close(site.parameters) else now


def _undo(model: ModelProto) -> Undo:
    """Undo the patch of a model in place, and check that its rectifiers are back."""
    undo = plan_undo(model, read_provenance(model))
    undo.carry_out(model)
    doubtful = [site for site in undo.record.sites if undo.operator(site) != RELU]
    found = {(found.site.scope, found.site.tensor): found for found in (find_sites(model) if doubtful else ())}
    for site in doubtful:
        _check_is_back(site, found.get((site.scope, site.tensor)))
    return undo


def _check_is_back(site: PatchedSite, found: Found | None) -> None:
    """Refuse where the original node means something else in the graph as it is now: another opset, another type."""
    if found is None:
        raise changed(f"'{site.tensor}' would not be a rectifier")
    if found.elem_type is None:
        return
    if found.site.reason is not None:
        raise changed(f"'{site.tensor}' would not be a rectifier: {found.site.reason}")
    for name in found.node.input:
        try:
            dtype = found.scope.constant(name).dtype if name else None
        except NotConstantError:
            continue
        if dtype not in (None, numpy_dtype(found.elem_type)):
            raise changed(f"'{name}' is {dtype}, and '{site.tensor}' is {found.site.dtype}")
