"""A page in a real browser, and what may be wrong with it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tests.report.contrast import LEGIBLE, contrast

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

DESK = 1200  # pixels
Scheme = Literal["light", "dark"]
Media = Literal["screen", "print"]


@dataclass
class Opened:
    """A page in the browser, and what the browser had to say about it."""

    page: "Page"
    messages: list[str] = field(default_factory=list)

    def ask(self, script: str) -> Any:  # noqa: ANN401 - any JSON value
        return self.page.evaluate(script)

    def look(self, width: int = DESK, scheme: Scheme = "light", media: Media = "screen") -> None:
        """Show it in another way."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(media=media, color_scheme=scheme)

    @property
    def background(self) -> str:
        return color(self.ask("getComputedStyle(document.body).backgroundColor"))


@contextmanager
def opened(context: "BrowserContext", file: Path) -> Iterator[Opened]:
    with context.new_page() as page:
        shown = Opened(page)
        page.on(
            "console",
            lambda message: shown.messages.append(message.text) if message.type in {"error", "warning"} else None,
        )
        page.on("pageerror", lambda error: shown.messages.append(str(error)))
        page.on("requestfailed", lambda request: shown.messages.append(request.url))
        page.goto(file.as_uri())
        yield shown


def color(text: str) -> str:
    """`rgb(27, 36, 49)` as `#1b2431`."""
    parts = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", text)
    assert parts, f"{text} is no opaque color"
    return "#" + "".join(f"{int(part):02x}" for part in parts.groups())


# Each check gives a list of faults, so that what is planted below can be found in it.


def undrawn(shown: Opened) -> list[str]:
    """Pictures of which there is nothing to see."""
    return list(
        shown.ask("""() => {
            const seen = e => e.checkVisibility() && e.getBoundingClientRect().width > 0;
            const faults = [];
            for (const svg of document.querySelectorAll('svg')) {
                const box = svg.getBoundingClientRect();
                const parts = kind => [...svg.querySelectorAll(kind)].filter(seen).length;
                if (box.width < 150 || box.height < 100 || parts('text') < 3 || parts('path') < 3)
                    faults.push(`svg of ${box.width} by ${box.height}: ${svg.getAttribute('aria-label')}`);
            }
            for (const img of document.querySelectorAll('img'))
                if (!img.complete || !img.naturalWidth || !seen(img))
                    faults.push(`img: ${img.alt}`);
            return faults;
        }""")
    )


def too_wide(shown: Opened) -> list[str]:
    """What makes the page wider than its window; tables may be wider within a box that scrolls."""
    return list(
        shown.ask("""() => {
            const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            const wide = e => e.getBoundingClientRect().right > width;
            const found = [...document.querySelectorAll('body *')].filter(wide).map(e => e.outerHTML.slice(0, 80));
            return [`${document.documentElement.scrollWidth} instead of ${width}`, ...found];
        }""")
    )


TEXTS = """[...document.querySelectorAll('body *')].filter(
    e => [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.textContent.trim())
)"""


def illegible(shown: Opened) -> list[str]:
    """Texts that hardly stand out from what is behind them."""
    texts = shown.ask(f"""() => {{
        const behind = e => {{
            const found = getComputedStyle(e).backgroundColor;
            return found === 'rgba(0, 0, 0, 0)' && e.parentElement ? behind(e.parentElement) : found;
        }};
        const front = e => getComputedStyle(e)[e.namespaceURI.endsWith('svg') ? 'fill' : 'color'];
        return {TEXTS}.map(e => [e.textContent.trim().slice(0, 60), front(e), behind(e)]);
    }}""")
    assert texts
    return [text for text, front, behind in texts if contrast(color(front), color(behind)) < LEGIBLE]


def hidden(shown: Opened) -> list[str]:
    """Texts and pictures that take no room or cannot be seen."""
    return list(
        shown.ask(f"""() => {{
            const parts = [...document.querySelectorAll('svg, img'), ...{TEXTS}];
            const seen = e => {{
                const box = e.getBoundingClientRect();
                return box.width > 0 && box.height > 0 && e.checkVisibility({{
                    contentVisibilityAuto: true, opacityProperty: true, visibilityProperty: true
                }});
            }};
            return parts.filter(e => !seen(e)).map(e => e.outerHTML.slice(0, 80));
        }}""")
    )
