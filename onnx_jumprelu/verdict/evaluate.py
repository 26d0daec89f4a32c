"""`evaluate`: a verdict in one call."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Union, overload

from onnx import ModelProto

from onnx_jumprelu.arguments import shown
from onnx_jumprelu.classifier.target import ModelLike, Target, target_of
from onnx_jumprelu.data.reading import Data, DataLike, data_of
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.names import NormName
from onnx_jumprelu.verdict.checkpoint import Checkpoint
from onnx_jumprelu.verdict.experiment import Experiment, one, pair
from onnx_jumprelu.verdict.gates import Policy
from onnx_jumprelu.verdict.progress import RunningAttack
from onnx_jumprelu.verdict.result import Verdict
from onnx_jumprelu.verdict.run import judge, n_attacks
from onnx_jumprelu.verdict.suite import Choice

Progress = Union[bool, Callable[[RunningAttack], None]]  # noqa: UP007 - for Python 3.10 too


@overload
def evaluate(
    model: ModelLike,
    data: DataLike,
    /,
    *,
    eps: float,
    norm: NormName = ...,
    attacks: Choice = ...,
    eps_grid: Sequence[float] = ...,
    seed: int = ...,
    gates: Policy | None = ...,
    examples: int = ...,
    latency: bool = ...,
    resume: str | Path | None = ...,
    progress: Progress = ...,
) -> Verdict: ...


@overload
def evaluate(
    model: ModelLike,
    patched: ModelLike | None = ...,
    data: DataLike | None = ...,
    *,
    eps: float,
    norm: NormName = ...,
    attacks: Choice = ...,
    eps_grid: Sequence[float] = ...,
    seed: int = ...,
    gates: Policy | None = ...,
    examples: int = ...,
    latency: bool = ...,
    resume: str | Path | None = ...,
    progress: Progress = ...,
) -> Verdict: ...


def evaluate(  # noqa: PLR0913 - settings, by keyword
    model: ModelLike,
    patched: ModelLike | DataLike | None = None,
    data: DataLike | None = None,
    *,
    eps: float,
    norm: NormName = "Linf",
    attacks: Choice = "standard",
    eps_grid: Sequence[float] = (),
    seed: int = 0,
    gates: Policy | None = None,
    examples: int = 0,
    latency: bool = True,
    resume: str | Path | None = None,
    progress: Progress = False,
) -> Verdict:
    """Attack one model, or an original and a patched model, in every planned way.

    `evaluate(original, patched, data, eps=...)` says whether the patch helps; `evaluate(model, data, eps=...)` only
    measures one model. Interrupted by Ctrl-C, it returns what has been measured so far; `missing` names the rest.

    Args:
        model: The model, or the original of a pair: a file or a `ModelProto`; a `Target` where it expects normalized
            inputs.
        patched: The patched model.
        data: Data that tuning never saw: `Data`, arrays `(x, labels)`, or an `.npz` file with `x` and `y`.
        eps: Largest perturbation, in data space.
        norm: Norm of the perturbations.
        attacks: `standard`, `quick`, a list such as `pgd,apgd-ce:relu,square`, or a sequence of names, attacks, and
            pairs of an attack and a surrogate: `["square", (APGDCE(eps=eps, n_iter=200), "smooth")]`.
        eps_grid: Where to measure the curve of robust accuracy against eps; empty for no curve.
        seed: Seed of all randomness.
        gates: Conditions to check.
        examples: How many inputs to show before and after an attack in reports.
        latency: Whether to measure the latency ratio of a pair.
        resume: A file that keeps finished attacks. If it exists, they are read from it instead of run again; it is
            deleted once the verdict is complete.
        progress: True for lines on stderr, one at the start and one per attack; or a function that is called as each
            attack begins, goes on and ends.

    Returns:
        The verdict; `outcome` is `gain`, `loss`, `undecided`, or, for one model, `measured`.

    Raises:
        DataError: the data do not fit a model.
        GradientError: a model is not a classifier with gradients.
        ModelFileError: a model cannot be read.
        OptionError: an attack does not exist or cannot be run, a gate does not apply to one model, or the file to
            resume belongs to another experiment.
    """
    if data is None:
        patched, data = None, patched
    if data is None or isinstance(data, Target | ModelProto) or isinstance(patched, Data | tuple):
        raise OptionError("evaluate takes a model and data, or an original model, a patched model and data")
    if gates is not None and not isinstance(gates, Policy):
        raise OptionError(f"gates: give a Policy, or read one with read_policy(FILE), not {shown(gates)}")
    if not isinstance(progress, bool) and not callable(progress):
        raise OptionError(f"progress is True, False or a function, not {shown(progress)}")
    if resume is not None and not isinstance(resume, str | os.PathLike):
        raise OptionError(f"resume is the path of a file, not {shown(resume)}")
    if gates is not None and patched is None:
        gates.check_one_model()
    targets = one(target_of(model)) if patched is None else pair(target_of(model), target_of(patched))
    experiment = Experiment(
        targets,
        data_of(data),
        eps,
        norm=norm,
        attacks=attacks,
        eps_grid=eps_grid,
        seed=seed,
        latency=latency,
        n_shown=examples,
    )
    kept = None if resume is None else Path(resume)
    checkpoint = Checkpoint(kept, resume=kept is not None and kept.exists())
    started, on_progress = _shown(progress, experiment)
    verdict = judge(experiment, checkpoint=checkpoint, on_start=started, on_progress=on_progress)
    if verdict.complete:
        checkpoint.remove()
    return verdict if gates is None else verdict.with_gates(gates)


def _shown(
    progress: Progress, experiment: Experiment
) -> tuple[Callable[[float], None], Callable[[RunningAttack], None]]:
    """What to call with the time that the attacks take at most, and as each attack begins, goes on and ends."""
    if progress is False:
        return lambda _: None, lambda _: None
    if progress is not True:
        return lambda _: None, progress
    total, n_begun = n_attacks(experiment), 0

    def start(seconds: float) -> None:
        examples = len(experiment.data.x)
        sys.stderr.write(f"at most {total} attacks on {examples} examples, at most about {seconds:.0f} s\n")

    def show(now: RunningAttack) -> None:
        nonlocal n_begun
        if not now.share:
            n_begun += 1
            sys.stderr.write(f"attack {n_begun} of at most {total}: {now}\n")

    return start, show
