"""The pictures of a verdict as SVG text, and inputs as PNG files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_jumprelu.arrays import Array, Floats
from onnx_jumprelu.names import ModelName
from onnx_jumprelu.report import dependencies, formatting, verdict_rows
from onnx_jumprelu.report.svg import COLORS, FONT_SIZE, figure, shares_on, svg
from onnx_jumprelu.statistics import Share
from onnx_jumprelu.verdict.findings import CurvePoint
from onnx_jumprelu.verdict.result import MODELS, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS: dict[ModelName, str] = {"original": "o", "patched": "s", "model": "s"}
DASHES: dict[ModelName, str] = {"original": "--", "patched": "-", "model": "-"}
MODEL_COLORS: dict[ModelName, str] = {"original": "original", "patched": "patched", "model": "patched"}
KIND_COLORS = ("patched", "original", "third", "fourth", "muted")
KIND_MARKERS = "s^Dvo"
IMAGE_LEVELS = 255
NO_METADATA: Any = {"Software": None}  # no version: the same bytes each time


def accuracies(verdict: Verdict) -> str:
    """SVG of clean accuracy, robust accuracy under PGD alone, and the worst case of each model, with intervals."""
    return svg("accuracies", lambda axes: _draw_accuracies(axes, verdict))


def accuracies_figure(verdict: Verdict) -> Figure:
    """The same as a matplotlib figure. Raises OptionError without the extra `report`."""
    return figure(lambda axes: _draw_accuracies(axes, verdict))


def _draw_accuracies(axes: Axes, verdict: Verdict) -> None:
    groups, models = ["clean", "PGD alone", "worst case"], verdict.models
    for offset, model in zip((0.0,) if len(models) == 1 else (-0.19, 0.19), models, strict=True):
        shares = (verdict.clean_accuracy(model), verdict.naive(model), verdict.worst_case(model))
        for place, share in enumerate(shares):
            _bar(axes, place + offset, share, model, label=model if place == 0 else None)
    axes.set_xticks(range(len(groups)), groups)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 1.12)
    shares_on(axes.yaxis)
    axes.grid(visible=False, axis="x")


def _bar(axes: Axes, place: float, share: Share | float | None, model: ModelName, label: str | None) -> None:
    value = share.value if isinstance(share, Share) else formatting.finite(share)
    axes.bar(place, value or 0.0, 0.34, color=COLORS[MODEL_COLORS[model]], label=label)
    top = value or 0.0
    if isinstance(share, Share):
        around = [[share.value - share.low], [share.high - share.value]]
        axes.errorbar(place, share.value, yerr=np.abs(around), color=COLORS["ink"], capsize=2.5, linewidth=1)
        top = share.high
    text = (
        formatting.NOTHING if value is None else "100%" if value == 1 else f"{value:.1%}"
    )  # two of "100.0%" would touch
    axes.annotate(text, (place, top), (0, 3), textcoords="offset points", ha="center", fontsize=FONT_SIZE - 1)


def curve(points: Sequence[CurvePoint], models: Sequence[ModelName] = MODELS) -> str:
    """Worst case of each model against eps."""

    def draw(axes: Axes) -> None:
        for model in models:
            x, y = [point.eps for point in points], [point.worst_case[model] for point in points]
            axes.plot(
                x, y, color=COLORS[MODEL_COLORS[model]], linestyle=DASHES[model], marker=MARKERS[model], label=model
            )
        axes.set_xlabel("eps")
        axes.set_ylabel("worst case")
        axes.set_ylim(-0.02, 1.02)
        shares_on(axes.yaxis)

    return svg("curve", draw)


def kinds(points: Sequence[CurvePoint], model: ModelName = "patched") -> str:
    """Robust accuracy of one model under each kind of attack, against eps."""

    def draw(axes: Axes) -> None:
        for place, name in enumerate(verdict_rows.kinds_on(points, model)):
            known = [point for point in points if name in point.kinds.get(model, {})]
            x, y = [point.eps for point in known], [point.kinds[model][name] for point in known]
            color = COLORS[KIND_COLORS[place % len(KIND_COLORS)]]
            marker = KIND_MARKERS[place % len(KIND_MARKERS)]
            axes.plot(x, y, color=color, marker=marker, label=name, linewidth=1)
        axes.set_xlabel("eps")
        axes.set_ylabel("robust accuracy" if model == "model" else f"robust accuracy, {model}")
        axes.set_ylim(-0.02, 1.02)
        shares_on(axes.yaxis)

    return svg("kinds", draw)


def image(x: Floats, bounds: tuple[float, float]) -> bytes:
    """An input (C, H, W) as a PNG file, `bounds` being black and white.

    Raises:
        OptionError: the extra `report` is not installed.
    """
    dependencies.require()
    from matplotlib.image import imsave  # noqa: PLC0415 - an extra, loaded when it is needed

    low, high = bounds
    levels = np.clip(np.nan_to_num((x - low) / (high - low)), 0, 1) * IMAGE_LEVELS
    out = io.BytesIO()
    imsave(out, _rgb(np.rint(levels).astype(np.uint8)), format="png", metadata=NO_METADATA)
    return out.getvalue()


def _rgb(levels: Array) -> Array:
    return np.ascontiguousarray(np.broadcast_to(levels, (3, *levels.shape[1:])).transpose(1, 2, 0))


def perturbation(clean: Floats, perturbed: Floats) -> bytes:
    """The difference of two inputs (C, H, W) as a PNG file: gray where nothing changed, else stretched to be seen."""
    difference = perturbed - clean
    size = float(np.abs(difference).max()) or 1.0
    return image(difference, (-size, size))
