"""Finds the activation sites of a model: every rectifier, and every look-alike with the reason why it is refused.

Sites are found in the main graph, in If, Loop and Scan subgraphs and in model-local functions. Refused whatever the
form: integer types, opsets outside the supported range, JumpReLUs of other tools.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto, NodeProto

from onnx_jumprelu.activation.tensors import Tensors
from onnx_jumprelu.graphs.scopes import OLDEST_OPSET, STANDARD_DOMAIN, Scope, domain_of, newest_opset, walk_scopes
from onnx_jumprelu.graphs.tensor_types import FLOAT_TYPES, Dimension, TensorType, dtype_name, infer_types
from onnx_jumprelu.rewrite.foreign import ForeignJumpReLUs
from onnx_jumprelu.rewrite.recognisers import ARITHMETIC, RECOGNISERS, Match, NodeInScope, Refusal, cap_of, fused
from onnx_jumprelu.rewrite.site import ActivationSite

# From this version on CastLike makes constants of a type that is known only at run time (with bfloat16 from 16 on).
FIRST_OPSET_WITHOUT_TYPES = 16


@dataclass(frozen=True)
class Found:
    """A site, with what the rewrite needs to know about it; `bare` is a fused kernel without its rectifier."""

    site: ActivationSite
    node: NodeProto
    scope: Scope
    elem_type: int | None
    cap: float | None
    bare: NodeProto | None = None


def recognise(at: NodeInScope, foreign: ForeignJumpReLUs) -> Match | Refusal | None:
    """What one node is: a rectifier, a look-alike with the reason why it is refused, or neither (None)."""
    standard = domain_of(at.node.domain) == STANDARD_DOMAIN
    is_rectifier = standard and at.node.op_type in RECOGNISERS
    refused = foreign.ends_at(at.node) or (foreign.contain(at.node) if is_rectifier else None)
    if refused is not None:
        return Refusal(*refused)
    recogniser = {**RECOGNISERS, **ARITHMETIC}.get(at.node.op_type) if standard else None
    match = fused(at.node) if recogniser is None else recogniser(at)
    if isinstance(match, Match):
        reason = _unsupported(at, match)
        if reason:
            return Refusal(reason, match.input)
    return match


def _unsupported(at: NodeInScope, match: Match) -> str | None:
    """Why a rectifier cannot be patched, for reasons that do not depend on its form; None where it can."""
    opset, elem_type = at.scope.opset, _type_of(at, match).elem_type
    if not (match.input or match.bare) or not at.output:
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


def _type_of(at: NodeInScope, match: Match | Refusal) -> TensorType:
    """The type of an activation, whose input, output and constants have the same element type: one that is known.

    Where the file declares contradictory shapes, the shape counts as unknown.
    """
    before, after = (at.types.get(name) for name in (match.input, at.output))
    if before is None or after is None:
        constant = at.types.get(match.typed_by, TensorType()) if isinstance(match, Match) else TensorType()
        return after or before or TensorType(constant.elem_type)
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
        (NodeInScope(node, scope, tensors, types.get(scope.path, {})), foreign)
        for scope in walk_scopes(model)
        for tensors, foreign in [(Tensors(scope), ForeignJumpReLUs(scope))]
        for node in scope.nodes
    )
    matches, caps = _matches(nodes)
    for (at, match), name in zip(matches, _site_names([at for at, _ in matches]), strict=True):
        inferred = _type_of(at, match)
        site = ActivationSite(
            name=name,
            scope=at.scope.path,
            form=match.form if isinstance(match, Match) else at.node.op_type,
            tensor=at.output,
            input=match.input,
            dtype=inferred.dtype,
            shape=inferred.shape,
            cap=match.cap or caps.get((at.scope.path, at.output)) if isinstance(match, Match) else None,
            reason=match.reason if isinstance(match, Refusal) else None,
        )
        cap, bare = (match.cap, match.bare) if isinstance(match, Match) else (None, None)
        yield Found(site, at.node, at.scope, inferred.elem_type, cap, bare)


def _matches(
    nodes: Iterable[tuple[NodeInScope, ForeignJumpReLUs]],
) -> tuple[list[tuple[NodeInScope, Match | Refusal]], dict[tuple[str, str], float]]:
    """What is recognised, and the caps that other nodes put on rectifiers, by scope and the rectifier's output.

    A Clip from 0 to 6 of a rectifier's output is not another rectifier: it only caps.
    """
    found: list[tuple[NodeInScope, Match | Refusal]] = []
    capping: dict[tuple[str, str], tuple[str, float]] = {}  # what the node with this output caps
    for at, foreign in nodes:
        match, capped = recognise(at, foreign), cap_of(at)
        if match is not None:
            found.append((at, match))
        if capped is not None:
            capping[at.scope.path, at.output] = capped
    # The rectifier behind each capped tensor; caps may follow each other.
    rectifiers = {
        place: place for at, match in found if isinstance(match, Match) for place in [(at.scope.path, at.output)]
    }
    caps: dict[tuple[str, str], float] = {}
    only_cap: set[tuple[str, str]] = set()
    for place, (name, cap) in capping.items():
        rectifier = rectifiers.get((place[0], name))
        if rectifier is not None:
            rectifiers[place] = rectifier
            only_cap.add(place)
            caps[rectifier] = min(cap, caps.get(rectifier, np.inf))
    finite = {place: cap for place, cap in caps.items() if cap < np.inf}
    return [(at, match) for at, match in found if (at.scope.path, at.output) not in only_cap], finite


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
