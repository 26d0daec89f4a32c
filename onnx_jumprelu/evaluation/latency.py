"""How much longer the patched model takes."""

from __future__ import annotations

import statistics
import time

from onnx_jumprelu.arrays import Floats
from onnx_jumprelu.classifier import OnnxClassifier

ROUNDS = 21
WARM_UP = 3


def latency_ratio(original: OnnxClassifier, patched: OnnxClassifier, x: Floats) -> float:
    """Median latency of the patched model over that of the original, on one batch, in turns."""
    original.logits(x[:1])  # where the file leaves sizes open, the first run tells the batch
    batch = x[: original.batch_size]
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS + WARM_UP):
        for classifier, taken in zip((original, patched), times, strict=True):
            start = time.perf_counter()
            classifier.logits(batch)
            if number >= WARM_UP:
                taken.append(time.perf_counter() - start)
    before, after = (statistics.median(taken) for taken in times)
    return after / before
