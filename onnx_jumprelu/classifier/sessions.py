"""Sessions that run a model batch by batch, and how many examples fit in a batch."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto

from onnx_jumprelu.arrays import Array, Floats
from onnx_jumprelu.graphs.scopes import required_inputs
from onnx_jumprelu.graphs.tensor_types import infer_types
from onnx_jumprelu.runtime import OrtRunner

MEMORY = 1 << 30  # bytes that the activations of one run may take
LARGEST_BATCH = 128  # more is not faster: activations then leave the caches
FORWARD_AND_BACKWARD = 3  # times the activations of a forward pass


class Session:
    """A model whose required inputs have one row per example."""

    def __init__(
        self,
        model: ModelProto,
        folder: Path | None,
        *,
        providers: Sequence[str],
        threads: int | None,
        fixed_batch: int | None,
    ) -> None:
        """Load a model.

        Args:
            model: The model.
            folder: The folder that holds its external weights.
            providers: onnxruntime's execution providers.
            threads: Threads within an operator.
            fixed_batch: The only batch size that the model takes, None where it takes any.

        Raises:
            RunError: onnxruntime cannot load it.
        """
        self._names = [value.name for value in required_inputs(model)]
        self._with_defaults = {value.name for value in model.graph.input} - set(self._names)
        self._runner = OrtRunner(model, folder, optimize=True, providers=providers, threads=threads)
        self._fixed_batch = fixed_batch

    def run(self, feeds: Sequence[Array], settings: Mapping[str, Array], batch_size: int) -> list[Floats]:
        """All outputs, as float32.

        Args:
            feeds: Values of the required inputs, each of shape (N, ...).
            settings: Values of inputs that have a default; those that this model lacks are left out.
            batch_size: How many examples to run at once.

        Raises:
            RunError: the model cannot be run.
        """
        given = {name: value for name, value in settings.items() if name in self._with_defaults}
        batches = [
            self._run([feed[start : start + batch_size] for feed in feeds], given)
            for start in range(0, len(feeds[0]), batch_size)
        ]
        if len(batches) == 1:  # nothing to copy
            return [part.astype(np.float32, copy=False) for part in batches[0]]
        return [np.concatenate(parts).astype(np.float32, copy=False) for parts in zip(*batches, strict=True)]

    def _run(self, feeds: Sequence[Array], settings: Mapping[str, Array]) -> list[Array]:
        """One batch; one that is smaller than the model's fixed size is filled up with its last example."""
        count = len(feeds[0])
        missing = 0 if self._fixed_batch is None else self._fixed_batch - count
        if missing > 0:
            feeds = [np.concatenate([feed, np.repeat(feed[-1:], missing, axis=0)]) for feed in feeds]
        outputs = self._runner.run(None, {**dict(zip(self._names, feeds, strict=True)), **settings})
        return [output[:count] for output in outputs]


def fitting_batch(model: ModelProto, input_name: str, sizes: tuple[int, ...]) -> int:
    """How many examples' activations, forward and backward, fit in memory. Weights do not count.

    Args:
        model: The model.
        input_name: Its input.
        sizes: The shape of one example where the file leaves sizes open, () where it fixes them all.
    """
    if sizes:
        model = copy.deepcopy(model)
        source = next(value for value in model.graph.input if value.name == input_name)
        for dim, size in zip(list(source.type.tensor_type.shape.dim)[1:], sizes, strict=True):
            dim.dim_value = size
    made = {name for node in model.graph.node if node.op_type != "Constant" for name in node.output}
    numbers = sum(
        (8 if known.elem_type == TensorProto.DOUBLE else 4)
        * math.prod(size if isinstance(size, int) else 1 for size in known.shape[1:])
        for name, known in infer_types(model)["main"].items()
        if name in made and known.shape
    )
    return max(1, min(LARGEST_BATCH, MEMORY // max(1, FORWARD_AND_BACKWARD * numbers)))
