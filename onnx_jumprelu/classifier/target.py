"""A model as it is attacked: its file, its normalization, its tensors' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx_jumprelu.classifier.classifier import OnnxClassifier
from onnx_jumprelu.runtime import CPU


@dataclass(frozen=True)
class Target:
    """A model as it is attacked.

    Attributes:
        model: Its file.
        bounds: Smallest and largest value of an input, in data space.
        mean: What it wants subtracted from the data, one value or one per channel; None for 0.
        std: What it wants the data then divided by; None for 1.
        surrogate: The derivative at JumpReLU sites.
        input_name: Which input, where it has several.
        output_name: Which output, where it has several.
        providers: onnxruntime's execution providers.
        threads: Threads within an operator.
    """

    model: Path
    bounds: tuple[float, float] = (0.0, 1.0)
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    surrogate: str = "exact"
    input_name: str | None = None
    output_name: str | None = None
    providers: Sequence[str] = CPU
    threads: int | None = None

    def __post_init__(self) -> None:
        """A file may be given by its name."""
        object.__setattr__(self, "model", Path(self.model))

    def classifier(self, *, bounds: tuple[float, float] | None = None, in_data_space: bool = True) -> OnnxClassifier:
        """The model with gradients; without its normalization where inputs come normalized. Raises what it raises."""
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
        )
