"""Every candidate of a tuning as CSV: quick attacks first, then the finalists under thorough attacks."""

from __future__ import annotations

import csv
import io

from onnx_jumprelu.tuning.result import Tuning


def tuning_csv(tuning: Tuning) -> str:
    """One row per candidate and stage: family, stage, accuracies, whether it is on the front, choice, each site's jump.

    The cell of a site with one jump per channel holds them with spaces between. Stage `quick` and stage `thorough` use
    other attacks and other examples: compare numbers within a stage only.
    """
    sites = [site.name for site in tuning.sites]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    # `files.kinds` recognises an older table by the first columns.
    writer.writerow(["family", "stage", "clean_accuracy", "worst_case", "front", "chosen", *sites])
    front = tuning.pareto_front
    for stage, points in (("quick", tuning.trials), ("thorough", tuning.finalists)):
        for point in points:
            on_front = stage == "thorough" and point in front
            accuracies = [f"{point.clean_accuracy:.6f}", f"{point.worst_case:.6f}"]
            jumps = [point.parameters[site].cell() for site in sites]
            writer.writerow([point.family, stage, *accuracies, int(on_front), int(point.chosen), *jumps])
    return text.getvalue()
