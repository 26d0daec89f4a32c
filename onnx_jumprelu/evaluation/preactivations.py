"""What reaches a model's rectifiers: the quantiles of each site's positive pre-activations, by running the model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, ValueInfoProto, helper

from onnx_jumprelu.arrays import Array, Floats
from onnx_jumprelu.errors import DataError
from onnx_jumprelu.evaluation.data import Data
from onnx_jumprelu.graph import FreshNames, numpy_dtype, required_inputs
from onnx_jumprelu.model_io import load
from onnx_jumprelu.normalization import normalized
from onnx_jumprelu.rewrite.activations import ActivationSite
from onnx_jumprelu.rewrite.patch import find_activations
from onnx_jumprelu.runtime import OrtRunner, RunError

BATCH = 16  # the pre-activations of all sites are held at once
MOST_PER_BATCH = 4096  # positive values kept of one site and batch; the rest would not move a quantile
MOST_EXAMPLES = 256
DIGITS = 3  # of a jump: more would claim a precision that nobody can measure


@dataclass(frozen=True)
class PreActivations:
    """The positive pre-activations of one site.

    Attributes:
        name: The site.
        positive: Share of its pre-activations that are above 0.
        count: How many were above 0.
        sample: A sample of those, sorted, of shape (M,); empty where there were none.
    """

    name: str
    positive: float
    count: int
    sample: Floats

    def quantile(self, level: float) -> float:
        """The jump that silences this share of the positive pre-activations, to three digits; 0 for level 0."""
        if level <= 0 or not len(self.sample):
            return 0.0
        return rounded(float(np.quantile(self.sample, level)))

    def silenced(self, jump: float) -> float:
        """Share of the positive pre-activations that a jump sets to 0."""
        if not len(self.sample):
            return 0.0
        return float(np.searchsorted(self.sample, np.float32(jump), side="right")) / len(self.sample)


def rounded(value: float) -> float:
    """A number to three significant digits, so that a recipe can be read."""
    return float(f"{value:.{DIGITS}g}")


def pooled_quantile(sites: Sequence[PreActivations], level: float) -> float:
    """The jump that silences this share of all sites' positive pre-activations taken together, to three digits."""
    sampled = [site for site in sites if len(site.sample)]
    if level <= 0 or not sampled:
        return 0.0
    values = np.concatenate([site.sample for site in sampled])
    # A large site and a small one may have samples of one size; each value stands for as many as its site has.
    weights = np.concatenate([np.full(len(site.sample), site.count / len(site.sample)) for site in sampled])
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    return rounded(float(values[order][min(np.searchsorted(below, level * below[-1]), len(order) - 1)]))


def observable(site: ActivationSite) -> str | None:
    """Why the pre-activations of a site cannot be seen from outside, None where they can."""
    if site.reason is not None:
        return site.reason
    return None if site.scope == "main" else f"stands in {site.scope}, which cannot be seen from outside; inline it"


def measure(
    model: ModelProto,
    sites: Sequence[ActivationSite],
    x: Floats,
    *,
    rng: np.random.Generator,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    folder: Path | None = None,
    input_name: str | None = None,
) -> list[PreActivations]:
    """Run a model and look at the pre-activations of its sites.

    Args:
        model: The model, not patched.
        sites: Sites of its main graph.
        x: Inputs in data space, of shape (N, ...); the first 256 are used.
        rng: Draws the sample.
        mean: What the model wants subtracted from the data.
        std: What it wants the data then divided by.
        folder: Where the model's external weights lie.
        input_name: Which input, where it has several.

    Raises:
        DataError: the model has several inputs, or the data do not fit it.
        RunError: onnxruntime cannot load or run the model.
    """
    inputs = [value for value in required_inputs(model) if input_name in (None, value.name)]
    if len(inputs) != 1 or len(required_inputs(model)) != 1:
        raise DataError(f"the model has {len(required_inputs(model))} inputs; a classifier of one input is needed")
    watched, names = _watched(model, sites)
    runner = OrtRunner(watched, folder, optimize=True)
    ready = normalized(x[:MOST_EXAMPLES], mean, std).astype(numpy_dtype(inputs[0].type.tensor_type.elem_type))
    fixed = inputs[0].type.tensor_type.shape.dim[0].dim_value if inputs[0].type.tensor_type.shape.dim else 0
    size = fixed or BATCH
    kept: list[list[Floats]] = [[] for _ in sites]
    seen, above = np.zeros(len(sites), np.int64), np.zeros(len(sites), np.int64)
    for start in range(0, len(ready), size):
        batch = ready[start : start + size]
        if fixed:  # a model of one batch size: fill up from the start
            batch = np.take(ready, np.arange(start, start + size), axis=0, mode="wrap")
        for position, values in enumerate(runner.run(names, {inputs[0].name: batch})):
            positive = _positive(values)
            seen[position] += values.size
            above[position] += len(positive)
            kept[position].append(rng.choice(positive, min(len(positive), MOST_PER_BATCH), replace=False))
    return [
        PreActivations(site.name, float(above[i] / max(1, seen[i])), int(above[i]), np.sort(np.concatenate(kept[i])))
        for i, site in enumerate(sites)
    ]


def measure_file(
    path: Path, data: Data, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> list[PreActivations]:
    """`measure` for a model file, at the sites that can be seen, always with the same draw; errors name the file.

    Raises:
        DataError: the data do not fit, or no site can be seen.
        ModelFileError, RunError: the model cannot be read or run.
    """
    model = load(path).model
    sites = [site for site in find_activations(model) if observable(site) is None]
    if not sites:
        raise DataError(f"{path}: has no activation site whose pre-activations can be seen from outside")
    try:
        folder, rng = path.resolve().parent, np.random.default_rng(0)
        return measure(model, sites, data.x, rng=rng, mean=mean, std=std, folder=folder)
    except (DataError, RunError) as error:
        raise type(error)(f"{path}: {error}") from error


def _positive(values: Array) -> Floats:
    flat: Floats = values.astype(np.float32, copy=False).ravel()
    return flat[(flat > 0) & np.isfinite(flat)]


def _watched(model: ModelProto, sites: Sequence[ActivationSite]) -> tuple[ModelProto, list[str]]:
    """The model with each site's pre-activation as an output; returns the outputs' names too."""
    watched = copy.deepcopy(model)
    fresh, names = FreshNames(watched), []
    for site in sites:
        # Identity, because what a rectifier reads may be a graph input, or an output already.
        name = fresh(f"{site.input}/seen")
        watched.graph.node.append(helper.make_node("Identity", [site.input], [name], name=fresh("Identity")))
        watched.graph.output.append(ValueInfoProto(name=name))  # onnxruntime infers the type
        names.append(name)
    return watched, names
