"""One model at many jumps: patched once, with each jump as an overridable input, and run in the same sessions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import ModelProto

from onnx_jumprelu.activation.derivatives import SURROGATES
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.values import Jump
from onnx_jumprelu.arrays import Bools, Floats, Labels
from onnx_jumprelu.attacks.probe import is_wrong
from onnx_jumprelu.classifier.classifier import OnnxClassifier
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.errors import PatchError, naming
from onnx_jumprelu.files.hashes import content_sha256
from onnx_jumprelu.files.models import ModelFile
from onnx_jumprelu.graphs.scopes import FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS
from onnx_jumprelu.rewrite.patch import find_activations, patch_model
from onnx_jumprelu.rewrite.recipe import Recipe
from onnx_jumprelu.rewrite.revert import before_patch
from onnx_jumprelu.rewrite.site import ActivationSite, SkippedSite
from onnx_jumprelu.tuning.preactivations import PreActivations, measure, observable

Jumps = tuple[Jump, ...]  # one per site, in the order of the graph; a site without a jump has 0, never a list of zeros


class Sweep:
    """A model whose jumps can be set at every call.

    Attributes:
        sites: Names of the sites that have a jump, from the input side on.
        skipped: The sites that stay as they are, and why.
        sha256: Hash of the model that was opened, including its external weights.
    """

    def __init__(self, target: Target, *, per_channel: bool = False) -> None:
        """Open a model that is not patched yet; `per_channel` allows a jump per channel.

        Raises:
            PatchError: it is patched already, or none of its sites can get a jump from outside.
            GradientError, ModelFileError, DataError, OptionError, RunError: see `OnnxClassifier`.
        """
        self._target = target
        file = target.opened()
        self.sha256 = content_sha256(file)
        self._original = _overridable(target, file)
        with naming(target.name):
            found = find_activations(self._original)
            if not found:
                raise PatchError("has no activation that JumpReLU can replace; there is nothing to tune")
            names = [site.name for site in found if observable(site) is None]
            if not names:
                raise PatchError(f"none of its activations can be tuned; '{found[0].name}': {observable(found[0])}")
            zeros = {site.name: (0.0,) * site.n_channels for site in found if site.n_channels}
            recipe = Recipe(0.0, zeros if per_channel else {})
            result = patch_model(self._original, recipe=recipe, include=names, jump_input=True)
        reasons = {site.name: observable(site) for site in found}
        self.skipped = tuple(SkippedSite(site.name, reasons[site.name] or site.reason) for site in result.skipped)
        self.sites = tuple(site.name for site in result.sites)
        by_name: dict[str, ActivationSite] = {site.name: site for site in found}
        self._found = [by_name[name] for name in self.sites]
        self._inputs = [(site.inputs, site.parameters.n_channels) for site in result.sites]
        self._per_channel = per_channel
        with naming(target.name):
            self._classifier = replace(target, model=result.model, surrogate="exact").classifier()
        # Each surrogate keeps its sessions for the whole sweep.
        self._with = {name: self._classifier.with_surrogate(name) for name in SURROGATES}

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self._classifier.n_classes

    @property
    def zero(self) -> Jumps:
        """Jump 0 everywhere: the original."""
        return (0.0,) * len(self.sites)

    def at(self, jumps: Jumps, surrogate: str = "exact") -> OnnxClassifier:
        """The classifier with these jumps, in the same sessions."""
        values = {}
        for (names, n_channels), site, jump in zip(self._inputs, self._found, jumps, strict=True):
            # Where the graph expects one jump per channel, a single jump is repeated.
            arrays = Parameters(jump).spread(n_channels).arrays(site.rank)
            values.update({names[parameter]: array for parameter, array in arrays.items()})
        return self._with[surrogate].with_inputs(**values)

    def correct(self, jumps: Jumps, x: Floats, labels: Labels) -> Bools:
        """Whether the model with these jumps is right, of shape (N,)."""
        return ~is_wrong(self.at(jumps).logits(x), labels)

    def preactivations(self, x: Floats, rng: np.random.Generator) -> list[PreActivations]:
        """The positive pre-activations of each site in the original model, for inputs (N, ...) in data space."""
        with naming(self._target.name):
            return measure(self._original, self._found, x, self._target, rng=rng, per_channel=self._per_channel)


def _overridable(target: Target, file: ModelFile) -> ModelProto:
    """A model with its weights in memory, at an IR version that has overridable inputs. Raises PatchError."""
    if before_patch(file.model).record is not None:
        raise PatchError(f"{target.name}: is patched already; tune the original ('onnx-jumprelu revert' gives it back)")
    model = file.with_external_weights()
    # Only this copy in memory gets the newer IR version, which does not change what a node computes.
    model.ir_version = max(model.ir_version, FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS)
    return model
