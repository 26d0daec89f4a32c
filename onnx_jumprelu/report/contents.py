"""What stands in a verdict's tables, the same in every report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnx_jumprelu.names import Kind, ModelName
from onnx_jumprelu.report.words import NOTHING, finite, percent, with_interval
from onnx_jumprelu.verdict.result import MODELS, CurvePoint, Row, Verdict

KINDS: dict[Kind, str] = {
    "white-box": "follows the model's own gradients",
    "adaptive": "gradients that see through a jump",
    "black-box": "uses no gradients",
    "gray-box": "made on the original, replayed on the patched model",
    "transfer": "made on the patched model, replayed on the original",
}
REPLAYED = frozenset({"gray-box", "transfer"})


@dataclass(frozen=True)
class SummaryRow:
    """One of the main numbers, of both models."""

    what: str
    original: str
    patched: str


@dataclass(frozen=True)
class KindRow:
    """What both models withstand of all attacks of one kind."""

    kind: Kind
    meaning: str
    original: str
    patched: str


@dataclass(frozen=True)
class MatrixRow:
    """One attack, on both models; None where it did not run."""

    name: str
    kind: Kind  # where the models differ, that on the patched one
    original: Row | None = None
    patched: Row | None = None


def summary(verdict: Verdict) -> list[SummaryRow]:
    """The main numbers of both models; what was not measured is left out."""
    shares = {model: (verdict.clean_accuracy(model), verdict.worst_case(model)) for model in MODELS}
    rows = [
        SummaryRow("clean accuracy", *(with_interval(shares[model][0]) for model in MODELS)),
        SummaryRow("naive claim (PGD, exact gradients)", *(percent(verdict.naive(model)) for model in MODELS)),
        SummaryRow("worst case over all attacks", *(with_interval(shares[model][1]) for model in MODELS)),
    ]
    if finite(verdict.latency_ratio) is not None:
        rows.append(SummaryRow("latency", "1.00 x", f"{verdict.latency_ratio:.2f} x"))
    return [row for row in rows if (row.original, row.patched) != (NOTHING, NOTHING)]


def matrix(rows: Sequence[Row]) -> list[MatrixRow]:
    """The attacks in the order in which they first ran, each once, both models side by side; replayed ones last."""
    found: list[MatrixRow] = []
    for row in rows:
        free = (i for i, other in enumerate(found) if _same(other, row) and getattr(other, row.model) is None)
        place = next(free, None)
        if place is None:
            place = len(found)
            found.append(MatrixRow(row.label, row.kind))
        seen = found[place]
        found[place] = (
            replace(seen, original=row) if row.model == "original" else replace(seen, patched=row, kind=row.kind)
        )
    return sorted(found, key=lambda row: row.kind in REPLAYED)


def by_kind(verdict: Verdict) -> list[KindRow]:
    """What both models withstand of each kind of attack that ran."""
    found = []
    for kind, meaning in KINDS.items():
        ran = {row.model for row in verdict.rows if row.kind == kind}
        shares = [
            percent(float(verdict.standing(model, {kind}).mean())) if model in ran else NOTHING for model in MODELS
        ]
        if ran:
            found.append(KindRow(kind, meaning, *shares))
    return found


def _same(one: MatrixRow, row: Row) -> bool:
    return one.name == row.label


def zero_gradients(row: MatrixRow) -> str:
    """Share of an attack's gradients that were 0, original and patched; empty where it needs none."""
    shares = [None if side is None else side.zero_gradients for side in (row.original, row.patched)]
    return "" if shares == [None, None] else " / ".join(percent(share) for share in shares)


def seconds(row: MatrixRow) -> float:
    """Time that an attack took on both models."""
    return sum(side.seconds for side in (row.original, row.patched) if side is not None)


def worst_cases(point: CurvePoint) -> tuple[str, str]:
    """The worst cases at one eps, original and patched."""
    return percent(point.worst_case.get("original")), percent(point.worst_case.get("patched"))


def kinds_on(curve: Sequence[CurvePoint], model: ModelName) -> list[str]:
    """The kinds of attack that a curve tells of for a model, in the order of `KINDS`, then others."""
    seen = {kind: None for point in curve for kind in point.kinds.get(model, {})}
    order: list[str] = list(KINDS)
    return sorted(seen, key=lambda kind: order.index(kind) if kind in order else len(order))
