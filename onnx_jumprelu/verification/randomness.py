"""Models that draw random numbers when they run: copies of them in which what is random is held fixed.

Each operator that draws random numbers gets a seed of its own, the same in the original and in its patched copy. Their
outputs can then be compared, on numbers that the operators may have drawn.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator

import onnx
from onnx import ModelProto, NodeProto, helper

from onnx_jumprelu.graphs.constants import attribute_proto
from onnx_jumprelu.graphs.scopes import domain_of, walk_scopes

SEED = "seed"
TRAINING_MODE = 2  # the input of Dropout without which it draws nothing


def random_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """The nodes that draw other random numbers in each session, in every scope."""
    return (node for node, _ in _with_seed_types(model))


def _with_seed_types(model: ModelProto) -> Iterator[tuple[NodeProto, type[int | float]]]:
    for scope in walk_scopes(model):
        for node in scope.nodes:
            domain = domain_of(node.domain)
            seed_type = _seed_type(node.op_type, scope.opsets.get(domain, 0), domain)
            if seed_type is not None and _draws(node):
                yield node, seed_type


@functools.cache
def _seed_type(op_type: str, opset: int, domain: str) -> type[int | float] | None:
    """The type of an operator's attribute `seed`, None for an operator without one, which draws nothing."""
    try:
        attributes = onnx.defs.get_schema(op_type, opset, domain).attributes
    except onnx.defs.SchemaError:  # an operator that onnx does not know
        return None
    if SEED not in attributes:
        return None
    return int if attributes[SEED].type == onnx.defs.OpSchema.AttrType.INT else float


def _draws(node: NodeProto) -> bool:
    seed = attribute_proto(node, SEED)
    given = seed is not None and not seed.ref_attr_name
    return not given and (node.op_type != "Dropout" or any(node.input[TRAINING_MODE:]))


def held_fixed(model: ModelProto) -> ModelProto:
    """The model with a seed for each operator that draws random numbers; the model itself where none does."""
    if next(random_nodes(model), None) is None:
        return model
    fixed = copy.deepcopy(model)
    for number, (node, seed_type) in enumerate(list(_with_seed_types(fixed)), start=1):
        others = [entry for entry in node.attribute if entry.name != SEED]
        seeded = NodeProto(attribute=[*others, helper.make_attribute(SEED, seed_type(number))])
        del node.attribute[:]
        node.attribute.extend(seeded.attribute)
    return fixed
