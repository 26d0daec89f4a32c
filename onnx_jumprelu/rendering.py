"""How a result renders itself: reports are on a floor above the results, so they are looked up by name when called."""

from __future__ import annotations

import importlib
from typing import Any

from onnx_jumprelu.errors import OptionError


def rendered(registry: str, report: str, result: object, **options: Any) -> Any:  # noqa: ANN401 - text, dict or figure
    """What a report makes of a result.

    Args:
        registry: Name of a registry in `onnx_jumprelu.report`, such as `TUNING_REPORTS`.
        report: Name of a report in that registry.
        result: The result to show.
        **options: Passed to the report.

    Raises:
        OptionError: there is no such report, or it needs an extra that is not installed.
    """
    reports: dict[str, str] = getattr(importlib.import_module("onnx_jumprelu.report"), registry)
    if report not in reports:
        raise OptionError(f"there is no report '{report}'; choose {', '.join(reports)}")
    module, _, function = reports[report].partition(":")
    return getattr(importlib.import_module(f"onnx_jumprelu.report.{module}"), function)(result, **options)
