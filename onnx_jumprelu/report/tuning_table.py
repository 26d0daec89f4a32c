"""What tuning found, for the terminal: the recommendation first, then what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx_jumprelu.report.tables import joined, table
from onnx_jumprelu.report.tuning_json import LEVELS
from onnx_jumprelu.report.words import count, percent, points, with_interval
from onnx_jumprelu.statistics import Share
from onnx_jumprelu.tuning.preactivations import PreActivations
from onnx_jumprelu.tuning.result import Judged, Tuning

ONE_POINT = 0.01
NO_GAIN = "No jump gains anything on these data"


def tuning(found: Tuning, recipe_file: str | None = None, *, color: bool = False) -> str:
    """The recommendation, the jump of each site, the numbers and where they come from, and the trade-off."""
    return "\n\n".join(part for part in _parts(found, recipe_file, color=color) if part)


def headline(found: Tuning) -> str:
    """The outcome in one or two sentences."""
    gain = f"{points(found.gain.value)} points, 95% interval {points(found.gain.low)} to {points(found.gain.high)}"
    if found.gain_shown:
        before, after = found.original.worst_case.value, found.proposed.worst_case.value
        return (
            f"Gain shown on {count(found.n_held_out, 'example')} that the search never attacked: the worst case is "
            f"{percent(after)} instead of {percent(before)} ({gain})."
        )
    if not all(parameters.is_relu for parameters in found.proposed.parameters.values()):
        reason = f"the best that was found changes the worst case by {gain} on held-out examples, which may be chance"
    else:
        reason = "no candidate within the budget of clean accuracy was better than jump 0 by more than the noise"
    return f"{NO_GAIN}: {reason}. The recipe is jump 0 everywhere, which is the original."


def quantiles(sites: Sequence[PreActivations], *, color: bool = False) -> str:
    """Quantiles of each site's positive pre-activations: a jump of that size silences that share of them."""
    columns = ("site", "positive", *(f"{level:.0%}" for level in LEVELS))
    return joined(
        "Positive pre-activations: how many, and their quantiles (a jump of that size silences that share of them)",
        table(columns, [_quantile_row(site) for site in sites], color=color),
    )


def _quantile_row(site: PreActivations) -> tuple[str, ...]:
    known = [f"{site.quantile(level):g}" if len(site.sample) else "-" for level in LEVELS]
    return (site.name, f"{site.positive:.1%}", *known)


def _parts(found: Tuning, recipe_file: str | None, *, color: bool) -> Iterator[str]:
    chosen_here = " (chosen here: the median of the smallest perturbations that DeepFool finds on the original)"
    yield joined(
        headline(found),
        _against_uniform(found),
        f"{found.norm}, eps {found.eps:g}{chosen_here if found.eps_chosen else ''}, at most "
        f"{100 * found.max_drop:g} {'point' if found.max_drop == ONE_POINT else 'points'} of clean accuracy, "
        f"seed {found.seed}",
        "" if recipe_file is None else f"Recipe: {recipe_file}",
    )
    yield joined("The jump of each site", _sites(found, color=color), *_left_out(found))
    yield joined(
        f"Numbers: clean accuracy on all {found.n_search + found.n_held_out} validation examples, worst case on the "
        f"{found.n_held_out} that the search never attacked (95% intervals)",
        _numbers(found, color=color),
    )
    yield joined(
        f"Finalists, on the {found.n_search} examples of the search: the best of "
        f"{count(len(found.trials), 'candidate')}, so these numbers flatter",
        _finalists(found, color=color),
        "Judged: the one with the smallest jumps among those within the budget that the best one beats by no more than "
        "the noise. *: no other finalist has both more clean accuracy and a better worst case. Clean accuracy is of "
        f"all validation examples. Time: {found.seconds:.0f} s",
    )


def _against_uniform(found: Tuning) -> str:
    """Whether a jump per site is worth it."""
    best, over = found.uniform, found.over_uniform
    if not found.gain_shown or best is None or over is None or best.parameters == found.proposed.parameters:
        return ""
    verdict = "better" if over.low > 0 else "worse" if over.high < 0 else "not shown to be better or worse"
    return (
        f"Against the best single jump ({next(iter(best.parameters.values())).shown()} everywhere, worst case "
        f"{percent(best.worst_case.value)}): {verdict} ({_interval(over)})."
    )


def _interval(difference: Share) -> str:
    return f"{points(difference.value)} points, {points(difference.low)} to {points(difference.high)}"


def _sites(found: Tuning, *, color: bool) -> str:
    rows = [
        (site.name, found.parameters[site.name].shown(), f"{site.silenced(found.jumps[site.name]):.0%}")
        for site in found.sites
    ]
    return table(("site", "jump", "positive pre-activations silenced"), rows, color=color)


def _left_out(found: Tuning) -> Iterator[str]:
    for site in found.skipped:
        yield f"'{site.name}' stays as it is: {site.reason}"
    if found.cut_short:
        yield "The search ended before the last sites: its budget of candidates serves no more of them; raise --trials."


def _numbers(found: Tuning, *, color: bool) -> str:
    rows = [_row("original (jump 0)", found.original), _row("found by the search", found.proposed)]
    if found.uniform is not None:
        rows.append(_row("best single jump", found.uniform))
    return table(("", "clean accuracy", "worst case"), rows, color=color)


def _row(what: str, judged: Judged) -> tuple[str, str, str]:
    return what, percent(judged.clean), with_interval(judged.worst_case)


def _finalists(found: Tuning, *, color: bool) -> str:
    front = found.front
    rows = [
        (
            ("*" if point in front else " ") + (" judged" if point.parameters == found.proposed.parameters else ""),
            point.family,
            percent(point.clean_accuracy),
            percent(point.worst_case),
            ", ".join(parameters.shown() for parameters in point.parameters.values()),
        )
        for point in found.finalists
    ]
    return table(("", "family", "clean accuracy", "worst case", "jumps"), rows, color=color)
