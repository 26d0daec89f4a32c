"""Reading what `tune --json` wrote, entry by entry: whatever else a file holds is refused with a reason."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.attacks.norms import norm_named
from onnx_jumprelu.errors import DataError, OptionError
from onnx_jumprelu.files.hashes import model_sha256
from onnx_jumprelu.tuning.record import SearchRecord
from onnx_jumprelu.tuning.result import TrialPoint


def read_record(path: Path, model: Path) -> SearchRecord:
    """The record in a file that `tune --json` wrote about a model.

    Raises:
        DataError: it cannot be read, is not such a file, or is about another model; the message says what is wrong.
        ModelFileError: the model cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise DataError(f"{path}: is not JSON; give the file that `tune --json` wrote") from error
    try:
        record = _record(_Entries(content, "it"))
    except _UnfitError as error:
        raise DataError(f"{path}: is not what `tune --json` writes: {error}") from error
    if record.model_sha256 != model_sha256(model):
        raise DataError(
            f"{path}: is about tuning another model ({record.model}) than {model}, as their SHA-256 says; "
            f"give what `tune {model} --json` wrote"
        )
    return record


class _UnfitError(Exception):
    """Something in the file is not what it must be; the message says what."""


class _Entries:
    """An object of a JSON file, whose entries are checked as they are taken."""

    def __init__(self, content: object, where: str) -> None:
        if not isinstance(content, dict):
            raise _UnfitError(f"{where} is no object")
        self._content: dict[str, Any] = content
        self._where = where

    def get(self, key: str) -> Any:  # noqa: ANN401 - any JSON value
        if key not in self._content:
            raise _UnfitError(f"{self._where} has no '{key}'")
        return self._content[key]

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str):
            raise self._unfit(key, "a text")
        return value

    def flag(self, key: str) -> bool:
        value = self.get(key)
        if not isinstance(value, bool):
            raise self._unfit(key, "true or false")
        return value

    def count(self, key: str) -> int:
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._unfit(key, "a number of examples")
        return value

    def number(self, key: str, most: float = math.inf) -> float:
        """A finite number from 0 to `most`."""
        value = self.get(key)
        # A comparison alone: float() fails on an integer of 400 digits. NaN is not within any bounds.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= min(most, 1e300):
            raise self._unfit(key, "a number of at least 0" if most == math.inf else f"a number from 0 to {most:g}")
        return float(value)

    def budget(self, key: str) -> float:
        """A finite number above 0."""
        value = self.number(key)
        if not value:
            raise self._unfit(key, "a number above 0")
        return value

    def inner(self, key: str) -> _Entries:
        return _Entries(self.get(key), f"'{key}'")

    def each(self, key: str) -> list[_Entries]:
        value = self.get(key)
        if not isinstance(value, list) or not value:
            raise self._unfit(key, "a list with something in it")
        return [_Entries(entry, f"'{key}', entry {place},") for place, entry in enumerate(value)]

    def parameters(self, key: str) -> dict[str, Parameters]:
        value = self.get(key)
        if not isinstance(value, dict) or not value:
            raise self._unfit(key, "an object of jumps by site name")
        try:
            return {site: Parameters.from_json(entry, f"the jump of site '{site}'") for site, entry in value.items()}
        except OptionError as error:
            raise _UnfitError(f"in {self._where} {error}") from error

    def _unfit(self, key: str, wanted: str) -> _UnfitError:
        return _UnfitError(f"in {self._where} '{key}' is not {wanted}")


def _record(entries: _Entries) -> SearchRecord:
    record = SearchRecord(
        model=entries.text("model"),
        model_sha256=entries.text("model_sha256"),
        data=entries.text("data"),
        eps=entries.budget("eps"),
        norm=_norm(entries.text("norm")),
        max_drop=entries.number("max_drop", 1),
        original_clean=entries.inner("clean_accuracy").number("original", 1),
        n_search=entries.count("n_search"),
        n_held_out=entries.count("n_held_out"),
        trials=[_point(point) for point in entries.each("trials")],
        finalists=[_point(point) for point in entries.each("finalists")],
    )
    if sum(point.chosen for point in record.finalists) != 1:
        raise _UnfitError("not one of the 'finalists' is 'chosen'")
    return record


def _point(entries: _Entries) -> TrialPoint:
    return TrialPoint(
        parameters=entries.parameters("jumps"),
        clean_accuracy=entries.number("clean_accuracy", 1),
        worst_case=entries.number("worst_case", 1),
        chosen=entries.flag("chosen"),
        family=entries.text("family"),
    )


def _norm(name: str) -> str:
    try:
        norm_named(name)
    except OptionError as error:
        raise _UnfitError(str(error)) from error
    return name
