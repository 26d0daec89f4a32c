"""Pre-activations, which are the inputs of rectifiers: quantiles of the positive ones, from running the model."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, ValueInfoProto, helper

from onnx_jumprelu.activation.values import Jump
from onnx_jumprelu.arrays import Array, Floats
from onnx_jumprelu.classifier.normalization import normalized
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import Data
from onnx_jumprelu.errors import DataError, PatchError, RunError, naming
from onnx_jumprelu.files.external_data import WeightsFile, for_session
from onnx_jumprelu.graphs.builder import FreshNames
from onnx_jumprelu.graphs.constants import numpy_dtype
from onnx_jumprelu.graphs.scopes import required_inputs
from onnx_jumprelu.rewrite.patch import find_activations
from onnx_jumprelu.rewrite.site import ActivationSite
from onnx_jumprelu.runtime import OrtRunner

BATCH = 16  # small, because the pre-activations of all sites are in memory at once
MOST_PER_BATCH = 4096  # positive values kept per site and batch; more would hardly change a quantile
MOST_PER_CHANNEL = 256  # the same per channel and batch
MOST_EXAMPLES = 256
DIGITS = 3  # significant digits of a jump; more would not be measurable


@dataclass(frozen=True)
class PreActivations:
    """The positive pre-activations of one site.

    Attributes:
        name: The site.
        positive: Share of the pre-activations that are above 0.
        count: Number of pre-activations above 0.
        sample: A sample of the positive ones, sorted, of shape (M,); empty if there were none.
        channels: The same for each channel (axis 1), if it was asked for and the site has several.
    """

    name: str
    positive: float
    count: int
    sample: Floats
    channels: tuple[PreActivations, ...] = ()

    def quantile(self, level: float) -> float:
        """The jump that silences this share of the positive pre-activations, to three digits; 0 for level 0."""
        if level <= 0 or not len(self.sample):
            return 0.0
        return three_digits(float(np.quantile(self.sample, level)))

    def channel_quantiles(self, level: float) -> Jump:
        """The jumps that silence this share of each channel's own positive pre-activations; a single 0 if all are 0."""
        jumps = tuple(channel.quantile(level) for channel in self.channels)
        return jumps if any(jumps) else 0.0

    def silenced(self, jump: Jump) -> float:
        """Share of the positive pre-activations that a jump, or a jump per channel, sets to 0."""
        if isinstance(jump, tuple):
            pairs = zip(self.channels, jump, strict=True)
            return sum(channel.count * channel.silenced(own) for channel, own in pairs) / max(1, self.count)
        if not len(self.sample):
            return 0.0
        return float(np.searchsorted(self.sample, np.float32(jump), side="right")) / len(self.sample)


def three_digits(value: float) -> float:
    """A number rounded to three significant digits, so that a recipe is easy to read."""
    return float(f"{value:.{DIGITS}g}")


def pooled_quantile(sites: Sequence[PreActivations], level: float) -> float:
    """The jump that silences this share of all sites' positive pre-activations taken together, to three digits."""
    sampled = [site for site in sites if len(site.sample)]
    if level <= 0 or not sampled:
        return 0.0
    values = np.concatenate([site.sample for site in sampled])
    # A large and a small site may have samples of the same size, so each value is weighted by the size of its site.
    weights = np.concatenate([np.full(len(site.sample), site.count / len(site.sample)) for site in sampled])
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    return three_digits(float(values[order][min(np.searchsorted(below, level * below[-1]), len(order) - 1)]))


def observable(site: ActivationSite) -> str | None:
    """Why the pre-activations of a site cannot be seen from outside; None if they can."""
    if site.reason is not None:
        return site.reason
    if not site.input:
        return f"its pre-activation is inside {site.form}; tune the model before onnxruntime optimizes it"
    return None if site.scope == "main" else f"is in {site.scope}, which cannot be seen from outside; inline it"


def measure(
    model: ModelProto,
    sites: Sequence[ActivationSite],
    x: Floats,
    target: Target,
    *,
    rng: np.random.Generator,
    per_channel: bool = False,
    weights: Sequence[WeightsFile] = (),
) -> list[PreActivations]:
    """Run a model and sample the pre-activations of its sites.

    Args:
        model: The model, not patched.
        sites: Sites of its main graph.
        x: Inputs in data space, of shape (N, ...); the first 256 are used.
        target: Its normalization and its input name.
        rng: Draws the samples.
        per_channel: Whether to sample each channel too, at the sites whose number of channels is known.
        weights: The files of its external weights.

    Raises:
        DataError: the model has several inputs, or the data do not fit it.
        RunError: onnxruntime cannot load or run the model.
    """
    watches = [_Watch(site.name, rng, _channels(site) if per_channel else 0) for site in sites]
    for batch in observed(model, sites, x, target, weights):
        for watch, values in zip(watches, batch, strict=True):
            watch.see(values)
    return [watch.result() for watch in watches]


def observed(
    model: ModelProto,
    sites: Sequence[ActivationSite],
    x: Floats,
    target: Target,
    weights: Sequence[WeightsFile] = (),
) -> Iterator[Sequence[Array]]:
    """The pre-activations of a model's sites, of shape (n, C, ...) each, batch by batch. Arguments as for `measure`.

    Raises:
        DataError: the model has several inputs, or the data do not fit it.
        RunError: onnxruntime cannot load or run the model.
    """
    inputs = [value for value in required_inputs(model) if target.input_name in (None, value.name)]
    if len(inputs) != 1 or len(required_inputs(model)) != 1:
        raise DataError(f"the model has {len(required_inputs(model))} inputs; a classifier of one input is needed")
    watched, names = _watched(model, sites)
    runner = OrtRunner(*for_session(watched, weights), optimize=True)
    ready = normalized(x[:MOST_EXAMPLES], target.mean, target.std).astype(
        numpy_dtype(inputs[0].type.tensor_type.elem_type)
    )
    # Some exporters write -1 for an open size.
    fixed = max(0, inputs[0].type.tensor_type.shape.dim[0].dim_value) if inputs[0].type.tensor_type.shape.dim else 0
    size = fixed or BATCH
    for start in range(0, len(ready), size):
        batch = ready[start : start + size]
        if fixed:  # fill the last batch up with examples from the start
            batch = np.take(ready, np.arange(start, start + size), axis=0, mode="wrap")
        yield runner.run(names, {inputs[0].name: batch})


def _channels(site: ActivationSite) -> int:
    """Number of channels to sample one by one; 0 for a single channel, whose jump is that of the site."""
    count = site.n_channels or 0
    return count if count > 1 else 0


class _Watch:
    """Collects the pre-activations of one site, or of one of its channels."""

    def __init__(self, name: str, rng: np.random.Generator, n_channels: int, most: int = MOST_PER_BATCH) -> None:
        self._name, self._rng, self._most = name, rng, most
        self._kept: list[Floats] = []
        self._seen = self._above = 0
        # Each channel has its own random numbers, so that sampling channels does not change the sample of the site.
        streams = enumerate(rng.spawn(n_channels))
        self._channels = [_Watch(f"{name}[{place}]", own, 0, MOST_PER_CHANNEL) for place, own in streams]

    def see(self, values: Array) -> None:
        """Take one batch of pre-activations, of shape (n, C, ...)."""
        positive = _positive(values)
        self._seen += values.size
        self._above += len(positive)
        self._kept.append(self._rng.choice(positive, min(len(positive), self._most), replace=False))
        if self._channels and values.shape[1] != len(self._channels):
            raise PatchError(
                f"site '{self._name}': the file declares {len(self._channels)} channels, the model computes "
                f"{values.shape[1]}; remove the wrong shape (value_info) from the file"
            )
        for place, channel in enumerate(self._channels):
            channel.see(values[:, place])

    def result(self) -> PreActivations:
        """What has been collected."""
        share, sample = self._above / max(1, self._seen), np.sort(np.concatenate(self._kept))
        return PreActivations(
            self._name, share, self._above, sample, tuple(channel.result() for channel in self._channels)
        )


def measure_file(target: Target, data: Data) -> list[PreActivations]:
    """`measure` at all sites of a model that can be seen from outside, with a fixed seed; errors name the model.

    Raises:
        DataError: the data do not fit, or no site can be seen.
        ModelFileError, RunError: the model cannot be read or run.
    """
    file = target.opened()
    model = file.model
    sites = [site for site in find_activations(model) if observable(site) is None]
    if not sites:
        raise DataError(f"{target.name}: has no activation site whose pre-activations can be seen from outside")
    with naming(target.name, DataError, RunError):
        return measure(model, sites, data.x, target, rng=np.random.default_rng(0), weights=file.weights)


def _positive(values: Array) -> Floats:
    flat: Floats = values.astype(np.float32, copy=False).ravel()
    return flat[(flat > 0) & np.isfinite(flat)]


def _watched(model: ModelProto, sites: Sequence[ActivationSite]) -> tuple[ModelProto, list[str]]:
    """The model with each site's pre-activation as an additional output, and the names of these outputs."""
    watched = copy.deepcopy(model)
    fresh, names = FreshNames(watched), []
    for site in sites:
        # Through Identity, because the input of a rectifier may be a graph input or a graph output.
        name = fresh(f"{site.input}/seen")
        watched.graph.node.append(helper.make_node("Identity", [site.input], [name], name=fresh("Identity")))
        watched.graph.output.append(ValueInfoProto(name=name))  # onnxruntime infers the type
        names.append(name)
    return watched, names
