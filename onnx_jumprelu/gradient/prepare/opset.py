"""Raising a model's opset where that changes no node's meaning."""

from __future__ import annotations

import onnx
from onnx import ModelProto, NodeProto, helper

from onnx_jumprelu.errors import GradientError
from onnx_jumprelu.gradient.core.registry import label
from onnx_jumprelu.graphs.builder import FreshNames
from onnx_jumprelu.graphs.constants import attribute_proto
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, domain_of, walk_scopes


def raise_opset(model: ModelProto, old: int, new: int) -> None:
    """Import a later version of the standard domain. Changes the model.

    Raises:
        GradientError: a node would mean something else.
    """
    for scope in walk_scopes(model):
        for node in scope.nodes:
            if domain_of(node.domain) == STANDARD_DOMAIN:
                _keep_meaning(node, old, new, model)
    for entry in model.opset_import:
        if domain_of(entry.domain) == STANDARD_DOMAIN:
            entry.version = new


def _keep_meaning(node: NodeProto, old: int, new: int, model: ModelProto) -> None:
    """Convert a node to its equivalent at the new opset. Raises GradientError where there is none."""
    if node.op_type == "Upsample":  # the factors became an input
        scales = attribute_proto(node, "scales")
        if scales is not None:
            name = FreshNames(model)(f"{node.output[0]}/scales")
            model.graph.initializer.append(
                helper.make_tensor(name, onnx.TensorProto.FLOAT, [len(scales.floats)], scales.floats)
            )
            node.input.append(name)
            node.attribute.remove(scales)
        return
    spatial = attribute_proto(node, "spatial")
    if node.op_type == "BatchNormalization" and spatial is not None and spatial.i == 1:
        node.attribute.remove(spatial)  # later versions have no other form
    try:
        before, after = (onnx.defs.get_schema(node.op_type, opset) for opset in (old, new))
    except onnx.defs.SchemaError as error:
        raise GradientError(f"{label(node)}: opset {old} has no operator {node.op_type}") from error
    if not _extends(before, after, {entry.name for entry in node.attribute}) or after.deprecated:
        raise GradientError(
            f"{label(node)}: means something else at opset {new}; convert the model to opset {new} or later"
        )


def _extends(before: onnx.defs.OpSchema, after: onnx.defs.OpSchema, used: set[str]) -> bool:
    """Whether a later definition only adds types, optional inputs and outputs, or attributes to an earlier one."""
    if before.since_version == after.since_version:
        return True
    if not used <= set(after.attributes):
        return False
    same_defaults = all(
        before.attributes[name].default_value == attribute.default_value
        for name, attribute in after.attributes.items()
        if name in before.attributes
    )
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    same_ends = all(
        [item.name for item in old] == [item.name for item in new[: len(old)]]
        and all(item.option == optional for item in new[len(old) :])
        for old, new in ((before.inputs, after.inputs), (before.outputs, after.outputs))
    )
    return same_defaults and same_ends
