"""Reading a file that `tune --json` wrote."""

from __future__ import annotations

from pathlib import Path

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.attacks.norms import norm_named
from onnx_jumprelu.errors import DataError, OptionError
from onnx_jumprelu.files import json_records
from onnx_jumprelu.files.hashes import model_sha256
from onnx_jumprelu.files.json_records import Entries, UnfitError
from onnx_jumprelu.tuning.result import SearchRecord, TrialPoint

SCHEMA = json_records.schema_id("tuning")


def read_search_record(path: Path, model: Path) -> SearchRecord:
    """The record of tuning a model, from the file that `tune --json` wrote. Files without a schema are read too.

    Raises:
        DataError: the file cannot be read, is not such a file, or is about another model; the message says why.
        ModelFileError: the model cannot be read.
    """
    try:
        record = _record(json_records.read_record(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnfitError as error:
        raise DataError(f"{path}: is not what `tune --json` writes: {error}") from error
    if record.model_sha256 != model_sha256(model):
        raise DataError(
            f"{path}: is about another model ({record.model}): its SHA-256 differs from that of {model}; give what "
            f"`tune {model} --json` wrote"
        )
    return record


def _record(entries: Entries) -> SearchRecord:
    if not (entries.holds("schema", SCHEMA) or entries.holds("schema", None)):
        raise UnfitError(f"its schema is '{entries.value('schema')}', not '{SCHEMA}'")
    record = SearchRecord(
        model=entries.text("model"),
        model_sha256=entries.text("model_sha256"),
        data=entries.text("data"),
        eps=entries.positive("eps"),
        norm=_norm(entries.text("norm")),
        max_drop=entries.number("max_drop", 1),
        original_clean_accuracy=entries.inner("clean_accuracy").number("original", 1),
        n_search=entries.count("n_search"),
        n_held_out=entries.count("n_held_out"),
        trials=tuple(_point(point) for point in entries.each("trials")),
        finalists=tuple(_point(point) for point in entries.each("finalists")),
    )
    if sum(point.chosen for point in record.finalists) != 1:
        raise UnfitError("exactly one of the 'finalists' must be 'chosen'")
    return record


def _point(entries: Entries) -> TrialPoint:
    return TrialPoint(
        parameters=_parameters(entries, "jumps"),
        clean_accuracy=entries.number("clean_accuracy", 1),
        worst_case=entries.number("worst_case", 1),
        chosen=entries.flag("chosen"),
        family=entries.text("family"),
    )


def _parameters(entries: Entries, key: str) -> dict[str, Parameters]:
    value = entries.value(key)
    if not isinstance(value, dict) or not value:
        raise entries.unfit(key, "an object of jumps by site name")
    try:
        return {site: Parameters.from_json(entry, f"the jump of site '{site}'") for site, entry in value.items()}
    except OptionError as error:
        raise UnfitError(str(error)) from error


def _norm(name: str) -> str:
    try:
        norm_named(name)
    except OptionError as error:
        raise UnfitError(str(error)) from error
    return name
