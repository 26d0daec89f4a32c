"""Where a classifier's decision changes, as its linear approximation at an example sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Array, Floats, Labels, rows
from onnx_jumprelu.attacks.base import LARGEST_ARRAY
from onnx_jumprelu.attacks.norms import Norm
from onnx_jumprelu.attacks.probe import Probe

# A boundary farther away than this is none: the gradient is as good as 0, and a step to it would overflow float32.
FARTHEST = 1e12
# As a share of the largest number of an example. Where a boundary bends, ever shorter steps would come ever nearer to
# it, until float32 can no longer tell them from none, and never cross it.
SHORTEST_STEP = 1e-6


@dataclass(frozen=True)
class Boundary:
    """For each example, the class that the linear approximation says is nearest.

    Attributes:
        logits: The model's scores, of shape (N, classes).
        target: The class beyond the boundary, of shape (N,).
        gap: Its logit minus the label's, of shape (N,): below 0 as long as the model is right.
        normal: Gradient of the gap, of shape (N, ...).
        distance: Length of the shortest step to where the approximated gap is 0, of shape (N,); infinite for a gradient
            of 0.
    """

    logits: Floats
    target: Labels
    gap: Floats
    normal: Floats
    distance: Array


def ranked_classes(logits: Floats, labels: Labels) -> Labels:
    """For each example the label, then all other classes from the most to the least likely, of shape (N, classes)."""
    order = np.argsort(-logits, axis=1, kind="stable").astype(np.int64)
    # Stable: of the order, the label comes first, all else stays.
    first = np.argsort(order != labels[:, None], axis=1, kind="stable")
    ranked: Labels = np.take_along_axis(order, first, axis=1)
    return ranked


def distance_to_zero(gap: Floats, normal: Floats, metric: Norm) -> Array:
    """Length of the shortest step that makes a linear function 0, of shape (N,); infinite for a normal of 0.

    Args:
        gap: Values of the functions, of shape (N,).
        normal: Their gradients, of shape (N, ...).
        metric: The norm in which steps are measured.
    """
    steepness = metric.dual_length(normal).astype(np.float64)
    size = np.abs(gap).astype(np.float64)
    # Without a gradient there is no boundary, not even where the gap is 0.
    reachable = steepness * FARTHEST > size
    distance: Array = np.divide(size, steepness, out=np.full(len(gap), np.inf), where=reachable)
    return distance


def nearest_boundary(model: Probe, x: Floats, classes: Labels, metric: Norm) -> Boundary:
    """The nearest of the boundaries between the label and some other classes.

    Args:
        model: The model.
        x: Examples of shape (N, ...), at least one.
        classes: The label of each example, then the candidates, of shape (N, K).
        metric: The norm in which nearness is measured.
    """
    size = max(1, LARGEST_ARRAY // max(1, classes.shape[1] * x[0].size))
    parts = [_nearest(model, x[at : at + size], classes[at : at + size], metric) for at in range(0, len(x), size)]
    if len(parts) == 1:
        return parts[0]
    return Boundary(
        logits=np.concatenate([part.logits for part in parts]),
        target=np.concatenate([part.target for part in parts]),
        gap=np.concatenate([part.gap for part in parts]),
        normal=np.concatenate([part.normal for part in parts]),
        distance=np.concatenate([part.distance for part in parts]),
    )


def _nearest(model: Probe, x: Floats, classes: Labels, metric: Norm) -> Boundary:
    logits, gradients = model.jacobian(x, classes)
    scores = np.take_along_axis(logits, classes, axis=1)
    gaps = scores[:, 1:] - scores[:, :1]
    normals = gradients[:, 1:] - gradients[:, :1]
    flat = normals.reshape(gaps.size, -1)
    distances = distance_to_zero(gaps.reshape(-1), flat, metric).reshape(gaps.shape)
    nearest, at = distances.argmin(axis=1), np.arange(len(x))
    return Boundary(logits, classes[at, nearest + 1], gaps[at, nearest], normals[at, nearest], distances[at, nearest])


def beyond(gap: Floats, normal: Floats, x_adv: Floats, metric: Norm) -> Floats:
    """Gaps of logits (N,) as seen from a little beyond the boundary, so that a step to where they are 0 crosses it."""
    shortest = SHORTEST_STEP * np.abs(rows(x_adv)).max(axis=1, initial=0.0)
    further: Floats = (gap - shortest * metric.dual_length(normal)).astype(np.float32)
    return further


def inner_product(a: Floats, b: Floats) -> Array:
    """Inner products of two batches (N, ...), in float64, of shape (N,)."""
    product: Array = np.einsum("nd,nd->n", rows(a), rows(b), dtype=np.float64)
    return product
