"""A verdict for the terminal: the answer first, then what it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from onnx_jumprelu.report import contents, words
from onnx_jumprelu.report.tables import joined, table
from onnx_jumprelu.verdict.result import Row, Verdict


def verdict(verdict: Verdict, *, color: bool = False) -> str:
    """The verdict in words, the main numbers, every attack, flags and gates."""
    return "\n\n".join(part for part in _parts(verdict, color=color) if part)


def _parts(verdict: Verdict, *, color: bool) -> Iterator[str]:
    head = words.headline(verdict)
    yield joined(f"{head.title}: {head.sentence}", words.cost(verdict), words.naive(verdict), words.missing(verdict))
    yield joined(
        f"Numbers ({words.setting(verdict)}; 95% intervals)", _summary(verdict, color=color), words.meaning(verdict)
    )
    yield joined("Robust accuracy per kind of attack", _kinds(verdict, color=color)) if verdict.rows else ""
    if verdict.rows:
        yield joined("Robust accuracy per attack", _attacks(verdict, color=color), words.ZERO_GRADIENTS)
    if verdict.curve:
        yield joined("Robust accuracy against eps", _curve(verdict, color=color), words.curve_ends(verdict))
    yield _flags(verdict, color=color)
    yield _gates(verdict, color=color)


def _summary(verdict: Verdict, *, color: bool) -> str:
    rows = [(row.what, row.original, row.patched) for row in contents.summary(verdict)]
    return table(("", "original", "patched"), rows, color=color)


def _kinds(verdict: Verdict, *, color: bool) -> str:
    rows = [(row.kind, row.original, row.patched, row.meaning) for row in contents.by_kind(verdict)]
    return table(("kind", "original", "patched", "what it knows"), rows, color=color)


def _attacks(verdict: Verdict, *, color: bool) -> str:
    rows = [
        (row.name, row.kind, _robust(row.original), _robust(row.patched), contents.zero_gradients(row), _seconds(row))
        for row in contents.matrix(verdict.own_rows)
    ]
    return table(("attack", "kind", "original", "patched", "zero gradients", "time"), rows, color=color)


def _robust(row: Row | None) -> str:
    return words.NOTHING if row is None else words.percent(row.robust_accuracy)


def _seconds(row: contents.MatrixRow) -> str:
    return f"{contents.seconds(row):.1f} s"


def _curve(verdict: Verdict, *, color: bool) -> str:
    rows = [
        (
            f"{point.eps:g}",
            words.percent(point.worst_case.get("original")),
            words.percent(point.worst_case.get("patched")),
        )
        for point in verdict.curve
    ]
    return table(("eps", "original", "patched"), rows, color=color)


def _flags(verdict: Verdict, *, color: bool) -> str:
    rows = [(flag.name, flag.model, flag.message) for flag in verdict.flags]
    shown = table(("flag", "model", "what it means"), rows, color=color) if rows else ""
    return joined(words.flags(verdict), shown)


def _gates(verdict: Verdict, *, color: bool) -> str:
    rows = [(words.passed(gate), gate.name, gate.detail) for gate in verdict.gates]
    return joined(words.gates(verdict), table(("", "gate", "found"), rows, color=color) if rows else "")
