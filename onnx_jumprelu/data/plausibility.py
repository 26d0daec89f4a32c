"""Signs that data, labels or settings are not what the model expects, looked for before any long work.

A wrong scale or a wrong order of labels gives numbers that look like results. Clean accuracy shows most such mistakes,
and trying the usual corrections on a few examples often shows which one it is.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_jumprelu.arrays import Bools, Floats, Labels
from onnx_jumprelu.classifier.classifier import OnnxClassifier
from onnx_jumprelu.classifier.normalization import mean_and_std
from onnx_jumprelu.classifier.target import ModelLike, Target, target_of
from onnx_jumprelu.data.reading import Data, DataLike, data_of
from onnx_jumprelu.errors import DataError, RunError
from onnx_jumprelu.names import NormName
from onnx_jumprelu.statistics import paired_difference, share

N_EXAMPLES = 100  # enough to tell these mistakes apart, few enough to try many corrections
FEWEST = 10  # examples from which on clean accuracy says anything
LOW_ACCURACY = 0.6  # below it, corrections are tried
LEAST_IMPROVEMENT = 0.2  # of clean accuracy, for a correction to be suggested
LITTLE_ABOVE_CHANCE = 0.15  # above chance
PIXELS = 255
IMAGE_RANK, COLORS = 4, 3
NARROW = 0.02  # share of the bounds that the data fill
PER_CLASS = 5  # examples of each label from which on a permutation can be recognised


@dataclass(frozen=True)
class Concern:
    """Something that is probably not as intended.

    Attributes:
        name: Short and stable: `eps`, `n-examples`, `bounds`, `accuracy`.
        message: One line: what was seen, and what to do.
    """

    name: str
    message: str


@dataclass(frozen=True)
class _Correction:
    """A change of the data or the labels that may be what the model expects."""

    advice: str
    x: Floats


def concerns_about(
    model: ModelLike,
    data: DataLike,
    *,
    eps: float | None = None,
    norm: NormName = "Linf",
    n_examples: int | None = None,
    classifier: OnnxClassifier | None = None,
) -> tuple[Concern, ...]:
    """What is implausible about a model, its data and the threat.

    What cannot be measured at all is left to the work itself, which raises an error, unless it is clear what to do.

    Args:
        model: A model, or its file; a `Target` with its normalization and bounds.
        data: `Data`, arrays `(x, labels)`, or an `.npz` file with `x` and `y`.
        eps: Largest perturbation, in the units of the data; None where there is none.
        norm: Norm of the perturbation.
        n_examples: How many examples are to be used; None for all.
        classifier: The model's classifier, if it has been opened already.

    Raises:
        DataError: the data do not fit the model, but would if they were transposed or their labels counted from 0.
        GradientError, ModelFileError, OptionError, RunError: the model cannot be opened.
    """
    return tuple(_concerns(target_of(model), data_of(data), eps, norm, n_examples, classifier))


def _concerns(
    target: Target,
    data: Data,
    eps: float | None,
    norm: NormName,
    n_examples: int | None,
    classifier: OnnxClassifier | None,
) -> Iterator[Concern]:
    if n_examples is not None and n_examples > len(data.x):
        message = f"{data.name}: has {len(data.x)} examples, fewer than the {n_examples} asked for; all are used"
        yield Concern("n-examples", message)
    used = data.first(n_examples)
    yield from _of_eps(eps, norm, target.bounds, used.x)
    yield from _of_bounds(target.bounds, used)
    if used.labels is not None and len(used.x) >= FEWEST:
        yield from _of_accuracy(target, used, classifier or target.classifier())


def _of_eps(eps: float | None, norm: NormName, bounds: tuple[float, float], x: Floats) -> Iterator[Concern]:
    low, high = bounds
    size = high - low if norm == "Linf" else (high - low) * math.sqrt(math.prod(x.shape[1:]))
    if eps is None or not eps >= size / 2:
        return
    meant = f"; did you mean {eps:g}/{PIXELS}?" if high <= 1 <= eps <= PIXELS else ""
    range_ = f"the data's range ({low:g} to {high:g})" if norm == "Linf" else f"the data's diameter ({size:.3g})"
    yield Concern("eps", f"eps {eps:g} is at least half of {range_}: such a change can make any image grey{meant}")


def _of_bounds(bounds: tuple[float, float], data: Data) -> Iterator[Concern]:
    seen_low, seen_high = float(data.x.min()), float(data.x.max())
    if not data.scaled and 0 < seen_high - seen_low < NARROW * (bounds[1] - bounds[0]):
        yield Concern(
            "bounds",
            f"{data.name}: the data lie between {seen_low:.3g} and {seen_high:.3g}, a small part of the bounds "
            f"{bounds[0]:g} to {bounds[1]:g}; give --bounds and --eps in the units of the data",
        )


def _of_accuracy(target: Target, data: Data, classifier: OnnxClassifier) -> Iterator[Concern]:
    """Clean accuracy that is low, and the correction that raises it."""
    _check_fit(data, classifier)
    x, labels = data.x[:N_EXAMPLES], data.required_labels()[:N_EXAMPLES]
    predicted = _predicted(classifier, x)
    if predicted is None:
        return  # the work says why
    correct = predicted == labels
    found = share(correct)
    if found.value >= LOW_ACCURACY:
        return
    seen = f"{data.name}: the model gets {found.value:.0%} of {len(x)} examples right"
    advice = _advice(target, x, labels, predicted, classifier)
    chance = 1 / classifier.n_classes
    if advice is not None:
        yield Concern("accuracy", f"{seen}; {advice}")
    elif found.low <= chance and found.value <= chance + LITTLE_ABOVE_CHANCE:
        yield Concern(
            "accuracy",
            f"{seen}, about as many as by chance; is the data's scale, layout, mean or std wrong, or are the labels in "
            "another order?",
        )


def _check_fit(data: Data, classifier: OnnxClassifier) -> None:
    """Say how to correct what the model cannot take: channels at the other end, labels that count from 1."""
    shape, labels = data.x.shape[1:], data.required_labels()
    for source, destination, layout in ((-1, 0, "(N, H, W, C)"), (0, -1, "(N, C, H, W)")):
        moved = (
            np.moveaxis(np.empty(shape, np.bool_), source, destination).shape if len(shape) == IMAGE_RANK - 1 else ()
        )
        if _fits(moved, classifier) and not _fits(shape, classifier):
            raise DataError(
                f"{data.name}: x has shape {list(data.x.shape)} and seems to be {layout}; transpose it to "
                f"{[len(data.x), *moved]}, which the model takes"
            )
    if labels.min() == 1 and labels.max() == classifier.n_classes:
        raise DataError(
            f"{data.name}: labels lie between 1 and {labels.max()}, and the model has classes 0 to "
            f"{classifier.n_classes - 1}; subtract 1 from the labels"
        )


def _fits(shape: Sequence[int], classifier: OnnxClassifier) -> bool:
    expected = classifier.input_shape
    return len(shape) == len(expected) and all(
        size in (None, given) for size, given in zip(expected, shape, strict=True)
    )


def _predicted(classifier: OnnxClassifier, x: Floats) -> Labels | None:
    """Classes, None where the model does not run on such inputs."""
    with contextlib.suppress(DataError, RunError):
        return classifier.predict(np.ascontiguousarray(x, np.float32))
    return None


def _advice(target: Target, x: Floats, labels: Labels, predicted: Labels, classifier: OnnxClassifier) -> str | None:
    """The correction that helps most, if one clearly does."""
    before = predicted == labels
    tried: list[tuple[str, Bools]] = [(advice, guess == labels) for advice, guess in _relabelled(labels, predicted)]
    with np.errstate(over="ignore", invalid="ignore"):
        for correction in _corrections(target, x):
            guess = _predicted(classifier, correction.x)
            if guess is not None:
                tried.append((correction.advice, guess == labels))
    advice, after = max(tried, key=lambda each: int(each[1].sum()))  # the first of equally good ones
    better = float(after.mean() - before.mean()) >= LEAST_IMPROVEMENT and paired_difference(after, before).low > 0
    return f"{advice}: then it gets {after.mean():.0%} right" if better else None


def _relabelled(labels: Labels, predicted: Labels) -> Iterator[tuple[str, Labels]]:
    """Predictions in other numberings of the classes."""
    yield "the labels seem to count from 1; subtract 1 from them", predicted + 1
    yield "the labels seem to be too small by 1; add 1 to them", predicted - 1
    present = np.unique(labels)
    if len(labels) < PER_CLASS * len(present):
        return
    most_frequent = {int(label): int(np.bincount(predicted[labels == label]).argmax()) for label in present}
    if len(set(most_frequent.values())) < len(present) or len(present) < 2:  # noqa: PLR2004 - nothing to reorder
        return
    label_of = {of_model: label for label, of_model in most_frequent.items()}
    order = ", ".join(f"{label} is class {of_model}" for label, of_model in most_frequent.items() if label != of_model)
    renamed = np.asarray([label_of.get(int(each), -1) for each in predicted], np.int64)
    yield f"the labels seem to be in another order than the model's classes (label {order}); reorder them", renamed


def _corrections(target: Target, x: Floats) -> Iterator[_Correction]:
    """The data as the model may expect them: on another scale, normalized in another way, laid out in another way."""
    shift, scale = mean_and_std(target.mean, target.std, x.shape[1] if x.ndim > 1 else None, x.ndim)
    for factor, expected in ((1 / PIXELS, f"0 to {PIXELS}"), (PIXELS, "0 to 1")):
        options = f"--mean {_listed(shift, factor)} --std {_listed(scale, factor)}"
        what = "the model seems to expect" if target.mean is None else "--mean and --std seem to be for"
        yield _Correction(f"{what} values from {expected}; give {options}", x / factor)
    if target.mean is not None or target.std is not None:
        advice = "the model seems to expect data that are not normalized; leave out --mean and --std"
        yield _Correction(advice, x * scale + shift)
    else:
        advice = "the model seems to expect values from -1 to 1; give --mean 0.5 --std 0.5"
        yield _Correction(advice, x * 2 - 1)
        mean, std = _of_channels(x)
        advice = (
            "the model seems to expect normalized data; give the --mean and --std that it was trained with "
            f"(these data have {_listed(mean)} and {_listed(std)})"
        )
        if (std > 0).all():
            yield _Correction(advice, (x - mean) / std)
    low, high = target.bounds
    yield _Correction("the images seem to be inverted; subtract them from the upper bound", low + high - x)
    if x.ndim == IMAGE_RANK:
        yield from _layouts(x)


def _layouts(x: Floats) -> Iterator[_Correction]:
    yield _Correction("the images seem to be transposed; swap height and width", x.swapaxes(2, 3))
    for source, destination, layout in ((-1, 1, "(N, H, W, C)"), (1, -1, "(N, C, H, W)")):
        yield _Correction(
            f"the data seem to be {layout}; move the channels to where the model expects them",
            np.moveaxis(x, source, destination),
        )
    if x.shape[1] == COLORS:
        yield _Correction("the color channels seem to be reversed (BGR, not RGB); reverse them", x[:, ::-1])


def _of_channels(x: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each channel, in a shape that broadcasts against `x`."""
    axes = (0, *range(2, x.ndim))
    return x.mean(axis=axes, keepdims=True), x.std(axis=axes, keepdims=True)


def _listed(values: Floats, factor: float = 1.0) -> str:
    """Numbers times a factor, as an option takes them: 1/255 stays a fraction."""
    numbers = np.ravel(values).tolist()
    if factor < 1:
        return ",".join(f"{number:.4g}/{PIXELS}" if number else "0" for number in numbers)
    return ",".join(f"{number * factor:.4g}" for number in numbers)
