"""What ONNX says about the inputs, outputs and attributes of an operator, and whether a node keeps to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import SupportsInt, cast

import onnx
from onnx import AttributeProto, NodeProto

from onnx_jumprelu.graphs.stored_tensors import elem_type_problem

INTERNAL = "__"  # how attributes begin that a runtime may add to any node
SHOWN = 80  # characters of a name
SINGLE = onnx.defs.OpSchema.FormalParameterOption.Single


@dataclass(frozen=True)
class Signature:
    """One version of an operator.

    Attributes:
        inputs: The smallest and largest number of inputs.
        outputs: The smallest and largest number of outputs.
        needed_inputs: Which inputs cannot be left out.
        needed_outputs: Which outputs cannot be left out.
        attributes: The type of each attribute, an `AttributeProto.AttributeType`.
        needed_attributes: Names of the attributes that have no default.
    """

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    needed_inputs: tuple[int, ...]
    needed_outputs: tuple[int, ...]
    attributes: Mapping[str, int]
    needed_attributes: tuple[str, ...]


@lru_cache(maxsize=1024)
def signature_of(domain: str, op_type: str, opset: int) -> Signature | None:
    """The version of an operator that an opset has, None where the installed onnx does not know it."""
    try:
        schema = onnx.defs.get_schema(op_type, opset, domain)
    except onnx.defs.SchemaError:
        return None
    return Signature(
        inputs=(schema.min_input, schema.max_input),
        outputs=(schema.min_output, schema.max_output),
        needed_inputs=_needed(schema.inputs),
        needed_outputs=_needed(schema.outputs),
        attributes={name: int(cast("SupportsInt", entry.type)) for name, entry in schema.attributes.items()},
        needed_attributes=tuple(name for name, entry in schema.attributes.items() if entry.required),
    )


def signature_problem(node: NodeProto, known: Signature) -> str | None:
    """What of a node an operator does not allow, None where it keeps to all of it."""
    problem = _count_problem("input", len(node.input), known.inputs) or _count_problem(
        "output", len(node.output), known.outputs
    )
    if problem:
        return problem
    for what, names, needed in (
        ("input", node.input, known.needed_inputs),
        ("output", node.output, known.needed_outputs),
    ):
        for index in needed:
            if index < len(names) and not names[index]:
                return f"its {what} {index} has no name"
    given = {entry.name: entry for entry in node.attribute}
    for name in known.needed_attributes:
        if name not in given:
            return f"has no attribute '{name}'"
    for name, entry in given.items():
        wanted = known.attributes.get(name)
        if wanted is None and not name.startswith(INTERNAL):
            return f"its operator has no attribute '{name[:SHOWN]}'"
        if wanted is not None and not entry.ref_attr_name and entry.type != wanted:
            return f"attribute '{name}' is {_type_name(entry.type)}, not {_type_name(wanted)}"
    to = given.get("to") if node.op_type == "Cast" else None
    return (
        elem_type_problem(to.i) if to is not None and to.type == AttributeProto.INT and not to.ref_attr_name else None
    )


def _needed(parameters: Iterable[onnx.defs.OpSchema.FormalParameter]) -> tuple[int, ...]:
    return tuple(index for index, entry in enumerate(parameters) if entry.option == SINGLE)


def _count_problem(what: str, count: int, limits: Sequence[int]) -> str | None:
    low, high = limits
    if low <= count <= high:
        return None
    return f"has {count} {what}s; its operator takes {f'at least {low}' if count < low else f'at most {high}'}"


def _type_name(number: int) -> str:
    return str(AttributeProto.AttributeType.Name(number))
