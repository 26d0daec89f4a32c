"""How long a model takes, and how much longer the patched one."""

from __future__ import annotations

import statistics
import time

from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.attacks import PGD
from onnx_jumprelu.classifier.classifier import OnnxClassifier

FEWEST_ROUNDS, MOST_ROUNDS = 21, 400
WARM_UP = 3
FEW_STEPS = 4
SECONDS = 2.0  # a small model takes microseconds, and timings vary


def latency_ratio(original: OnnxClassifier, patched: OnnxClassifier, x: Floats) -> float:
    """Latency of the patched model over that of the original, on one batch: the median over rounds.

    In a round each model runs once, and the order alternates. Whatever slows the machine down for a while slows both
    models, so the median is taken of the ratios.
    """
    original.logits(x[:1])  # where the file leaves sizes open, the batch size is known only after the first run
    batch = x[: original.batch_size]
    for _ in range(WARM_UP):
        original.logits(batch)
        patched.logits(batch)
    ratios: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(ratios) < FEWEST_ROUNDS or (len(ratios) < MOST_ROUNDS and time.perf_counter() < end):
        if len(ratios) % 2:
            before, after = _seconds(original, batch), _seconds(patched, batch)
        else:
            after, before = _seconds(patched, batch), _seconds(original, batch)
        ratios.append(after / before)
    return statistics.median(ratios)


def seconds_per_gradient(classifier: OnnxClassifier, x: Floats, labels: Labels, eps: float) -> float:
    """Time of a gradient of one example within an attack, with all that the attack computes besides."""
    some = slice(0, classifier.batch_size)
    attack = PGD(eps=eps, n_iter=FEW_STEPS)
    attack(classifier, x[some], labels[some])  # the session is built
    result = attack(classifier, x[some], labels[some])
    return result.seconds / max(1, result.n_gradients)


def _seconds(classifier: OnnxClassifier, batch: Floats) -> float:
    start = time.perf_counter()
    classifier.logits(batch)
    return time.perf_counter() - start
