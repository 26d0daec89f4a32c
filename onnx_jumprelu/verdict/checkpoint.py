"""Finished attacks in a file, so that a verdict that was interrupted can go on where it stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnx_jumprelu.arrays import Bools
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.files.atomic import write_text

PLACE = re.compile(r"[01]/[0-9]+/[0-9]+/(original|patched)")  # stream, point of the curve, attack, model
LONGEST = 1e300  # seconds; a comparison alone takes integers of any length
ENTRIES = {"success", "replayed", "zero_gradients", "seconds"}


@dataclass(frozen=True)
class Outcome:
    """What came of one attack. Which one it was, its place in the plan says.

    Attributes:
        success: Whether the model is wrong after the attack, of shape (N,).
        replayed: Whether the other model is wrong on the same examples, of shape (N,).
        zero_gradients: Share of the attack's gradients that were 0, None where it needs none.
        seconds: Time taken.
    """

    success: Bools
    replayed: Bools
    zero_gradients: float | None
    seconds: float


class Partial:
    """Outcomes by the place that they have in the plan; without a file they are kept in memory alone."""

    def __init__(
        self, path: Path | None = None, about: Mapping[str, str] | None = None, *, resume: bool = False
    ) -> None:
        """Open it.

        Args:
            path: The file.
            about: What the verdict is about: only outcomes of the same question are taken over.
            resume: Whether to go on with the outcomes in the file.

        Raises:
            OptionError: there is nothing to go on with, it belongs to another question, or it is damaged.
        """
        self._path, self._about = path, dict(about or {})
        self._outcomes: dict[str, Outcome] = {}
        if resume and path is not None:
            self._outcomes = self._read(path)

    def __len__(self) -> int:
        return len(self._outcomes)

    def outcome(self, place: str) -> Outcome | None:
        """What is kept for a place, None where nothing is."""
        return self._outcomes.get(place)

    def keep(self, place: str, outcome: Outcome) -> None:
        """Add the outcome of a place."""
        self._outcomes[place] = outcome
        if self._path is not None:
            outcomes = {name: _entry(kept) for name, kept in self._outcomes.items()}
            write_text(self._path, json.dumps({"about": self._about, "outcomes": outcomes}))

    def remove(self) -> None:
        """Delete the file: the verdict is complete."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, Outcome]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            about, outcomes = _parts(content)
        except FileNotFoundError:
            raise OptionError(f"{path}: is not there; there is nothing to resume") from None
        except OSError as error:
            raise OptionError(f"{path}: cannot be read ({error.strerror or error}); leave out --resume") from error
        except (_UnfitError, ValueError, RecursionError) as error:  # a JSONDecodeError is a ValueError
            raise self._damaged(path, error) from error
        for name, value in self._about.items():
            if about.get(name) != value:
                raise OptionError(
                    f"{path}: belongs to another question ({name} differs); delete it, or leave out --resume"
                )
        try:
            return {place: _outcome(place, entry, self._about.get("examples")) for place, entry in outcomes.items()}
        except _UnfitError as error:
            raise self._damaged(path, error) from error

    def _damaged(self, path: Path, error: Exception) -> OptionError:
        reason = str(error) if isinstance(error, _UnfitError) else "it is not JSON"
        return OptionError(f"{path}: is no partial verdict of this tool: {reason}; delete it, or leave out --resume")


class _UnfitError(Exception):
    """Something in the file is not what this tool writes; the message says what."""


def _parts(content: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """The question and the outcomes, not looked into."""
    if not isinstance(content, dict) or set(content) != {"about", "outcomes"}:
        raise _UnfitError("it does not hold 'about' and 'outcomes' alone")
    about, outcomes = content["about"], content["outcomes"]
    if not isinstance(about, dict) or not isinstance(outcomes, dict) or not outcomes:
        raise _UnfitError("'about' or 'outcomes' is no object with something in it")
    return about, outcomes


def _entry(outcome: Outcome) -> dict[str, Any]:
    return {
        "success": _digits(outcome.success),
        "replayed": _digits(outcome.replayed),
        "zero_gradients": outcome.zero_gradients,
        "seconds": outcome.seconds,
    }


def _digits(wrong: Bools) -> str:
    return "".join("1" if each else "0" for each in wrong)


def _outcome(place: str, entry: object, n_examples: str | None) -> Outcome:
    if not PLACE.fullmatch(place):
        raise _UnfitError("the place of an outcome is none of a plan")
    if not isinstance(entry, dict) or set(entry) != ENTRIES:
        raise _UnfitError(f"outcome '{place}' does not hold {', '.join(sorted(ENTRIES))} alone")
    zero = entry["zero_gradients"]
    return Outcome(
        success=_bools(place, entry, "success", n_examples),
        replayed=_bools(place, entry, "replayed", n_examples),
        zero_gradients=None if zero is None else _number(place, entry, "zero_gradients", 1),
        seconds=_number(place, entry, "seconds", LONGEST),
    )


def _bools(place: str, entry: dict[str, Any], name: str, n_examples: str | None) -> Bools:
    digits = entry[name]
    if not isinstance(digits, str) or set(digits) - {"0", "1"} or str(len(digits)) != n_examples:
        raise _UnfitError(f"'{name}' of outcome '{place}' is not one digit, 0 or 1, per example")
    return np.asarray([digit == "1" for digit in digits], np.bool_)


def _number(place: str, entry: dict[str, Any], name: str, most: float) -> float:
    """A finite number from 0 to `most`; NaN is not within any bounds."""
    value = entry[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise _UnfitError(f"'{name}' of outcome '{place}' is not a number that it can be")
    return float(value)
