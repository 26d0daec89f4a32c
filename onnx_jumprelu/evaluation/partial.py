"""Finished attacks in a file, so that a verdict that was interrupted can go on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnx_jumprelu.atomic import write_text
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.evaluation.verdict import Row


class Partial:
    """Rows by the place that they have in the plan; without a file they are kept in memory alone."""

    def __init__(
        self, path: Path | None = None, about: Mapping[str, str] | None = None, *, resume: bool = False
    ) -> None:
        """Open it.

        Args:
            path: The file.
            about: What the verdict is about: only rows of the same question are taken over.
            resume: Whether to go on with the rows in the file.

        Raises:
            OptionError: there is nothing to go on with, or it belongs to another question.
        """
        self._path, self._about = path, dict(about or {})
        self._rows: dict[str, list[dict[str, Any]]] = {}
        if resume and path is not None:
            self._rows = self._read(path)

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, key: str) -> list[Row] | None:
        """The rows of a place, None where they are not there."""
        entries = self._rows.get(key)
        return None if entries is None else [_row(entry) for entry in entries]

    def keep(self, key: str, rows: Sequence[Row]) -> None:
        """Add the rows of a place."""
        self._rows[key] = [_entry(row) for row in rows]
        if self._path is not None:
            write_text(self._path, json.dumps({"about": self._about, "rows": self._rows}))

    def remove(self) -> None:
        """Delete the file: the verdict is complete."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, list[dict[str, Any]]]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            about, rows = content["about"], content["rows"]
            for entries in rows.values():
                for entry in entries:
                    _row(entry)
        except FileNotFoundError:
            raise OptionError(f"{path}: is not there; there is nothing to resume") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise OptionError(f"{path}: is no partial verdict of this tool; run without --resume") from error
        for name, value in self._about.items():
            if about.get(name) != value:
                raise OptionError(f"{path}: belongs to another question ({name} differs); run without --resume")
        found: dict[str, list[dict[str, Any]]] = rows
        return found


def _entry(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "model": row.model,
        "success": "".join("1" if wrong else "0" for wrong in row.success),
        "zero_gradients": row.zero_gradients,
        "seconds": row.seconds,
    }


def _row(entry: dict[str, Any]) -> Row:
    success = np.asarray([digit == "1" for digit in entry["success"]], np.bool_)
    return Row(**{**entry, "success": success})
