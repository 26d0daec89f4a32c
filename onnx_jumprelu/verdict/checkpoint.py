"""Finished attacks in a file, so that a verdict that was interrupted can go on where it stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_jumprelu.arrays import Bools
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.files.atomic import write_text
from onnx_jumprelu.files.json_records import Entries, UnfitError, bits_text, read_record

PLACE = re.compile(r"[01]/[0-9]+/[0-9]+/(original|patched)")  # stream, point of the curve, attack, model


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
            write_text(self._path, json.dumps({"about": self._about, "outcomes": outcomes}), "JSON")

    def remove(self) -> None:
        """Delete the file: the verdict is complete."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, Outcome]:
        try:
            content = read_record(path).only("about", "outcomes")
            about, outcomes = content.inner("about"), content.by_name("outcomes")
            for name, value in self._about.items():
                if not about.holds(name, value):
                    raise OptionError(
                        f"{path}: belongs to another question ({name} differs); delete it, or leave out --resume"
                    )
            n_examples = int(self._about.get("examples", 0))
            return {place: _outcome(place, entries, n_examples) for place, entries in outcomes.items()}
        except FileNotFoundError:
            raise OptionError(f"{path}: does not exist; there is nothing to resume") from None
        except OSError as error:
            raise OptionError(f"{path}: cannot be read ({error.strerror or error}); leave out --resume") from error
        except UnfitError as error:
            raise OptionError(
                f"{path}: is not a partial verdict of this tool: {error}; delete it, or leave out --resume"
            ) from error


def _entry(outcome: Outcome) -> dict[str, Any]:
    return {
        "success": bits_text(outcome.success),
        "replayed": bits_text(outcome.replayed),
        "zero_gradients": outcome.zero_gradients,
        "seconds": outcome.seconds,
    }


def _outcome(place: str, entries: Entries, n_examples: int) -> Outcome:
    if not PLACE.fullmatch(place):
        raise UnfitError(f"'outcomes' has an unknown entry '{place}'")
    entries.only("success", "replayed", "zero_gradients", "seconds")
    return Outcome(
        success=entries.bits("success", n_examples),
        replayed=entries.bits("replayed", n_examples),
        zero_gradients=entries.number_or_none("zero_gradients", 1),
        seconds=entries.number("seconds"),
    )
