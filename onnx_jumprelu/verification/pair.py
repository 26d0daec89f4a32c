"""The two models of a verification, their inputs, and how to run them."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from onnx_jumprelu.activation.lowerings import LOWERINGS
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.reading import NotParametersError, is_soft, parameters_in, set_to_relu
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import RunError
from onnx_jumprelu.files.models import ModelFile
from onnx_jumprelu.graphs.constants import tensor
from onnx_jumprelu.graphs.scopes import walk_scopes
from onnx_jumprelu.rewrite.record import Provenance, is_patched, read_provenance
from onnx_jumprelu.rewrite.revert import before_patch
from onnx_jumprelu.runtime import Feeds, OrtRunner, ReferenceRunner, Runner
from onnx_jumprelu.verification.comparison import UndecidedError
from onnx_jumprelu.verification.inputs import Given, one_by_one
from onnx_jumprelu.verification.randomness import held_fixed
from onnx_jumprelu.verification.structure import Region, StructureError, parameter_inputs
from onnx_jumprelu.verification.trial import Trial, trial_on

REFERENCE = "onnx's reference evaluator"


@dataclass
class Pair:
    """The two models, and how to run them.

    Attributes:
        original: The model before the patch.
        patched: The model after it.
        given: The caller's inputs, None for random ones.
        seed: Seed of the random inputs.
        regions: The sites, once they are known.
        engine: What runs the models.
    """

    original: ModelFile
    patched: ModelFile
    given: Given | None
    seed: int
    regions: list[Region] = field(default_factory=list)
    engine: str = "onnxruntime"

    @cached_property
    def inputs(self) -> set[str]:
        """Names of the graph inputs that hold parameters."""
        return parameter_inputs(self.original.model, self.patched.model)

    @cached_property
    def defaults(self) -> dict[str, TensorProto]:
        """Defaults of the graph inputs that hold parameters, by name."""
        return {entry.name: entry for entry in self.patched.model.graph.initializer if entry.name in self.inputs}

    @cached_property
    def _default_values(self) -> dict[str, Array]:
        return {name: numpy_helper.to_array(entry).astype(np.float64) for name, entry in self.defaults.items()}

    def parameters(self, region: Region) -> Parameters:
        """The parameters that a site's nodes hold. Raises StructureError where they are not those of a JumpReLU."""
        site = region.found.site
        try:
            return parameters_in(region.nodes, self._default_values, site.rank, site.n_channels)
        except NotParametersError as error:
            raise StructureError(f"site '{site.name}' {error}") from error

    @cached_property
    def record(self) -> Provenance | None:
        """The record in the patched file, None where there is none. Raises ProvenanceError if it is damaged."""
        return read_provenance(self.patched.model) if is_patched(self.patched.model) else None

    @cached_property
    def _sites_that_keep_nan(self) -> set[str]:
        """Names of the sites whose lowering keeps NaN by itself, according to the record."""
        sites = () if self.record is None else self.record.sites
        return {site.name for site in sites if site.lowering in LOWERINGS and LOWERINGS[site.lowering].nan == "kept"}

    def keeps_nan(self, site: str) -> bool | None:
        """Whether a site keeps NaN according to the record, None where there is no record."""
        if self.record is None:
            return None
        return self.record.keep_nan or site in self._sites_that_keep_nan

    def runner(self, model: ModelProto, of: ModelFile, *, optimize: bool = False, threads: int | None = None) -> Runner:
        """A model ready to run, with the external weights of the file `of` and what is random in it held fixed.

        Raises:
            RunError: it cannot be loaded.
        """
        model = held_fixed(model)
        if self.engine == REFERENCE:
            return ReferenceRunner(of.with_external_weights(model))
        return OrtRunner(*of.for_session(model), optimize=optimize, threads=threads)

    def original_runner(self) -> Runner:
        """The original ready to run. Raises UndecidedError if nothing can load it."""
        try:
            return self.runner(self.original.model, self.original)
        except RunError as error:
            raise UndecidedError(f"not comparable: nothing can load the original ({error})") from error

    @cached_property
    def trial(self) -> Trial:
        """Inputs on which the original runs, and its outputs. Raises DataError or UndecidedError as `trial_on`."""
        return trial_on(self.original.model, self.original_runner(), self.given, self.seed)

    def example_runs(self) -> Sequence[Feeds]:
        """The inputs of `trial`, one example for each run where the original runs on one, else as they are."""
        singles = one_by_one(self.original.model, self.trial.runs)
        try:
            self.original_runner().run(None, singles[0])
        except RunError:
            return self.trial.runs
        return singles


def unpatched(file: ModelFile) -> ModelFile:
    """The original of a file that was patched itself, if its record fits it: what re-patching starts from."""
    before = before_patch(file.model)
    return file if before.record is None else replace(file, model=before.model, sha256=before.record.input_sha256)


def sha256(model: ModelProto) -> str:
    """SHA-256 of a model's serialization, in hexadecimal."""
    return hashlib.sha256(model.SerializeToString()).hexdigest()


def as_relu(patched: ModelProto, regions: list[Region], inputs: set[str]) -> ModelProto:
    """A copy of the patched model in which every site is ReLU: a hard one by its parameters, whatever its lowering.

    At a soft site, whose nodes cannot hold a softness of 0, the original node is back.
    """
    zeroed = copy.deepcopy(patched)
    hard = [region for region in regions if not is_soft(region.nodes)]
    ours = {(region.scope.path, output) for region in hard for node in region.nodes for output in node.output}
    soft = {
        (region.scope.path, region.found.site.tensor): region.found.node for region in regions if is_soft(region.nodes)
    }
    for scope in walk_scopes(zeroed):
        set_to_relu(node for node in scope.nodes if any((scope.path, output) in ours for output in node.output))
        for node in scope.nodes if soft else ():
            for output in node.output:
                if (scope.path, output) in soft:
                    node.CopyFrom(soft[scope.path, output])
    for default in zeroed.graph.initializer:
        if default.name in inputs:
            default.CopyFrom(tensor(default.data_type, np.zeros(default.dims), default.name))
    return zeroed
