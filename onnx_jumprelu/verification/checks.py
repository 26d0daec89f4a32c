"""The checks: one function each, which returns what was found or raises an exception that says what is wrong."""

from __future__ import annotations

import contextlib
import copy
import filecmp
import itertools
from collections.abc import Callable, Iterable
from typing import cast

import numpy as np
import onnx
from onnx import ModelProto, TensorProto

from onnx_jumprelu.activation.lowerings import LOWERINGS, parameter_type
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import JumpReLUError, ProvenanceError, RunError
from onnx_jumprelu.files.external_data import refusal
from onnx_jumprelu.files.models import ModelFile
from onnx_jumprelu.names import LoweringName
from onnx_jumprelu.rewrite.find_sites import find_sites
from onnx_jumprelu.rewrite.options import PatchOptions
from onnx_jumprelu.rewrite.patch import patch_as_recorded, patch_in_place
from onnx_jumprelu.rewrite.recipe import Recipe
from onnx_jumprelu.rewrite.record import drop_provenance
from onnx_jumprelu.rewrite.revert import revert_model
from onnx_jumprelu.runtime import OrtRunner, ReferenceRunner, Runner, one_line
from onnx_jumprelu.verification.alone import check_alone
from onnx_jumprelu.verification.comparison import FailedError, UndecidedError, arrays, difference, has_nan
from onnx_jumprelu.verification.inside import check_inside
from onnx_jumprelu.verification.pair import REFERENCE, Pair, as_relu, sha256
from onnx_jumprelu.verification.randomness import held_fixed, random_nodes
from onnx_jumprelu.verification.structure import StructureError, compare
from onnx_jumprelu.version import __version__

OPTIMIZED = (
    "Optimized sessions may differ around the jump: fusions and other kernels change the last bit of a pre-activation. "
    "For a pre-activation at the jump, the last bit decides between 0 and the jump. This is rounding at a "
    "discontinuity, not a wrong rewrite; the checks above run with graph optimizations off."
)


def _checker(pair: Pair) -> str:
    problem = _checker_problem(pair.patched)
    if problem is None:
        refused = _refused_weights(pair.patched)
        return f"onnx accepts the patched model{'; its own loader refuses weights that ' * bool(refused)}{refused}"
    if _checker_problem(pair.original) is None:
        raise FailedError(problem)
    return f"onnx rejects both the original and the patched model: {problem}"


def _checker_problem(file: ModelFile) -> str | None:
    try:
        if not file.weights:
            onnx.checker.check_model(file.model)
        elif _refused_weights(file):
            onnx.checker.check_model(file.with_external_weights())
        else:  # by its path: the checker looks for the weights next to the file
            onnx.checker.check_model(str(file.path))
    except (onnx.checker.ValidationError, ValueError) as error:
        return one_line(error)
    return None


def _refused_weights(file: ModelFile) -> str:
    """Why onnx's loader refuses weights that onnxruntime reads; empty where it does not."""
    problems = (refusal(file.path.parent, weights.location) for weights in file.weights)
    return next((problem for problem in problems if problem is not None), "")


def _session(pair: Pair) -> str:
    try:
        OrtRunner(*pair.original.for_session())
    except RunError as refusal:
        pair.engine = REFERENCE
        pair.original_runner()
        pair.runner(pair.patched.model, pair.patched)
        return f"onnxruntime cannot load the original ({refusal}); {REFERENCE} runs both"
    OrtRunner(*pair.patched.for_session())
    if _uses_bfloat16(pair.original.model):
        pair.engine = REFERENCE
        return (
            f"onnxruntime loads the patched model; {REFERENCE} runs both, since NumPy arrays of bfloat16 cannot be fed"
        )
    return "onnxruntime loads the patched model"


def _uses_bfloat16(model: ModelProto) -> bool:
    """Whether the checks feed or compare bfloat16 values."""
    boundary = (value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output))
    return TensorProto.BFLOAT16 in {*boundary, *(found.elem_type for found in find_sites(model))}


def _structure(pair: Pair) -> str:
    try:
        pair.regions = compare(pair.original.model, pair.patched.model)
    except StructureError as error:
        raise FailedError(f"{error}{_changed_since(pair)}") from error
    if not pair.regions:
        raise FailedError(
            "nothing was patched in the second model, which equals the original; give the original first and the "
            "patched model second"
        )
    theirs = {weights.location: weights.path for weights in pair.patched.weights}
    for weights in pair.original.weights:
        ours, other = weights.path, theirs[weights.location]
        if not ours.samefile(other) and not filecmp.cmp(ours, other, shallow=False):
            raise FailedError(f"the weights differ: {ours} and {other}")
    return f"the graphs differ at {len(pair.regions)} activation sites and nowhere else"


def _changed_since(pair: Pair) -> str:
    """Why the models differ, if the record in the patched file names the original."""
    with contextlib.suppress(ProvenanceError):
        if pair.record is not None and pair.record.input_sha256 in (pair.original.sha256, sha256(pair.original.model)):
            return (
                ". The record names this original, so the file was changed after it was patched; verify the file that "
                "'patch' wrote, and test on its own what was done to it since"
            )
    return ""


def _record(pair: Pair) -> str:
    record = pair.record
    if record is None:
        lowering = _lowering_without_record(pair)
        known = f"its nodes are those of lowering {lowering}" if lowering else "its nodes are only tested on samples"
        return f"the file has no record of its patch and cannot be reverted; jumps were read from its graph, {known}"
    recorded = {(site.scope, site.tensor): site for site in record.sites}
    if recorded.keys() != {(region.found.site.scope, region.found.site.tensor) for region in pair.regions}:
        raise FailedError("the sites in the record are not those of the graph")
    for region in pair.regions:
        site = recorded[region.found.site.scope, region.found.site.tensor]
        elem_type = parameter_type(region.found.elem_type) if site.inputs else region.found.elem_type
        if site.parameters.rounded(elem_type) != pair.parameters(region):
            raise FailedError(
                f"site '{site.name}': the record says {site.parameters}, the graph holds {pair.parameters(region)}"
            )
    if record.input_sha256 not in (pair.original.sha256, sha256(pair.original.model)):
        raise FailedError("the record names another original (SHA-256 differs)")
    if revert_model(pair.patched.model).SerializeToString() != pair.original.model.SerializeToString():
        raise FailedError("reverting does not give the original's bytes")
    if record.version != __version__:
        return (
            f"jumps as recorded ({record.lowering}, by version {record.version}); reverting gives the original's bytes"
        )
    if patch_as_recorded(pair.original.model, record).SerializeToString() != pair.patched.model.SerializeToString():
        raise FailedError(
            "patching the original as recorded gives a different model: the patched model was changed afterwards"
        )
    return f"patching the original as recorded ({record.lowering}) gives these bytes; reverting gives the original's"


def _lowering_without_record(pair: Pair) -> str | None:
    """The lowering whose output has the same bytes as the patched model, None where there is none."""
    given = {region.found.site.name: pair.parameters(region) for region in pair.regions}
    for lowering, keep_nan in itertools.product(LOWERINGS, (False, True)):
        with contextlib.suppress(JumpReLUError):
            options = PatchOptions(
                recipe=Recipe(None, given), lowering=cast("LoweringName", lowering), keep_nan=keep_nan
            )
            candidate = copy.deepcopy(pair.original.model)
            patch_in_place(candidate, options)
            drop_provenance(candidate)
            if candidate.SerializeToString() == pair.patched.model.SerializeToString():
                return lowering
    return None


def _sites(pair: Pair) -> str:
    n_alone = check_alone(pair)
    n_sites, n_inside = check_inside(pair)
    return (
        f"equal JumpReLU bit for bit: {len(pair.regions)} sites alone ({n_alone} values), and "
        f"{n_sites} sites of the main graph inside the running model ({n_inside} values), on {pair.trial.source}"
    )


def _jump_zero(pair: Pair) -> str:
    zeroed, where = as_relu(pair.patched.model, pair.regions, pair.inputs), f"on {pair.trial.source}"
    runner = pair.runner(zeroed, pair.patched)
    wrong, n_values = _compared(pair, pair.trial.outputs, runner)
    if wrong and any(region.found.elem_type == TensorProto.FLOAT16 for region in pair.regions):
        # On the CPU, onnxruntime computes float16 in float32 and merges the casts between operators without a float16
        # kernel, so it rounds less often after a Where than after a Relu. The reference evaluator rounds as ONNX says.
        models = ((pair.original.model, pair.original), (zeroed, pair.patched))
        before, after = (ReferenceRunner(file.with_external_weights(held_fixed(model))) for model, file in models)
        wrong, n_values = _compared(pair, (before.run(None, feeds) for feeds in pair.trial.runs), after)
        where += f" in {REFERENCE}, which rounds float16 everywhere"
    if wrong and _differs_from_itself(pair):
        raise UndecidedError(
            "not comparable: the original's own outputs differ from run to run, so that they cannot be compared with "
            "those of the patched model"
        )
    if wrong:
        raise FailedError(f"the outputs differ from the original's {where}: {wrong}")
    random = {node.op_type for node in random_nodes(pair.original.model)}
    held = f", the random numbers of {', '.join(sorted(random))} held fixed" if random else ""
    return f"all {n_values} output values equal the original's bit for bit, {where}, optimizations off{held}"


def _compared(pair: Pair, expected: Iterable[list[Array]], runner: Runner) -> tuple[str, int]:
    """The first difference of the outputs of all runs, '' where there is none, and how many values were compared."""
    n_values = 0
    for feeds, wanted in zip(pair.trial.runs, expected, strict=True):
        actual = runner.run(None, feeds)
        wrong = _first_difference(pair, actual, wanted)
        if wrong:
            return wrong, n_values
        n_values += sum(array.size for array in arrays(actual))
    return "", n_values


def _differs_from_itself(pair: Pair) -> bool:
    """Whether the original gives other outputs when it is run again on the same inputs.

    An operator with a seed continues its numbers from run to run of a session; the first runs of sessions are the same.
    """
    feeds, runner = pair.trial.runs[0], pair.original_runner()
    has_seeds = next(random_nodes(pair.original.model), None) is not None
    again = pair.original_runner() if has_seeds else runner
    return bool(_first_difference(pair, again.run(None, feeds), runner.run(None, feeds)))


def _first_difference(pair: Pair, actual: list[Array], expected: list[Array]) -> str:
    """The first output that differs, and how; '' where none does."""
    for value, output, wanted in zip(pair.original.model.graph.output, actual, expected, strict=True):
        ours, theirs = arrays(output), arrays(wanted)
        if len(ours) != len(theirs):
            return f"'{value.name}': {len(ours)} values instead of {len(theirs)}"
        for one, other in zip(ours, theirs, strict=True):
            wrong = difference(one, other)
            if wrong:
                nan = (
                    ". The original computes NaN here, which Relu keeps; give inputs that do not produce NaN"
                    * has_nan(other)
                )
                return f"'{value.name}': {wrong}{nan}"
    return ""


def optimized(pair: Pair) -> str:
    """A note on what changes with graph optimizations on. Not a check: such differences are rounding."""
    if pair.engine == REFERENCE:
        return OPTIMIZED
    try:
        plain = pair.runner(pair.patched.model, pair.patched)
        quick = pair.runner(pair.patched.model, pair.patched, optimize=True)
        pairs = (
            pair_of_outputs
            for feeds in pair.trial.runs
            for pair_of_outputs in zip(plain.run(None, feeds), quick.run(None, feeds), strict=True)
        )
        largest = max((_distance(one, other) for one, other in pairs), default=0.0)
    except (RunError, UndecidedError) as error:
        return f"{OPTIMIZED} (Not measured here: {error}.)"
    return (
        f"{OPTIMIZED} Measured on {pair.trial.source}: optimized and unoptimized outputs differ by at most "
        f"{largest:.3g}."
    )


def _distance(one: object, other: object) -> float:
    """Largest difference of two outputs, ignoring NaN."""
    largest = 0.0
    for ours, theirs in zip(arrays(one), arrays(other), strict=True):
        if ours.dtype.kind in "fV" and ours.shape == theirs.shape:
            with np.errstate(invalid="ignore"):
                gaps = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
            largest = max(largest, float(np.max(gaps, initial=0.0, where=~np.isnan(gaps))))
    return largest


CHECKS: dict[str, Callable[[Pair], str]] = {
    "checker": _checker,
    "session": _session,
    "structure": _structure,
    "record": _record,
    "sites": _sites,
    "jump 0": _jump_zero,
}
