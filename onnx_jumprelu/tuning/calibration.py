"""Parameters of soft sites from data: softness as a share of each site's spread, and the center of each channel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from onnx_jumprelu.activation.definition import activate
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.values import checked_number
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.classifier.target import ModelLike, target_of
from onnx_jumprelu.data.reading import DataLike
from onnx_jumprelu.data.splits import validation_data_of
from onnx_jumprelu.errors import DataError, OptionError, PatchError, RunError, naming
from onnx_jumprelu.rewrite.patch import find_activations
from onnx_jumprelu.rewrite.recipe import Recipe
from onnx_jumprelu.rewrite.record import is_patched
from onnx_jumprelu.rewrite.site import ActivationSite
from onnx_jumprelu.tuning.preactivations import observable, observed, three_digits


def calibrate(
    model: ModelLike, data: DataLike, softness_share: float, *, jump: float = 0.0, center: bool = False
) -> Recipe:
    """A recipe of soft sites, each with a softness on the scale of its own pre-activations.

    The same model and data give the same recipe. Sites that cannot be seen from outside (in subgraphs and functions)
    are left out.

    Args:
        model: A model that is not patched, its path, or a `Target` with mean and std.
        data: Examples, in data space; of a file with `x_val`, these. The first 256 are used, labels are not.
        softness_share: Softness of a site as a share of the standard deviation of its pre-activations; above 0.
        jump: The jump of every site, in units of the pre-activations.
        center: Whether to subtract from each channel the mean of what the softness adds to it, so that later layers see
            the means that they were trained with (as bias correction does in quantization).

    Raises:
        DataError: the data do not fit the model, or no site can be seen.
        OptionError: the share or the jump is out of range.
        PatchError: the model is patched already.
        ModelFileError, RunError: the model cannot be read or run.
    """
    target, examples = target_of(model), validation_data_of(data)
    share, jump = checked_number(softness_share, "the softness share"), checked_number(jump, "the jump")
    if not share:
        raise OptionError("the softness share must be above 0; for hard sites give a jump alone")
    file = target.opened()
    if is_patched(file.model):
        raise PatchError(
            f"{target.name}: is patched already; start from the original ('onnx-jumprelu revert' restores it)"
        )
    with naming(target.name, DataError, RunError):
        sites = [site for site in find_activations(file.model) if observable(site) is None]
        if not sites:
            raise DataError("has no activation site whose pre-activations can be seen from outside")
        spreads = _standard_deviations(observed(file.model, sites, examples.x, target, file.weights), len(sites))
        soft = [Parameters(jump, three_digits(share * spread)) for spread in spreads]
        for site, parameters in zip(sites, soft, strict=True):
            if not parameters.is_soft:
                raise DataError(f"site '{site.name}' has the same pre-activation for all examples; leave it out")
        if center:
            soft = _centered(observed(file.model, sites, examples.x, target, file.weights), sites, soft)
    return Recipe(None, {site.name: parameters for site, parameters in zip(sites, soft, strict=True)})


def _standard_deviations(batches: Iterable[Sequence[Array]], n_sites: int) -> list[float]:
    """Of each site's pre-activations, from all batches, in float64."""
    count, total, squares = (np.zeros(n_sites) for _ in range(3))
    for batch in batches:
        for place, values in enumerate(batch):
            finite = values[np.isfinite(values)].astype(np.float64)
            count[place] += finite.size
            total[place] += finite.sum()
            squares[place] += np.square(finite).sum()
    mean = total / np.maximum(count, 1)
    variance = np.maximum(squares / np.maximum(count, 1) - mean**2, 0)
    return [float(value) for value in np.sqrt(variance)]


def _centered(
    batches: Iterable[Sequence[Array]], sites: Sequence[ActivationSite], soft: Sequence[Parameters]
) -> list[Parameters]:
    """The same parameters with, per channel, the mean difference of the soft and the hard form as the center."""
    totals: list[Array] = [np.zeros(site.n_channels or 1) for site in sites]
    counts = np.zeros(len(sites))
    for batch in batches:
        for place, (values, parameters) in enumerate(zip(batch, soft, strict=True)):
            exact = values.astype(np.float64)
            added = activate(exact, parameters) - activate(exact, Parameters(parameters.jump))
            per_channel = len(totals[place]) > 1
            totals[place] += added.sum(axis=tuple(axis for axis in range(added.ndim) if axis != 1 or not per_channel))
            counts[place] += added.size / len(totals[place])
    return [
        Parameters(parameters.jump, parameters.softness, _center(total / max(1.0, count)))
        for parameters, total, count in zip(soft, totals, counts, strict=True)
    ]


def _center(means: Array) -> float | tuple[float, ...]:
    rounded = tuple(three_digits(float(value)) for value in means)
    return rounded if len(rounded) > 1 else rounded[0]
