"""Patches and reverts files, one or many."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.arguments import shown
from onnx_jumprelu.errors import JumpReLUError, OptionError, PatchError, naming
from onnx_jumprelu.files.models import ModelFile, check_model_output, load, staged
from onnx_jumprelu.names import ExternalDataMode
from onnx_jumprelu.rewrite.options import PatchOptions
from onnx_jumprelu.rewrite.parallel import outcomes
from onnx_jumprelu.rewrite.patch import Inspection, PatchSummary, inspected, patch_in_place
from onnx_jumprelu.rewrite.paths import default_output, default_outputs, default_reverted, made_folder, make_folder
from onnx_jumprelu.rewrite.recognisers import tensors_to_decode
from onnx_jumprelu.rewrite.record import read_provenance
from onnx_jumprelu.rewrite.revert import before_patch, reverted
from onnx_jumprelu.rewrite.site import ActivationSite

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from onnx_jumprelu.rewrite.options import PatchKeywords

# Checks a finished file before it replaces the target: (original, finished file). An exception keeps the old target.
FileCheck = Callable[[Path, Path], None]


@dataclass(frozen=True)
class PatchedFile(PatchSummary):
    """The result of patching one file.

    Attributes:
        input: The file that was read.
        output: The file that was written; None if nothing was written.
        error: Why nothing was written, in one line; None on success.
    """

    input: Path
    output: Path | None
    error: str | None = None


@dataclass(frozen=True)
class RevertedFile:
    """The result of reverting one file.

    Attributes:
        input: The file that was read.
        output: The file that was written.
        identical: Whether the output is byte for byte the file that was patched (by SHA-256).
    """

    input: Path
    output: Path
    identical: bool


@dataclass(frozen=True)
class FileOptions:
    """How to write files.

    Attributes:
        in_place: Replace the input.
        external_data: How external weights get to an output in another folder: `copy`, or `link` for a hard link, which
            is refused if the installed onnx does not load it (from 1.21 on).
        dry_run: Do everything but write.
        make_folder: Make the output's folder where it is missing.
        force: Replace an existing file even if it is not an ONNX model.
        check: Called with the input and the finished file before that takes its place; an exception stops it.
    """

    in_place: bool = False
    external_data: ExternalDataMode = "copy"
    dry_run: bool = False
    make_folder: bool = False
    check: FileCheck | None = None
    force: bool = False

    def __post_init__(self) -> None:
        """Raises OptionError for an unknown `external_data`."""
        if self.external_data not in get_args(ExternalDataMode):
            raise OptionError(f"external_data is {' or '.join(get_args(ExternalDataMode))}, not '{self.external_data}'")


@dataclass(frozen=True)
class _Job:
    """One file to patch with all its options, so that any process can do it."""

    source: Path
    target: Path
    options: PatchOptions
    files: FileOptions
    batch: bool = False


def inspect_file(path: Path) -> Inspection:
    """The activation sites of a model file, and notes; what goes wrong names the file."""
    file = _load(path)
    with naming(path):
        return inspected(file.model)


def find_in_file(path: Path) -> list[ActivationSite]:
    """`find_activations` on a model file; what goes wrong names the file."""
    return list(inspect_file(path).sites)


def parameters_in_file(path: Path) -> dict[str, Parameters] | None:
    """The parameters of each site that has some or could have some; None for a model without any."""
    sites = find_in_file(path)
    if all(site.parameters is None for site in sites):
        return None
    relu = Parameters()
    return {site.name: site.parameters or relu for site in sites if site.parameters is not None or site.patchable}


def patch_file(
    source: str | Path,
    output: str | Path | None = None,
    jump: float | None = None,
    *,
    files: FileOptions | None = None,
    **options: Unpack[PatchKeywords],
) -> PatchedFile:
    """Patch one file. The output is written completely or not at all.

    Args:
        source: The model.
        output: Where to write; `MODEL.jumprelu.onnx` next to the input by default.
        jump: One jump for all sites, in units of the pre-activations, at least 0.
        files: How to write.
        **options: See `PatchOptions`.

    Raises:
        ModelFileError: the input cannot be used or the output cannot be written; the message names the file.
        OptionError, PatchError, ProvenanceError: as `patch_model`, the message naming the file.
    """
    files = files or FileOptions()
    source = _path(source)
    if files.in_place and output is not None:
        raise OptionError("in_place replaces the input; leave out the output")
    target = source if files.in_place else Path(output or default_output(source))
    return _patch(_Job(source, target, PatchOptions(jump=jump, **options), files))


def _patch(job: _Job) -> PatchedFile:
    original = _load(job.source)
    with naming(job.source):
        before = before_patch(original.model).model.SerializeToString()
        summary = patch_in_place(original.model, job.options, original.sha256)
        if reverted(original.model).SerializeToString() != before:
            raise PatchError("cannot be patched so that the patch can be reverted; please report this model")
    if not job.files.dry_run:
        _write(job, original)
    output = None if job.files.dry_run else job.target
    return PatchedFile(**vars(summary), input=job.source, output=output)


def _write(job: _Job, patched: ModelFile) -> None:
    """Write a model that has been patched. Those of a batch may share folders and weights, which are therefore kept."""
    with contextlib.ExitStack() as stack:
        if job.files.make_folder and job.batch:
            make_folder(job.target.parent)
        elif job.files.make_folder:
            stack.enter_context(made_folder(job.target.parent))
        check_model_output(job.target, patched, in_place=job.files.in_place, force=job.files.force)
        mode = job.files.external_data
        finished = stack.enter_context(staged(patched.model, job.target, patched, mode=mode, keep_weights=job.batch))
        if job.files.check is not None:
            job.files.check(job.source, finished)


def _load(path: Path) -> ModelFile:
    """A model without its large weights, unless a recogniser needs one."""
    file = load(path, weights=False)
    with naming(path):
        read = {name.encode() for name in tensors_to_decode(file.model)}
    return load(path) if read & file.large_weights.keys() else file


def patch_files(
    sources: Iterable[str | Path],
    out_dir: str | Path | None = None,
    jump: float | None = None,
    *,
    executor: Executor | None = None,
    files: FileOptions | None = None,
    on_done: Callable[[PatchedFile], None] | None = None,
    **options: Unpack[PatchKeywords],
) -> list[PatchedFile]:
    """Patch many files. A file that cannot be patched does not stop the others; its result says why.

    Args:
        sources: The models.
        out_dir: Folder for the outputs, created if missing; models keep their folders below their common folder.
            By default each output is next to its input.
        jump: One jump for all sites, in units of the pre-activations, at least 0.
        executor: Any `concurrent.futures` executor; without one the files are patched one after the other. If it
            breaks because a process was killed, what it left undone is patched in one new process after the other.
        files: How to write.
        on_done: Called with each result as soon as it is there, in the calling thread.
        **options: See `PatchOptions`.

    Returns:
        One result per source, in the order of the sources.

    Raises:
        OptionError: options are out of range, or two sources would be written to the same output.
    """
    if isinstance(sources, (str, Path)):
        raise OptionError("patch_files takes a list of files; patch_file takes one")
    if executor is not None and not hasattr(executor, "submit"):
        raise OptionError(f"executor must be a concurrent.futures executor, not {shown(executor)}")
    files = files or FileOptions()
    if files.in_place and out_dir is not None:
        raise OptionError("in_place replaces the inputs; leave out the output folder")
    if out_dir is not None:
        files = replace(files, make_folder=True)
    chosen = PatchOptions(jump=jump, **options)
    paths = [_path(source) for source in sources]
    targets = paths if files.in_place else default_outputs(paths, None if out_dir is None else Path(out_dir))
    jobs = [_Job(path, target, chosen, files, batch=True) for path, target in zip(paths, targets, strict=True)]
    _check_distinct(jobs)
    if out_dir is not None and not files.dry_run:
        make_folder(Path(out_dir))
    results: dict[int, PatchedFile] = {}
    for index, outcome in outcomes(_attempt, jobs, executor):
        source = jobs[index].source
        result = _failed(jobs[index], f"{source}: {outcome}") if isinstance(outcome, BaseException) else outcome
        results[index] = result
        if on_done is not None:
            on_done(result)
    return [results[index] for index in range(len(jobs))]


def _path(source: str | Path) -> Path:
    if not isinstance(source, str | os.PathLike):
        raise OptionError(f"give the path of a model, not {type(source).__name__}; patch_model takes a ModelProto")
    return Path(source)


def _check_distinct(jobs: list[_Job]) -> None:
    sources: dict[str, Path] = {}
    for job in jobs:
        other = sources.setdefault(os.path.realpath(job.target), job.source)
        if other is not job.source:
            raise OptionError(f"{other} and {job.source} would both be written to {job.target}; patch them separately")


def _attempt(job: _Job) -> PatchedFile:
    try:
        return _patch(job)
    except JumpReLUError as error:
        return _failed(job, str(error))
    except Exception as error:  # noqa: BLE001 - one bad model must not stop the others
        return _failed(job, f"{job.source}: unexpected {type(error).__name__}: {error}")


def _failed(job: _Job, error: str) -> PatchedFile:
    return PatchedFile("", (), (), repatched=False, input=job.source, output=None, error=" ".join(error.split()))


def revert_file(
    source: str | Path, output: str | Path | None = None, *, files: FileOptions | None = None
) -> RevertedFile:
    """Write the original of a patched file, completely or not at all.

    Args:
        source: The patched model.
        output: Where to write; `MODEL.reverted.onnx` next to the input by default.
        files: How to write.

    Raises:
        ModelFileError: the input cannot be used or the output cannot be written.
        ProvenanceError: the model has no record of a patch, or its sites were changed afterwards.
    """
    files = files or FileOptions()
    source = _path(source)
    if files.in_place and output is not None:
        raise OptionError("in_place replaces the input; leave out the output")
    target = source if files.in_place else Path(output or default_reverted(source))
    patched = _load(source)
    check_model_output(target, patched, in_place=files.in_place, force=files.force)
    with naming(source):
        recorded = read_provenance(patched.model).input_sha256
        original = reverted(patched.model)
    with staged(original, target, patched, mode=files.external_data) as finished:
        identical = hashlib.sha256(finished.read_bytes()).hexdigest() == recorded
    return RevertedFile(source, target, identical)
