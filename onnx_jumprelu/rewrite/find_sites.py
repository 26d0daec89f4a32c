"""Finds the activation sites of a model: every rectifier, and every look-alike with the reason why it is refused.

Sites are found in the main graph, in If, Loop and Scan subgraphs and in model-local functions. Refused whatever the
form: integer types, opsets outside the supported range, JumpReLUs of other tools.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from onnx import ModelProto, NodeProto

from onnx_jumprelu.graphs.scopes import OLDEST_OPSET, STANDARD_DOMAIN, Scope, domain_of, newest_opset, walk_scopes
from onnx_jumprelu.graphs.tensor_types import FLOAT_TYPES, Dimension, TensorType, dtype_name, infer_types
from onnx_jumprelu.rewrite.foreign import ForeignJumpReLUs
from onnx_jumprelu.rewrite.recognisers import RECOGNISERS, Match, NodeInScope, Refusal, fused
from onnx_jumprelu.rewrite.site import ActivationSite

# From this version on CastLike makes constants of a type that is known only at run time (with bfloat16 from 16 on).
FIRST_OPSET_WITHOUT_TYPES = 16


@dataclass(frozen=True)
class Found:
    """A site, with what the rewrite needs to know about it."""

    site: ActivationSite
    node: NodeProto
    scope: Scope
    elem_type: int | None
    cap: float | None


def recognise(at: NodeInScope, foreign: ForeignJumpReLUs) -> Match | Refusal | None:
    """What one node is: a rectifier, a look-alike with the reason why it is refused, or neither (None)."""
    is_rectifier = at.node.op_type in RECOGNISERS and domain_of(at.node.domain) == STANDARD_DOMAIN
    refused = foreign.ends_at(at.node) or (foreign.contain(at.node) if is_rectifier else None)
    if refused is not None:
        return Refusal(*refused)
    recogniser = RECOGNISERS.get(at.node.op_type)
    if recogniser is None or domain_of(at.node.domain) != STANDARD_DOMAIN:
        return fused(at.node)
    match = recogniser(at)
    if isinstance(match, Match):
        reason = _unsupported(at, match.input)
        if reason:
            return Refusal(reason, match.input)
    return match


def _unsupported(at: NodeInScope, pre_activation: str) -> str | None:
    """Why a rectifier cannot be patched, for reasons that do not depend on its form; None where it can."""
    opset, elem_type = at.scope.opset, _type_of(at, pre_activation).elem_type
    if not pre_activation or not at.output:
        return "has no input or no output"
    if opset is None:
        return "the file imports no version of the standard operators"
    if opset < OLDEST_OPSET:
        return f"opset {opset} is too low; convert the model to opset {OLDEST_OPSET} or later"
    if opset > newest_opset():
        return f"opset {opset} is newer than the installed onnx knows ({newest_opset()}); upgrade onnx"
    if elem_type is None and opset < FIRST_OPSET_WITHOUT_TYPES:
        return f"element type cannot be inferred; below opset {FIRST_OPSET_WITHOUT_TYPES} it must be known"
    if elem_type is not None and elem_type not in FLOAT_TYPES:
        return f"{dtype_name(elem_type)} is not a floating-point type that JumpReLU supports"
    return None


def _type_of(at: NodeInScope, pre_activation: str) -> TensorType:
    """The type of an activation, whose input and output have the same type: the one that is known.

    Where the file declares contradictory shapes, the shape counts as unknown.
    """
    before, after = (at.types.get(name) for name in (pre_activation, at.output))
    if before is None or after is None:
        return after or before or TensorType()
    return after if _agree(before.shape, after.shape) else replace(after, shape=None)


def _agree(one: tuple[Dimension, ...] | None, other: tuple[Dimension, ...] | None) -> bool:
    if one is None or other is None:
        return True
    known = (pair for pair in zip(one, other, strict=False) if all(isinstance(size, int) for size in pair))
    return len(one) == len(other) and all(before == after for before, after in known)


def find_sites(model: ModelProto) -> Iterator[Found]:
    """Every rectifier and look-alike of a model that is not patched, in the order of the file."""
    types = infer_types(model)
    nodes = (
        (NodeInScope(node, scope, types.get(scope.path, {})), foreign)
        for scope in walk_scopes(model)
        for foreign in [ForeignJumpReLUs(scope)]
        for node in scope.nodes
    )
    matches = [(at, match) for at, foreign in nodes if (match := recognise(at, foreign)) is not None]
    for (at, match), name in zip(matches, _site_names([at for at, _ in matches]), strict=True):
        inferred = _type_of(at, match.input)
        site = ActivationSite(
            name=name,
            scope=at.scope.path,
            form=match.form if isinstance(match, Match) else at.node.op_type,
            tensor=at.output,
            input=match.input,
            dtype=inferred.dtype,
            shape=inferred.shape,
            reason=match.reason if isinstance(match, Refusal) else None,
        )
        yield Found(site, at.node, at.scope, inferred.elem_type, match.cap if isinstance(match, Match) else None)


def _site_names(sites: list[NodeInScope]) -> list[str]:
    """A unique name per site: the name of the node or of its output, prefixed with the scope if not unique."""
    plain = [at.node.name or at.output or at.node.op_type for at in sites]
    times = Counter(plain)
    scoped = [name if times[name] == 1 else f"{at.scope.path}/{name}" for at, name in zip(sites, plain, strict=True)]
    taken = set(scoped)
    used: set[str] = set()
    numbers: dict[str, int] = {}  # the next number to try for each name
    result = []
    for name in scoped:
        unique, number = name, numbers.get(name, 2)
        while unique in used or (unique != name and unique in taken):
            unique, number = f"{name}#{number}", number + 1
        numbers[name] = number
        used.add(unique)
        result.append(unique)
    return result
