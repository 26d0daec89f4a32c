"""A verdict's reports as files, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.files.atomic import write_text
from onnx_jumprelu.report import html as html_report
from onnx_jumprelu.report import junit as junit_report
from onnx_jumprelu.report import markdown as markdown_report
from onnx_jumprelu.tuning.result import SearchRecord
from onnx_jumprelu.verdict.result import Example, Verdict


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
        write_text(junit, junit_report.render(verdict), "XML")
    if markdown is not None:
        write_text(markdown, markdown_report.render(verdict), "Markdown")
    if html is not None:
        write_text(html, html_report.render(verdict, examples, tuning, jumps), "HTML")
