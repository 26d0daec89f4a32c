"""What was found about the models: counts, refusals by reason, faults."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Findings:
    """What was found about one model, or about many.

    Attributes:
        counts: How many models were inspected, patched with each lowering, and so on.
        refusals: Why sites or models were not patched, by reason.
        skipped: Models that could not be examined or compared, by reason.
        faults: What is wrong: the model, and what happened.
        seconds: How long each model took.
    """

    counts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def skip(self, name: str, why: str) -> None:
        """Note, once, that something could not be done for a model."""
        names = self.skipped.setdefault(why, [])
        if name not in names:
            names.append(name)


def total(findings: Iterable[Findings]) -> Findings:
    """All findings together."""
    whole = Findings()
    for each in findings:
        whole.counts += each.counts
        whole.refusals += each.refusals
        for why, names in each.skipped.items():
            whole.skipped.setdefault(why, []).extend(names)
        whole.faults += each.faults
        whole.seconds |= each.seconds
    return whole


def reason(text: str) -> str:
    """A message without names and numbers, so that equal reasons can be counted."""
    text = " ".join(text.split())
    text = re.sub(r"^\S*\.onnx: ", "", text)
    text = re.sub(r"'[^']*'", "'...'", text)
    text = re.sub(r"\(see [^)]*\)", "", text)
    return re.sub(r"\d[\d.e+-]*", "N", text)[:150]


def one_line(error: BaseException) -> str:
    """An exception's message on one line, not too long."""
    return " ".join(str(error).split())[:300]
