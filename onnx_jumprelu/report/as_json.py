"""Results as JSON: the keys are stable, more may be added, none is renamed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from onnx_jumprelu.evaluation.attacking import AttackRun
from onnx_jumprelu.rewrite.activations import ActivationSite
from onnx_jumprelu.rewrite.files import PatchedFile, RevertedFile
from onnx_jumprelu.verification.verify import VerifyReport

Json = dict[str, Any]


def inspection(model: Path, sites: Iterable[ActivationSite]) -> Json:
    """What `inspect` found."""
    return {
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
                "patchable": site.patchable,
                "reason": site.reason,
                "jump": site.jump,
            }
            for site in sites
        ],
    }


def patched_file(result: PatchedFile, *, verified: bool = False) -> Json:
    """What `patch` did to one file; `error` is null where all is well, `verified` tells whether it was proved."""
    return {
        "input": str(result.input),
        "output": None if result.output is None else str(result.output),
        "lowering": result.lowering,
        "sites": [{"name": site.name, "jump": site.jump, "jump_input": site.jump_input} for site in result.sites],
        "skipped": [{"name": site.name, "reason": site.reason} for site in result.skipped],
        "repatched": result.repatched,
        "verified": verified and result.error is None,
        "error": result.error,
    }


def reverted_file(result: RevertedFile) -> Json:
    """What `revert` did."""
    return {"input": str(result.input), "output": str(result.output), "identical": result.identical}


def attack(run: AttackRun) -> Json:
    """What an attack achieved."""
    result = run.result
    return {
        "model": str(run.target.model),
        "attack": result.attack,
        "norm": result.norm,
        "eps": result.eps,
        "protocol": run.protocol,
        "surrogate": run.target.surrogate,
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
    }


def verification(report: VerifyReport) -> Json:
    """What `verify` proved."""
    return {
        "ok": report.ok,
        "checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in report.checks],
        "notes": list(report.notes),
    }
