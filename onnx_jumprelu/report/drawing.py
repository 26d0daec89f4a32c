"""How pictures are drawn: SVG text by matplotlib, without a display or a global figure, the same bytes each time."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onnx_jumprelu.report import extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The colors on white; whoever embeds a picture may replace each by one for a dark background. Of the Okabe-Ito palette,
# which color-blind readers can tell apart, darkened until lines stand out from white by 3 to 1.
COLORS = {
    "ink": "#1b2431",
    "muted": "#566171",
    "grid": "#d3d9e1",
    "original": "#0b6aa9",
    "patched": "#bf4b09",
    "third": "#2f7a46",
    "fourth": "#8a4a9e",
}
SIZE = (4.4, 2.9)  # inches: at 72 units each narrower than a phone, so that letters are not scaled down there
FONT_SIZE = 10
# No date and no version.
NO_METADATA: Any = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def shares_on(*axes: Any) -> None:  # noqa: ANN401 - matplotlib's axis, an optional import
    """Label these axes in percent."""
    from matplotlib.ticker import PercentFormatter  # noqa: PLC0415 - an extra, loaded when it is needed

    for axis in axes:
        axis.set_major_formatter(PercentFormatter(1.0))


def svg(name: str, draw: Callable[[Axes], None]) -> str:
    """An SVG document of one drawing.

    Args:
        name: Of the drawing, its own on a page: what is named within the SVG is named after it.
        draw: Draws on the axes that it is given.

    Raises:
        OptionError: the extra `report` is not installed.
    """
    extra.require()
    import matplotlib as mpl  # noqa: PLC0415 - an extra, loaded when it is needed
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # whatever the reader's own matplotlibrc says; the context puts it back
        mpl.rcParams.update(_style(name))
        # A name in a script that matplotlib's own font lacks: the letters are text, the reader's fonts draw them.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure = Figure(figsize=SIZE, layout="constrained")
        canvas: Any = FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        figure.legend(loc="outside upper left", ncols=3, frameon=False, borderaxespad=0.2)
        out = io.StringIO()
        canvas.print_svg(out, metadata=NO_METADATA)
    return _without_ids(out.getvalue())


def _style(name: str) -> dict[Any, Any]:  # matplotlib types the keys one by one
    ink, muted = COLORS["ink"], COLORS["muted"]
    return {
        "font.size": FONT_SIZE,
        "font.sans-serif": ["DejaVu Sans"],
        "text.color": ink,
        "text.parse_math": False,
        "axes.edgecolor": muted,
        "axes.labelcolor": ink,
        "xtick.color": muted,
        "ytick.color": muted,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
        "axes.grid": True,
        "grid.color": COLORS["grid"],
        "axes.axisbelow": True,
        "grid.linewidth": 0.8,
        "lines.linewidth": 1.8,
        "lines.markersize": 4,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "svg.fonttype": "none",
        "svg.hashsalt": name,
    }


def _without_ids(text: str) -> str:
    """The SVG without the names that nothing refers to: they would occur twice on a page with two pictures."""
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    return re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", text)
