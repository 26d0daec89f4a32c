"""How a patch is undone: which nodes come back, and which nodes, constants and inputs go.

Sites are found by the names of their outputs. What stands there must be a JumpReLU by its structure, whatever another
tool has made of the nodes that the patch had added: constants may have become initializers, been merged or renamed, and
the pre-activation may have another name. In its place comes the original node, which reads the pre-activation that the
JumpReLU reads now. What only the JumpReLU used goes.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from google.protobuf.message import DecodeError
from onnx import FunctionProto, ModelProto, NodeProto

from onnx_jumprelu.activation.finder import JumpReLU, find_jumprelus
from onnx_jumprelu.activation.lowerings import DOMAIN
from onnx_jumprelu.activation.tensors import Tensors
from onnx_jumprelu.errors import ProvenanceError
from onnx_jumprelu.graphs.fused_kernels import fused_rectifier, is_without_activation
from onnx_jumprelu.graphs.scopes import Scope, domain_of, walk_scopes
from onnx_jumprelu.rewrite.record import PatchedSite, Provenance, drop_provenance


@dataclass
class ScopeUndo:
    """What changes in one scope.

    Attributes:
        scope: The scope.
        restored: The original nodes, by the index of the node that they replace.
        jumprelus: What is there now, by the name of the site's output.
        removed: Indices of the nodes that go.
        constants: Names of the initializers that go.
    """

    scope: Scope
    restored: dict[int, NodeProto] = field(default_factory=dict)
    jumprelus: dict[str, JumpReLU] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)
    constants: set[str] = field(default_factory=set)

    @cached_property
    def makers(self) -> dict[str, int]:
        """Index of the node that outputs a tensor."""
        return {name: index for index, node in enumerate(self.scope.nodes) for name in node.output if name}

    @cached_property
    def inputs(self) -> frozenset[str]:
        """Names of the scope's inputs."""
        proto = self.scope.proto
        return frozenset(proto.input if isinstance(proto, FunctionProto) else (value.name for value in proto.input))

    @cached_property
    def initializers(self) -> frozenset[str]:
        """Names of the tensors that the scope stores."""
        proto = self.scope.proto
        if isinstance(proto, FunctionProto):
            return frozenset()
        sparse = (tensor.values.name for tensor in proto.sparse_initializer)
        return frozenset((*sparse, *(tensor.name for tensor in proto.initializer)))

    def defines(self, name: str) -> bool:
        """Whether a tensor comes from this scope."""
        return name in self.makers or name in self.inputs or name in self.initializers

    def nodes(self) -> Iterator[NodeProto]:
        """The nodes as they will be, before any is removed."""
        return (self.restored.get(index, node) for index, node in enumerate(self.scope.nodes))

    def carry_out(self) -> None:
        """Change the scope."""
        for index, node in self.restored.items():
            self.scope.nodes[index].CopyFrom(node)
        for index in sorted(self.removed, reverse=True):
            del self.scope.nodes[index]
        if not isinstance(self.scope.proto, FunctionProto):
            _remove_last(self.scope.proto.initializer, self.constants)


@dataclass(frozen=True)
class Undo:
    """What changes in a model when its patch is undone."""

    record: Provenance
    scopes: dict[str, ScopeUndo]

    def jumprelu(self, site: PatchedSite) -> JumpReLU:
        """What is at a recorded site now."""
        return self.scopes[site.scope].jumprelus[site.tensor]

    def operator(self, site: PatchedSite) -> tuple[str, str]:
        """Domain and type of the node that comes back at a recorded site."""
        undo = self.scopes[site.scope]
        node = undo.restored[undo.makers[site.tensor]]
        return domain_of(node.domain), node.op_type

    def carry_out(self, model: ModelProto) -> None:
        """Change the model that this was planned for."""
        for undo in self.scopes.values():
            undo.carry_out()
        for values in (model.graph.input, model.graph.initializer):
            _remove_last(values, self.record.jump_inputs)
        for path in self.record.imports:
            if path in self.scopes:
                _remove_import(model if path == "main" else self.scopes[path].scope.proto)
        for index in reversed(range(len(model.functions))):
            if _is_ours(model.functions[index].domain, model.functions[index].name, self.record):
                del model.functions[index]
        drop_provenance(model)


def plan_undo(model: ModelProto, record: Provenance) -> Undo:
    """How a patch is undone. The model is not changed.

    Raises:
        ProvenanceError: the record does not fit the graph; the message says where.
    """
    scopes = {scope.path: ScopeUndo(scope) for scope in walk_scopes(model)}
    for path in sorted({site.scope for site in record.sites}):
        if path not in scopes:
            raise changed(f"'{path}' is missing")
        _restore(scopes[path], [site for site in record.sites if site.scope == path])
        for node in scopes[path].restored.values():
            missing = next((name for name in node.input if not _is_visible(name, scopes[path].scope, scopes)), None)
            if missing is not None:
                raise changed(f"'{missing}', which '{node.output[0]}' was computed from, is missing")
    uses: dict[str, Counter[str]] = {path: Counter() for path in scopes}
    for path, undo in reversed(scopes.items()):  # inner scopes first
        uses[path].update(name for node in undo.nodes() for name in node.input if name)
        uses[path].update(undo.scope.outputs)
        _sweep(undo, uses[path])
        if undo.scope.parent is not None:
            uses[undo.scope.parent.path].update(uses[path])
    _check_nothing_is_left(record, scopes, uses)
    return Undo(record, scopes)


def changed(what: str) -> ProvenanceError:
    """The error for a record that does not fit its graph."""
    return ProvenanceError(f"the graph was changed after it was patched ({what}); start again from the original file")


def _restore(undo: ScopeUndo, sites: list[PatchedSite]) -> None:
    tensors, jumprelus = Tensors(undo.scope), find_jumprelus(undo.scope)
    for site in sites:
        if site.tensor not in undo.makers:
            raise changed(f"no node outputs '{site.tensor}'")
        index = undo.makers[site.tensor]
        node, jumprelu = _come_back(site, undo.scope.nodes[index], tensors, jumprelus)
        undo.restored[index], undo.jumprelus[site.tensor] = node, jumprelu


def _come_back(
    site: PatchedSite, end: NodeProto, tensors: Tensors, jumprelus: Mapping[str, JumpReLU]
) -> tuple[NodeProto, JumpReLU]:
    """The node that replaces a site's last one, and the JumpReLU that goes.

    It reads the pre-activation under the name that this had, where that is still the same tensor.
    """
    node = _original(site)
    if fused_rectifier(node) is not None:
        return node, _behind_fused_kernel(site, node, end, tensors, jumprelus)
    # Records of earlier versions do not name the pre-activation: it is what is not the zero of a Max.
    before = site.input or next((name for name in node.input if not tensors.is_zero(name)), "")
    places = [place for place, name in enumerate(node.input) if name == before]
    jumprelu = jumprelus.get(site.tensor)
    if jumprelu is None and end.op_type == node.op_type and end.input:  # the original is still there, and caps
        node, places, jumprelu = copy.deepcopy(end), [0], jumprelus.get(tensors.plain(end.input[0]))
    if jumprelu is None:
        raise changed(f"'{site.tensor}' is not a JumpReLU now")
    if not places:
        raise changed(f"'{site.tensor}' is computed from '{jumprelu.x}' now")
    node.input[places[0]] = before if tensors.plain(before) == jumprelu.x else jumprelu.x
    return node, jumprelu


def _behind_fused_kernel(
    site: PatchedSite, original: NodeProto, end: NodeProto, tensors: Tensors, jumprelus: Mapping[str, JumpReLU]
) -> JumpReLU:
    """The JumpReLU behind a fused kernel whose rectifier was taken out, and that is otherwise what it was."""
    jumprelu = jumprelus.get(site.tensor)
    while jumprelu is None and end.op_type in ("Min", "Max") and end.domain == "":  # they cap
        jumprelu = jumprelus.get(tensors.plain(end.input[0]))
        before = tensors.maker(end.input[0], "Max")
        if jumprelu is None and before is None:
            break
        end = before or end
    kernel = None if jumprelu is None else tensors.maker_of(jumprelu.x)
    if jumprelu is None or kernel is None or not is_without_activation(kernel, original):
        raise changed(f"'{site.tensor}' is not a JumpReLU of what the fused kernel computes now")
    return jumprelu


def _original(site: PatchedSite) -> NodeProto:
    node = NodeProto()
    try:
        node.ParseFromString(site.original)
    except DecodeError as error:
        raise ProvenanceError(
            f"the record of site '{site.name}' is damaged; start again from the original file"
        ) from error
    if site.tensor not in node.output:
        raise ProvenanceError(f"the record of site '{site.name}' is damaged; start again from the original file")
    return node


def _is_visible(name: str, scope: Scope | None, scopes: dict[str, ScopeUndo]) -> bool:
    while scope is not None:
        if scopes[scope.path].defines(name):
            return True
        scope = scope.parent
    return not name


def _sweep(undo: ScopeUndo, uses: Counter[str]) -> None:
    """Mark what nothing uses any more of the nodes and constants that the replaced nodes read."""
    todo = [name for index in undo.restored for name in undo.scope.nodes[index].input if name]
    while todo:
        name = todo.pop()
        if uses[name] > 0:
            continue
        if name in undo.initializers - undo.inputs:
            undo.constants.add(name)
        index = undo.makers.get(name)
        if index is None or index in undo.removed or index in undo.restored:
            continue
        node = undo.scope.nodes[index]
        if any(uses[output] > 0 for output in node.output):
            continue
        undo.removed.add(index)
        uses.subtract(name for name in node.input if name)
        todo.extend(name for name in node.input if name)


def _check_nothing_is_left(record: Provenance, scopes: dict[str, ScopeUndo], uses: dict[str, Counter[str]]) -> None:
    """Refuse if something else uses what the patch had added; a constant that it shares with others may stay."""
    for site in record.sites:
        undo = scopes[site.scope]
        for name in site.added:
            if undo.makers.get(name, -1) not in {-1, *undo.removed, *undo.restored}:
                raise changed(f"'{name}' is used elsewhere")
    for name in record.jump_inputs:
        if uses["main"][name] > 0:
            raise changed(f"'{name}' is used elsewhere")
    for undo in scopes.values():
        proto = undo.scope.proto
        if isinstance(proto, FunctionProto) and _is_ours(proto.domain, proto.name, record):
            continue
        for index, node in enumerate(undo.nodes()):
            if index not in undo.removed and _is_ours(node.domain, node.op_type, record):
                raise changed(f"'{node.name or node.op_type}' also calls {node.op_type}")


def _is_ours(domain: str, name: str, record: Provenance) -> bool:
    return domain == DOMAIN and name in record.functions


def _remove_last(values: object, names: Iterable[str]) -> None:
    """Delete the last entry of each name, if there is one: a patch appends."""
    last = {value.name: index for index, value in enumerate(values)}  # type: ignore[arg-type, var-annotated]
    for index in sorted({last[name] for name in names if name in last}, reverse=True):
        del values[index]  # type: ignore[attr-defined]


def _remove_import(owner: object) -> None:
    imports = owner.opset_import  # type: ignore[attr-defined]
    for index in reversed(range(len(imports))):
        if imports[index].domain == DOMAIN:
            del imports[index]
            return
