"""How well one color stands out from another."""

import numpy as np

LEGIBLE = 4.5  # WCAG 2, level AA, for text
VISIBLE = 3.0  # the same for lines and marks


def contrast(one: str, other: str) -> float:
    """Contrast of two colors such as `#1b2431`, as WCAG 2 defines it."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))
