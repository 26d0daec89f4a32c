"""Results as JSON.

Each result names its schema, which is in `schemas/`, and the version of this tool. Keys are stable: more may be added,
none is renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx_jumprelu.activation.parameters import FIELDS
from onnx_jumprelu.files.json_records import bits_text, stamped
from onnx_jumprelu.names import ModelName
from onnx_jumprelu.report.formatting import finite
from onnx_jumprelu.rewrite.batch import PatchedFile, RevertedFile
from onnx_jumprelu.rewrite.patch import Inspection
from onnx_jumprelu.statistics import Share
from onnx_jumprelu.verdict.findings import CurvePoint, Row
from onnx_jumprelu.verdict.gates import Gate
from onnx_jumprelu.verdict.result import Verdict
from onnx_jumprelu.verdict.single_attack import AttackRun
from onnx_jumprelu.verification.verify import VerifyReport

Json = dict[str, Any]


def inspection(model: Path, found: Inspection) -> Json:
    """What `inspect` found."""
    return stamped(
        "inspection",
        {
            "model": str(model),
            "sites": [
                {
                    "name": site.name,
                    "scope": site.scope,
                    "form": site.form,
                    "tensor": site.tensor,
                    "input": site.input,
                    "dtype": site.dtype,
                    "shape": None if site.shape is None else list(site.shape),
                    "cap": site.cap,
                    "patchable": site.patchable,
                    "reason": site.reason,
                    **(dict.fromkeys(FIELDS) if site.parameters is None else site.parameters.to_fields()),
                }
                for site in found.sites
            ],
            "notes": list(found.notes),
        },
    )


def patched_file(result: PatchedFile, *, verified: bool = False) -> Json:
    """What `patch` did to one file; `error` is null if it succeeded, `verified` says whether it was proved."""
    return stamped(
        "patch",
        {
            "input": str(result.input),
            "output": None if result.output is None else str(result.output),
            "lowering": result.lowering,
            "sites": [
                {
                    "name": site.name,
                    **site.parameters.to_fields(),
                    **{f"{name}_input": site.inputs.get(name) for name in FIELDS},
                }
                for site in result.sites
            ],
            "skipped": [
                {"name": site.name, "reason": site.reason, "by_choice": site.by_choice} for site in result.skipped
            ],
            "repatched": result.repatched,
            "notes": list(result.notes),
            "verified": verified and result.error is None,
            "error": result.error,
        },
    )


def reverted_file(result: RevertedFile) -> Json:
    """What `revert` did."""
    content = {"input": str(result.input), "output": str(result.output), "identical": result.identical}
    return stamped("revert", content)


def attack(run: AttackRun) -> Json:
    """What an attack achieved."""
    result = run.result
    return stamped(
        "attack",
        {
            "model": run.target.name,
            "attack": result.attack,
            "norm": result.norm,
            "eps": result.eps,
            "protocol": run.protocol,
            "surrogate": run.target.surrogate,
            "n_jumprelus": run.n_jumprelus,
            "space": "data" if run.protocol == "standard" else "normalized",
            "n_examples": len(result.labels),
            "clean_accuracy": result.clean_accuracy,
            "robust_accuracy": result.robust_accuracy,
            "mean_perturbation": result.mean_perturbation,
            "max_perturbation": result.max_perturbation,
            "zero_gradients": result.zero_gradients,
            "nan_gradients": result.nan_gradients,
            "n_gradients": result.n_gradients,
            "n_queries": result.n_queries,
            "seconds": result.seconds,
        },
    )


def verification(report: VerifyReport) -> Json:
    """What `verify` proved."""
    return stamped(
        "verification",
        {
            "ok": report.ok,
            "status": report.status,
            "checks": [
                {"name": check.name, "ok": check.ok, "decided": check.decided, "detail": check.detail}
                for check in report.checks
            ],
            "notes": list(report.notes),
        },
    )


def verdict(verdict: Verdict, *, per_example: bool = False) -> Json:
    """What `validate` found; null is what was not measured.

    Args:
        verdict: The verdict.
        per_example: Whether to add the outcome of each example, as strings of one digit per example in the order of the
            data: `per_example.correct` and `per_example.robust` (1: right) per model, and `success` (1: fooled) per
            attack.
    """
    gain = verdict.gain
    content: Json = {
        "verdict": verdict.outcome,
        "gain_shown": verdict.gain_shown,
        "complete": verdict.complete,
        "missing": list(verdict.missing),
        "doubts": {model: list(verdict.doubts(model)) for model in verdict.models},
        "norm": verdict.norm,
        "eps": finite(verdict.eps),
        "n_examples": verdict.n_examples,
        "models": dict(verdict.targets),
        "clean_accuracy": _shares({model: verdict.clean_accuracy(model) for model in verdict.models}),
        "worst_case": {
            **_shares({model: verdict.worst_case(model) for model in verdict.models}),
            "gain": None if gain is None else finite(gain.value),
            "ci95": None if gain is None else _interval(gain),
        },
        "naive": {model: finite(verdict.naive(model)) for model in verdict.models},
        "latency_ratio": finite(verdict.latency_ratio),
        "attacks": [_row(row, per_example=per_example) for row in verdict.rows],
        "curve": [_curve_point(point) for point in verdict.curve],
        "flags": [
            {"name": flag.name, "model": flag.model, "message": flag.message, "undermines": flag.undermines}
            for flag in verdict.flags
        ],
        "gates": [_gate(gate) for gate in verdict.gates],
        "notes": list(verdict.notes),
        "about": dict(verdict.about),
    }
    if per_example:
        content["per_example"] = {
            "correct": {model: bits_text(verdict.correct[model]) for model in verdict.models},
            "robust": {model: bits_text(verdict.standing(model)) for model in verdict.models},
        }
    return stamped("verdict", content)


def _row(row: Row, *, per_example: bool) -> Json:
    content: Json = {
        "name": row.label,
        "attack": row.attack,
        "surrogate": row.surrogate,
        "model": row.model,
        "source": row.source,
        "kind": row.kind,
        "eps": finite(row.eps),
        "robust_accuracy": finite(row.robust_accuracy),
        "zero_gradients": finite(row.zero_gradients),
        "seconds": finite(row.seconds),
    }
    return {**content, "success": bits_text(row.success)} if per_example else content


def _gate(gate: Gate) -> Json:
    return {
        "name": gate.name,
        "ok": gate.ok,
        "value": finite(gate.value),
        "limit": finite(gate.limit),
        "detail": gate.detail,
    }


def _shares(shares: Mapping[ModelName, Share]) -> Json:
    values: Json = {model: finite(share.value) for model, share in shares.items()}
    return {**values, "intervals": {model: _interval(share) for model, share in shares.items()}}


def _interval(share: Share) -> list[float | None]:
    return [finite(share.low), finite(share.high)]


def _curve_point(point: CurvePoint) -> Json:
    return {
        "eps": finite(point.eps),
        "worst_case": {model: finite(value) for model, value in point.worst_case.items()},
        "kinds": {
            model: {kind: finite(value) for kind, value in kinds.items()} for model, kinds in point.kinds.items()
        },
    }
