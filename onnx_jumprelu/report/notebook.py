"""Results as HTML for notebooks: a headline and small tables. No extra is needed."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from onnx_jumprelu.report import phrases, tuning_table, verdict_rows
from onnx_jumprelu.report.formatting import printable
from onnx_jumprelu.tuning.result import Tuning
from onnx_jumprelu.verdict.result import Verdict


def verdict_notebook(verdict: Verdict) -> str:
    """The outcome, the models, the threat, and the main numbers of each model."""
    head = phrases.headline(verdict)
    lines = [
        phrases.subjects(verdict),
        phrases.setting(verdict),
        head.sentence,
        phrases.cost(verdict),
        phrases.missing(verdict),
        *phrases.notes(verdict),
    ]
    rows = [(row.what, *row.values) for row in verdict_rows.summary(verdict)]
    return (
        f"<p><strong>{_text(head.title)}</strong><br>{'<br>'.join(_text(line) for line in lines if line)}</p>"
        f"{_table(('', *verdict_rows.columns(verdict)), rows)}"
        f"<p>{_text(phrases.flags(verdict))} {_text(phrases.gates(verdict))}</p>"
    )


def tuning_notebook(tuning: Tuning) -> str:
    """The outcome, the accuracies and the jump of each site."""
    setting = f"{tuning.model}, {tuning.norm}, eps {tuning.eps:g}"
    return (
        f"<p><strong>{_text(tuning_table.headline(tuning))}</strong><br>{_text(setting)}</p>"
        f"{_table(('', 'clean accuracy', 'worst case (95% interval)'), tuning_table.accuracies(tuning))}"
        f"{_table(('site', 'jump', 'positive pre-activations silenced'), tuning_table.jumps(tuning))}"
    )


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    return escape(printable(text))
