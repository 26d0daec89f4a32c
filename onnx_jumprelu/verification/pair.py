"""The two models of a verification, their inputs, and how to run them."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from onnx import ModelProto, numpy_helper

from onnx_jumprelu.activation.lowerings import LOWERINGS
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.reading import set_to_relu
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import RunError
from onnx_jumprelu.files.models import ModelFile
from onnx_jumprelu.graphs.constants import tensor
from onnx_jumprelu.graphs.scopes import walk_scopes
from onnx_jumprelu.rewrite.record import Provenance, is_patched, read_provenance
from onnx_jumprelu.rewrite.revert import revert_model
from onnx_jumprelu.runtime import Feeds, OrtRunner, ReferenceRunner, Runner
from onnx_jumprelu.verification.inputs import given_feeds, random_feeds
from onnx_jumprelu.verification.sites import has_nan, parameters_in_graph
from onnx_jumprelu.verification.structure import Region, parameter_inputs

REFERENCE = "onnx's reference evaluator"


@dataclass
class Pair:
    """The two models, and how to run them.

    Attributes:
        original: The model before the patch.
        patched: The model after it.
        x: The caller's inputs, None for random ones.
        seed: Seed of the random inputs.
        regions: The sites, once they are known.
        engine: What runs the models.
    """

    original: ModelFile
    patched: ModelFile
    x: Array | Mapping[str, Array] | None
    seed: int
    regions: list[Region] = field(default_factory=list)
    engine: str = "onnxruntime"

    @cached_property
    def inputs(self) -> set[str]:
        """Names of the graph inputs that hold parameters."""
        return parameter_inputs(self.original.model, self.patched.model)

    @cached_property
    def _defaults(self) -> dict[str, Array]:
        held = (entry for entry in self.patched.model.graph.initializer if entry.name in self.inputs)
        return {entry.name: numpy_helper.to_array(entry).astype(np.float64) for entry in held}

    def parameters(self, region: Region) -> Parameters:
        """The parameters that the graph holds for a site. Raises StructureError."""
        return parameters_in_graph(region, self._defaults)

    @cached_property
    def record(self) -> Provenance | None:
        """The record in the patched file, None where there is none. Raises ProvenanceError if it is damaged."""
        return read_provenance(self.patched.model) if is_patched(self.patched.model) else None

    def keeps_nan(self, site: str) -> bool | None:
        """Whether a site keeps NaN according to the record, None where there is no record."""
        if self.record is None:
            return None
        return self.record.keep_nan or any(
            LOWERINGS[entry.lowering].nan == "kept"
            for entry in self.record.sites
            if entry.name == site and entry.lowering in LOWERINGS
        )

    def runner(self, model: ModelProto, of: ModelFile, *, optimize: bool = False) -> Runner:
        """A model ready to run, with the external weights of the file `of`. Raises RunError if it cannot be loaded."""
        if self.engine == REFERENCE:
            return ReferenceRunner(of.with_external_weights(model))
        return OrtRunner(*of.for_session(model), optimize=optimize)

    @cached_property
    def trial(self) -> tuple[Feeds, list[Array], str]:
        """Inputs on which the original runs, its outputs, and a description of the inputs."""
        runner = self.runner(self.original.model, self.original)
        if self.x is not None:
            feeds = given_feeds(self.original.model, self.x)
            return feeds, runner.run(None, feeds), "the given inputs"
        error, fallback = RunError("no inputs"), None
        source = f"random inputs (seed {self.seed})"
        for feeds in random_feeds(self.original.model, self.seed):
            try:
                outputs = runner.run(None, feeds)
            except RunError as failure:
                error = failure
                continue
            if not any(has_nan(output) for output in outputs):
                return feeds, outputs, source
            fallback = fallback or (feeds, outputs, source)
        if fallback is None:
            raise RunError(f"the original does not run on random inputs ({error}); give real inputs")
        return fallback


def unpatched(file: ModelFile) -> ModelFile:
    """The original of a file that was patched itself: what re-patching starts from. Raises ProvenanceError."""
    if not is_patched(file.model):
        return file
    return replace(file, model=revert_model(file.model), sha256=read_provenance(file.model).input_sha256)


def sha256(model: ModelProto) -> str:
    """SHA-256 of a model's serialization, in hexadecimal."""
    return hashlib.sha256(model.SerializeToString()).hexdigest()


def as_relu(patched: ModelProto, regions: list[Region], inputs: set[str]) -> ModelProto:
    """A copy of the patched model in which every site holds the parameters of ReLU, whatever its lowering."""
    zeroed = copy.deepcopy(patched)
    ours = {(region.scope.path, output) for region in regions for node in region.nodes for output in node.output}
    for scope in walk_scopes(zeroed):
        set_to_relu(node for node in scope.nodes if any((scope.path, output) in ours for output in node.output))
    for default in zeroed.graph.initializer:
        if default.name in inputs:
            default.CopyFrom(tensor(default.data_type, np.zeros(default.dims), default.name))
    return zeroed
