"""The record of a patch in a model's `metadata_props`: enough to read, repeat and revert the patch."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnx import ModelProto

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.errors import ProvenanceError

PREFIX = "onnx_jumprelu."
# Put before the keys of a record that no longer fits its graph when the model is patched anew; reverting takes it off.
ASIDE = "set_aside."


@dataclass(frozen=True)
class PatchedSite:
    """One rewritten activation.

    Attributes:
        name: The site's name.
        scope: The site's scope.
        tensor: Name of the activation's output.
        parameters: The parameters as given; the graph holds them rounded to the element type.
        lowering: Name of the lowering.
        inputs: Names of the graph inputs that override parameters, by the parameter's name; empty where all are fixed.
        added: Outputs of the nodes that the rewrite inserted before the site's own node.
        original: The original node, serialized.
        input: Name of the pre-activation; '' in records of versions that did not write it.
    """

    name: str
    scope: str
    tensor: str
    parameters: Parameters
    lowering: str
    inputs: Mapping[str, str]
    added: tuple[str, ...]
    original: bytes
    input: str = ""


@dataclass(frozen=True)
class Provenance:
    """The record of one patch.

    Attributes:
        version: Version of this tool.
        lowering: The lowerings used, joined by commas.
        keep_nan: Whether NaN stays NaN.
        input_sha256: SHA-256 of the original file, or of the original message's serialization.
        sites: The rewritten activations, in the order of the file.
        shared: Outputs of the nodes that several sites of a scope use, by the scope's path.
        jump_input: `one` graph input per parameter for all sites, `each` site its own, or `` for none.
        jump_inputs: Graph inputs (with default values) that hold parameters.
        functions: Names of the model-local functions that the rewrite added.
        asked_lowering: The lowering that was asked for, where several are used.
        imports: Scopes whose opset imports the rewrite extended: `main` or a function's path.
    """

    version: str
    lowering: str
    keep_nan: bool
    input_sha256: str
    sites: tuple[PatchedSite, ...]
    shared: dict[str, tuple[str, ...]]
    jump_input: str
    jump_inputs: tuple[str, ...]
    functions: tuple[str, ...]
    imports: tuple[str, ...]
    asked_lowering: str = ""


def is_patched(model: ModelProto) -> bool:
    """Whether a model has the record of a patch."""
    return any(entry.key.startswith(PREFIX) for entry in model.metadata_props)


def mentions_patch(model: ModelProto) -> bool:
    """Whether a model has the record of a patch, or one that was set aside."""
    return any(entry.key.startswith(PREFIX) or _is_aside(entry.key) for entry in model.metadata_props)


def write_provenance(model: ModelProto, record: Provenance) -> None:
    """Append the record to a model that has none."""
    jumps = {site.name: site.parameters.to_json() for site in record.sites}
    undo = {
        "sites": [
            {
                "name": site.name,
                "scope": site.scope,
                "tensor": site.tensor,
                "input": site.input,
                "lowering": site.lowering,
                "jump_input": site.inputs.get("jump"),
                **({"inputs": dict(site.inputs)} if len(site.inputs) > 1 else {}),
                "added": site.added,
                "original": base64.b64encode(site.original).decode("ascii"),
            }
            for site in record.sites
        ],
        "shared": record.shared,
        "jump_input": record.jump_input,
        "jump_inputs": record.jump_inputs,
        "functions": record.functions,
        "imports": record.imports,
        **({"asked_lowering": record.asked_lowering} if record.asked_lowering else {}),
    }
    entries = {
        "version": record.version,
        "lowering": record.lowering,
        "keep_nan": "true" if record.keep_nan else "false",
        "jumps": _dumps(jumps),
        "input_sha256": record.input_sha256,
        "revert": _dumps(undo),
    }
    for key, value in entries.items():
        model.metadata_props.add(key=PREFIX + key, value=value)


def _dumps(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def read_provenance(model: ModelProto) -> Provenance:
    """The record of a patched model.

    Raises:
        ProvenanceError: the model has no record, or one that cannot be read.
    """
    entries = {
        entry.key.removeprefix(PREFIX): entry.value for entry in model.metadata_props if entry.key.startswith(PREFIX)
    }
    if not entries:
        raise ProvenanceError("the model has no record of a patch (metadata_props onnx_jumprelu.*)")
    try:
        return _parse(entries)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, binascii.Error) as error:
        raise ProvenanceError(
            f"the record of the patch is damaged ({error!r}); start again from the original file"
        ) from error


def _parse(entries: dict[str, str]) -> Provenance:
    jumps: dict[str, Any] = json.loads(entries["jumps"])
    undo: dict[str, Any] = json.loads(entries["revert"])
    sites = tuple(
        PatchedSite(
            name=_text(site["name"]),
            scope=_text(site["scope"]),
            tensor=_text(site["tensor"]),
            parameters=Parameters.from_json(jumps[site["name"]], "a jump"),
            lowering=_text(site["lowering"]),
            inputs=_inputs(site),
            added=_texts(site["added"]),
            original=base64.b64decode(site["original"], validate=True),
            input=_text(site.get("input", "")),
        )
        for site in undo["sites"]
    )
    if sorted(jumps) != sorted(site.name for site in sites):
        raise ValueError("its sites and its jumps do not belong together")
    return Provenance(
        version=entries["version"],
        lowering=entries["lowering"],
        keep_nan=entries["keep_nan"] == "true",
        input_sha256=entries["input_sha256"],
        sites=sites,
        shared={scope: _texts(names) for scope, names in undo["shared"].items()},
        jump_input=_text(undo["jump_input"]),
        jump_inputs=_texts(undo["jump_inputs"]),
        functions=_texts(undo["functions"]),
        imports=_texts(undo["imports"]),
        asked_lowering=_text(undo.get("asked_lowering", "")),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not text")
    return value


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{values!r:.40} is not a list")
    return tuple(map(_text, values))


def _inputs(site: Mapping[str, Any]) -> dict[str, str]:
    """The graph inputs of a site; a hard one has at most one, its jump."""
    if "inputs" in site:
        return {_text(name): _text(given) for name, given in site["inputs"].items()}
    return {} if site["jump_input"] is None else {"jump": _text(site["jump_input"])}


def drop_provenance(model: ModelProto) -> None:
    """Remove the record, and bring back the one that `set_aside` put away; other metadata are kept."""
    for index in reversed(range(len(model.metadata_props))):
        entry = model.metadata_props[index]
        if entry.key.startswith(PREFIX):
            del model.metadata_props[index]
        elif _is_aside(entry.key):
            entry.key = entry.key.removeprefix(ASIDE)


def set_aside(model: ModelProto) -> None:
    """Rename the record's keys, so that the model counts as not patched; `drop_provenance` undoes it."""
    for entry in model.metadata_props:
        if entry.key.startswith(PREFIX) or _is_aside(entry.key):
            entry.key = ASIDE + entry.key


def _is_aside(key: str) -> bool:
    return key.startswith(ASIDE) and key.replace(ASIDE, "").startswith(PREFIX)
