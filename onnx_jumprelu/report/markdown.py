"""A verdict as Markdown, short enough for a comment on a pull request; the details fold away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from onnx_jumprelu.files.kinds import MARK
from onnx_jumprelu.report import formatting, phrases, verdict_rows
from onnx_jumprelu.verdict.result import Verdict

# What Markdown takes for more than a character in the middle of a line or of a table.
_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def render(verdict: Verdict) -> str:
    """The outcome, the main numbers, flags and gates; attacks, curve and how to repeat it fold away."""
    return "\n\n".join(part for part in _parts(verdict) if part) + "\n"


def _parts(verdict: Verdict) -> Iterator[str]:
    head = phrases.headline(verdict)
    yield f"### {head.title}"
    yield MARK
    yield f"{_text(phrases.subjects(verdict))}  \n{_text(phrases.setting(verdict))}"
    yield f"**{_text(head.title)}:** {_text(head.sentence)} {_text(phrases.cost(verdict))}"
    yield _text(phrases.naive(verdict))
    yield "\n".join(f"* {_text(note)}" for note in phrases.notes(verdict))
    yield _bold(phrases.missing(verdict))
    yield _summary(verdict)
    yield _text(phrases.smaller(verdict))
    yield _gates(verdict)
    yield _flags(verdict)
    attacks = _kinds(verdict) + "\n\n" + _attacks(verdict)
    yield _folded(f"Attacks ({phrases.setting(verdict)})", attacks) if verdict.rows else ""
    yield _folded("Robust accuracy against eps", _curve(verdict)) if verdict.curve else ""
    yield _folded("How to repeat it", _about(verdict)) if verdict.about else ""


def _summary(verdict: Verdict) -> str:
    rows = [(_text(row.what), *map(_text, row.values)) for row in verdict_rows.summary(verdict)]
    return _table(("", *verdict_rows.columns(verdict)), rows)


def _gates(verdict: Verdict) -> str:
    rows = [(phrases.passed(gate), _text(gate.name), _text(gate.detail)) for gate in verdict.gates]
    return f"**Gates.** {_text(phrases.gates(verdict))}" + (
        "\n\n" + _table(("", "gate", "found"), rows) if rows else ""
    )


def _flags(verdict: Verdict) -> str:
    lines = [f"* **{_text(phrases.flag_title(flag))}**: {_text(phrases.flag_meaning(flag))}" for flag in verdict.flags]
    return f"**Flags.** {_text(phrases.flags(verdict))}" + ("\n\n" + "\n".join(lines) if lines else "")


def _kinds(verdict: Verdict) -> str:
    rows = [(row.kind, *row.values, _text(row.meaning)) for row in verdict_rows.by_kind(verdict)]
    return _table(("kind", *verdict_rows.columns(verdict), "what it uses"), rows)


def _attacks(verdict: Verdict) -> str:
    models = verdict.models
    rows = [
        (_text(row.name), row.kinds, *map(_text, row.robust(models)), _text(row.zero_gradients(models)))
        for row in verdict_rows.attacks(verdict.own_rows)
    ]
    head = ("attack", "kind", *verdict_rows.columns(verdict), "zero gradients")
    return f"{_table(head, rows)}\n\n{phrases.zero_gradients(verdict)}"


def _curve(verdict: Verdict) -> str:
    rows = [(f"{point.eps:g}", *map(_text, verdict_rows.worst_cases(point, verdict.models))) for point in verdict.curve]
    return f"{_table(('eps', *verdict_rows.columns(verdict)), rows)}\n\n{phrases.curve_ends(verdict)}".rstrip()


def _about(verdict: Verdict) -> str:
    return _table(("", "value"), [(_text(name), _code(value)) for name, value in verdict.about.items()])


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _folded(title: str, content: str) -> str:
    return f"<details>\n<summary>{_entities(title)}</summary>\n\n{content}\n\n</details>"


def _bold(text: str) -> str:
    return f"**{_text(text)}**" if text else ""


def _text(text: str) -> str:
    """Text without markup, on one line, also within a table."""
    return _SPECIAL.sub(r"\\\1", _entities(formatting.one_line(text)))


def _code(text: str) -> str:
    """Text as code, fenced by more backticks than it has in a row; a table needs its bars escaped even there."""
    line = formatting.one_line(text).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"


def _entities(text: str) -> str:
    return "".join(_ENTITIES.get(character, character) for character in formatting.printable(text))
