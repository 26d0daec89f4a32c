"""A verdict's reports as files, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.files.atomic import os_errors, replacing, write_flushed
from onnx_jumprelu.report import html as html_report
from onnx_jumprelu.report import junit as junit_report
from onnx_jumprelu.report import markdown as markdown_report
from onnx_jumprelu.tuning.record import SearchRecord
from onnx_jumprelu.verdict.gallery import Example
from onnx_jumprelu.verdict.result import Verdict


def write_reports(
    verdict: Verdict,
    *,
    junit: Path | None = None,
    markdown: Path | None = None,
    html: Path | None = None,
    examples: Sequence[Example] = (),
    tuning: SearchRecord | None = None,
    jumps: Mapping[str, Parameters] | None = None,
) -> None:
    """Write the reports that are asked for; the HTML report alone shows examples, tuning and jumps.

    Raises:
        ModelFileError: one cannot be written.
        OptionError: the HTML report is asked for and the extra `report` is not installed.
    """
    if junit is not None:
        _write(junit, junit_report.render(verdict))
    if markdown is not None:
        _write(markdown, markdown_report.render(verdict))
    if html is not None:
        _write(html, html_report.render(verdict, examples, tuning, jumps))


def _write(path: Path, text: str) -> None:
    with replacing(path) as beside, os_errors(path):
        write_flushed(beside, [text.encode()])
