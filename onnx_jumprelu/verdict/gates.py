"""Conditions that a patched model must meet before it ships."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.verdict.result import Gate, Verdict

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


SHARES = ("min_clean", "max_drop", "min_robust", "min_gain")


@dataclass(frozen=True)
class Policy:
    """What must hold; None for what does not matter.

    Attributes:
        min_clean: Lowest clean accuracy of the patched model.
        max_drop: Most clean accuracy that the patch may cost.
        min_robust: Lowest worst case of the patched model.
        min_gain: Lowest gain; one above 0 must also be shown, that is, its interval must lie above 0.
        max_latency_ratio: Highest latency of the patched model over that of the original.
    """

    min_clean: float | None = None
    max_drop: float | None = None
    min_robust: float | None = None
    min_gain: float | None = None
    max_latency_ratio: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers. Raises OptionError."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is None:
                continue
            if not math.isfinite(value):
                raise OptionError(f"{entry.name} must be a finite number, not {value}")
            if entry.name in SHARES and not -1 <= value <= 1:
                raise OptionError(f"{entry.name} is a share, such as 0.97 for 97%, not {value:g}")

    def overridden(self, other: Policy) -> Policy:
        """This policy with what `other` says put over it."""
        given = {entry.name: getattr(other, entry.name) for entry in fields(self)}
        kept = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return Policy(**{name: kept[name] if value is None else value for name, value in given.items()})


def read_policy(path: Path) -> Policy:
    """Read a policy from a TOML file with a table `[gates]`.

    Raises:
        OptionError: it cannot be read, or says something else.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"{path}: is no readable policy ({' '.join(str(error).split())})") from error
    gates = content.get("gates")
    known = [entry.name for entry in fields(Policy)]
    if not isinstance(gates, dict) or set(content) != {"gates"}:
        raise OptionError(f"{path}: a policy has one table, [gates], with {', '.join(known)}")
    for name, value in gates.items():
        if name not in known:
            raise OptionError(f"{path}: there is no gate '{name}'; choose {', '.join(known)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise OptionError(f"{path}: gate '{name}' must be a number, not {value!r}")
    return Policy(**{name: float(value) for name, value in gates.items()})


def checked_gates(verdict: Verdict, policy: Policy) -> tuple[Gate, ...]:
    """Each gate of a policy, and by how much it holds or fails."""
    return tuple(_gates(verdict, policy))


def _gates(verdict: Verdict, policy: Policy) -> Iterator[Gate]:
    clean, before = verdict.clean_accuracy("patched").value, verdict.clean_accuracy("original").value
    worst, gain = verdict.worst_case("patched").value, verdict.gain
    whole = "" if verdict.complete else "; not all attacks have run"
    missing = verdict.missing_attacks
    unproved = f"; no {' and no '.join(missing)} attack ran, which proves little" if missing else ""
    if policy.min_clean is not None:
        yield _at_least("min-clean", "clean accuracy", clean, policy.min_clean)
    if policy.max_drop is not None:
        yield _at_most("max-drop", "drop of clean accuracy", before - clean, policy.max_drop)
    if policy.min_robust is not None:
        gate = _at_least("min-robust", "worst case", worst, policy.min_robust)
        yield Gate(gate.name, gate.ok and verdict.complete, gate.detail + unproved + whole)
    if policy.min_gain is not None:
        gate = _at_least("min-gain", "gain", gain.value, policy.min_gain)
        shown = policy.min_gain <= 0 or verdict.gain_shown
        interval = f"; 95% interval {gain.low:+.4f} to {gain.high:+.4f}"
        if gain.low <= 0 and not shown:
            interval += ", which does not lie above 0"
        yield Gate(gate.name, gate.ok and shown and verdict.complete, gate.detail + interval + unproved + whole)
    if policy.max_latency_ratio is not None:
        if verdict.latency_ratio is None:
            yield Gate("max-latency-ratio", ok=False, detail="the latency was not measured")
        else:
            yield _at_most("max-latency-ratio", "latency ratio", verdict.latency_ratio, policy.max_latency_ratio)


def _at_least(name: str, what: str, value: float, limit: float) -> Gate:
    ok = value >= limit - ROUNDING
    return Gate(
        name, ok, f"{what} {value:.4f}, at least {limit:g} wanted" + ("" if ok else f": {limit - value:.4f} short")
    )


def _at_most(name: str, what: str, value: float, limit: float) -> Gate:
    ok = value <= limit + ROUNDING
    return Gate(
        name, ok, f"{what} {value:.4f}, at most {limit:g} wanted" + ("" if ok else f": {value - limit:.4f} over")
    )


ROUNDING = 1e-9  # a drop of exactly 1 % is 0.01 in decimals, and not quite in binary
