"""What a verdict measures, and what is needed to repeat it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
import onnxruntime

from onnx_jumprelu.arguments import check_integer, check_number, listed
from onnx_jumprelu.classifier.classifier import OnnxClassifier
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import Data
from onnx_jumprelu.names import ModelName, NormName
from onnx_jumprelu.verdict.suite import Choice, described
from onnx_jumprelu.version import __version__


@dataclass(frozen=True)
class Experiment:
    """What a verdict measures.

    Attributes:
        targets: The models, all with the same data space; see `pair` and `one`.
        data: Inputs that tuning never saw, with labels.
        eps: Largest perturbation, in data space.
        norm: Norm of the perturbations.
        attacks: `standard`, `quick`, a list such as `pgd,apgd-ce:relu,square`, or a sequence; see `suite.planned`.
        eps_grid: Where to measure the curve of robust accuracy against eps; empty for no curve.
        seed: Seed of all randomness.
        latency: Whether to measure the latency ratio of a pair, which no seed can repeat.
        n_shown: How many inputs to show before and after an attack; 0 for none.
    """

    targets: Mapping[ModelName, Target]
    data: Data
    eps: float
    norm: NormName = "Linf"
    attacks: Choice = "standard"
    eps_grid: Sequence[float] = ()
    seed: int = 0
    latency: bool = True
    n_shown: int = 0

    def __post_init__(self) -> None:
        """Raises OptionError for a setting of the wrong type or out of range."""
        check_number(self.eps, "eps")
        check_integer(self.seed, "the seed", 0)
        check_integer(self.n_shown, "examples", 0)
        if not isinstance(self.attacks, str):
            listed(self.attacks, "attacks")
        for eps in listed(self.eps_grid, "eps_grid"):
            check_number(eps, "eps_grid: each eps")
        object.__setattr__(self, "eps_grid", tuple(map(float, self.eps_grid)))

    @property
    def models(self) -> tuple[ModelName, ...]:
        """The names of the models: `original` and `patched`, or `model`."""
        return tuple(self.targets)

    @property
    def subject(self) -> ModelName:
        """The model that the verdict is about: the patched one of a pair, or the only one."""
        return self.models[-1]


def pair(original: Target, patched: Target) -> Mapping[ModelName, Target]:
    """The models of a verdict on what a patch gained."""
    return MappingProxyType({"original": original, "patched": patched})


def one(model: Target) -> Mapping[ModelName, Target]:
    """The model of a verdict on one model."""
    return MappingProxyType({"model": model})


def about(experiment: Experiment, classifiers: Mapping[ModelName, OnnxClassifier]) -> dict[str, str]:
    """What is needed to repeat a verdict.

    Args:
        experiment: What is measured.
        classifiers: Its models as they were opened, whose hashes are given.
    """
    data = experiment.data
    models: dict[str, str] = {}
    for model, target in experiment.targets.items():
        models |= {model: target.name, f"{model} SHA-256": classifiers[model].sha256}
    return {
        "onnx-jumprelu": __version__,
        "onnxruntime": onnxruntime.__version__,
        "onnx": onnx.__version__,
        "numpy": np.__version__,
        **models,
        "data": data.name,
        "data SHA-256": hashlib.sha256(data.x.tobytes() + data.required_labels().tobytes()).hexdigest(),
        "examples": str(len(data.x)),
        "eps": repr(float(experiment.eps)),
        "norm": experiment.norm,
        "attacks": described(experiment.attacks),
        "seed": str(experiment.seed),
        "settings": json.dumps(
            {
                **{model: _settings(target) for model, target in experiment.targets.items()},
                "eps_grid": sorted(map(float, experiment.eps_grid)),
            }
        ),
    }


def _settings(target: Target) -> dict[str, object]:
    """The other settings that decide how a model answers."""
    lists = {"bounds": target.bounds, "mean": target.mean, "std": target.std}
    return {
        **{name: None if values is None else np.ravel(values).astype(float).tolist() for name, values in lists.items()},
        "surrogate": target.surrogate,
        "input": target.input_name,
        "output": target.output_name,
    }
