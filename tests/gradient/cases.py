"""Every case: at least one for each operator that has a rule."""

from __future__ import annotations

import onnx

from tests.gradient import cases_math, cases_products, cases_tensors, cases_windows
from tests.gradient.harness import NEWEST, Case

CASES: list[Case] = [*cases_math.CASES, *cases_products.CASES, *cases_windows.CASES, *cases_tensors.CASES]
KNOWN = min(NEWEST, onnx.defs.onnx_opset_version())
# Where the forms that the rules emit change.
TURNING_POINTS = (9, 10, 11, 13, 18, 21)


def versions_of(op: str) -> list[int]:
    """Every version of an operator that the installed onnx knows."""
    found = {
        schema.since_version
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.domain == "" and schema.name == op
    }
    return sorted(found)


def _runs() -> list[tuple[Case, int]]:
    """Each case at its first and last opset, and each operator wherever its own or the rules' forms change."""
    covered: dict[str, set[int]] = {}
    runs = []
    for case in CASES:
        done, last = covered.setdefault(case.op, set()), min(case.until, KNOWN)
        wanted = {*TURNING_POINTS, *versions_of(case.op)} - done
        opsets = {opset for opset in (case.since, last, *wanted) if case.since <= opset <= last}
        done |= opsets
        runs += [(case, opset) for opset in sorted(opsets)]
    return runs


RUNS = _runs()


def case_named(name: str) -> Case:
    """A case by its name."""
    return next(case for case in CASES if case.name == name)
