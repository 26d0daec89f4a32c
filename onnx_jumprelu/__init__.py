"""Retrofit trained ONNX classifiers with JumpReLU, without retraining them.

Public names are loaded when they are first used: importing the package imports neither onnx nor onnxruntime.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from onnx_jumprelu.version import __version__

if TYPE_CHECKING:
    from onnx_jumprelu import attacks
    from onnx_jumprelu.attacks.base import AttackResult
    from onnx_jumprelu.classifier.classifier import OnnxClassifier
    from onnx_jumprelu.classifier.target import Target
    from onnx_jumprelu.data.plausibility import Concern, concerns_about
    from onnx_jumprelu.data.reading import Data, load_data
    from onnx_jumprelu.errors import (
        DataError,
        GradientError,
        JumpReLUError,
        ModelFileError,
        OptionError,
        PatchError,
        ProvenanceError,
        RunError,
        VerificationError,
    )
    from onnx_jumprelu.gradient.core.build import build_gradient_model
    from onnx_jumprelu.gradient.core.losses import Loss, Scores
    from onnx_jumprelu.integrations import surgeon
    from onnx_jumprelu.report.schemas import json_schema
    from onnx_jumprelu.rewrite.batch import (
        FileOptions,
        PatchedFile,
        RevertedFile,
        patch_file,
        patch_files,
        revert_file,
    )
    from onnx_jumprelu.rewrite.options import PatchOptions
    from onnx_jumprelu.rewrite.patch import PatchResult, SiteJump, find_activations, patch_model
    from onnx_jumprelu.rewrite.recipe import Recipe
    from onnx_jumprelu.rewrite.revert import record_note, revert_model
    from onnx_jumprelu.rewrite.site import ActivationSite, SkippedSite
    from onnx_jumprelu.tuning.calibration import calibrate
    from onnx_jumprelu.tuning.result import Tuning
    from onnx_jumprelu.tuning.run import tune
    from onnx_jumprelu.verdict.evaluate import evaluate
    from onnx_jumprelu.verdict.findings import Example, Flag, Row
    from onnx_jumprelu.verdict.gates import Gate, Policy, read_policy
    from onnx_jumprelu.verdict.result import Verdict
    from onnx_jumprelu.verdict.single_attack import AttackRun, attack
    from onnx_jumprelu.verification.verify import Check, VerifyReport, verify

_HOMES = {
    "attacks.base": ("AttackResult",),
    "classifier.classifier": ("OnnxClassifier",),
    "errors": (
        "DataError",
        "GradientError",
        "JumpReLUError",
        "ModelFileError",
        "OptionError",
        "PatchError",
        "ProvenanceError",
        "RunError",
        "VerificationError",
    ),
    "classifier.target": ("Target",),
    "data.plausibility": ("Concern", "concerns_about"),
    "data.reading": ("Data", "load_data"),
    "tuning.calibration": ("calibrate",),
    "tuning.result": ("Tuning",),
    "tuning.run": ("tune",),
    "verdict.evaluate": ("evaluate",),
    "verdict.single_attack": ("AttackRun", "attack"),
    "verdict.gates": ("Gate", "Policy", "read_policy"),
    "verdict.findings": ("Example", "Flag", "Row"),
    "verdict.result": ("Verdict",),
    "gradient.core.build": ("build_gradient_model",),
    "gradient.core.losses": ("Loss", "Scores"),
    "report.schemas": ("json_schema",),
    "rewrite.site": ("ActivationSite", "SkippedSite"),
    "rewrite.batch": ("FileOptions", "PatchedFile", "RevertedFile", "patch_file", "patch_files", "revert_file"),
    "rewrite.options": ("PatchOptions",),
    "rewrite.patch": ("PatchResult", "SiteJump", "find_activations", "patch_model"),
    "rewrite.recipe": ("Recipe",),
    "rewrite.revert": ("record_note", "revert_model"),
    "verification.verify": ("Check", "VerifyReport", "verify"),
}
# Modules that are public under a short name.
_MODULES = {"attacks": "attacks", "surgeon": "integrations.surgeon"}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ActivationSite",
    "AttackResult",
    "AttackRun",
    "Check",
    "Concern",
    "Data",
    "DataError",
    "Example",
    "FileOptions",
    "Flag",
    "Gate",
    "GradientError",
    "JumpReLUError",
    "Loss",
    "ModelFileError",
    "OnnxClassifier",
    "OptionError",
    "PatchError",
    "PatchOptions",
    "PatchResult",
    "PatchedFile",
    "Policy",
    "ProvenanceError",
    "Recipe",
    "RevertedFile",
    "Row",
    "RunError",
    "Scores",
    "SiteJump",
    "SkippedSite",
    "Target",
    "Tuning",
    "Verdict",
    "VerificationError",
    "VerifyReport",
    "__version__",
    "attack",
    "attacks",
    "build_gradient_model",
    "calibrate",
    "concerns_about",
    "evaluate",
    "find_activations",
    "json_schema",
    "load_data",
    "patch_file",
    "patch_files",
    "patch_model",
    "read_policy",
    "record_note",
    "revert_file",
    "revert_model",
    "surgeon",
    "tune",
    "verify",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
