"""An ONNX classifier with gradients, run by onnxruntime alone: what attacks and measurements need of a model."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import ModelProto

from onnx_jumprelu.activation.derivatives import SURROGATES
from onnx_jumprelu.activation.finder import check_inputs, find_jumprelus
from onnx_jumprelu.arguments import check_integer, check_number, listed, shown
from onnx_jumprelu.arrays import Array, Floats, Labels
from onnx_jumprelu.classifier.normalization import in_data_space, mean_and_std, pixels_as_floats
from onnx_jumprelu.classifier.sessions import Session, fitting_batch
from onnx_jumprelu.errors import DataError, GradientError, OptionError, RunError, naming
from onnx_jumprelu.files.hashes import content_sha256
from onnx_jumprelu.files.models import opened
from onnx_jumprelu.gradient.core.build import build_gradient_model, build_logits_model
from onnx_jumprelu.gradient.core.endpoints import find_endpoints
from onnx_jumprelu.gradient.core.losses import Loss, LossLike, loss_name, loss_of
from onnx_jumprelu.gradient.prepare.pipeline import prepared
from onnx_jumprelu.graphs.constants import numpy_dtype
from onnx_jumprelu.graphs.scopes import walk_scopes
from onnx_jumprelu.runtime import CPU, available_providers


class OnnxClassifier:
    """Logits, predictions, losses and input gradients of a classifier.

    Inputs `x` are in data space: before `mean` and `std`, within `bounds`. uint8 inputs are divided by 255, as in a
    data file, and refused where the bounds are on another scale. Other integers are taken as they are, and refused
    outside of the bounds.

    Attributes:
        bounds: Smallest and largest value of an input.
        surrogate: The derivative at JumpReLU sites: `exact`, `relu` or `smooth`.
        n_classes: Number of classes.
        input_shape: Shape of one example, without the batch; None for a size that the file leaves open.
        batch_size: How many examples are run at once; None until the first run where the file leaves sizes open.
        sha256: Hash of the model that was opened, external weights included.
        n_jumprelus: How many JumpReLUs it has, in its main graph and in branches.
        n_jumps: How many of these differ from ReLU, so that a surrogate can replace their gradient.
        stripped: Nodes after the logits that are left out, such as a trailing Softmax.
    """

    def __init__(  # noqa: PLR0913 - settings, by keyword
        self,
        model: ModelProto | str | Path,
        *,
        bounds: tuple[float, float] = (0.0, 1.0),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        surrogate: str = "exact",
        input_name: str | None = None,
        output_name: str | None = None,
        providers: Sequence[str] = CPU,
        threads: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        """Open a classifier.

        Args:
            model: A model, or its path, with one float32 input (N, ...) and logits (N, classes).
            bounds: Smallest and largest value of an input, in data space.
            mean: What the model expects subtracted from the data, one value or one per channel.
            std: What it expects the data then divided by.
            surrogate: The derivative at JumpReLU sites.
            input_name: Which input, where it has several.
            output_name: Which output, where it has several; the first one by default.
            providers: onnxruntime's execution providers, the preferred one first.
            threads: Threads within an operator, onnxruntime's choice by default.
            batch_size: Examples per run; by default 128, or as many as fit in a gigabyte.

        Raises:
            GradientError: the model is not such a classifier.
            ModelFileError: the file cannot be read.
            DataError: `mean` or `std` do not fit the input.
            OptionError: `model` is neither a path nor a model; or an option is out of range or unknown.
            RunError: onnxruntime cannot load the model.
        """
        _check(bounds, surrogate, providers, threads, batch_size)
        file = opened(model)
        self.sha256 = content_sha256(file)
        self._file = replace(file, model=ModelProto())  # what is needed of it later
        self._path = None if isinstance(model, ModelProto) else Path(model)
        with naming(self._path, GradientError, RunError):
            whole = prepared(file.model)
            ends = find_endpoints(whole, input_name, output_name)
        shape, channels = ends.shape, ends.shape[1] if len(ends.shape) > 1 else None
        self._input = ends.input
        if mean is not None or std is not None:
            given = [len(np.ravel(values)) for values in (mean, std) if values is not None]
            known = channels if isinstance(channels, int) else max(given)
            self._input = in_data_space(whole, ends.input, *mean_and_std(mean, std, known, len(shape)))
        self.bounds = (float(bounds[0]), float(bounds[1]))
        # In the branches of an If too: a surrogate replaces their gradients like all others.
        sites = [(site, scope) for scope in walk_scopes(whole) for site in find_jumprelus(scope).values()]
        self._jumprelus = tuple(site for site, _ in sites)
        self.n_jumprelus = len(sites)
        self.n_jumps = sum(not site.is_relu(scope) for site, scope in sites)
        self.surrogate, self.n_classes, self.stripped = surrogate, ends.n_classes, ends.stripped
        self.input_shape = tuple(size if isinstance(size, int) else None for size in shape[1:])
        self._fixed_batch = shape[0] if isinstance(shape[0], int) else None
        self.batch_size = self._fixed_batch or batch_size
        if None not in self.input_shape:
            self.batch_size = self.batch_size or fitting_batch(whole, self._input, ())
        self._model, self._output, self._dtype = whole, output_name, numpy_dtype(ends.elem_type)
        self._providers, self._threads = tuple(providers), threads
        self._settings: dict[str, Array] = {}
        self._sessions: dict[Loss | None, Session] = {}  # by loss; None for the logits alone

    def __repr__(self) -> str:
        shape = ", ".join("?" if size is None else str(size) for size in self.input_shape)
        model = "model in memory" if self._path is None else self._path
        return f"OnnxClassifier({model}, input (N, {shape}), {self.n_classes} classes, {self.surrogate} gradients)"

    def with_surrogate(self, surrogate: str) -> OnnxClassifier:
        """The same classifier with another derivative at its JumpReLU sites. Raises OptionError for an unknown one."""
        _check_surrogate(surrogate)
        other = copy.copy(self)
        other.surrogate = surrogate
        other._sessions = {  # noqa: SLF001 - of its own class
            loss: session for loss, session in self._sessions.items() if loss is None
        }
        return other

    def with_inputs(self, **values: float | Array) -> OnnxClassifier:
        """The same classifier, in the same sessions, with other values for inputs that have a default, such as a jump.

        Raises:
            OptionError: the model has no input of this name, or a value does not fit it.
        """
        defaults = {tensor.name: tensor.data_type for tensor in self._model.graph.initializer}
        open_to = {value.name for value in self._model.graph.input} & set(defaults)
        for name in values:
            if name not in open_to:
                raise OptionError(
                    f"the model has no input '{name}' with a default; it has {', '.join(sorted(open_to)) or 'none'}"
                )
        other = copy.copy(self)
        try:
            given = {name: np.asarray(value, numpy_dtype(defaults[name])) for name, value in values.items()}
        except (TypeError, ValueError) as error:
            raise OptionError(f"the value of an input is not a number ({' '.join(str(error).split())})") from error
        check_inputs(self._jumprelus, given)
        other._settings = {**self._settings, **given}  # noqa: SLF001 - of its own class
        return other

    def logits(self, x: Floats) -> Floats:
        """Logits of shape (N, classes) for inputs of shape (N, ...)."""
        return self._run(None, [self._checked(x)])[0]

    def predict(self, x: Floats) -> Labels:
        """The class with the largest logit, of shape (N,)."""
        classes: Labels = self.logits(x).argmax(axis=1).astype(np.int64)
        return classes

    def loss_and_grad(
        self, x: Floats, labels: Labels, loss: LossLike = "ce", targets: Labels | None = None
    ) -> tuple[Floats, Floats]:
        """Loss of each example, of shape (N,), and its gradient with respect to `x`; see `evaluate`."""
        _, values, gradient = self.evaluate(x, labels, loss, targets)
        return values, gradient

    def evaluate(
        self, x: Floats, labels: Labels, loss: LossLike = "ce", targets: Labels | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """Logits, losses and gradients, in one run.

        Args:
            x: Inputs of shape (N, ...).
            labels: Their classes, of shape (N,).
            loss: `ce`, `dlr`, `dlr-targeted`, `margin`, `difference` or `logit`; or a function that appends the nodes
                of another loss, see `gradient.core.losses`. Its session is kept: pass the same function each time.
            targets: Other classes, of shape (N,), for `dlr-targeted`, `difference` and other targeted losses.

        Returns:
            Logits (N, classes), losses (N,), and the gradient of each example's loss with respect to `x`.

        Raises:
            DataError: shapes do not fit, or a class is out of range.
            GradientError: a node of the model has no derivative.
            OptionError: there is no such loss, or it needs targets.
        """
        x = self._checked(x)
        feeds: list[Array] = [x, self._classes(labels, len(x), "labels")]
        chosen = loss_of(loss)
        if chosen.targeted:
            if targets is None:
                raise OptionError(f"loss {loss_name(loss)} needs targets")
            feeds.append(self._classes(targets, len(x), "targets"))
        logits, values, gradient = self._run(chosen, feeds)
        return logits, values, gradient

    def jacobian(self, x: Floats, classes: Labels | None = None) -> tuple[Floats, Floats]:
        """Gradients of several logits with respect to `x`, in the same runs: each example is repeated for each logit.

        Args:
            x: Inputs of shape (N, ...).
            classes: Which logits, of shape (N, K); all of them by default.

        Returns:
            Logits (N, classes) and gradients (N, K, ...).
        """
        x = self._checked(x)
        if classes is None:
            classes = np.broadcast_to(np.arange(self.n_classes), (len(x), self.n_classes))
        classes = np.asarray(classes)
        if classes.ndim != 2 or len(classes) != len(x) or not classes.size:  # noqa: PLR2004 - (N, K)
            raise DataError(f"classes have shape {list(classes.shape)}; ({len(x)}, K) is needed, with K at least 1")
        count = classes.shape[1]
        step = max(1, self._batch(x) // count)  # no run is larger than a batch
        parts = []
        for start in range(0, len(x), step):
            some, asked = x[start : start + step], classes[start : start + step]
            logits, _, gradients = self.evaluate(np.repeat(some, count, axis=0), asked.reshape(-1), "logit")
            parts.append((logits[::count], gradients.reshape(len(some), count, *x.shape[1:])))
        all_logits, all_gradients = (np.concatenate(values) for values in zip(*parts, strict=True))
        return all_logits, all_gradients

    def _run(self, loss: Loss | None, feeds: Sequence[Array]) -> list[Floats]:
        """All outputs of the session for a loss, or for the logits alone, for inputs with one row per example."""
        return self._session(loss).run(feeds, self._settings, self._batch(feeds[0]))

    def _batch(self, x: Array) -> int:
        """How many examples to run at once; the first inputs decide where the file leaves sizes open."""
        if self.batch_size is None:
            self.batch_size = fitting_batch(self._model, self._input, x.shape[1:])
        return self.batch_size

    def _session(self, loss: Loss | None) -> Session:
        """The session for a loss, or for the logits alone; built when it is first needed."""
        if loss not in self._sessions:
            with naming(self._path, GradientError, RunError):
                model, folder = self._file.for_session(self._built(loss))
                session = Session(
                    model,
                    folder,
                    providers=self._providers,
                    threads=self._threads,
                    fixed_batch=self._fixed_batch,
                )
            self._file.check_weights_unchanged()  # as before that: so what has been read is what was hashed
            self._sessions[loss] = session
        return self._sessions[loss]

    def _built(self, loss: Loss | None) -> ModelProto:
        if loss is None:
            return build_logits_model(self._model, input_name=self._input, output_name=self._output)
        return build_gradient_model(self._model, loss, self.surrogate, input_name=self._input, output_name=self._output)

    def _checked(self, x: Floats) -> Array:
        """Inputs in data space, in the model's element type. Raises DataError where they do not fit."""
        x = np.asarray(x)
        if x.dtype.kind not in "fiub":
            raise DataError(f"x holds {x.dtype}; numbers are needed")
        expected = self.input_shape
        fits = x.ndim == len(expected) + 1 and all(
            size in (None, given) for size, given in zip(expected, x.shape[1:], strict=True)
        )
        if not fits or not len(x):
            sizes = ", ".join("?" if size is None else str(size) for size in expected)
            raise DataError(f"x has shape {list(x.shape)}; the model takes (N, {sizes}), with at least one example")
        if x.dtype == np.uint8:
            x = pixels_as_floats(x, self.bounds)
        elif x.dtype.kind in "iu" and (x.min() < self.bounds[0] or x.max() > self.bounds[1]):
            raise DataError(
                f"x holds {x.dtype} from {x.min()} to {x.max()}, outside the bounds {self.bounds[0]:g} to "
                f"{self.bounds[1]:g}; give floats in data space (only uint8 is divided by 255), or the right bounds"
            )
        return x.astype(self._dtype, copy=False)

    def _classes(self, classes: Labels, count: int, name: str) -> Labels:
        """Classes as int64. Raises DataError where they do not fit."""
        classes = np.asarray(classes)
        if classes.shape != (count,) or classes.dtype.kind not in "iu":
            raise DataError(f"{name} are {classes.dtype} of shape {list(classes.shape)}; {count} integers are needed")
        if classes.min() < 0 or classes.max() >= self.n_classes:
            raise DataError(
                f"{name} lie between {classes.min()} and {classes.max()}; "
                f"the model has classes 0 to {self.n_classes - 1}"
            )
        return classes.astype(np.int64)


def _check(
    bounds: tuple[float, float],
    surrogate: str,
    providers: Sequence[str],
    threads: int | None,
    batch_size: int | None,
) -> None:
    if len(listed(bounds, "bounds")) != 2:  # noqa: PLR2004 - a pair
        raise OptionError(f"bounds must be two numbers, not {shown(bounds)}")
    low, high = bounds
    for bound in bounds:
        check_number(bound, "bounds: each value")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise OptionError(f"bounds {low:g} to {high:g}: the first must be below the second, and both finite")
    _check_surrogate(surrogate)
    for number, name in ((threads, "threads"), (batch_size, "batch_size")):
        if number is not None:
            check_integer(number, name, 1)
    available = available_providers()
    for provider in listed(providers, "providers"):
        if provider not in available:
            raise OptionError(f"onnxruntime has no provider '{provider}' here; it has {', '.join(available)}")


def _check_surrogate(surrogate: str) -> None:
    if surrogate not in SURROGATES:
        raise OptionError(f"surrogate '{surrogate}' is unknown; choose {', '.join(SURROGATES)}")
