"""Sizes known only at run time: a symbolic batch, and only the rank known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import GradientError
from onnx_jumprelu.runtime import OrtRunner
from tests.gradient.cases import CASES, KNOWN
from tests.gradient.harness import Case, with_gradient
from tests.gradient.oracles import Trial, gradient, runtime_opset

# Each takes a part of the batch, or resizes it.
NEED_THE_BATCH = {"Resize-sizes", "Resize-sizes-alone", "Slice", "Slice-attributes-plain", "Slice-int32"}


def _trials() -> list[Trial]:
    trials = [Trial(case, min(case.until, KNOWN)) for case in CASES if case.input().ndim]
    return [trial for trial in trials if trial.on_runtime]


def _by_runtime(trial: Trial, shape: Sequence[int | str]) -> Array:
    model = with_gradient(trial.case.model(trial.opset, shape=shape))
    return gradient(model, OrtRunner(model), trial.x, trial.ws)


@pytest.mark.parametrize("trial", _trials(), ids=lambda trial: trial.case.name)
def test_unknown_sizes(trial: Trial) -> None:
    expected = trial.single_gradient()
    assert expected is not None
    sizes = trial.x.shape
    if trial.case.name in NEED_THE_BATCH:
        with pytest.raises(GradientError, match=r"size of 'x' along axis 0 is unknown; export it with a fixed size"):
            _by_runtime(trial, ["N", *sizes[1:]])
    else:
        np.testing.assert_allclose(_by_runtime(trial, ["N", *sizes[1:]]), expected, rtol=1e-4, atol=1e-5)
    try:
        found = _by_runtime(trial, [f"D{axis}" for axis in range(len(sizes))])
    except GradientError as error:  # a refusal is fair, a wrong gradient is not
        assert "unknown" in str(error)  # noqa: PT017
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [9, 12, 13, runtime_opset()])
@pytest.mark.parametrize("shape", [(1, 3), (5, 3), (5, 1)])
def test_broadcasting_known_only_at_run_time(opset: int, shape: tuple[int, ...]) -> None:
    """With open sizes, one model is right for inputs that are broadcast and for inputs that are not."""
    b = np.arange(15.0).reshape(5, 3)
    case = Case("Mul", "y = Mul(x, b)", shape, {"b": b})
    whole = np.zeros(shape)
    w = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    whole = (w * b).sum(axes, keepdims=True)
    model = with_gradient(case.model(opset, shape=["N", "C"]))
    np.testing.assert_allclose(gradient(model, OrtRunner(model), case.input(), {"w_y": w}), whole, rtol=1e-5)
