"""Reverts a patch: restores each original node and removes everything that was added."""

from __future__ import annotations

import copy
from collections.abc import Iterable, MutableSequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from onnx import FunctionProto, ModelProto, NodeProto

from onnx_jumprelu.activation.lowerings import DOMAIN
from onnx_jumprelu.errors import ProvenanceError
from onnx_jumprelu.files.models import proto_of
from onnx_jumprelu.graphs.scopes import Scope, walk_scopes
from onnx_jumprelu.rewrite.record import PatchedSite, Provenance, drop_provenance, read_provenance


def revert_model(model: ModelProto | str | Path) -> ModelProto:
    """The model as it was before it was patched: for an unchanged patched model, the same bytes when serialized.

    Nodes are found by the names of their outputs, so changes made elsewhere since the patch are kept.

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
    revert_in_place(original)
    return original


def revert_in_place(model: ModelProto) -> None:
    """`revert_model` on the model itself. If it raises, the model is unchanged."""
    record = read_provenance(model)
    scopes = {scope.path: scope for scope in walk_scopes(model)}
    restored, removed = _locate(record, scopes)
    _check_nothing_dangles(record, scopes, restored, removed)
    for path, nodes in restored.items():
        for index, original in nodes.items():
            scopes[path].nodes[index].CopyFrom(original)
    for path, indices in removed.items():
        for index in sorted(indices, reverse=True):
            del scopes[path].nodes[index]
    _remove_named(model.graph.input, record.jump_inputs)
    _remove_named(model.graph.initializer, record.jump_inputs)
    for path in record.imports:
        _remove_import(model if path == "main" else scopes[path].proto)
    for index in reversed(range(len(model.functions))):
        if model.functions[index].domain == DOMAIN and model.functions[index].name in record.functions:
            del model.functions[index]
    drop_provenance(model)


Restored = dict[str, dict[int, NodeProto]]
Removed = dict[str, set[int]]


def _locate(record: Provenance, scopes: dict[str, Scope]) -> tuple[Restored, Removed]:
    """Indices of the nodes to restore and of the nodes to remove, by the scope's path."""
    restored: Restored = {}
    removed: Removed = {}
    producers: dict[str, dict[str, int]] = {}
    for path in {site.scope for site in record.sites} | set(record.shared):
        if path not in scopes:
            raise _changed(f"'{path}' is missing")
        producers[path] = {
            output: index for index, node in enumerate(scopes[path].nodes) for output in node.output if output
        }
    for site in record.sites:
        where = producers[site.scope]
        restored.setdefault(site.scope, {})[_index(where, site.tensor)] = _original(site)
        removed.setdefault(site.scope, set()).update(_index(where, name) for name in site.added)
    for path, names in record.shared.items():
        removed.setdefault(path, set()).update(_index(producers[path], name) for name in names)
    return restored, removed


def _index(producers: dict[str, int], tensor: str) -> int:
    if tensor not in producers:
        raise _changed(f"no node outputs '{tensor}'")
    return producers[tensor]


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


def _check_nothing_dangles(record: Provenance, scopes: dict[str, Scope], restored: Restored, removed: Removed) -> None:
    """Refuse if a later change uses what would be removed, or removed what a restored node reads."""
    gone = set(record.jump_inputs)
    defined: set[str] = {""}
    used: set[str] = set()
    for path, scope in scopes.items():
        if isinstance(scope.proto, FunctionProto) and _is_ours(scope.proto.domain, scope.proto.name, record):
            continue
        inputs, outputs = _boundary(scope)
        defined |= inputs
        used |= outputs
        back, out = restored.get(path, {}), removed.get(path, set())
        for index, node in enumerate(scope.nodes):
            if index in out:
                gone.update(node.output)
                continue
            defined.update(node.output)
            used.update(back[index].input if index in back else node.input)
            if index not in back and _is_ours(node.domain, node.op_type, record):
                raise _changed(f"'{node.name or node.op_type}' also calls {node.op_type}")
    for name in sorted(used & gone):
        raise _changed(f"'{name}' is used elsewhere")
    for node in (node for nodes in restored.values() for node in nodes.values()):
        for name in set(node.input) - defined:
            raise _changed(f"'{name}', which '{node.output[0]}' was computed from, is missing")


def _is_ours(domain: str, name: str, record: Provenance) -> bool:
    return domain == DOMAIN and name in record.functions


def _boundary(scope: Scope) -> tuple[set[str], set[str]]:
    """Names of a scope's inputs and initializers, and names of its outputs."""
    if isinstance(scope.proto, FunctionProto):
        return set(scope.proto.input), set(scope.proto.output)
    graph = scope.proto
    defined = {value.name for values in (graph.input, graph.initializer) for value in values}
    defined.update(sparse.values.name for sparse in graph.sparse_initializer)
    return defined, {value.name for value in graph.output}


def _changed(what: str) -> ProvenanceError:
    return ProvenanceError(f"the graph was changed after it was patched ({what}); start again from the original file")


def _remove_named(values: MutableSequence[Any], names: Iterable[str]) -> None:
    """Delete the last entry of each name: a patch appends."""
    for name in names:
        index = max((index for index, value in enumerate(values) if value.name == name), default=None)
        if index is None:
            raise _changed(f"the graph input '{name}' is missing")
        del values[index]


def _remove_import(owner: Any) -> None:  # noqa: ANN401 - a ModelProto or a FunctionProto
    for index in reversed(range(len(owner.opset_import))):
        if owner.opset_import[index].domain == DOMAIN:
            del owner.opset_import[index]
            return
