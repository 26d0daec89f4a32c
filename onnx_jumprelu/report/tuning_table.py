"""A tuning for the terminal: the recommendation first, then the numbers behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx_jumprelu.report.formatting import count, percent, points, with_interval
from onnx_jumprelu.report.text_tables import joined, table
from onnx_jumprelu.report.tuning_json import QUANTILE_LEVELS
from onnx_jumprelu.statistics import Share
from onnx_jumprelu.tuning.preactivations import PreActivations
from onnx_jumprelu.tuning.result import Judged, TrialPoint, Tuning

ONE_POINT = 0.01
NO_GAIN = "No jump gains anything on these data"


def tuning_text(tuning: Tuning, recipe_file: str | None = None, *, color: bool = False) -> str:
    """The recommendation, the jump of each site, the accuracies, and the finalists."""
    return "\n\n".join(part for part in _parts(tuning, recipe_file, color=color) if part)


def headline(tuning: Tuning) -> str:
    """The outcome in one or two sentences."""
    gain = f"{points(tuning.gain.value)} points, 95% interval {points(tuning.gain.low)} to {points(tuning.gain.high)}"
    if tuning.gain_shown:
        before, after = tuning.original.worst_case.value, tuning.proposed.worst_case.value
        return (
            f"Gain shown on {count(tuning.n_held_out, 'example')} that the search never attacked: the worst case is "
            f"{percent(after)} instead of {percent(before)} ({gain})."
        )
    if tuning.proposed.is_original:
        reason = "no candidate within the clean-accuracy budget beats jump 0 by more than the noise"
    else:
        reason = f"the best candidate changes the worst case on held-out examples by {gain}, which may be chance"
    return f"{NO_GAIN}: {reason}. The recipe is jump 0 everywhere: there is nothing to patch."


def quantiles(sites: Sequence[PreActivations], *, color: bool = False) -> str:
    """Quantiles of each site's positive pre-activations."""
    columns = ("site", "positive", *(f"{level:.0%}" for level in QUANTILE_LEVELS))
    return joined(
        "Positive pre-activations: their share, and their quantiles (a jump equal to the 25% quantile sets 25% of them "
        "to 0)",
        table(columns, [_quantile_row(site) for site in sites], color=color),
    )


def accuracies(tuning: Tuning) -> list[tuple[str, str, str]]:
    """Rows of clean accuracy and worst case: the original, the search's result, the best single jump."""
    rows = [_accuracies("original (jump 0)", tuning.original), _accuracies("found by the search", tuning.proposed)]
    return rows if tuning.uniform is None else [*rows, _accuracies("best single jump", tuning.uniform)]


def jumps(tuning: Tuning) -> list[tuple[str, str, str]]:
    """Rows of the recommended jump and the share of positive pre-activations that it silences, one per site."""
    return [
        (site.name, tuning.parameters[site.name].shown(), f"{site.silenced(tuning.jumps[site.name]):.0%}")
        for site in tuning.sites
    ]


def _accuracies(what: str, judged: Judged) -> tuple[str, str, str]:
    return what, percent(judged.clean_accuracy), with_interval(judged.worst_case)


def _quantile_row(site: PreActivations) -> tuple[str, ...]:
    known = [f"{site.quantile(level):g}" if len(site.sample) else "-" for level in QUANTILE_LEVELS]
    return (site.name, f"{site.positive:.1%}", *known)


def _parts(tuning: Tuning, recipe_file: str | None, *, color: bool) -> Iterator[str]:
    yield joined(
        headline(tuning),
        _against_uniform(tuning),
        _setting(tuning),
        "" if recipe_file is None else f"Recipe: {recipe_file}",
    )
    silenced = table(("site", "jump", "positive pre-activations silenced"), jumps(tuning), color=color)
    patched = any(not parameters.is_relu for parameters in tuning.parameters.values())
    yield joined(*(("The jump of each site", silenced) if patched else ()), *_left_out(tuning))
    yield joined(
        f"Clean accuracy on all {tuning.n_search + tuning.n_held_out} validation examples; worst case on the "
        f"{tuning.n_held_out} that the search never attacked (95% intervals)",
        table(("", "clean accuracy", "worst case"), accuracies(tuning), color=color),
    )
    yield joined(
        f"Finalists on the {tuning.n_search} examples of the search. They are the best of "
        f"{count(len(tuning.trials), 'candidate')}, so their worst cases are optimistic",
        _finalists(tuning, color=color),
        "judged: the finalist with the smallest jumps among those within the budget that the best one beats by no more "
        "than the noise. *: no other finalist has both a higher clean accuracy and a better worst case. Clean accuracy "
        f"is on all validation examples. Time: {tuning.seconds:.0f} s",
    )


def _setting(tuning: Tuning) -> str:
    chosen_here = " (chosen here: the median of the smallest perturbations that DeepFool finds on the original)"
    return (
        f"{tuning.norm}, eps {tuning.eps:g}{chosen_here if tuning.eps_chosen else ''}, at most "
        f"{100 * tuning.max_drop:g} {'point' if tuning.max_drop == ONE_POINT else 'points'} of clean accuracy lost, "
        f"seed {tuning.seed}"
    )


def _against_uniform(tuning: Tuning) -> str:
    """Whether a jump per site is better than one jump for all sites."""
    best, over = tuning.uniform, tuning.over_uniform
    if not tuning.gain_shown or best is None or over is None or best.parameters == tuning.proposed.parameters:
        return ""
    outcome = "better" if over.low > 0 else "worse" if over.high < 0 else "not shown to be better or worse"
    return (
        f"Compared with the best single jump ({next(iter(best.parameters.values())).shown()} everywhere, worst case "
        f"{percent(best.worst_case.value)}): {outcome} ({_interval(over)})."
    )


def _interval(difference: Share) -> str:
    return f"{points(difference.value)} points, {points(difference.low)} to {points(difference.high)}"


def _left_out(tuning: Tuning) -> Iterator[str]:
    for site in tuning.skipped:
        yield f"'{site.name}' stays as it is: {site.reason}"
    if tuning.cut_short:
        yield "The search used up its candidates before it reached the last sites; raise --trials."


def _finalists(tuning: Tuning, *, color: bool) -> str:
    front = tuning.pareto_front
    rows = [
        (
            ("*" if point in front else " ") + (" judged" if point.parameters == tuning.proposed.parameters else ""),
            point.family,
            percent(point.clean_accuracy),
            percent(point.worst_case),
            in_short(point),
        )
        for point in tuning.finalists
    ]
    return table(("", "family", "clean accuracy", "worst case", "jumps"), rows, color=color)


def in_short(point: TrialPoint) -> str:
    """The jumps in short: a network may have fifty sites, most of them with jump 0."""
    given = point.parameters
    if len(set(given.values())) == 1:
        return f"{next(iter(given.values())).shown()} everywhere"
    named = [f"{site} {parameters.shown()}" for site, parameters in given.items() if not parameters.is_relu]
    return "; ".join([*named, *(["elsewhere 0"] if len(named) < len(given) else [])])
