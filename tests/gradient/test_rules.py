"""Every rule against the slopes of the operator itself, and against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from onnx_jumprelu.gradient.core.registry import RULES, Node, Rule
from onnx_jumprelu.gradient.core.values import Value
from tests.gradient.cases import RUNS, case_named
from tests.gradient.harness import Case, normal
from tests.gradient.oracles import Trial

TIGHT = 1e-6  # float64 on both sides
SINGLE = 1e-4  # the gradient in float32
COARSE = 2e-3  # gradient and slope in float32

runs = pytest.mark.parametrize(("case", "opset"), RUNS, ids=[f"{case.name}-{opset}" for case, opset in RUNS])
with_torch = [(case, opset) for case, opset in RUNS if case.torch is not None]


def check(trial: Trial) -> None:
    """Hold the gradient, from each engine that can compute it, against the slopes."""
    exact, single = trial.exact_gradient(), trial.single_gradient()
    assert exact is not None or single is not None
    if exact is not None:
        trial.assert_slopes_are_of(exact, TIGHT)
    elif single is not None:
        trial.assert_slopes_are_of(single, SINGLE if trial.on_reference else COARSE)
    if exact is not None and single is not None:
        np.testing.assert_allclose(single, exact, rtol=SINGLE, atol=1e-5 * np.abs(exact).max())


@runs
def test_slopes(case: Case, opset: int) -> None:
    check(Trial(case, opset))


@pytest.mark.parametrize(("case", "opset"), with_torch, ids=[f"{case.name}-{opset}" for case, opset in with_torch])
def test_pytorch(case: Case, opset: int) -> None:
    torch = pytest.importorskip("torch")
    assert case.torch is not None
    trial = Trial(case, opset)
    x = torch.tensor(trial.x, requires_grad=True)
    y = case.torch(torch, x, {name: torch.tensor(value) for name, value in case.constants.items()})
    dtype = np.float64 if trial.on_reference else np.float32
    np.testing.assert_allclose(
        trial.forward.run(None, {"x": trial.x.astype(dtype)})[0], y.detach().numpy(), rtol=SINGLE, atol=1e-5
    )
    (y * torch.tensor(trial.ws["w_y"])).sum().backward()
    expected = x.grad.numpy()
    found = [gradient for gradient in (trial.exact_gradient(), trial.single_gradient()) if gradient is not None]
    assert found
    for gradient in found:
        np.testing.assert_allclose(gradient, expected, rtol=SINGLE, atol=1e-5 * np.abs(expected).max())


def _times(rule: Rule, factor: float) -> Rule:
    """A rule whose cotangents are all wrong by a factor."""

    def wrong(at: Node, *gs: Value) -> list[Value | None]:
        answer = rule.function(at, *gs)
        values = [answer] if isinstance(answer, Value) else list(answer)
        values += [None] * (at.n_inputs - len(values))
        return [None if value is None else value * factor for value in values]

    return replace(rule, function=wrong)


def _without_unbroadcast(rule: Rule) -> Rule:
    return replace(rule, broadcasts=())


def _product_not_transposed(rule: Rule) -> Rule:
    return replace(rule, function=lambda at, g: [g.op("MatMul", at.x(1)), None])


def _convolution_not_turned(rule: Rule) -> Rule:
    return replace(rule, function=lambda at, g: at.op("Conv", g, at.x(1).transpose([1, 0, 2, 3]), pads=[1, 1, 1, 1]))


def _as_identity(rule: Rule) -> Rule:
    """Sums and means: the division or the mask left out."""
    return replace(rule, function=lambda at, g: g.expand(at.x().shape()))


def _statistics_as_constants(rule: Rule) -> Rule:
    """Normalizations: mean and variance taken as constants."""

    def wrong(at: Node, g: Value, *_: object) -> Value:
        x, last = at.x(), [at.rank() - 1]
        centered = x - x.mean(last)
        return g * at.x(1) / ((centered * centered).mean(last) + at.number("epsilon", 1e-5)).op("Sqrt")

    return replace(rule, function=wrong)


FAULTS: dict[str, tuple[Case, Callable[[Rule], Rule]]] = {
    "sign": (case_named("Sigmoid"), lambda rule: _times(rule, -1)),
    "twice": (case_named("Tanh"), lambda rule: _times(rule, 2)),
    "one percent of a sum": (case_named("Sum"), lambda rule: _times(rule, 1.01)),
    "one percent of a convolution": (case_named("Conv-strides"), lambda rule: _times(rule, 1.01)),
    "one percent of a selection": (case_named("Slice-steps"), lambda rule: _times(rule, 0.99)),
    "one percent in float32": (case_named("MaxPool-overlapping"), lambda rule: _times(rule, 1.01)),
    "one percent on onnxruntime alone": (case_named("GlobalLpPool"), lambda rule: _times(rule, 1.01)),
    "broadcast forgotten": (case_named("Add-middle"), _without_unbroadcast),
    "batch forgotten": (case_named("MatMul-batch-right"), _without_unbroadcast),
    "transposition forgotten": (
        Case("MatMul", "y = MatMul(x, b)", (3, 4), {"b": normal(4, 4)}),
        _product_not_transposed,
    ),
    "kernel not turned": (
        Case("Conv", "y = Conv <pads=[1,1,1,1]> (x, w)", (2, 3, 5, 5), {"w": normal(3, 3, 3, 3)}),
        _convolution_not_turned,
    ),
    "count forgotten": (case_named("ReduceMean"), _as_identity),
    "maximum forgotten": (case_named("GlobalMaxPool"), _as_identity),
    "statistics forgotten": (case_named("LayerNormalization"), _statistics_as_constants),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_rule_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, spoil = FAULTS[fault]
    opset = min(case.until, 18)
    check(Trial(case, opset))
    monkeypatch.setitem(RULES, case.op, [spoil(rule) for rule in RULES[case.op]])
    with pytest.raises(AssertionError):
        check(Trial(case, opset))
