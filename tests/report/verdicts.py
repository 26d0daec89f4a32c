"""Verdicts made by hand, with numbers that can be checked by heart."""

from dataclasses import replace

import numpy as np

from onnx_jumprelu.arrays import Bools, Floats
from onnx_jumprelu.names import Kind, ModelName
from onnx_jumprelu.verdict.findings import CurvePoint, Example, Flag, Row
from onnx_jumprelu.verdict.gates import Gate
from onnx_jumprelu.verdict.result import Verdict

N = 200
EPS = 0.1
# What every format gives a meaning to, a NUL, and half of a surrogate pair, as an undecodable byte in a path becomes.
HOSTILE = "<script>alert('x')</script>|`a`_b_*c*\n[d](http://e.example)&amp;\"$\\alpha$\x00\udc80]]>"


def first(number: int) -> Bools:
    """The first so many of the examples."""
    return np.arange(N) < number


def row(name: str, kind: Kind, model: ModelName, standing: int, zero: float | None = 0.0) -> Row:
    """An attack that leaves the first `standing` examples standing; its name as `Row.label` shows it."""
    made, _, source = name.partition(" from the ")
    attack, _, surrogate = made.partition(" (") if made.endswith("(smooth)") else (made, "", "exact)")
    return Row(
        attack,
        surrogate.removesuffix(")"),
        model,
        source or model,  # type: ignore[arg-type]
        kind,
        EPS,
        ~first(standing),
        zero,
        1.5,
    )


def rows(original: int, patched: int, *, naive: int) -> tuple[Row, ...]:
    """A few attacks with these worst cases; PGD with exact gradients leaves `naive` of the patched model."""
    return (
        row("pgd", "white-box", "original", original + 4),
        row("pgd from the original", "gray-box", "patched", naive + 2, None),
        row("pgd", "white-box", "patched", naive, 0.25),
        row("pgd from the patched", "transfer", "original", original + 40, None),
        row("apgd-ce (smooth)", "adaptive", "original", original),
        row("apgd-ce (smooth)", "adaptive", "patched", patched, 0.125),
        row("square", "black-box", "original", original + 30, None),
        row("square", "black-box", "patched", patched + 6, None),
    )


CURVE = (
    CurvePoint(
        0.1,
        {"original": 0.7, "patched": 0.8},
        {"original": {"white-box": 0.71, "black-box": 0.85}, "patched": {"white-box": 0.81, "black-box": 0.83}},
    ),
    CurvePoint(
        0.2,
        {"original": 0.0, "patched": 0.005},
        {"original": {"white-box": 0.0, "black-box": 0.11}, "patched": {"white-box": 0.235, "black-box": 0.195}},
    ),
)
ABOUT = {"command": "onnx-jumprelu validate a.onnx b.onnx --eps 0.1", "seed": "0", "onnxruntime": "1.20.0"}
FLAGS = (
    Flag("exact-gradients-mislead", "patched", "the jump hides gradients, so quote the worst case"),
    Flag("zero-gradients", "patched", "up to 25% of the gradients were 0: trust the adaptive numbers"),
)

GAIN = Verdict(
    eps=0.1,
    norm="Linf",
    correct={"original": first(198), "patched": first(196)},
    rows=rows(140, 166, naive=170),
    gates=(Gate("min-clean", ok=True, value=0.98, limit=0.97, detail="clean accuracy 0.9800, at least 0.97 wanted"),),
    latency_ratio=1.25,
    curve=CURVE,
    about=ABOUT,
)
NO_GAIN = replace(GAIN, rows=rows(140, 141, naive=154), flags=FLAGS, latency_ratio=None, curve=())
LOSS = replace(GAIN, rows=rows(140, 90, naive=100))
INCOMPLETE = replace(GAIN, missing=("square",), rows=GAIN.rows[:6])
BARE = replace(GAIN, rows=(), gates=(), curve=(), about={}, latency_ratio=None, missing=("pgd", "flags"))
# The curve's attacks within 0.09 fooled both models once more than all those within 0.1.
SMALLER = replace(
    GAIN,
    rows=(
        *GAIN.rows,
        replace(row("fab-t", "white-box", "original", 139), eps=0.09),
        replace(row("fab-t", "white-box", "patched", 165), eps=0.09),
    ),
)
FAILING = replace(
    GAIN,
    gates=(
        *GAIN.gates,
        Gate("min-gain", ok=False, value=0.13, limit=0.2, detail="gain 0.1300, at least 0.2 wanted: 0.0700 short"),
        Gate(
            "max-latency-ratio",
            ok=False,
            value=1.25,
            limit=1.1,
            detail="latency ratio 1.2500, at most 1.1 wanted: 0.1500 over",
        ),
    ),
)
HOSTILE_VERDICT = replace(
    FAILING,
    flags=(Flag("zero-gradients", "patched", HOSTILE),),
    gates=(
        Gate(HOSTILE, ok=False, value=None, limit=0.5, detail=HOSTILE),
        Gate("min-clean", ok=True, value=0.98, limit=0.97, detail=HOSTILE),
    ),
    rows=(row(HOSTILE, "white-box", "patched", 150), *GAIN.rows),
    about={"command": HOSTILE, "original": HOSTILE, HOSTILE: "1"},
    latency_ratio=float("nan"),
)
# The interval lies above 0, but there are reasons to doubt it.
DOUBTFUL = replace(
    GAIN,
    rows=tuple(row for row in GAIN.rows if row.kind != "black-box"),
    flags=(Flag("random-outputs", "patched", "the outputs are random", undermines=True),),
)
ONE = Verdict(
    eps=0.1,
    norm="Linf",
    correct={"model": first(198)},
    rows=(
        row("pgd", "white-box", "model", 144),
        row("apgd-ce", "white-box", "model", 140),
        row("square", "black-box", "model", 170, None),
    ),
    curve=tuple(
        CurvePoint(point.eps, {"model": point.worst_case["original"]}, {"model": point.kinds["original"]})
        for point in CURVE
    ),
    gates=GAIN.gates,
    about={"command": "onnx-jumprelu validate a.onnx --eps 0.1"},
    targets={"model": "a.onnx"},
)
ONE_BARE = replace(ONE, rows=(), gates=(), curve=(), about={}, targets={}, missing=("pgd",))
ALL = {
    "gain": GAIN,
    "no gain": NO_GAIN,
    "loss": LOSS,
    "incomplete": INCOMPLETE,
    "bare": BARE,
    "smaller": SMALLER,
    "failing": FAILING,
    "hostile": HOSTILE_VERDICT,
    "doubtful": DOUBTFUL,
    "one model": ONE,
    "one bare model": ONE_BARE,
}


def example(channels: int = 1, index: int = 7) -> Example:
    """A picture with a gradient from black to white, one corner of which was changed."""
    clean: Floats = np.tile(np.linspace(0, 1, 8, dtype=np.float32), (channels, 8, 1))
    perturbed = clean.copy()
    perturbed[:, 0, 0] += np.float32(0.1)
    return Example(index, clean, perturbed, 3, {"original": (3, 5), "patched": (3, 3)}, attack="pgd on the original")
