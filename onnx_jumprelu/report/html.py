"""A verdict as one self-contained HTML file: no scripts, no requests, pictures embedded."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.names import ModelName
from onnx_jumprelu.report import charts, dependencies, formatting, phrases, tuning_section, verdict_rows
from onnx_jumprelu.report.inline_svg import Figure, captioned
from onnx_jumprelu.statistics import Share
from onnx_jumprelu.tuning.result import SearchRecord
from onnx_jumprelu.verdict.findings import Example, is_image
from onnx_jumprelu.verdict.result import Verdict

TEMPLATE = "verdict.html.j2"


@dataclass(frozen=True)
class Answer:
    """What a model predicts for an example before and after an attack."""

    model: str
    before: str
    after: str


@dataclass(frozen=True)
class Bar:
    """The jump of a site. Its bar is as long as the mean over the channels; there is no bar for 0."""

    site: str
    jump: str
    length: str


@dataclass(frozen=True)
class Card:
    """An example of the gallery; pictures as data URIs."""

    title: str
    clean: str
    perturbation: str
    perturbed: str
    largest: str
    answers: list[Answer]


def render(
    verdict: Verdict,
    examples: Sequence[Example] = (),
    tuning: SearchRecord | None = None,
    jumps: Mapping[str, Parameters] | None = None,
) -> str:
    """The whole document.

    Args:
        verdict: What was found.
        examples: For the gallery; those that are not images are left out.
        tuning: What tuning tried.
        jumps: The jump of each site of the patched model; 0 is a ReLU.

    Raises:
        OptionError: the extra `report` is not installed.
    """
    dependencies.require()
    import jinja2  # noqa: PLC0415 - an extra, loaded when it is needed

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    document = environment.from_string(source).render(
        verdict=verdict,
        phrases=phrases,
        formatting=formatting,
        kind_names=list(verdict_rows.KINDS),
        head=phrases.headline(verdict),
        columns=list(verdict_rows.columns(verdict)),
        summary=[(row.what, *row.values) for row in verdict_rows.summary(verdict)],
        attacks=[_attack(row, verdict.models) for row in verdict_rows.attacks(verdict.own_rows)],
        kinds=[(row.kind, *row.values, row.meaning) for row in verdict_rows.by_kind(verdict)],
        **_curve_table(verdict),
        figures=list(_figures(verdict)),
        tuning=None if tuning is None else tuning_section.section(tuning, verdict, jumps),
        tuning_columns={"finalists": tuning_section.FINALISTS, "sweep": tuning_section.SWEEP},
        jumps=_bars(jumps or {}),
        cards=[_card(example) for example in examples if is_image(example.clean.shape)],
        about={name: value for name, value in verdict.about.items() if name != "command"},
        command=verdict.about.get("command", ""),
    )
    return formatting.printable(document)


def _attack(row: verdict_rows.AttackRow, models: Sequence[ModelName]) -> tuple[str, ...]:
    return row.name, row.kinds, *row.robust(models), row.zero_gradients(models), row.seconds


def _bars(jumps: Mapping[str, Parameters]) -> list[Bar]:
    largest = max((each.size for each in jumps.values()), default=0.0) or 1.0
    shares = {site: 100 * each.size / largest for site, each in jumps.items()}
    return [Bar(site, each.shown(), f"{shares[site]:.1f}%" if shares[site] else "") for site, each in jumps.items()]


def _curve_table(verdict: Verdict) -> dict[str, list[Any]]:
    """One row per eps: the worst case of each model, then each kind of attack on each."""
    kinds = [(model, kind) for model in verdict.models for kind in verdict_rows.kinds_on(verdict.curve, model)]
    rows = []
    for point in verdict.curve:
        by_kind = [formatting.percent(point.kinds.get(model, {}).get(kind)) for model, kind in kinds]
        rows.append((f"{point.eps:g}", *verdict_rows.worst_cases(point, verdict.models), *by_kind))
    whose = {model: "" if model == "model" else f", {model}" for model in verdict.models}
    worst = [f"worst case{whose[model]}" for model in verdict.models]
    return {
        "curve_columns": ["eps", *worst, *(f"{kind}{whose[model]}" for model, kind in kinds)],
        "curve_rows": rows,
    }


def _figures(verdict: Verdict) -> Iterator[Figure]:
    subject = verdict.subject
    yield captioned(
        charts.accuracies(verdict),
        f"Bar chart. {_shares('Clean accuracy', verdict, verdict.clean_accuracy)} "
        f"{_shares('Worst case under attack', verdict, verdict.worst_case)}",
        f"Without an attack (clean), under PGD with exact gradients alone (PGD alone), and under all attacks (worst "
        f"case) at eps {verdict.eps:g}. Whiskers: 95% intervals.",
    )
    if verdict.curve:
        yield captioned(
            charts.curve(verdict.curve, verdict.models),
            f"Line chart. {_ends(verdict)}",
            "Worst case over all attacks, against the size of the perturbation.",
        )
    if any(point.kinds.get(subject) for point in verdict.curve):
        whose = _whose(subject)
        yield captioned(
            charts.kinds(verdict.curve, subject),
            f"Line chart of {whose}'s robust accuracy under each kind of attack; the numbers are in the table.",
            f"Robust accuracy of {whose} under one kind of attack at a time. The lowest line bounds the worst case.",
        )


def _shares(what: str, verdict: Verdict, share: Callable[[ModelName], Share]) -> str:
    values = (("" if model == "model" else f"{model} ") + f"{share(model).value:.1%}" for model in verdict.models)
    return f"{what}: {', '.join(values)}."


def _whose(model: ModelName) -> str:
    return "the model" if model == "model" else f"the {model} model"


def _ends(verdict: Verdict) -> str:
    first, last = verdict.curve[0], verdict.curve[-1]
    return " ".join(
        f"Worst case of {_whose(model)}: {formatting.percent(first.worst_case.get(model))} at eps {first.eps:g}, "
        f"{formatting.percent(last.worst_case.get(model))} at eps {last.eps:g}."
        for model in verdict.models
    )


def _card(example: Example) -> Card:
    answers = [
        Answer(model, _answer(before, example.label), _answer(after, example.label))
        for model, (before, after) in example.predictions.items()
    ]
    by = f", {example.attack}" if example.attack else ""
    return Card(
        title=f"Example {example.index}, class {example.label}{by}",
        clean=_png(charts.image(example.clean, example.bounds)),
        perturbation=_png(charts.perturbation(example.clean, example.perturbed)),
        perturbed=_png(charts.image(example.perturbed, example.bounds)),
        largest=f"{abs(example.perturbed - example.clean).max():.3g}",
        answers=answers,
    )


def _answer(predicted: int, label: int) -> str:
    return f"{predicted} ({'right' if predicted == label else 'wrong'})"


def _png(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
