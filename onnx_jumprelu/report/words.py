"""The words and the numbers of a verdict, the same in every report."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from onnx_jumprelu.statistics import Share
from onnx_jumprelu.verdict.result import Gate, Verdict

NOTHING = "-"
MEANING = (
    "Worst case: the share of examples that no attack fooled, counted example by example over all attacks. "
    "It is an upper bound: a stronger attack could lower it, none could raise it."
)
# What XML 1.0 cannot hold: most control characters, and halves of surrogate pairs, as undecodable bytes in a path are.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Headline:
    """The verdict in words: two or three words, and the sentence that gives the reason."""

    title: str
    sentence: str


def headline(verdict: Verdict) -> Headline:
    """The verdict: `Gain shown` where it was shown, `No gain shown` everywhere else, and why."""
    if verdict.gain is None:
        worst = percent(verdict.worst_case(verdict.subject).value)
        found = f"the model withstands every attack that ran on {worst} of {count(verdict.n_examples, 'example')}."
        return Headline("Measured", found)
    title = "Gain shown" if verdict.gain_shown else "No gain shown"
    return Headline(title, f"{_found(verdict, verdict.gain)} {_reason(verdict, verdict.gain)}")


def _found(verdict: Verdict, gain: Share) -> str:
    original, patched = verdict.worst_case("original"), verdict.worst_case("patched")
    return (
        f"the patched model withstands every attack that ran on {percent(patched.value)} of "
        f"{count(verdict.n_examples, 'example')}, the original on {percent(original.value)}, a difference of "
        f"{points(gain.value)} points (95% interval {points(gain.low)} to {points(gain.high)})."
    )


def _reason(verdict: Verdict, gain: Share) -> str:
    if not verdict.complete:
        return "Not every planned attack has run, so nothing can be claimed yet."
    if gain.low > 0:
        return f"The interval lies above 0{_unproved(verdict)}."
    if gain.high < 0:
        return "The interval lies below 0: the patched model is easier to attack than the original."
    return "The interval includes 0" + (": the difference may be chance." if gain.value else ".")


def _unproved(verdict: Verdict) -> str:
    doubts = verdict.doubts(verdict.subject)
    return f", but nothing is shown: {'; '.join(doubts)}" if doubts else ""


def setting(verdict: Verdict) -> str:
    """What the attacks were allowed to do."""
    return f"{verdict.norm} perturbations of at most {verdict.eps:g}, {count(verdict.n_examples, 'example')}"


def meaning(verdict: Verdict) -> str:
    """What a worst case is, and which attacks counted for it."""
    return f"{MEANING} {smaller(verdict)}".rstrip()


def smaller(verdict: Verdict) -> str:
    """Whether attacks counted that no table lists one by one; empty if none did."""
    listed = len(verdict.own_rows) == len(verdict.rows)
    return "" if listed else "What fooled a model within the curve's smaller eps counts too."


ZERO_GRADIENTS = "Zero gradients: those of the attack on the original / on the patched model."


def curve_ends(verdict: Verdict) -> str:
    """Why a curve may have fewer points than were asked for; empty if the original still withstands something."""
    last = verdict.curve[-1]
    if last.worst_case["original"]:
        return ""
    return f"The original withstands nothing at eps {last.eps:g}: larger ones were not tried."


def cost(verdict: Verdict) -> str:
    """What the patch costs."""
    before, after = verdict.clean_accuracy("original"), verdict.clean_accuracy("patched")
    latency = "" if finite(verdict.latency_ratio) is None else f"; {verdict.latency_ratio:.2f} times the latency"
    return f"What it costs: clean accuracy {percent(after.value)} instead of {percent(before.value)}{latency}."


def naive(verdict: Verdict) -> str:
    """What one common attack would have claimed of the patched model, beside the truth; empty if it did not run."""
    claim = verdict.naive("patched")
    if finite(claim) is None:
        return ""
    return (
        f"PGD with exact gradients alone would have claimed {percent(claim)} for the patched model; "
        f"the worst case over all attacks is {percent(verdict.worst_case('patched').value)}."
    )


def missing(verdict: Verdict) -> str:
    """What an incomplete verdict lacks; empty if it is complete."""
    if verdict.complete:
        return ""
    not_run = ", ".join(verdict.missing)
    done = f"{count(len(verdict.rows), 'result')} so far"
    return (
        f"INCOMPLETE: not every planned attack has run; {done}"
        + (f"; missing: {one_line(not_run)}" if not_run else "")
        + ". What is missing can only lower the worst cases."
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
    return "No flag was raised." if verdict.complete else "No flag was raised so far; the checks may not have run yet."


def passed(gate: Gate) -> str:
    """A gate's outcome in one word."""
    return "ok" if gate.ok else "FAILED"


def finite(value: float | None) -> float | None:
    """The number, None where it is none: NaN and infinity have no place in JSON, nor in front of a reader."""
    return float(value) if value is not None and math.isfinite(value) else None


def percent(value: float | None) -> str:
    """A share in percent."""
    return NOTHING if finite(value) is None else f"{value:.2%}"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.2f}"


def with_interval(share: Share) -> str:
    """A share with the ends of its interval."""
    return f"{percent(share.value)} ({percent(share.low)} to {percent(share.high)})"


def count(number: int, what: str) -> str:
    """So many of them, in the singular or the plural."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def one_line(text: str) -> str:
    """The text on one line, with what no report can hold replaced."""
    return " ".join(printable(text).split())


def printable(text: str) -> str:
    """The text with a replacement character in place of each character that no report can hold."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def verdict_line(verdict: Verdict) -> str:
    """The verdict as one line of plain text."""
    head = headline(verdict)
    return f"{head.title}: {head.sentence}"
