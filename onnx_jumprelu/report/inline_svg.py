"""SVG drawings as parts of an HTML document."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx_jumprelu.report.svg import COLORS

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption."""

    drawing: Markup
    caption: str


def captioned(svg: str, label: str, caption: str) -> Figure:
    """A drawing with a caption, from an SVG document; screen readers read `label`."""
    return Figure(_inline(svg, label), caption)


def _inline(svg: str, label: str) -> Markup:
    """A picture as part of an HTML document: without the frame of a file, in the colors of the page."""
    from markupsafe import Markup  # noqa: PLC0415 - comes with Jinja2

    text = svg[svg.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', text)
    opening = Markup('<svg role="img" aria-label="{}" {}>').format(label, Markup(box[0] if box else ""))  # noqa: S704
    text = opening + Markup(text[text.index(">") + 1 :].replace("xlink:href", "href"))  # noqa: S704 - our own drawing
    for name, color in COLORS.items():
        text = text.replace(color, f"var(--{name})")
    return text
