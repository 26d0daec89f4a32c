"""Pictures of a search for jumps: the trade-off, and accuracy against a single jump for all sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_jumprelu.report import formatting
from onnx_jumprelu.report.svg import COLORS, figure, shares_on, svg
from onnx_jumprelu.tuning.result import SearchRecord
from onnx_jumprelu.tuning.search import FAMILIES, ORIGINAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Color and marker of each family; none has the color of the clean-accuracy budget's line.
MARKS = dict(
    zip((ORIGINAL, *FAMILIES), (("ink", "D"), ("patched", "s"), ("third", "^"), ("fourth", "o")), strict=False)
)
OTHER_FAMILY = ("muted", "v")


def trade_off(record: SearchRecord) -> str:
    """SVG of worst case against clean accuracy. Raises OptionError without the extra `report`."""
    return svg("tuning", lambda axes: _draw_trade_off(axes, record))


def trade_off_figure(record: SearchRecord) -> Figure:
    """The same as a matplotlib figure. Raises OptionError without the extra `report`."""
    return figure(lambda axes: _draw_trade_off(axes, record))


def _draw_trade_off(axes: Axes, record: SearchRecord) -> None:
    """Draw the finalists by family, their Pareto front, the clean-accuracy budget, and the chosen finalist."""
    front = record.pareto_front
    x, y = [point.clean_accuracy for point in front], [point.worst_case for point in front]
    axes.step(x, y, where="post", color=COLORS["muted"], linewidth=1, label="front")
    for family in dict.fromkeys([*MARKS, *(point.family for point in record.finalists)]):
        points = [point for point in record.finalists if point.family == family]
        if points:
            color, marker = MARKS.get(family, OTHER_FAMILY)
            x, y = [point.clean_accuracy for point in points], [point.worst_case for point in points]
            label = formatting.one_line(family)
            axes.scatter(x, y, s=20, color=COLORS[color], marker=marker, label=label, zorder=3)
    lowest = record.original_clean_accuracy - record.max_drop
    axes.axvline(lowest, color=COLORS["original"], linestyle=":", linewidth=1.2, label="clean budget")
    at = ([record.chosen_finalist.clean_accuracy], [record.chosen_finalist.worst_case])
    axes.scatter(*at, s=110, facecolors="none", edgecolors=COLORS["ink"], linewidths=1.5, label="chosen")
    axes.set_xlabel("clean accuracy (validation)")
    axes.set_ylabel("worst case (search part)")
    axes.margins(0.1)
    axes.locator_params(axis="x", nbins=4)  # the numbers are long
    shares_on(axes.xaxis, axes.yaxis)


def single_jumps(record: SearchRecord) -> str:
    """SVG of clean accuracy and of the worst case under quick attacks, against a single jump for all sites.

    Raises:
        OptionError: the extra `report` is not installed.
    """

    def draw(axes: Axes) -> None:
        points = record.single_jump_trials
        jumps = [next(iter(point.parameters.values())).size for point in points]
        clean, worst = [point.clean_accuracy for point in points], [point.worst_case for point in points]
        axes.plot(jumps, clean, color=COLORS["original"], linestyle="--", marker="o", label="clean accuracy")
        axes.plot(jumps, worst, color=COLORS["patched"], marker="s", label="worst case, quick attacks")
        axes.set_xlabel("jump, the same at every site")
        axes.set_ylabel("accuracy (validation)")
        axes.set_ylim(-0.02, 1.02)
        shares_on(axes.yaxis)

    return svg("single_jumps", draw)
