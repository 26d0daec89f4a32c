"""How pictures are drawn: SVG text by matplotlib, without a display or a global figure, the same bytes each time."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from onnx_jumprelu.files.kinds import MARK
from onnx_jumprelu.report import dependencies

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
        name: Name of the drawing, which no other drawing on the page has: names within the SVG derive from it.
        draw: Draws on the axes that it is given.

    Raises:
        OptionError: the extra `report` is not installed.
    """
    with _styled(name):
        out = io.StringIO()
        canvas: Any = _drawn(draw).canvas
        canvas.print_svg(out, metadata=NO_METADATA)
    return _without_ids(out.getvalue()).replace("<svg", f"{MARK}\n<svg", 1)


def figure(draw: Callable[[Axes], None]) -> Figure:
    """A matplotlib figure of one drawing, on white, for notebooks. Raises OptionError without the extra `report`."""
    with _styled("figure"):
        drawn = _drawn(draw)
    drawn.set_facecolor("white")
    return drawn


@contextlib.contextmanager
def _styled(name: str) -> Iterator[None]:
    dependencies.require()
    import matplotlib as mpl  # noqa: PLC0415 - an extra, loaded when it is needed

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # the user's own matplotlibrc does not count; the context restores it
        mpl.rcParams.update(_style(name))
        # matplotlib's own font lacks some scripts. The letters are text, which the reader's fonts draw.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def _drawn(draw: Callable[[Axes], None]) -> Figure:
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    drawn = Figure(figsize=SIZE, layout="constrained")
    FigureCanvasSVG(drawn)
    axes = drawn.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    drawn.legend(loc="outside upper left", ncols=3, frameon=False, borderaxespad=0.2)
    return drawn


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
