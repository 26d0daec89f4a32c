"""Clean accuracy."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto

from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.errors import DataError
from onnx_jumprelu.graph import required_inputs
from onnx_jumprelu.runtime import OrtRunner

BATCH = 256


def clean_accuracy(model: ModelProto, x: Floats, labels: Labels, *, folder: Path | None = None) -> float:
    """Share of inputs whose largest output is that of their label.

    Args:
        model: A classifier with one input and outputs of shape (N, classes) first.
        x: Inputs as the model takes them, of shape (N, ...).
        labels: Their classes, of shape (N,).
        folder: Where the model's external weights lie.

    Raises:
        DataError: the model is no such classifier.
        RunError: onnxruntime cannot load or run it.
    """
    inputs = required_inputs(model)
    if len(inputs) != 1:
        raise DataError(f"the model has {len(inputs)} inputs; a classifier of one input is needed")
    runner = OrtRunner(model, folder, optimize=True)
    output = model.graph.output[0].name
    correct = 0
    for start in range(0, len(x), BATCH):
        (logits,) = runner.run([output], {inputs[0].name: x[start : start + BATCH]})
        if logits.ndim != 2:  # noqa: PLR2004 - (N, classes)
            raise DataError(
                f"output '{output}' has shape {list(logits.shape)}; logits of shape (N, classes) are needed"
            )
        correct += int((logits.argmax(axis=1) == labels[start : start + BATCH]).sum())
    return correct / len(x)
