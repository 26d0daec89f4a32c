"""Inputs on which the original runs, and what it outputs."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import DataError, RunError
from onnx_jumprelu.graphs.scopes import required_inputs
from onnx_jumprelu.runtime import Feeds, Runner
from onnx_jumprelu.verification.comparison import UndecidedError, has_nan
from onnx_jumprelu.verification.inputs import Given, given_runs
from onnx_jumprelu.verification.random_inputs import random_feeds


@dataclass(frozen=True)
class Trial:
    """Runs of the original.

    Attributes:
        runs: The inputs of each run, by name.
        outputs: The original's outputs of each run.
        source: What the inputs are, for messages.
    """

    runs: tuple[Feeds, ...]
    outputs: tuple[list[Array], ...]
    source: str


def trial_on(model: ModelProto, runner: Runner, given: Given | None, seed: int) -> Trial:
    """Run the original on the caller's inputs, or on random ones, without NaN in its outputs where that can be had.

    Args:
        model: The original.
        runner: The original, ready to run.
        given: The caller's inputs, None for random ones.
        seed: Seed of the random inputs.

    Raises:
        DataError: the caller's inputs do not fit the model, or it does not run on them.
        UndecidedError: the original runs on none of the random inputs.
    """
    if given is not None:
        return _given_trial(model, runner, given)
    error, fallback = RunError("no inputs"), None
    for feeds in random_feeds(model, seed):
        try:
            outputs = runner.run(None, feeds)
        except RunError as failure:
            error = failure
            continue
        trial = Trial((feeds,), (outputs,), f"random inputs (seed {seed})")
        if not any(has_nan(output) for output in outputs):
            return trial
        fallback = fallback or trial
    if fallback is None:
        names = ", ".join(value.name for value in required_inputs(model))
        raise UndecidedError(
            f"the original does not run on random inputs ({error}); give --data FILE.npz with real ones for: {names} "
            "(in Python: x)"
        )
    return fallback


def _given_trial(model: ModelProto, runner: Runner, given: Given) -> Trial:
    error = RunError("no inputs")
    for runs in given_runs(model, given):
        try:
            return Trial(tuple(runs), tuple(runner.run(None, feeds) for feeds in runs), "the given inputs")
        except RunError as failure:
            error = failure
    raise DataError(f"the original does not run on the given inputs ({error})")
