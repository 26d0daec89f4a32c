"""The rows of a verdict's tables, the same in every report. Each row has one value per model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from onnx_jumprelu.names import Kind, ModelName
from onnx_jumprelu.report.formatting import NOTHING, finite, percent, with_interval
from onnx_jumprelu.verdict.findings import REPLAYED_KINDS, CurvePoint, Row
from onnx_jumprelu.verdict.result import Verdict

KINDS: dict[Kind, str] = {
    "white-box": "uses the model's own gradients",
    "adaptive": "uses gradients that see past a jump",
    "black-box": "uses no gradients",
    "gray-box": "made on the original, replayed on the patched model",
    "transfer": "made on the patched model, replayed on the original",
}


@dataclass(frozen=True)
class SummaryRow:
    """One of the main numbers, of each model."""

    what: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class KindRow:
    """Robust accuracy of each model under all attacks of one kind."""

    kind: Kind
    meaning: str
    values: tuple[str, ...]


@dataclass
class AttackRow:
    """One attack, on each model that it ran on."""

    name: str
    kind: Kind  # on the model on which it ran first
    rows: dict[ModelName, Row] = field(default_factory=dict)

    def robust(self, models: Sequence[ModelName]) -> tuple[str, ...]:
        """Robust accuracy of each model."""
        return tuple(percent(self.rows[model].robust_accuracy) if model in self.rows else NOTHING for model in models)

    def zero_gradients(self, models: Sequence[ModelName]) -> str:
        """Share of gradients that were 0, on each model; empty where the attack uses none."""
        shares = [self.rows[model].zero_gradients if model in self.rows else None for model in models]
        return "" if set(shares) == {None} else " / ".join(map(percent, shares))

    @property
    def kinds(self) -> str:
        """What kind of attack it is: `white-box / adaptive` where only the second model has a site to adapt to."""
        return " / ".join(dict.fromkeys(row.kind for row in self.rows.values()))

    @property
    def seconds(self) -> str:
        """Time that the attack took on all models."""
        return f"{sum(row.seconds for row in self.rows.values()):.1f} s"


def columns(verdict: Verdict) -> tuple[str, ...]:
    """Heads of the columns that hold a value per model."""
    return ("result",) if verdict.models == ("model",) else verdict.models


def summary(verdict: Verdict) -> list[SummaryRow]:
    """The main numbers of each model, without those that were not measured."""
    models = verdict.models
    rows = [
        SummaryRow("clean accuracy", tuple(with_interval(verdict.clean_accuracy(model)) for model in models)),
        SummaryRow("PGD with exact gradients alone", tuple(percent(verdict.naive(model)) for model in models)),
        SummaryRow("worst case over all attacks", tuple(with_interval(verdict.worst_case(model)) for model in models)),
    ]
    if finite(verdict.latency_ratio) is not None:
        rows.append(SummaryRow("latency", ("1.00 x", f"{verdict.latency_ratio:.2f} x")))
    return [row for row in rows if set(row.values) != {NOTHING}]


def attacks(rows: Sequence[Row]) -> list[AttackRow]:
    """The attacks in the order in which they first ran, the models side by side; replayed ones last."""
    found: list[AttackRow] = []
    for row in rows:
        place = next((each for each in found if each.name == row.label and row.model not in each.rows), None)
        if place is None:
            place = AttackRow(row.label, row.kind)
            found.append(place)
        place.rows[row.model] = row
    return sorted(found, key=lambda each: each.kind in REPLAYED_KINDS)


def by_kind(verdict: Verdict) -> list[KindRow]:
    """Robust accuracy of each model under each kind of attack that ran."""
    found = []
    for kind, meaning in KINDS.items():
        ran = {row.model for row in verdict.rows if row.kind == kind}
        shares = (float(verdict.standing(model, {kind}).mean()) if model in ran else None for model in verdict.models)
        if ran:
            found.append(KindRow(kind, meaning, tuple(map(percent, shares))))
    return found


def worst_cases(point: CurvePoint, models: Sequence[ModelName]) -> tuple[str, ...]:
    """The worst case of each model at one eps."""
    return tuple(percent(point.worst_case.get(model)) for model in models)


def kinds_on(curve: Sequence[CurvePoint], model: ModelName) -> list[str]:
    """The kinds of attack that a curve has for a model, in the order of `KINDS`, then others."""
    seen = {kind: None for point in curve for kind in point.kinds.get(model, {})}
    order: list[str] = list(KINDS)
    return sorted(seen, key=lambda kind: order.index(kind) if kind in order else len(order))
