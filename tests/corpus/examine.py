"""One model of the corpus, judged: inspected, patched in every way, checked, run, proved, reverted."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, helper

from onnx_jumprelu import (
    ActivationSite,
    JumpReLUError,
    PatchedFile,
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
FACTORS = (1.0, 0.5, 0.0)  # of the jumps of channels, in turn
HARD = [name for name, lowering in LOWERINGS.items() if lowering.form != "soft"]
EVERY_WAY = (*HARD, "keep_nan", "jump_input", "per_channel")


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
    def session(self) -> ort.InferenceSession | None:
        """The model in onnxruntime, None where that does not load it."""
        try:
            return session(self.path)
        except RefusedError:
            return None

    @cached_property
    def trial(self) -> tuple[Feeds, list[Any]] | str:
        """Inputs on which onnxruntime runs it and its outputs, or why it does not."""
        if self.session is None:
            return "onnxruntime does not load the original"
        for feeds in [self.subject.feeds] if self.subject.feeds is not None else random_feeds(self.model):
            with contextlib.suppress(RefusedError):
                first = outputs(self.session, feeds)
                repeatable = same(first, outputs(self.session, feeds))
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
    examination = Examination(name, Original(subject))
    examination.run(ways)
    return examination.found


@dataclass
class Examination:
    """One model while it is examined, and what was found so far."""

    name: str
    original: Original
    found: Findings = field(default_factory=Findings)

    def run(self, ways: Sequence[str]) -> None:
        """Inspect the model, and patch it in each of the ways."""
        before = self.original.path.read_bytes()
        with self._without_exceptions("inspect"):
            sites = self._inspected()
            if sites is not None:
                self._look_for_missed(sites)
                n_patched = [self._patch(sites, way) for way in ways].count(True) if _patchable(sites) else 0
                self.found.counts["models patched"] += n_patched > 0
        if self.original.path.read_bytes() != before:
            self._fault("the input was changed")

    def _fault(self, what: str) -> None:
        self.found.faults.append(f"{self.name}: {what}")

    @contextlib.contextmanager
    def _without_exceptions(self, what: str) -> Iterator[None]:
        """No exception leaves the block; one that gets here is a fault."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - this is what the corpus looks for
            *_, frame = traceback.extract_tb(error.__traceback__)
            where = f"{Path(frame.filename).name}:{frame.lineno}"
            self._fault(f"{what}: {type(error).__name__} at {where}: {one_line(error)}")

    def _inspected(self) -> list[ActivationSite] | None:
        try:
            sites = find_activations(self.original.path)
        except JumpReLUError as error:
            self.found.counts["models refused"] += 1
            self.found.refusals[reason(str(error))] += 1
            if not self.original.subject.is_broken and not isinstance(self.original.trial, str):
                self._fault(f"refused, though onnxruntime runs it: {one_line(error)}")
            return None
        self.found.counts["models inspected"] += 1
        self.found.counts["sites"] += len(sites)
        self.found.refusals.update(reason(site.reason) for site in sites if site.reason)
        return sites

    def _look_for_missed(self, sites: list[ActivationSite]) -> None:
        listed = {site.tensor for site in sites}
        missed = missed_by_name(self.original.model, listed)
        missed += missed_by_value(self.original.model.graph, self.original.values, listed)
        for tensor in missed:
            self._fault(f"the rectifier that outputs {tensor} is not listed")
        self.found.counts["models whose every tensor was looked at"] += bool(self.original.values)

    def _patch(self, sites: list[ActivationSite], way: str) -> bool:
        """Patch the model in one way and judge the result; returns whether there is one."""
        target = self.original.path.with_name(f"{way}.onnx")
        jumps = {site.name: self._jump(site, way) for site in sites if site.patchable}
        with self._without_exceptions(way):
            try:
                patched = _patched(self.original.path, target, way, jumps)
            except PatchError as error:
                self.found.refusals[f"{way}: {reason(str(error))}"] += 1
                return False
            self.found.counts[f"patched: {way}"] += 1
            self.found.refusals.update(reason(skipped.reason) for skipped in patched.skipped)
            tensors_of = {site.name: site.tensor for site in sites}
            chosen = [(tensors_of[site.name], jumps[site.name]) for site in patched.sites]
            keeps_nan = way == "keep_nan" or patched.lowering == "cast-mul"
            judged = [self._accepted(target), self._reverts(target)]
            if not self.original.subject.is_large or not self.found.counts["outputs compared"]:
                judged += [self._computes(target, chosen, keep_nan=keeps_nan), self._proved(target)]
            for problem in (problem for problems in judged for problem in problems):
                self._fault(f"{way}: {problem}")
        return True

    def _jump(self, site: ActivationSite, way: str) -> Jump:
        """A value that the site outputs, so that some values lie at the jump, some below and some above."""
        value, at = self.original.values.get(site.tensor) if site.scope == "main" else None, np.asarray(JUMP)
        if way != "jump_input" and value is not None and value.dtype.kind == "f":
            positive = np.sort(value[np.isfinite(value) & (value > 0)].ravel())
            below = positive[positive < positive[-1:]]  # an upper bound may be the largest, and above it is nothing
            at = np.asarray(below[len(below) // 3] if below.size else JUMP, np.float64)
        if way == "per_channel" and site.n_channels is not None and site.rank is not None:
            at = (at * np.resize(FACTORS, site.n_channels)).reshape(-1, *[1] * (site.rank - 2))
        dtype = value.dtype if value is not None else None if site.dtype is None else _dtype(site.dtype)
        return Jump(at, None if dtype is None else helper.np_dtype_to_tensor_dtype(dtype))

    def _accepted(self, patched: Path) -> Iterator[str]:
        """What onnx's checker took before, it takes afterwards."""
        problem = _checker_problem(patched) if self.original.is_accepted else None
        if problem is not None:
            yield f"onnx's checker refuses the output: {problem}"

    def _computes(self, patched: Path, sites: Sequence[tuple[str, Jump]], *, keep_nan: bool) -> Iterator[str]:
        """The output loads in onnxruntime where the original does, and equals the oracle's rewrite."""
        try:
            running = None if self.original.session is None else session(patched)
        except RefusedError as error:
            yield f"onnxruntime loads the original and not the output: {error}"
            return
        if running is None or isinstance(self.original.trial, str):
            self.found.skip(self.name, f"not compared: {self.original.trial}")
            return
        try:
            expected_model = rewritten(self.original.model, sites, keep_nan=keep_nan)
        except ValueError as error:
            self.found.skip(self.name, f"not compared: {reason(str(error))}")
            return
        oracle = self.original.path.with_name("oracle.onnx")
        oracle.write_bytes(expected_model.SerializeToString())
        feeds, unpatched = self.original.trial
        actual, expected = outputs(running, feeds), outputs(session(oracle), feeds)
        if not same(actual, expected) and onnx.TensorProto.FLOAT16 in {jump.elem_type for _, jump in sites}:
            # On the CPU, onnxruntime computes float16 in float32 and rounds less often than ONNX says.
            actual, expected = (reference_outputs(onnx.load(path), feeds) for path in (patched, oracle))
            self.found.counts["compared in the reference evaluator"] += 1
        if not same(actual, expected):
            yield "the outputs differ from those of the independent rewrite"
        self.found.counts["outputs compared"] += 1
        self.found.counts["outputs that the patch changes"] += not same(actual, unpatched)

    def _proved(self, patched: Path) -> Iterator[str]:
        trial = self.original.trial
        report = verify(
            self.original.path, patched, self.original.subject.feeds if isinstance(trial, str) else trial[0]
        )
        if report.ok:
            self.found.counts["proved by verify"] += 1
            return
        first = next(check for check in report.checks if not check.ok)
        if report.status == "not comparable" and isinstance(trial, str):
            self.found.skip(self.name, f"not proved: {reason(first.detail)}")
        else:
            yield f"verify: {report.status}: {first.name}: {first.detail}"

    def _reverts(self, patched: Path) -> Iterator[str]:
        back = patched.with_name("reverted.onnx")
        reverted = revert_file(patched, back)
        if back.read_bytes() != self.original.path.read_bytes() or not reverted.identical:
            yield "reverting does not give the original's bytes"


def _patchable(sites: list[ActivationSite]) -> bool:
    return any(site.patchable for site in sites)


def _dtype(name: str) -> np.dtype[Any]:
    import ml_dtypes  # noqa: PLC0415 - brought along by onnx

    return np.dtype(getattr(ml_dtypes, name, name))


def _patched(source: Path, target: Path, way: str, jumps: Mapping[str, Jump]) -> PatchedFile:
    if way == "jump_input":
        return patch_file(source, target, JUMP, jump_input=True)
    lowering = cast("LoweringName", way if way in LOWERINGS else "auto")
    recipe = Recipe(
        None,
        {name: jump.value.ravel().tolist() if jump.value.ndim else float(jump.value) for name, jump in jumps.items()},
    )
    return patch_file(source, target, recipe=recipe, lowering=lowering, keep_nan=way == "keep_nan")
