"""One model of the corpus, judged: inspected, patched in every way, checked, run, proved, reverted."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from onnx import ModelProto, helper

from onnx_jumprelu import (
    ActivationSite,
    JumpReLUError,
    PatchError,
    Recipe,
    find_activations,
    patch_file,
    revert_file,
    verify,
)
from onnx_jumprelu.activation.lowerings import LOWERINGS
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.names import LoweringName
from tests.corpus.findings import Findings, one_line, reason
from tests.corpus.oracle import Jump, missed_by_name, missed_by_value, rewritten
from tests.corpus.running import RefusedError, outputs, reference_outputs, same, session, tensors
from tests.corpus.subjects import Feeds, Subject, random_feeds

JUMP = 0.25  # of sites whose values are not known
EVERY_WAY = (*LOWERINGS, "keep_nan", "jump_input")


@dataclass
class Original:
    """A model before it is patched, and what other tools make of it."""

    subject: Subject

    @property
    def path(self) -> Path:
        """Its file."""
        return self.subject.path

    @cached_property
    def model(self) -> ModelProto:
        """The model without its external weights."""
        return onnx.load(self.path, load_external_data=False)

    @cached_property
    def is_accepted(self) -> bool:
        """Whether onnx's checker passes."""
        return _checker_problem(self.path) is None

    @cached_property
    def trial(self) -> tuple[Feeds, list[Any]] | str:
        """Inputs on which onnxruntime runs it and its outputs, or why it does not."""
        try:
            running = session(self.path)
        except RefusedError:
            return "onnxruntime does not load the original"
        for feeds in [self.subject.feeds] if self.subject.feeds is not None else random_feeds(self.model):
            with contextlib.suppress(RefusedError):
                first = outputs(running, feeds)
                repeatable = same(first, outputs(running, feeds))
                return (feeds, first) if repeatable else "the original is random by design"
        return "onnxruntime does not run the original on the inputs"

    @cached_property
    def values(self) -> dict[str, Array]:
        """Values of the tensors of the main graph, none where onnxruntime does not tell them."""
        if isinstance(self.trial, str):
            return {}
        try:
            return tensors(self.path, self.trial[0])
        except RefusedError:
            return {}


def _checker_problem(path: Path) -> str | None:
    try:
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, ValueError) as error:
        return str(error)
    return None


def examine(name: str, subject: Subject, ways: Sequence[str] = EVERY_WAY) -> Findings:
    """Everything that is tried on one model.

    Args:
        name: What the model is called in reports.
        subject: The model; files are put beside it.
        ways: Names of lowerings, and of options.
    """
    found = Findings()
    with _expected(found, name, "inspect"):
        original = Original(subject)
        before = original.path.read_bytes()
        try:
            sites = find_activations(subject.path)
        except JumpReLUError as error:
            found.counts["models refused"] += 1
            found.refusals[reason(str(error))] += 1
            if not subject.is_broken and not isinstance(original.trial, str):
                found.faults.append(f"{name}: refused, though onnxruntime runs it: {one_line(error)}")
            return found
        found.counts["models inspected"] += 1
        found.counts["sites"] += len(sites)
        found.refusals.update(reason(site.reason) for site in sites if site.reason)
        _look_for_missed(original, sites, found, name)
        if any(site.patchable for site in sites):
            _patch_every_way(original, sites, ways, found, name)
        if original.path.read_bytes() != before:
            found.faults.append(f"{name}: the input was changed")
    return found


@contextlib.contextmanager
def _expected(found: Findings, name: str, what: str) -> Iterator[None]:
    """No exception leaves the block; one that gets here is a fault."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - this is what the corpus looks for
        *_, frame = traceback.extract_tb(error.__traceback__)
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        found.faults.append(f"{name}: {what}: {type(error).__name__} at {where}: {one_line(error)}")


def _look_for_missed(original: Original, sites: list[ActivationSite], found: Findings, name: str) -> None:
    listed = {site.tensor for site in sites}
    missed = missed_by_name(original.model, listed)
    missed += missed_by_value(original.model.graph, original.values, listed)
    found.faults += [f"{name}: the rectifier that outputs {tensor} is not listed" for tensor in missed]
    found.counts["models whose every tensor was looked at"] += bool(original.values)


def _patch_every_way(
    original: Original, sites: list[ActivationSite], ways: Sequence[str], found: Findings, name: str
) -> None:
    jumps = {site.name: _jump(original, site) for site in sites if site.patchable}
    tensors_of = {site.name: site.tensor for site in sites}
    compared = False
    for way in ways:
        target = original.path.with_name(f"{way}.onnx")
        with _expected(found, name, way):
            try:
                patched = _patch(original.path, target, way, {name: jump.value for name, jump in jumps.items()})
            except PatchError as error:
                found.refusals[f"{way}: {reason(str(error))}"] += 1
                continue
            found.counts[f"patched: {way}"] += 1
            found.refusals.update(reason(skipped.reason) for skipped in patched.skipped)
            chosen = {tensors_of[site.name]: _at(jumps[site.name], site.parameters.jump) for site in patched.sites}
            keeps_nan = way in ("keep_nan", "cast-mul") or patched.lowering == "cast-mul"
            judged = [_accepted(original, target), _reverts(original, target)]
            if not (original.subject.is_large and compared):
                judged += [
                    _computes(original, target, chosen, found, name, keep_nan=keeps_nan),
                    _proved(original, target, found, name),
                ]
            found.faults += [f"{name}: {way}: {problem}" for problems in judged for problem in problems]
            compared = True
    found.counts["models patched"] += compared


def _at(jump: Jump, value: object) -> Jump:
    return Jump(float(cast("float", value)), jump.elem_type)


def _jump(original: Original, site: ActivationSite) -> Jump:
    """A value that the site outputs, so that some values lie at the jump, some below and some above."""
    value = original.values.get(site.tensor)
    if value is not None and value.dtype.kind == "f":
        positive = np.sort(value[np.isfinite(value) & (value > 0)].ravel())
        below = positive[positive < positive[-1:]]  # an upper bound may be the largest, and above it is nothing
        at = float(below[len(below) // 3]) if below.size else JUMP
        return Jump(at, helper.np_dtype_to_tensor_dtype(value.dtype))
    return Jump(JUMP, None if site.dtype is None else helper.np_dtype_to_tensor_dtype(_dtype(site.dtype)))


def _dtype(name: str) -> np.dtype[Any]:
    import ml_dtypes  # noqa: PLC0415 - brought along by onnx

    return np.dtype(getattr(ml_dtypes, name, name))


def _patch(source: Path, target: Path, way: str, jumps: dict[str, float]) -> Any:  # noqa: ANN401 - a PatchedFile
    if way == "jump_input":
        return patch_file(source, target, JUMP, jump_input=True)
    lowering = cast("LoweringName", way if way in LOWERINGS else "auto")
    return patch_file(source, target, recipe=Recipe(None, jumps), lowering=lowering, keep_nan=way == "keep_nan")


def _accepted(original: Original, patched: Path) -> Iterator[str]:
    """What onnx's checker took before, it takes afterwards."""
    if original.is_accepted:
        problem = _checker_problem(patched)
        if problem is not None:
            yield f"onnx's checker refuses the output: {problem}"


def _computes(
    original: Original, patched: Path, jumps: dict[str, Jump], found: Findings, name: str, *, keep_nan: bool
) -> Iterator[str]:
    """The output loads in onnxruntime and equals the oracle's rewrite."""
    if isinstance(original.trial, str):
        found.skip(name, f"not compared: {original.trial}")
        return
    feeds, unpatched = original.trial
    try:
        expected_model = rewritten(original.model, jumps, keep_nan=keep_nan)
    except ValueError as error:
        found.skip(name, f"not compared: {reason(str(error))}")
        return
    oracle = original.path.with_name("oracle.onnx")
    oracle.write_bytes(expected_model.SerializeToString())
    try:
        actual = outputs(session(patched), feeds)
    except RefusedError as error:
        yield f"onnxruntime runs the original and not the output: {error}"
        return
    expected = outputs(session(oracle), feeds)
    if not same(actual, expected) and _has_float16(jumps):
        # On the CPU, onnxruntime computes float16 in float32 and rounds less often than ONNX says.
        expected = reference_outputs(onnx.load(oracle), feeds)
        actual = reference_outputs(onnx.load(patched), feeds)
        found.counts["compared in the reference evaluator"] += 1
    if not same(actual, expected):
        yield "the outputs differ from those of the independent rewrite"
    found.counts["outputs compared"] += 1
    found.counts["outputs that the patch changes"] += not same(actual, unpatched)


def _has_float16(jumps: dict[str, Jump]) -> bool:
    return any(jump.elem_type == onnx.TensorProto.FLOAT16 for jump in jumps.values())


def _proved(original: Original, patched: Path, found: Findings, name: str) -> Iterator[str]:
    feeds = original.subject.feeds if isinstance(original.trial, str) else original.trial[0]
    report = verify(original.path, patched, feeds)
    if report.ok:
        found.counts["proved by verify"] += 1
        return
    open_ = next(check for check in report.checks if not check.ok)
    if report.status == "not comparable" and isinstance(original.trial, str):
        found.skip(name, f"not proved: {reason(open_.detail)}")
    else:
        yield f"verify: {report.status}: {open_.name}: {open_.detail}"


def _reverts(original: Original, patched: Path) -> Iterator[str]:
    back = patched.with_name("reverted.onnx")
    reverted = revert_file(patched, back)
    if back.read_bytes() != original.path.read_bytes() or not reverted.identical:
        yield "reverting does not give the original's bytes"
