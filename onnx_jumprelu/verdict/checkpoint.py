"""Finished attacks in a file, so that an interrupted verdict can go on where it stopped."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_jumprelu.arrays import Bools
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.files.atomic import write_text
from onnx_jumprelu.files.json_records import Entries, UnfitError, bits_text, read_record, schema_id, stamped

SCHEMA = schema_id("checkpoint")
PLACE = re.compile(r"[01]/[0-9]+/[0-9]+/(original|patched|model)")  # stream, point of the curve, attack, model
ALONE = "/model"  # how the place of an attack on the only model ends
LONGEST_PLACE = 40  # characters of a place that an error quotes
WAY_OUT = "delete it, or leave out --resume"


@dataclass(frozen=True)
class FinishedAttack:
    """The outcome of one attack. Its place in the plan says which attack it was.

    Attributes:
        success: Whether the model is wrong after the attack, of shape (N,).
        replayed: Whether the other model is wrong on the same examples, of shape (N,); None without another model.
        zero_gradients: Share of the attack's gradients that were 0, None where it asked for none.
        seconds: Time taken.
    """

    success: Bools
    replayed: Bools | None
    zero_gradients: float | None
    seconds: float


class Checkpoint:
    """Finished attacks by their place in the plan; without a file they are kept in memory alone."""

    def __init__(self, path: Path | None = None, *, resume: bool = False, force: bool = False) -> None:
        """Choose the file.

        Args:
            path: The file.
            resume: Whether to go on with the attacks in the file.
            force: Whether to replace the attacks in the file, if they are not resumed.
        """
        self._path, self._resume, self._force = path, resume, force
        self._about: dict[str, str] = {}
        self._finished: dict[str, FinishedAttack] = {}

    def __len__(self) -> int:
        return len(self._finished)

    def open(self, about: Mapping[str, str]) -> None:
        """Read what is to be resumed.

        Args:
            about: What is needed to repeat the verdict. Only attacks of the same experiment are taken from the file.

        Raises:
            OptionError: there is no file to resume, it belongs to another experiment, or it is damaged; or there is a
                file that is not to be resumed and must not be lost.
        """
        self._about = dict(about)
        if self._path is None:
            return
        if self._resume:
            self._finished = self._read(self._path)
        elif self._path.exists() and not self._force:
            self._refuse(self._path)

    def finished(self, place: str) -> FinishedAttack | None:
        """The attack at a place, None where it has not finished."""
        return self._finished.get(place)

    def keep(self, place: str, finished: FinishedAttack) -> None:
        """Add the attack at a place. Raises ModelFileError where it cannot be written; those before it are kept."""
        finished_now = {**self._finished, place: finished}
        if self._path is not None:
            attacks = {name: _entry(kept) for name, kept in finished_now.items()}
            content = stamped("checkpoint", {"about": self._about, "attacks": attacks})
            write_text(self._path, json.dumps(content), "checkpoint")
        self._finished = finished_now

    def remove(self) -> None:
        """Delete the file: the verdict is complete."""
        if self._path is not None:
            with contextlib.suppress(OSError):  # then the next run says that it is there
                self._path.unlink(missing_ok=True)

    def _refuse(self, path: Path) -> None:
        """Say why a file cannot be replaced, and later deleted. Raises OptionError."""
        try:
            content = read_record(path)
            _check_schema(content)
            other = self._other_experiment(content.inner("about"))
        except OSError as error:
            raise OptionError(f"{path}: cannot be read ({error.strerror or error})") from error
        except UnfitError as error:
            raise OptionError(f"{path}: already exists and is not a checkpoint; give another file") from error
        whose, way_out = "an interrupted run", "--resume to continue it"
        if other is not None:
            whose, way_out = f"{whose} of another experiment ({other} differs)", "another --state"
        raise OptionError(f"{path}: holds the finished attacks of {whose}; give {way_out}, or --force to discard them")

    def _other_experiment(self, about: Entries) -> str | None:
        """What differs between this experiment and one in a file, None where nothing does."""
        return next((name for name, value in self._about.items() if not about.holds(name, value)), None)

    def _read(self, path: Path) -> dict[str, FinishedAttack]:
        try:
            content = read_record(path).only("schema", "version", "about", "attacks")
            _check_schema(content)
            about, attacks = content.inner("about"), content.by_name("attacks")
            if (name := self._other_experiment(about)) is not None:
                raise OptionError(f"{path}: belongs to another experiment ({name} differs); {WAY_OUT}")
            n_examples = int(self._about.get("examples", 0))
            return {place: _finished(place, entries, n_examples) for place, entries in attacks.items()}
        except FileNotFoundError:
            raise OptionError(f"{path}: does not exist; there is nothing to resume") from None
        except OSError as error:
            raise OptionError(f"{path}: cannot be read ({error.strerror or error}); leave out --resume") from error
        except UnfitError as error:
            raise OptionError(f"{path}: is not a checkpoint of a verdict: {error}; {WAY_OUT}") from error


def _check_schema(content: Entries) -> None:
    if not content.holds("schema", SCHEMA):
        raise content.unfit("schema", f"'{SCHEMA}'")


def _entry(finished: FinishedAttack) -> dict[str, Any]:
    return {
        "success": bits_text(finished.success),
        "replayed": None if finished.replayed is None else bits_text(finished.replayed),
        "zero_gradients": finished.zero_gradients,
        "seconds": finished.seconds,
    }


def _finished(place: str, entries: Entries, n_examples: int) -> FinishedAttack:
    if not PLACE.fullmatch(place):
        raise UnfitError(f"'attacks' has an unknown entry '{place[:LONGEST_PLACE]}'")
    entries.only("success", "replayed", "zero_gradients", "seconds")
    alone = place.endswith(ALONE) and entries.value("replayed") is None
    return FinishedAttack(
        success=entries.bits("success", n_examples),
        replayed=None if alone else entries.bits("replayed", n_examples),
        zero_gradients=entries.number_or_none("zero_gradients", 1),
        seconds=entries.number("seconds"),
    )
