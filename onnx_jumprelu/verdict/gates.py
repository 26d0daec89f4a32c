"""Conditions that a model must meet before it ships."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_jumprelu.arguments import check_number
from onnx_jumprelu.errors import OptionError, naming
from onnx_jumprelu.files.inputs import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from onnx_jumprelu.verdict.result import Verdict

ROUNDING = 1e-9  # a drop of exactly 1 % is 0.01 in decimals, but not exactly in binary
SHARES = ("min_clean", "max_drop", "min_robust", "min_gain")
PAIRS_ONLY = ("max_drop", "min_gain", "max_latency_ratio")
INCOMPLETE = "not all attacks have run"
LONGEST_VALUE = 40  # characters of a value that an error quotes


@dataclass(frozen=True)
class Gate:
    """A condition that the user set.

    Attributes:
        name: Short and stable, such as `min-clean`.
        ok: Whether it holds.
        value: What was measured, None where it was not measured.
        limit: What the user asked for.
        detail: One sentence with the value, the limit and the difference.
    """

    name: str
    ok: bool
    value: float | None
    limit: float
    detail: str


@dataclass(frozen=True)
class Policy:
    """The conditions; None for those that do not matter.

    The model is the patched one of a pair, or the one model that was judged.

    Attributes:
        min_clean: Lowest clean accuracy of the model.
        max_drop: Largest drop of clean accuracy from the original to the patched model.
        min_robust: Lowest worst case of the model, under attacks that could work: see `Verdict.hidden`.
        min_gain: Lowest gain. It fails where attacks with gradients could not work on the patched model. A limit
            above 0 also asks that the gain is shown, as `Verdict.gain_shown` defines it.
        max_latency_ratio: Highest latency of the patched model divided by that of the original.
    """

    min_clean: float | None = None
    max_drop: float | None = None
    min_robust: float | None = None
    min_gain: float | None = None
    max_latency_ratio: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers. Raises OptionError."""
        for name, value in self.limits().items():
            check_number(value, name)
            if not math.isfinite(value):
                raise OptionError(f"{name} must be a finite number, not {value}")
            if name in SHARES and not -1 <= value <= 1:
                raise OptionError(f"{name} is a share, such as 0.97 for 97%, not {value:g}")

    def limits(self) -> dict[str, float]:
        """The conditions that are set, by name."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def overridden(self, other: Policy) -> Policy:
        """This policy, with the conditions that `other` sets in place of its own."""
        return Policy(**{**self.limits(), **other.limits()})

    def check_one_model(self) -> None:
        """Refuse conditions on a pair of models. Raises OptionError."""
        for name in PAIRS_ONLY:
            if name in self.limits():
                raise OptionError(f"{name} compares two models, and only one was given; leave it out")


def read_policy(path: str | Path) -> Policy:
    """Read a policy from a TOML file with a table `[gates]`.

    Raises:
        OptionError: the file cannot be read, or holds something else.
    """
    path = Path(path)
    try:
        content = tomllib.loads(read_text(path))
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror or error})") from error
    except RecursionError as error:
        raise OptionError(f"{path}: is not a policy: its values are nested too deeply") from error
    except ValueError as error:  # not UTF-8, not TOML, or an integer with more digits than Python reads
        reason = " ".join(str(error).split()).partition(";")[0]  # Python advises programmers after the semicolon
        raise OptionError(f"{path}: is not a policy in TOML ({reason})") from error
    gates = content.get("gates")
    known = [entry.name for entry in fields(Policy)]
    if not isinstance(gates, dict) or set(content) != {"gates"}:
        raise OptionError(f"{path}: a policy has one table, [gates], with {', '.join(known)}")
    limits = {}
    for name, value in gates.items():
        if name not in known:
            raise OptionError(f"{path}: there is no gate '{name[:LONGEST_VALUE]}'; choose {', '.join(known)}")
        limits[name] = _limit(path, name, value)
    with naming(path, OptionError):
        return Policy(**limits)


def _limit(path: Path, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        shown = "a table or a list" if isinstance(value, dict | list) else repr(value)[:LONGEST_VALUE]
        raise OptionError(f"{path}: gate '{name}' must be a number, not {shown}")
    try:
        return float(value)
    except OverflowError as error:
        raise OptionError(f"{path}: gate '{name}' must be a finite number; this one is too large") from error


def checked_gates(verdict: Verdict, policy: Policy) -> tuple[Gate, ...]:
    """Compare a verdict with each condition of a policy.

    Raises:
        OptionError: the verdict is on one model, and a condition compares two.
    """
    if len(verdict.models) == 1:
        policy.check_one_model()
    return tuple(CONDITIONS[name](verdict, limit) for name, limit in policy.limits().items())


def _min_clean(verdict: Verdict, limit: float) -> Gate:
    return _at_least("min-clean", "clean accuracy", verdict.clean_accuracy(verdict.subject).value, limit)


def _max_drop(verdict: Verdict, limit: float) -> Gate:
    before, after = (verdict.clean_accuracy(model).value for model in verdict.models)
    return _at_most("max-drop", "drop of clean accuracy", before - after, limit)


def _min_robust(verdict: Verdict, limit: float) -> Gate:
    gate = _at_least("min-robust", "worst case", verdict.worst_case(verdict.subject).value, limit)
    doubts, hidden = verdict.doubts(verdict.subject), verdict.hidden(verdict.subject)
    remarks = [f"this may be too high: {'; '.join(doubts)}"] if doubts else []
    failures = ["attacks that could not work do not count"] if hidden and limit > 0 else []
    return _restricted(gate, [*failures, *([] if verdict.complete else [INCOMPLETE])], remarks)


def _min_gain(verdict: Verdict, limit: float) -> Gate:
    gain = verdict.gain
    if gain is None:
        return Gate("min-gain", ok=False, value=None, limit=limit, detail="there is only one model")
    interval = f"95% interval {gain.low:+.4f} to {gain.high:+.4f}"
    if gain.low <= 0:
        interval += ", which does not lie above 0"
    gate = _restricted(_at_least("min-gain", "gain", gain.value, limit), [], [interval])
    # A gain that no attack could lower passes no limit; a limit above 0 also asks for every kind of attack.
    doubts = verdict.broken(verdict.subject) if limit <= 0 else verdict.doubts(verdict.subject)
    gate = _restricted(gate, [*doubts, *([] if verdict.complete else [INCOMPLETE])], [])
    return gate if limit <= 0 else replace(gate, ok=gate.ok and verdict.gain_shown)


def _max_latency_ratio(verdict: Verdict, limit: float) -> Gate:
    name, ratio = "max-latency-ratio", verdict.latency_ratio
    if ratio is None:
        return Gate(name, ok=False, value=None, limit=limit, detail="the latency was not measured")
    return _at_most(name, "latency ratio", ratio, limit)


CONDITIONS: dict[str, Callable[[Verdict, float], Gate]] = {
    "min_clean": _min_clean,
    "max_drop": _max_drop,
    "min_robust": _min_robust,
    "min_gain": _min_gain,
    "max_latency_ratio": _max_latency_ratio,
}


def _at_least(name: str, what: str, value: float, limit: float) -> Gate:
    ok = value >= limit - ROUNDING
    short = "" if ok else f": {limit - value:.4f} short"
    return Gate(name, ok, value, limit, f"{what} {value:.4f}, at least {limit:g} wanted{short}")


def _at_most(name: str, what: str, value: float, limit: float) -> Gate:
    ok = value <= limit + ROUNDING
    over = "" if ok else f": {value - limit:.4f} over"
    return Gate(name, ok, value, limit, f"{what} {value:.4f}, at most {limit:g} wanted{over}")


def _restricted(gate: Gate, failures: Sequence[str], remarks: Sequence[str]) -> Gate:
    """The gate with remarks; one that also fails where there is a reason for it to fail."""
    return replace(gate, ok=gate.ok and not failures, detail="; ".join([gate.detail, *remarks, *failures]))
