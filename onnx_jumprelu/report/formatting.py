"""Numbers and text for people, the same in every report."""

from __future__ import annotations

import math
import re

from onnx_jumprelu.statistics import Share

NOTHING = "-"


# What XML 1.0 cannot hold: most control characters, and halves of surrogate pairs, as undecodable bytes in a path are.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def finite(value: float | None) -> float | None:
    """The number, None for NaN and infinity, which neither JSON nor a reader can use."""
    return float(value) if value is not None and math.isfinite(value) else None


def percent(value: float | None) -> str:
    """A share in percent."""
    return NOTHING if finite(value) is None else f"{value:.1%}"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign; more digits where fewer would hide the sign."""
    shown = f"{100 * value:+.1f}"
    return f"{100 * value:+.2g}" if value and not float(shown) else shown


def with_interval(share: Share) -> str:
    """A share with the ends of its interval."""
    return f"{percent(share.value)} ({percent(share.low)} to {percent(share.high)})"


def count(number: int, what: str) -> str:
    """A number of things, in the singular or the plural."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def one_line(text: str) -> str:
    """The text on one line, with what no report can hold replaced."""
    return " ".join(printable(text).split())


def printable(text: str) -> str:
    """The text with a replacement character in place of each character that no report can hold."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
