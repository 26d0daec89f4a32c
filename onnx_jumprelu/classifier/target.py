"""A model as it is attacked: the model, its normalization, the names of its tensors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from onnx import ModelProto

from onnx_jumprelu.classifier.classifier import OnnxClassifier
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.files.hashes import model_sha256
from onnx_jumprelu.files.models import ModelFile, opened
from onnx_jumprelu.runtime import CPU

ModelLike: TypeAlias = "Target | Path | str | ModelProto"


@dataclass(frozen=True)
class Target:
    """A model as it is attacked.

    Attributes:
        model: Its file (a `str` becomes a `Path`), or the model itself.
        bounds: Smallest and largest value of an input, in data space.
        mean: What the model expects subtracted from the data, one value or one per channel; None for 0.
        std: What it expects the data then divided by; None for 1.
        surrogate: The derivative at JumpReLU sites.
        input_name: Which input, where it has several.
        output_name: Which output, where it has several.
        providers: onnxruntime's execution providers.
        threads: Threads within an operator.
        batch_size: Examples per run; None for `OnnxClassifier`'s choice.
    """

    model: Path | str | ModelProto
    bounds: tuple[float, float] = (0.0, 1.0)
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    surrogate: str = "exact"
    input_name: str | None = None
    output_name: str | None = None
    providers: Sequence[str] = CPU
    threads: int | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        """Raises OptionError where `model` is neither a path nor a model."""
        if isinstance(self.model, str | os.PathLike):
            object.__setattr__(self, "model", Path(self.model))
        elif not isinstance(self.model, ModelProto):
            raise OptionError(f"a model is a path or an onnx.ModelProto, not {type(self.model).__name__}")

    @property
    def path(self) -> Path | None:
        """The model's file, None for a model in memory."""
        return None if isinstance(self.model, ModelProto) else Path(self.model)

    @property
    def folder(self) -> Path | None:
        """The folder to which the names of its external weights are relative, None for a model in memory."""
        return None if self.path is None else Path(os.path.realpath(self.path.parent))

    @property
    def name(self) -> str:
        """What messages and reports call it: its path as it was given, or the name of its graph."""
        if isinstance(self.model, ModelProto):
            return f"model '{self.model.graph.name}'" if self.model.graph.name else "model"
        return str(self.model)

    def opened(self) -> ModelFile:
        """The model as it is now, its external weights not loaded. Raises ModelFileError."""
        return opened(self.model)

    def sha256(self) -> str:
        """Hash of the model as it is now; `OnnxClassifier.sha256` is that of the model that was opened.

        Raises:
            ModelFileError: the file cannot be read.
        """
        return model_sha256(self.model)

    def classifier(self, *, bounds: tuple[float, float] | None = None, in_data_space: bool = True) -> OnnxClassifier:
        """Open the model with its gradients.

        Args:
            bounds: Other bounds than the target's.
            in_data_space: False leaves out mean and std, for inputs that are normalized already.

        Raises:
            GradientError, ModelFileError, DataError, OptionError, RunError: see `OnnxClassifier`.
        """
        return OnnxClassifier(
            self.model,
            bounds=self.bounds if bounds is None else bounds,
            mean=self.mean if in_data_space else None,
            std=self.std if in_data_space else None,
            surrogate=self.surrogate,
            input_name=self.input_name,
            output_name=self.output_name,
            providers=self.providers,
            threads=self.threads,
            batch_size=self.batch_size,
        )


def target_of(model: ModelLike) -> Target:
    """A model in any form in which it may be given, as a `Target`. Raises OptionError for anything else."""
    return model if isinstance(model, Target) else Target(model)
