"""Kinds of files that commands write, and how an older result is told from a file that must be kept."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from onnx_jumprelu.errors import ModelFileError

TextKind = Literal["JSON", "checkpoint", "HTML", "XML", "Markdown", "CSV", "SVG"]
FileKind = TextKind | Literal[".npz"]
MARK = "<!-- onnx-jumprelu -->"  # in results that have no place of their own for it
EXAMPLES_MARK = b"onnx-jumprelu/examples/1"  # the comment at the end of an `.npz` file
AT_START, AT_END = 4096, 64  # bytes in which a mark is looked for


@dataclass(frozen=True)
class Kind:
    """How files of a kind are recognised.

    Attributes:
        beginning: A pattern of what every file of the kind begins with, blanks aside.
        mark: A pattern of what only a result of this tool has near its beginning or at its end.
    """

    beginning: bytes
    mark: bytes


KINDS: Mapping[FileKind, Kind] = {
    ".npz": Kind(rb"PK", re.escape(EXAMPLES_MARK) + rb"\Z"),
    # A result or a list of results; a checkpoint is hours of work, and not a result.
    "JSON": Kind(rb"[{\[]", rb'\A\s*(\[\s*)?\{\s*"schema":\s*"onnx-jumprelu/(?!checkpoint/)'),
    "checkpoint": Kind(rb"\{", b""),  # `verdict.checkpoint` reads what is there, and decides
    "HTML": Kind(rb"<", rb'<meta name="generator" content="onnx-jumprelu'),
    "XML": Kind(rb"<", rb'<testsuites name="onnx-jumprelu '),
    "SVG": Kind(rb"<", re.escape(MARK.encode())),
    "Markdown": Kind(rb"#", re.escape(MARK.encode())),
    "CSV": Kind(rb"family", rb"\A\s*family,stage,clean_accuracy,worst_case,"),
}


def check_replaceable(target: Path, kind: FileKind, *, force: bool = False) -> None:
    """Refuse to replace a file that is neither empty nor an older result of the same kind.

    Args:
        target: A regular file.
        kind: What is about to be written there.
        force: Whether a file of the same kind may be replaced even if this tool did not write it.

    Raises:
        ModelFileError: it must be kept.
        OSError: it cannot be read.
    """
    with target.open("rb") as file:
        start = file.read(AT_START)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - AT_END))
        end = file.read()
    if not start.strip() and size <= AT_START:
        return  # empty, as mktemp makes a file
    if not re.match(KINDS[kind].beginning, start.lstrip()):
        raise ModelFileError(f"{target}: already exists and is not a {kind} file; give another output")
    if not (force or re.search(KINDS[kind].mark, start) or re.search(KINDS[kind].mark, end)):
        raise ModelFileError(
            f"{target}: already exists and is not a result of this tool; give another output, or --force to replace it"
        )
