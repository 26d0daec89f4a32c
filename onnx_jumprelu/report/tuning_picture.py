"""Pictures of what a search for jumps tried: the trade-off, and accuracy against one jump for all sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_jumprelu.report import words
from onnx_jumprelu.report.drawing import COLORS, shares_on, svg
from onnx_jumprelu.tuning.record import SearchRecord, recorded
from onnx_jumprelu.tuning.result import Tuning
from onnx_jumprelu.tuning.search import FAMILIES, ORIGINAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The color of the line of the budget is not among them.
MARKS = dict(
    zip((ORIGINAL, *FAMILIES), (("ink", "D"), ("patched", "s"), ("third", "^"), ("fourth", "o")), strict=False)
)
OTHER_FAMILY = ("muted", "v")


def picture(found: Tuning) -> str:
    """SVG of the trade-off, for a file of its own; see `front`.

    Raises:
        OptionError: the extra `report` is not installed.
        ModelFileError: the model is not there any more.
    """
    return front(recorded(found))


def front(record: SearchRecord) -> str:
    """SVG: the finalists by family, the front among them, the budget of clean accuracy, and what was chosen.

    Raises:
        OptionError: the extra `report` is not installed.
    """

    def draw(axes: Axes) -> None:
        best = record.front
        x, y = [point.clean_accuracy for point in best], [point.worst_case for point in best]
        axes.step(x, y, where="post", color=COLORS["muted"], linewidth=1, label="front")
        for family in dict.fromkeys([*MARKS, *(point.family for point in record.finalists)]):
            points = [point for point in record.finalists if point.family == family]
            if points:
                color, marker = MARKS.get(family, OTHER_FAMILY)
                x, y = [point.clean_accuracy for point in points], [point.worst_case for point in points]
                label = words.one_line(family)
                axes.scatter(x, y, s=20, color=COLORS[color], marker=marker, label=label, zorder=3)
        lowest = record.original_clean - record.max_drop
        axes.axvline(lowest, color=COLORS["original"], linestyle=":", linewidth=1.2, label="clean budget")
        at = ([record.chosen.clean_accuracy], [record.chosen.worst_case])
        axes.scatter(*at, s=110, facecolors="none", edgecolors=COLORS["ink"], linewidths=1.5, label="chosen")
        axes.set_xlabel("clean accuracy (validation)")
        axes.set_ylabel("worst case (search part)")
        axes.margins(0.1)
        axes.locator_params(axis="x", nbins=4)  # the numbers are long
        shares_on(axes.xaxis, axes.yaxis)

    return svg("tuning", draw)


def jump_sweep(record: SearchRecord) -> str:
    """SVG: clean accuracy and the worst case under quick attacks, against one jump for all sites.

    Raises:
        OptionError: the extra `report` is not installed.
    """

    def draw(axes: Axes) -> None:
        points = record.uniform
        jumps = [next(iter(point.parameters.values())).size for point in points]
        clean, worst = [point.clean_accuracy for point in points], [point.worst_case for point in points]
        axes.plot(jumps, clean, color=COLORS["original"], linestyle="--", marker="o", label="clean accuracy")
        axes.plot(jumps, worst, color=COLORS["patched"], marker="s", label="worst case, quick attacks")
        axes.set_xlabel("jump, the same at every site")
        axes.set_ylabel("accuracy (validation)")
        axes.set_ylim(-0.02, 1.02)
        shares_on(axes.yaxis)

    return svg("jump_sweep", draw)
