"""The proof: each check has a name, a verdict and a sentence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from onnx_jumprelu.errors import JumpReLUError, ProvenanceError, VerificationError
from onnx_jumprelu.graph import Array, scalar, walk_scopes
from onnx_jumprelu.model_io import ModelFile, load
from onnx_jumprelu.rewrite.lowerings import rounded
from onnx_jumprelu.rewrite.provenance import is_patched, read_provenance
from onnx_jumprelu.rewrite.revert import revert_model
from onnx_jumprelu.runtime import Feeds, OrtRunner, ReferenceRunner, RunError, Runner, one_line
from onnx_jumprelu.verification.inputs import given_feeds, random_feeds
from onnx_jumprelu.verification.sites import (
    DEFAULT_ELEM_TYPE,
    difference,
    jump_in_graph,
    jumprelu,
    probes,
    site_model,
)
from onnx_jumprelu.verification.structure import Region, StructureError, compare, jump_inputs

REFERENCE = "onnx's reference evaluator"
OPTIMIZED = (
    "Optimized sessions may differ around the jump: fusions and other kernels change the last bit of a pre-activation, "
    "and where it lies at the jump, a last-bit difference decides between 0 and the jump itself. That is rounding at a "
    "discontinuity, not a wrong rewrite; the checks above run with graph optimizations off."
)


@dataclass(frozen=True)
class Check:
    """One thing that was checked: its name, whether it holds, and what was found."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class VerifyReport:
    """All checks in order, and notes that explain without judging."""

    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)


class _FailedError(JumpReLUError):
    """A check that does not hold; the message is its detail."""


@dataclass
class _Pair:
    """The two models, and how to run them."""

    original: ModelFile
    patched: ModelFile
    x: Array | Mapping[str, Array] | None
    seed: int
    regions: list[Region]
    engine: str = "onnxruntime"

    @cached_property
    def jumps(self) -> set[str]:
        return jump_inputs(self.original.model, self.patched.model)

    @cached_property
    def _defaults(self) -> dict[str, float]:
        tensors = (tensor for tensor in self.patched.model.graph.initializer if tensor.name in self.jumps)
        return {tensor.name: float(numpy_helper.to_array(tensor).astype(np.float64)) for tensor in tensors}

    def jump(self, region: Region) -> float:
        """The jump that the graph holds for a site."""
        return jump_in_graph(region, self._defaults)

    def keeps_nan(self, site: str) -> bool | None:
        """Whether a site is to let NaN through, None where no record says."""
        if not is_patched(self.patched.model):
            return None
        record = read_provenance(self.patched.model)
        return record.keep_nan or any(entry.lowering == "cast-mul" for entry in record.sites if entry.name == site)

    def runner(self, model: ModelProto, *, optimize: bool = False) -> Runner:
        if self.engine == REFERENCE:
            return ReferenceRunner(model, self.original.path.parent)
        return OrtRunner(model, self.original.path.parent, optimize=optimize)

    def feeds(self) -> tuple[Feeds, list[Array], str]:
        """Inputs on which the original runs, its outputs, and what the inputs are."""
        runner = self.runner(self.original.model)
        if self.x is not None:
            feeds = given_feeds(self.original.model, self.x)
            return feeds, runner.run(None, feeds), "the given inputs"
        error = RunError("no inputs")
        for feeds in random_feeds(self.original.model, self.seed):
            try:
                return feeds, runner.run(None, feeds), f"random inputs (seed {self.seed})"
            except RunError as failure:
                error = failure
        raise RunError(f"the original does not run on random inputs, give real ones: {error}")


def verify(
    original: ModelProto | str | Path,
    patched: ModelProto | str | Path,
    x: Array | Mapping[str, Array] | None = None,
    *,
    seed: int = 0,
    on_check: Callable[[Check], None] | None = None,
) -> VerifyReport:
    """Prove that `patched` is `original` with JumpReLU at its activation sites, and nothing else.

    Checks, in order: `checker` (onnx accepts the patched model), `session` (onnxruntime loads it), `structure` (outside
    the sites both graphs are the same), `record` (what the file says of its patch is what its graph does), `sites`
    (each site's nodes equal JumpReLU bit for bit, alone and inside the running model), `jump 0` (with all jumps set to
    0 and graph optimizations off, outputs equal the original's bit for bit). The sign of a zero does not count.

    A model whose element types onnxruntime's CPU provider lacks (bfloat16) runs in onnx's reference evaluator.

    Args:
        original: The model before the patch, or its file.
        patched: The model after it, or its file.
        x: Real inputs as the model takes them: an array, or arrays by input name. Seeded random ones by default.
        seed: Seed of the random inputs.
        on_check: Called with each check as it is done.

    Raises:
        ModelFileError: a file that cannot be used.
        DataError: `x` does not fit the model.
    """
    pair = _Pair(_opened(original), _opened(patched), x, seed, [])
    checks: list[Check] = []
    for name, check in CHECKS.items():
        try:
            checks.append(Check(name, ok=True, detail=check(pair)))
        except (_FailedError, StructureError, ProvenanceError, RunError) as error:
            checks.append(Check(name, ok=False, detail=str(error)))
        if on_check is not None:
            on_check(checks[-1])
        if name == "structure" and not checks[-1].ok:
            return VerifyReport(tuple(checks))  # without knowing the sites there is nothing more to compare
    return VerifyReport(tuple(checks), (_optimized(pair),))


def prove(original: Path, patched: Path) -> None:
    """`verify` as a last check before a patched file takes its place.

    Raises:
        VerificationError: a check failed; the message says which.
    """
    for check in verify(original, patched).checks:
        if not check.ok:
            raise VerificationError(f"{original}: nothing written, the check '{check.name}' failed: {check.detail}")


def _opened(model: ModelProto | str | Path) -> ModelFile:
    if isinstance(model, ModelProto):
        return ModelFile(Path("model"), model, _sha256(model), ())
    return load(model)


def _sha256(model: ModelProto) -> str:
    return hashlib.sha256(model.SerializeToString()).hexdigest()


def _checker(pair: _Pair) -> str:
    problem = _checker_problem(pair.patched)
    if problem is None:
        return "onnx accepts the patched model"
    if _checker_problem(pair.original) is None:
        raise _FailedError(problem)
    return f"onnx refuses the original and the patched model alike: {problem}"


def _checker_problem(file: ModelFile) -> str | None:
    try:
        # By its path where weights lie outside, which the checker looks up beside the file.
        onnx.checker.check_model(str(file.path) if file.external_data else file.model)
    except (onnx.checker.ValidationError, ValueError) as error:
        return one_line(error)
    return None


def _session(pair: _Pair) -> str:
    try:
        OrtRunner(pair.patched.model, pair.patched.path.parent)
    except RunError as refusal:
        try:
            OrtRunner(pair.original.model, pair.original.path.parent)
        except RunError:
            pair.engine = REFERENCE
            pair.runner(pair.patched.model)
            return f"onnxruntime cannot load the original either ({refusal}); {REFERENCE} runs both"
        raise
    return "onnxruntime loads the patched model"


def _structure(pair: _Pair) -> str:
    pair.regions = compare(pair.original.model, pair.patched.model)
    if not pair.regions:
        raise _FailedError("the models are the same: nothing was patched")
    return f"{len(pair.regions)} activation sites differ, everything else is the same"


def _record(pair: _Pair) -> str:
    if not is_patched(pair.patched.model):
        return "the file carries no record of its patch (it cannot be reverted); jumps were read from its graph"
    record = read_provenance(pair.patched.model)
    jumps = {(site.scope, site.tensor): site.jump for site in record.sites}
    if jumps.keys() != {(region.found.site.scope, region.found.site.tensor) for region in pair.regions}:
        raise _FailedError("the record names other sites than the graph has")
    for region in pair.regions:
        site = region.found.site
        recorded, held = rounded(jumps[site.scope, site.tensor], region.found.elem_type), pair.jump(region)
        if recorded != held:
            raise _FailedError(f"site '{site.name}': the record says jump {recorded!r}, the graph has {held!r}")
    if record.input_sha256 not in (pair.original.sha256, _sha256(pair.original.model)):
        raise _FailedError("the record names another original (SHA-256 differs)")
    if revert_model(pair.patched.model).SerializeToString() != pair.original.model.SerializeToString():
        raise _FailedError("reverting does not give the original's bytes")
    return f"jumps as recorded ({record.lowering}); reverting gives the original's bytes"


def _sites(pair: _Pair) -> str:
    n_values = sum(_site_alone(pair, region) for region in pair.regions)
    n_inside, where = _sites_inside(pair)
    return f"equal JumpReLU bit for bit: {n_values} values at the sites alone, {n_inside} inside the model, {where}"


def _site_alone(pair: _Pair, region: Region) -> int:
    """Run one site's nodes on edge cases and random numbers, optimized and not; returns how many values agreed."""
    site, elem_type = region.found.site, region.found.elem_type or DEFAULT_ELEM_TYPE
    jump = rounded(pair.jump(region), elem_type)
    x = probes(elem_type, jump, region.found.cap, pair.seed)
    keeps_nan = pair.keeps_nan(site.name)
    if keeps_nan is None or (keeps_nan and region.found.cap is not None):
        x = x[~np.isnan(x)]  # unknown, or up to the operator that caps
    expected = jumprelu(x, jump, region.found.cap, keep_nan=bool(keeps_nan))
    model = site_model(region, pair.patched.model, pair.jumps)
    for optimize in (False, True):
        (y,) = pair.runner(model, optimize=optimize).run(None, {site.input: x})
        wrong = difference(y, expected)
        if wrong:
            raise _FailedError(f"site '{site.name}' is not JumpReLU of its input: {wrong}")
    return 2 * x.size


def _sites_inside(pair: _Pair) -> tuple[int, str]:
    """Run the whole model and compare input and output of every site of the main graph; returns how many values."""
    regions = [region for region in pair.regions if region.scope.parent is None and region.scope.path == "main"]
    feeds, _, source = pair.feeds()
    tapped = ModelProto()
    tapped.CopyFrom(pair.patched.model)
    names = [name for region in regions for name in (region.found.site.input, region.found.site.tensor)]
    present = {value.name for values in (tapped.graph.output, tapped.graph.input) for value in values}
    for region in regions:
        for name in (region.found.site.input, region.found.site.tensor):
            if name not in present:
                present.add(name)
                elem_type = region.found.elem_type or DEFAULT_ELEM_TYPE
                tapped.graph.output.append(helper.make_tensor_value_info(name, elem_type, None))
    inputs = {value.name for value in tapped.graph.input}
    wanted = [name for name in dict.fromkeys(names) if name not in inputs]
    values = {**feeds, **dict(zip(wanted, pair.runner(tapped).run(wanted, feeds), strict=True))} if wanted else {}
    n_values = 0
    for region in regions:
        site = region.found.site
        x, y = values[site.input], values[site.tensor]
        keeps_nan = pair.keeps_nan(site.name)
        expected = jumprelu(
            x, rounded(pair.jump(region), region.found.elem_type), region.found.cap, keep_nan=bool(keeps_nan)
        )
        wrong = difference(y, expected)
        if wrong and not np.isnan(x).any():
            raise _FailedError(f"site '{site.name}' is not JumpReLU of its input on {source}: {wrong}")
        n_values += x.size
    return n_values, source


def _jump_zero(pair: _Pair) -> str:
    feeds, expected, source = pair.feeds()
    zeroed = at_jump_zero(pair.patched.model, pair.regions, pair.jumps)
    actual = pair.runner(zeroed).run(None, feeds)
    again = pair.runner(pair.original.model).run(None, feeds)
    n_values = 0
    for value, output, repeated, wanted in zip(pair.original.model.graph.output, actual, again, expected, strict=True):
        if difference(np.asarray(repeated), np.asarray(wanted)):
            raise _FailedError(f"the original is not deterministic (output '{value.name}'), so nothing can be compared")
        wrong = difference(np.asarray(output), np.asarray(wanted))
        if wrong:
            raise _FailedError(f"output '{value.name}' is not the original's on {source}: {wrong}")
        n_values += np.size(output)
    return f"all {n_values} output values equal the original's bit for bit, on {source}, graph optimizations off"


def at_jump_zero(patched: ModelProto, regions: list[Region], jumps: set[str]) -> ModelProto:
    """The patched model with every jump that its sites hold set to 0, wherever a lowering keeps it."""
    zeroed = ModelProto()
    zeroed.CopyFrom(patched)
    ours = {(region.scope.path, output) for region in regions for node in region.nodes for output in node.output}
    for scope in walk_scopes(zeroed):
        for node in scope.nodes:
            if not any((scope.path, output) in ours for output in node.output):
                continue
            for entry in node.attribute:
                if node.op_type == "Constant":
                    entry.t.CopyFrom(scalar(entry.t.data_type, 0.0))
                elif node.op_type == "ThresholdedRelu":
                    entry.f = 0.0
    for tensor in zeroed.graph.initializer:
        if tensor.name in jumps:
            tensor.CopyFrom(scalar(tensor.data_type, 0.0, tensor.name))
    return zeroed


def _optimized(pair: _Pair) -> str:
    """What changes when graph optimizations are on: a note, since rounding is not the rewrite's fault."""
    if pair.engine == REFERENCE:
        return OPTIMIZED
    try:
        feeds, _, source = pair.feeds()
        plain = pair.runner(pair.patched.model).run(None, feeds)
        optimized = pair.runner(pair.patched.model, optimize=True).run(None, feeds)
    except RunError as error:
        return f"{OPTIMIZED} (Not measured here: {error}.)"
    largest = max((_distance(one, other) for one, other in zip(plain, optimized, strict=True)), default=0.0)
    return f"{OPTIMIZED} Measured on {source}: outputs differ by at most {largest:.3g}."


def _distance(one: Array, other: Array) -> float:
    if not isinstance(one, np.ndarray) or one.dtype.kind not in "fV" or not one.size:
        return 0.0
    return float(np.nanmax(np.abs(one.astype(np.float64) - other.astype(np.float64))))


CHECKS: dict[str, Callable[[_Pair], str]] = {
    "checker": _checker,
    "session": _session,
    "structure": _structure,
    "record": _record,
    "sites": _sites,
    "jump 0": _jump_zero,
}
N_CHECKS = len(CHECKS)
