"""The trade-off that tuning saw, as CSV: one row per candidate, quick attacks first, then the finalists'."""

from __future__ import annotations

import csv
import io

from onnx_jumprelu.tuning.result import Tuning


def table(found: Tuning) -> str:
    """Family, stage, clean accuracy, worst case, place on the front, choice, and the jump of each site.

    Where a site has one jump per channel, its cell holds them with spaces between them. The
    stages differ in attacks and examples, so numbers compare within a stage only.
    """
    sites = [site.name for site in found.sites]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["family", "stage", "clean_accuracy", "worst_case", "front", "chosen", *sites])
    front = found.front
    for stage, points in (("quick", found.trials), ("thorough", found.finalists)):
        for point in points:
            on_front = stage == "thorough" and point in front
            numbers = [f"{point.clean_accuracy:.6f}", f"{point.worst_case:.6f}"]
            jumps = [point.parameters[site].cell() for site in sites]
            writer.writerow([point.family, stage, *numbers, int(on_front), int(point.chosen), *jumps])
    return text.getvalue()
