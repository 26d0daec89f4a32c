"""The sentences and numbers of a verdict, the same in every report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx_jumprelu.names import Outcome
from onnx_jumprelu.report.formatting import count, finite, one_line, percent, points
from onnx_jumprelu.statistics import Share
from onnx_jumprelu.verdict.findings import Flag
from onnx_jumprelu.verdict.gates import Gate
from onnx_jumprelu.verdict.result import Verdict

MEANING = (
    "Worst case: the share of examples that no attack fooled, counted example by example over all attacks. "
    "It is an upper bound: a stronger attack can lower it; no attack can raise it."
)


@dataclass(frozen=True)
class Headline:
    """The outcome in one or two words, and the sentences that give numbers and reason."""

    title: str
    sentence: str


TITLES: dict[Outcome, str] = {
    "gain": "Gain shown",
    "loss": "Loss shown",
    "undecided": "Undecided",
    "measured": "Measured",
}


def headline(verdict: Verdict) -> Headline:
    """The outcome, and the numbers and the reason behind it."""
    gain, title = verdict.gain, TITLES[verdict.outcome]
    worst = {model: percent(verdict.worst_case(model).value) for model in verdict.models}
    examples = count(verdict.n_examples, "example")
    if gain is None:
        found = f"no attack fools the model on {worst[verdict.subject]} of {examples}."
        doubts = verdict.doubts(verdict.subject)
        return Headline(title, f"{found} This may be too high: {'; '.join(doubts)}." if doubts else found)
    numbers = (
        f"no attack fools the patched model on {worst['patched']} of {examples}, and the original on "
        f"{worst['original']}: a difference of {points(gain.value)} points "
        f"(95% interval {points(gain.low)} to {points(gain.high)})."
    )
    return Headline(title, f"{numbers} {_reason(verdict, gain)}")


def _reason(verdict: Verdict, gain: Share) -> str:
    if not verdict.complete:
        return "Not everything that was planned has run, so nothing can be concluded yet."
    if gain.low > 0:
        return f"The interval lies above 0{_unless(verdict.doubts('patched'), 'gain')}."
    if gain.high < 0:
        loss = "the patched model is easier to attack than the original"
        return f"The interval lies below 0{_unless(verdict.hidden('original'), 'loss') or f': {loss}'}."
    return "The interval includes 0, so the difference may be chance; more examples narrow it."


def _unless(doubts: Sequence[str], what: str) -> str:
    return f", but this does not show a {what}: {'; '.join(doubts)}" if doubts else ""


def subjects(verdict: Verdict) -> str:
    """Which models were attacked: one line, empty if the verdict does not know their names."""
    names = {model: one_line(verdict.targets[model]) for model in verdict.models if model in verdict.targets}
    return "; ".join(name if model == "model" else f"{model}: {name}" for model, name in names.items())


def notes(verdict: Verdict) -> list[str]:
    """What the user should know about the models."""
    return [f"Note: {one_line(note)}" for note in verdict.notes]


def setting(verdict: Verdict) -> str:
    """What the attacks were allowed to do."""
    return f"{verdict.norm} perturbations of at most {verdict.eps:g}, {count(verdict.n_examples, 'example')}"


def meaning(verdict: Verdict) -> str:
    """What a worst case is, and which attacks count."""
    return f"{MEANING} {smaller(verdict)}".rstrip()


def smaller(verdict: Verdict) -> str:
    """Whether attacks counted that no table lists one by one; empty if none did."""
    listed = len(verdict.own_rows) == len(verdict.rows)
    return "" if listed else "Examples that an attack fooled within a smaller eps of the curve count too."


def zero_gradients(verdict: Verdict) -> str:
    """What the column of zero gradients holds."""
    order = "" if len(verdict.models) == 1 else ", on the original / on the patched model"
    return f"Zero gradients: the share of the attack's gradients that were 0{order}."


def curve_ends(verdict: Verdict) -> str:
    """Why a curve may have fewer points than were asked for; empty if its first model still withstands something."""
    last, first = verdict.curve[-1], verdict.models[0]
    if last.worst_case[first]:
        return ""
    which = "model" if first == "model" else first
    return f"At eps {last.eps:g} attacks fool the {which} on every example, so larger eps were not tried."


def cost(verdict: Verdict) -> str:
    """Clean accuracy: of one model, or what the patch costs."""
    clean = [percent(verdict.clean_accuracy(model).value) for model in reversed(verdict.models)]
    if len(clean) == 1:
        return f"Clean accuracy: {clean[0]}."
    latency = "" if finite(verdict.latency_ratio) is None else f"; {verdict.latency_ratio:.2f} times the latency"
    if verdict.clean_accuracy("patched").value == verdict.clean_accuracy("original").value:
        return f"Cost: no clean accuracy lost ({clean[0]} on both models){latency}."
    return f"Cost: clean accuracy {clean[0]} instead of {clean[1]}{latency}."


def naive(verdict: Verdict) -> str:
    """What one common attack alone would have reported, next to the worst case; empty if it did not run."""
    model = verdict.subject
    claim, worst = verdict.naive(model), percent(verdict.worst_case(model).value)
    if finite(claim) is None:
        return ""
    whose = "" if model == "model" else " for the patched model"
    return f"PGD with exact gradients alone would have reported {percent(claim)}{whose}; the worst case is {worst}."


def missing(verdict: Verdict) -> str:
    """What an incomplete verdict lacks; empty if it is complete."""
    if verdict.complete:
        return ""
    not_run = one_line(", ".join(verdict.missing))
    return (
        f"INCOMPLETE: not everything that was planned has run; {count(len(verdict.rows), 'result')} so far; missing: "
        f"{not_run}. More attacks can only lower the worst cases."
    )


def gates(verdict: Verdict) -> str:
    """How many gates passed, in one line."""
    failed = [one_line(gate.name) for gate in verdict.gates if not gate.ok]
    if not verdict.gates:
        return "No gates were set."
    if failed:
        return f"{len(failed)} of {count(len(verdict.gates), 'gate')} FAILED: {', '.join(failed)}."
    return f"{count(len(verdict.gates), 'gate')}, all passed."


def flags(verdict: Verdict) -> str:
    """How many flags were raised, in one line."""
    if verdict.flags:
        return f"{count(len(verdict.flags), 'flag')} raised: reasons to doubt a number."
    return "No flag was raised." if verdict.complete else "No flag was raised; not all checks have run."


def flag_title(flag: Flag) -> str:
    """A flag's name, and which model of a pair it is about."""
    return flag.name if flag.model == "model" else f"{flag.name} ({flag.model})"


def flag_meaning(flag: Flag) -> str:
    """What a flag means, and whether it bars a conclusion."""
    return f"undermines the worst case: {flag.message}" if flag.undermines else flag.message


def passed(gate: Gate) -> str:
    """A gate's outcome in one word."""
    return "ok" if gate.ok else "FAILED"


def verdict_line(verdict: Verdict) -> str:
    """The verdict as one line of plain text."""
    head = headline(verdict)
    return f"{head.title}: {head.sentence}"
