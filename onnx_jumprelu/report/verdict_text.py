"""A verdict for the terminal: the answer first, then the numbers behind it."""

from __future__ import annotations

from collections.abc import Iterator

from onnx_jumprelu.report import phrases, verdict_rows
from onnx_jumprelu.report.text_tables import joined, table
from onnx_jumprelu.verdict.result import Verdict


def verdict(verdict: Verdict, *, color: bool = False) -> str:
    """The outcome, the main numbers, every attack, flags and gates."""
    return "\n\n".join(part for part in _parts(verdict, color=color) if part)


def _parts(verdict: Verdict, *, color: bool) -> Iterator[str]:
    head = phrases.headline(verdict)
    yield joined(
        f"{head.title}: {head.sentence}",
        phrases.subjects(verdict),
        phrases.cost(verdict),
        phrases.naive(verdict),
        *phrases.notes(verdict),
        phrases.missing(verdict),
    )
    yield joined(
        f"Numbers ({phrases.setting(verdict)}; 95% intervals)", _summary(verdict, color=color), phrases.meaning(verdict)
    )
    yield joined("Robust accuracy per kind of attack", _kinds(verdict, color=color)) if verdict.rows else ""
    if verdict.rows:
        yield joined("Robust accuracy per attack", _attacks(verdict, color=color), phrases.zero_gradients(verdict))
    if verdict.curve:
        yield joined("Robust accuracy against eps", _curve(verdict, color=color), phrases.curve_ends(verdict))
    yield _flags(verdict, color=color)
    yield _gates(verdict, color=color)


def _summary(verdict: Verdict, *, color: bool) -> str:
    rows = [(row.what, *row.values) for row in verdict_rows.summary(verdict)]
    return table(("", *verdict_rows.columns(verdict)), rows, color=color)


def _kinds(verdict: Verdict, *, color: bool) -> str:
    rows = [(row.kind, *row.values, row.meaning) for row in verdict_rows.by_kind(verdict)]
    return table(("kind", *verdict_rows.columns(verdict), "what it uses"), rows, color=color)


def _attacks(verdict: Verdict, *, color: bool) -> str:
    models = verdict.models
    rows = [
        (row.name, row.kinds, *row.robust(models), row.zero_gradients(models), row.seconds)
        for row in verdict_rows.attacks(verdict.own_rows)
    ]
    return table(("attack", "kind", *verdict_rows.columns(verdict), "zero gradients", "time"), rows, color=color)


def _curve(verdict: Verdict, *, color: bool) -> str:
    rows = [(f"{point.eps:g}", *verdict_rows.worst_cases(point, verdict.models)) for point in verdict.curve]
    return table(("eps", *verdict_rows.columns(verdict)), rows, color=color)


def _flags(verdict: Verdict, *, color: bool) -> str:
    rows = [(phrases.flag_title(flag), phrases.flag_meaning(flag)) for flag in verdict.flags]
    shown = table(("flag", "what it means"), rows, color=color) if rows else ""
    return joined(phrases.flags(verdict), shown)


def _gates(verdict: Verdict, *, color: bool) -> str:
    rows = [(phrases.passed(gate), gate.name, gate.detail) for gate in verdict.gates]
    return joined(phrases.gates(verdict), table(("", "gate", "found"), rows, color=color) if rows else "")
