"""An ONNX classifier as an estimator of the Adversarial Robustness Toolbox (ART), with gradients.

Needs the extra `art`. ART's attacks then run on an ONNX model. Inputs are in data space.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from art.estimators.classification.classifier import ClassGradientsMixin, ClassifierMixin
from art.estimators.estimator import BaseEstimator, LossGradientsMixin, NeuralNetworkMixin

from onnx_jumprelu.arrays import Array, Floats, Labels
from onnx_jumprelu.classifier.classifier import OnnxClassifier
from onnx_jumprelu.errors import DataError, OptionError

ONE_HOT_RANK = 2


class OnnxEstimator(ClassGradientsMixin, ClassifierMixin, LossGradientsMixin, NeuralNetworkMixin, BaseEstimator):
    """An `OnnxClassifier` with the methods that ART's attacks call.

    Predictions are logits. The loss is the cross-entropy.
    """

    def __init__(self, classifier: OnnxClassifier) -> None:
        """Wrap a classifier; its bounds become ART's clip values."""
        clip_values = tuple(map(np.float32, classifier.bounds))
        super().__init__(model=classifier, clip_values=clip_values, channels_first=True)
        self.nb_classes = classifier.n_classes
        self._classifier = classifier

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example. Raises DataError where the file leaves a size open."""
        sizes = tuple(size for size in self._classifier.input_shape if size is not None)
        if len(sizes) < len(self._classifier.input_shape):
            raise DataError("a size of the model's input is not fixed; ART needs fixed sizes")
        return sizes

    def predict(self, x: Floats, batch_size: int | None = None, **_: Any) -> Floats:  # noqa: ANN401 - ART's signature
        """Logits of shape (N, classes). The classifier chooses its own batches."""
        del batch_size
        return self._classifier.logits(x)

    def get_activations(self, x: Floats, layer: int | str, batch_size: int, framework: bool = False) -> Floats:  # noqa: FBT001, FBT002 - ART's signature
        """Not possible. Raises OptionError."""
        del x, layer, batch_size, framework
        raise OptionError("activations of an ONNX model are not available; choose an attack that does not need them")

    def fit(self, x: Floats, y: Labels, **_: Any) -> None:  # noqa: ANN401 - ART's signature
        """Not possible: the model is a file. Raises OptionError."""
        del x, y
        raise OptionError("an ONNX model cannot be trained")

    def loss_gradient(self, x: Floats, y: Array, **_: Any) -> Floats:  # noqa: ANN401 - ART's signature
        """Gradient of the cross-entropy with respect to `x`, for labels (N,) or one-hot labels (N, classes)."""
        return self._classifier.loss_and_grad(x, _labels(y))[1]

    def compute_loss(self, x: Floats, y: Array, reduction: str = "none", **_: Any) -> Any:  # noqa: ANN401 - ART's
        """Cross-entropy of each example, or their `mean` or `sum`."""
        values = self._classifier.loss_and_grad(x, _labels(y))[0]
        return {"none": values, "mean": values.mean(), "sum": values.sum()}[reduction]

    def class_gradient(self, x: Floats, label: int | list[int] | Labels | None = None, **_: Any) -> Floats:  # noqa: ANN401
        """Gradients of logits with respect to `x`, of shape (N, K, ...): all of them, or one that `label` names."""
        classes = None
        if label is not None:
            classes = np.broadcast_to(np.asarray(label, np.int64), (len(x),))[:, None]
        return self._classifier.jacobian(x, classes)[1]


def _labels(y: Array) -> Labels:
    """Labels of shape (N,), from labels or one-hot labels."""
    y = np.asarray(y)
    labels: Labels = (y.argmax(axis=1) if y.ndim == ONE_HOT_RANK and y.shape[1] > 1 else y.ravel()).astype(np.int64)
    return labels
