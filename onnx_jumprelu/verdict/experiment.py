"""What a verdict is about, and what is needed to repeat it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import Data
from onnx_jumprelu.names import ModelName, NormName
from onnx_jumprelu.verdict.result import MODELS
from onnx_jumprelu.version import __version__


@dataclass(frozen=True)
class Question:
    """What a verdict is about.

    Attributes:
        original: The model before the patch.
        patched: The model after it, with the same data space.
        data: Inputs that tuning never saw, with labels.
        eps: Largest perturbation, in data space.
        norm: Norm of the perturbations.
        attacks: `standard`, `quick`, or a list such as `pgd,apgd-ce:relu,square`.
        eps_grid: Where to measure the curve of robust accuracy against eps; none by default.
        seed: Seed of all randomness.
        latency: Whether to measure the latency ratio, which no seed can repeat.
    """

    original: Target
    patched: Target
    data: Data
    eps: float
    norm: NormName = "Linf"
    attacks: str = "standard"
    eps_grid: Sequence[float] = ()
    seed: int = 0
    latency: bool = True

    def target(self, model: ModelName) -> Target:
        """One of the two models."""
        return self.original if model == "original" else self.patched


def about(question: Question) -> dict[str, str]:
    """What is needed to repeat a verdict."""
    return {
        "onnx-jumprelu": __version__,
        "onnxruntime": onnxruntime.__version__,
        "onnx": onnx.__version__,
        "numpy": np.__version__,
        "original": question.original.name,
        "original SHA-256": question.original.sha256(),
        "patched": question.patched.name,
        "patched SHA-256": question.patched.sha256(),
        "data": question.data.name,
        "data SHA-256": hashlib.sha256(
            question.data.x.tobytes() + question.data.required_labels().tobytes()
        ).hexdigest(),
        "examples": str(len(question.data.x)),
        "eps": repr(float(question.eps)),
        "norm": question.norm,
        "attacks": question.attacks,
        "seed": str(question.seed),
        "settings": json.dumps(
            {
                **{model: _settings(question.target(model)) for model in MODELS},
                "eps_grid": sorted(map(float, question.eps_grid)),
            }
        ),
    }


def _settings(target: Target) -> dict[str, object]:
    """What else decides how a model answers."""
    lists = {"bounds": target.bounds, "mean": target.mean, "std": target.std}
    return {
        **{name: None if values is None else np.ravel(values).astype(float).tolist() for name, values in lists.items()},
        "surrogate": target.surrogate,
        "input": target.input_name,
        "output": target.output_name,
    }
