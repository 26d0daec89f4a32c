"""The trade-off that tuning saw, as a picture: clean accuracy against the worst case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_jumprelu.evaluation.search import FAMILIES, ORIGINAL
from onnx_jumprelu.evaluation.tuned import Tuning
from onnx_jumprelu.report.drawing import COLORS, shares_on, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = dict(zip((ORIGINAL, *FAMILIES), (("ink", "D"), ("patched", "s"), ("third", "^"), ("fourth", "o")), strict=True))


def picture(found: Tuning) -> str:
    """SVG: the finalists by family, the front among them, the budget of clean accuracy, and what was chosen.

    Raises:
        OptionError: the extra `report` is not installed.
    """

    def draw(axes: Axes) -> None:
        front = found.front
        x, y = [point.clean_accuracy for point in front], [point.worst_case for point in front]
        axes.step(x, y, where="post", color=COLORS["muted"], linewidth=1, label="front")
        for family, (color, marker) in MARKS.items():
            points = [point for point in found.finalists if point.family == family]
            if points:
                x, y = [point.clean_accuracy for point in points], [point.worst_case for point in points]
                axes.scatter(x, y, s=20, color=COLORS[color], marker=marker, label=family, zorder=3)
        lowest = found.original.clean - found.max_drop
        axes.axvline(lowest, color=COLORS["original"], linestyle=":", linewidth=1.2, label="clean budget")
        for point in found.finalists:
            if point.chosen:
                at = ([point.clean_accuracy], [point.worst_case])
                axes.scatter(*at, s=110, facecolors="none", edgecolors=COLORS["ink"], linewidths=1.5, label="chosen")
        axes.set_xlabel("clean accuracy (validation)")
        axes.set_ylabel("worst case (search part)")
        axes.margins(0.1)
        axes.locator_params(axis="x", nbins=4)  # the numbers are long
        shares_on(axes.xaxis, axes.yaxis)

    return svg("tuning", draw)
