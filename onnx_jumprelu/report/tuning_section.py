"""The HTML report's section on tuning: which candidates were tried, on which examples, under which attacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.report import formatting, tuning_picture
from onnx_jumprelu.report.inline_svg import Figure, captioned
from onnx_jumprelu.report.tuning_table import in_short
from onnx_jumprelu.tuning.result import SearchRecord, TrialPoint
from onnx_jumprelu.tuning.run import MOST_FOR_QUICK
from onnx_jumprelu.verdict.result import Verdict

FINALISTS = ("family", "clean accuracy", "worst case, thorough attacks", "", "jumps")
SWEEP = ("jump of every site", "clean accuracy", "worst case, quick attacks")
Rows = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class TuningSection:
    """The section in parts.

    Attributes:
        notes: Where the numbers come from, and whether the patched model has the recommended jumps.
        figures: Accuracy against a single jump for all sites, if at least two were tried; the trade-off.
        finalists: One row per finalist, with the columns `FINALISTS`.
        sweep: One row per single jump, with the columns `SWEEP`; empty if fewer than two were tried.
    """

    notes: Sequence[str]
    figures: Sequence[Figure]
    finalists: Rows
    sweep: Rows


def section(record: SearchRecord, verdict: Verdict, jumps: Mapping[str, Parameters] | None) -> TuningSection:
    """The section; `jumps` are the parameters of the patched model, if they are known."""
    points = record.single_jump_trials if len(record.single_jump_trials) > 1 else ()
    return TuningSection(
        notes=list(_notes(record, verdict, jumps)),
        figures=list(_figures(record, points)),
        finalists=[_finalist(record, point) for point in record.finalists],
        sweep=[(*(each.shown() for each in [*point.parameters.values()][:1]), *_shares(point)) for point in points],
    )


def _notes(record: SearchRecord, verdict: Verdict, jumps: Mapping[str, Parameters] | None) -> Iterator[str]:
    drop = f"{100 * record.max_drop:g} point{'' if 100 * record.max_drop == 1 else 's'}"
    yield (
        f"Tuning searched for the jumps of {record.model} on validation examples of {record.data}, against "
        f"{record.norm} perturbations of at most {record.eps:g}, with at most {drop} of clean accuracy lost. All "
        "numbers in this section come from these validation examples, not from the examples of the verdict."
    )
    if (record.norm, record.eps) != (verdict.norm, verdict.eps):
        yield f"The verdict is about other perturbations: {verdict.norm}, at most {verdict.eps:g}."
    if record.chosen_finalist.is_original:
        yield "Tuning recommends jump 0 everywhere, which is the original model: no candidate was shown to gain."
    if jumps:
        if record.recommends(jumps):
            yield "The patched model has the jumps that tuning recommends."
        else:
            than = "" if record.chosen_finalist.is_original else " than those that tuning recommends"
            yield f"The patched model has other jumps{than}."


def _figures(record: SearchRecord, sweep: Sequence[TrialPoint]) -> Iterator[Figure]:
    used = formatting.count(record.n_search, "validation example")
    clean = f"Clean accuracy: on all {formatting.count(record.n_search + record.n_held_out, 'validation example')}."
    if sweep:
        yield captioned(
            tuning_picture.single_jumps(record),
            "Line chart of clean accuracy and worst case against the jump; the numbers are in the table.",
            "Accuracy against a single jump for all sites. Worst case: quick attacks (short APGD and PGD) on at most "
            f"the first {MOST_FOR_QUICK} of the {used} that the search used. {clean}",
        )
    choices = formatting.count(len(record.finalists), "choice")
    finalists = formatting.count(len(record.finalists), "finalist")
    candidates = formatting.count(len(record.trials), "candidate")
    yield captioned(
        tuning_picture.trade_off(record),
        f"Scatter chart of worst case against clean accuracy for {choices} of jumps; the numbers are in the table.",
        f"The trade-off: {finalists} of {candidates}. Worst case: thorough attacks (longer PGD and APGD) on the {used} "
        f"that the search used, so the best values are optimistic. {clean} Up and to the right is better.",
    )


def _finalist(record: SearchRecord, point: TrialPoint) -> tuple[str, ...]:
    place = "chosen" if point.chosen else "front" if point in record.pareto_front else ""
    return point.family, *_shares(point), place, in_short(point)


def _shares(point: TrialPoint) -> tuple[str, str]:
    return formatting.percent(point.clean_accuracy), formatting.percent(point.worst_case)
