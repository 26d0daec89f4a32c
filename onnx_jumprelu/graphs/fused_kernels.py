"""onnxruntime's fused kernels with a rectifier inside, and the same nodes without it.

onnxruntime writes them into the models that it saves optimized.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, helper

CONTRIB_DOMAIN = "com.microsoft"
# What a node becomes without its activation. FusedGemm has no kernel without one.
BARE = {"FusedConv": ("FusedConv", CONTRIB_DOMAIN), "FusedGemm": ("Gemm", "")}
ACTIVATION = "activation"  # the attributes of the activation begin with it


@dataclass(frozen=True)
class FusedRectifier:
    """A rectifier inside a fused kernel.

    Attributes:
        cap: Its upper bound, None for none.
        bare: The node without it, whose output is the pre-activation.
    """

    cap: float | None
    bare: NodeProto


def fused_rectifier(node: NodeProto) -> FusedRectifier | None:
    """The rectifier inside a node, None where there is none that can be taken out."""
    if node.domain != CONTRIB_DOMAIN or node.op_type not in BARE:
        return None
    given = {entry.name: entry for entry in node.attribute if entry.name.startswith(ACTIVATION)}
    if ACTIVATION not in given or any(entry.ref_attr_name for entry in given.values()):
        return None
    kind, bounds = given[ACTIVATION].s, given.get("activation_params")
    if kind == b"Relu":
        return FusedRectifier(None, _bare(node))
    if kind == b"Clip" and bounds is not None and len(bounds.floats) == len(("min", "max")):
        low, high = helper.get_attribute_value(bounds)
        if low == 0 and high > 0:
            return FusedRectifier(float(high) if high < np.finfo(np.float32).max else None, _bare(node))
    return None


def _bare(node: NodeProto) -> NodeProto:
    bare = NodeProto()
    bare.CopyFrom(node)
    bare.ClearField("name")
    bare.ClearField("doc_string")
    take_activation_out(bare, *BARE[node.op_type])
    return bare


def take_activation_out(node: NodeProto, op_type: str, domain: str) -> None:
    """Make a fused kernel another operator without an activation. Changes the node."""
    node.op_type, node.domain = op_type, domain
    for index in reversed(range(len(node.attribute))):
        if node.attribute[index].name.startswith(ACTIVATION):
            del node.attribute[index]


def is_without_activation(node: NodeProto, original: NodeProto) -> bool:
    """Whether a node is what is left of a fused kernel without its rectifier, whatever the names of node and output."""
    fused, seen = fused_rectifier(original), NodeProto()
    if fused is None:
        return False
    seen.CopyFrom(node)
    for each in (seen, fused.bare):
        each.ClearField("name")
        each.ClearField("output")
        each.ClearField("doc_string")
    return seen == fused.bare
