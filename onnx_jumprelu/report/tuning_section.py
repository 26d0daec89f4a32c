"""What the HTML report says of tuning: what was tried, on which examples and under which attacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.report import tuning_picture, words
from onnx_jumprelu.report.figures import Figure, figure
from onnx_jumprelu.tuning.record import SearchRecord
from onnx_jumprelu.tuning.result import TrialPoint
from onnx_jumprelu.tuning.run import MOST_FOR_QUICK
from onnx_jumprelu.verdict.result import Verdict

FINALISTS = ("family", "clean accuracy", "worst case, thorough attacks", "", "jumps")
SWEEP = ("jump of every site", "clean accuracy", "worst case, quick attacks")
Rows = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class TuningSection:
    """The section in parts.

    Attributes:
        notes: Where the numbers come from, and whether the patched model has the jumps that were chosen.
        figures: Accuracy against one jump for all sites, where several were tried; the trade-off.
        finalists: A row per finalist, as `FINALISTS` has the columns.
        sweep: A row per jump, as `SWEEP` has the columns; empty where not several were tried.
    """

    notes: Sequence[str]
    figures: Sequence[Figure]
    finalists: Rows
    sweep: Rows


def section(record: SearchRecord, verdict: Verdict, jumps: Mapping[str, Parameters] | None) -> TuningSection:
    """The section; `jumps` are those of the patched model, where they are known."""
    points = record.uniform if len(record.uniform) > 1 else []
    return TuningSection(
        notes=list(_notes(record, verdict, jumps)),
        figures=list(_figures(record, points)),
        finalists=[_finalist(record, point) for point in record.finalists],
        sweep=[(*(each.shown() for each in [*point.parameters.values()][:1]), *_shares(point)) for point in points],
    )


def _notes(record: SearchRecord, verdict: Verdict, jumps: Mapping[str, Parameters] | None) -> Iterator[str]:
    drop = f"{100 * record.max_drop:g} point{'' if 100 * record.max_drop == 1 else 's'}"
    yield (
        f"Tuning looked for the jumps of {record.model} on validation examples of {record.data}, against {record.norm} "
        f"perturbations of at most {record.eps:g}, at a cost of at most {drop} of clean accuracy. All numbers of this "
        "section come from these examples, none from those of the verdict."
    )
    if (record.norm, record.eps) != (verdict.norm, verdict.eps):
        yield f"The verdict is about other perturbations: {verdict.norm}, at most {verdict.eps:g}."
    chosen = "" if _is_original(record.chosen) else " than those that tuning chose"
    if not chosen:
        yield "Tuning chose jump 0 everywhere, which is the original: nothing was shown to gain anything."
    if jumps:
        choice = "the jumps that tuning chose" if record.chose(jumps) else f"other jumps{chosen}"
        yield f"The patched model has {choice}."


def _figures(record: SearchRecord, sweep: Sequence[TrialPoint]) -> Iterator[Figure]:
    clean = f"Clean accuracy: all {words.count(record.n_search + record.n_held_out, 'validation example')}."
    if sweep:
        yield figure(
            tuning_picture.jump_sweep(record),
            "Line chart of clean accuracy and worst case against the jump; the numbers are in the table.",
            "Accuracy against jump, the same at every site. Worst case: quick attacks (short APGD and PGD) on the "
            f"first {MOST_FOR_QUICK} at most of the {words.count(record.n_search, 'validation example')} that the "
            f"search used. {clean}",
        )
    yield figure(
        tuning_picture.front(record),
        f"Scatter chart of worst case against clean accuracy for {words.count(len(record.finalists), 'choice')} of "
        "jumps; the numbers are in the table.",
        f"The trade-off: {words.count(len(record.finalists), 'finalist')} of "
        f"{words.count(len(record.trials), 'candidate')}. Worst case: thorough attacks (longer PGD and APGD) on the "
        f"{words.count(record.n_search, 'validation example')} that the search used, so that the best of them flatter. "
        f"{clean} Up and to the right is better.",
    )


def _finalist(record: SearchRecord, point: TrialPoint) -> tuple[str, ...]:
    place = "chosen" if point.chosen else "front" if point in record.front else ""
    return point.family, *_shares(point), place, _jumps(point)


def _shares(point: TrialPoint) -> tuple[str, str]:
    return words.percent(point.clean_accuracy), words.percent(point.worst_case)


def _jumps(point: TrialPoint) -> str:
    """As short as may be: a network may have fifty sites, most of them with jump 0."""
    given = point.parameters
    if len(set(given.values())) == 1:
        return f"{next(iter(given.values())).shown()} everywhere"
    named = [f"{site} {parameters.shown()}" for site, parameters in given.items() if not parameters.is_relu]
    return "; ".join([*named, *(["elsewhere 0"] if len(named) < len(given) else [])])


def _is_original(point: TrialPoint) -> bool:
    return all(parameters.is_relu for parameters in point.parameters.values())
