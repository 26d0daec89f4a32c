"""Cases for arithmetic, activations and reductions."""

from __future__ import annotations

import numpy as np

from tests.gradient.harness import Case, apart, ints, normal

POSITIVE = (0.5, 2)

ARITHMETIC = [
    Case("Add", "y = Add(x, b)", constants={"b": normal(2, 3, 4)}, since=7),
    Case("Add-row", "y = Add(b, x)", (4,), {"b": normal(2, 3, 4)}),
    Case("Add-middle", "y = Add(x, b)", (3, 1), {"b": normal(2, 3, 4)}),
    Case("Add-ones", "y = Add(x, b)", (1, 1, 4), {"b": normal(2, 3, 1)}),
    Case("Add-scalar", "y = Add(b, x)", (), {"b": normal(2, 3)}),
    Case("Add-itself", "a = ReduceSum <keepdims=1> (x) y0 = Mul(a, a) y = Add(x, y0)"),
    Case("Sub", "y = Sub(x, b)", constants={"b": normal(2, 3, 4)}, since=7),
    Case("Sub-right", "y = Sub(b, x)", (3, 1), {"b": normal(2, 3, 4)}),
    Case("Sub-both", "s = Sigmoid(x) y = Sub(x, s)"),
    Case("Mul", "y = Mul(x, b)", constants={"b": normal(2, 3, 4)}, since=7),
    Case("Mul-row", "y = Mul(b, x)", (4,), {"b": normal(2, 3, 4)}),
    Case("Mul-square", "y = Mul(x, x)"),
    Case("Div", "y = Div(x, b)", constants={"b": apart((2, 3, 4), POSITIVE)}, since=7),
    Case("Div-below", "y = Div(b, x)", (3, 1), {"b": normal(2, 3, 4)}, between=POSITIVE),
    Case("Div-both", "s = Sigmoid(x) y = Div(x, s)"),
    Case("Pow-square", "y = Pow(x, b)", constants={"b": np.float64(2.0)}, since=7),
    Case("Pow-cube", "y = Pow(x, b)", constants={"b": np.float64(3.0)}),
    Case("Pow-root", "y = Pow(x, b)", constants={"b": np.float64(0.5)}, between=POSITIVE),
    Case("Pow-integers", "y = Pow(x, b)", (2, 3), {"b": ints(0, 1, 3)}, since=12),
    Case("Pow-exponent", "y = Pow(b, x)", (3,), {"b": apart((2, 3), POSITIVE, seed=1)}),
    Case("Pow-both", "s = Sigmoid(x) y = Pow(x, s)", between=POSITIVE),
    Case("Neg", "y = Neg(x)", since=7),
    Case("Sqrt", "y = Sqrt(x)", since=7, between=POSITIVE),
    Case("Exp", "y = Exp(x)", since=7),
    Case("Log", "y = Log(x)", since=7, between=POSITIVE),
    Case("Abs", "y = Abs(x)", since=7),
    Case("Reciprocal", "y = Reciprocal(x)", since=7),
    Case("Erf", "y = Erf(x)", torch=lambda t, x, _: t.erf(x)),
    Case("Max", "y = Max(x, b)", constants={"b": apart((2, 3, 4), (-1.9, 1.9), seed=2)}, since=8),
    Case("Max-broadcast", "y = Max(b, x)", (3, 1), {"b": apart((2, 3, 4), (-2.5, 2.5), seed=2)}),
    Case("Max-three", "n = Neg(x) y = Max(x, n, b)", constants={"b": np.float64(1.01)}),
    Case("Max-one", "y = Max(x)"),
    Case("Min", "y = Min(x, b)", constants={"b": apart((2, 3, 4), (-1.9, 1.9), seed=2)}, since=8),
    Case("Min-three", "n = Neg(x) y = Min(x, n, b)", constants={"b": np.float64(-1.01)}),
    Case("Sum", "y = Sum(x, b, x)", (3, 1), {"b": normal(2, 3, 4)}, since=8),
    Case("Sum-one", "y = Sum(x)"),
    Case("Mean", "y = Mean(b, x, b, x)", (3, 1), {"b": normal(2, 3, 4)}, since=8),
    Case("Softmax", "y = Softmax(x)", (2, 5), since=7, torch=lambda t, x, _: t.softmax(x, -1)),
    Case(
        "Softmax-flattened",
        "y = Softmax <axis=1> (x)",
        until=12,
        torch=lambda t, x, _: t.softmax(x.flatten(1), 1).view_as(x),
    ),
    Case("Softmax-last", "y = Softmax <axis=2> (x)", since=7, until=12, torch=lambda t, x, _: t.softmax(x, 2)),
    Case("Softmax-behind", "y = Softmax <axis=-1> (x)", since=11, torch=lambda t, x, _: t.softmax(x, 2)),
    Case("Softmax-middle", "y = Softmax <axis=1> (x)", since=13, torch=lambda t, x, _: t.softmax(x, 1)),
    Case("LogSoftmax", "y = LogSoftmax(x)", (2, 5), since=7, torch=lambda t, x, _: t.log_softmax(x, -1)),
    Case(
        "LogSoftmax-flattened",
        "y = LogSoftmax <axis=1> (x)",
        until=12,
        torch=lambda t, x, _: t.log_softmax(x.flatten(1), 1).view_as(x),
    ),
    Case("LogSoftmax-middle", "y = LogSoftmax <axis=-2> (x)", since=13, torch=lambda t, x, _: t.log_softmax(x, 1)),
]

ACTIVATIONS = [
    Case("Relu", "y = Relu(x)", since=7, torch=lambda t, x, _: t.relu(x)),
    Case("ThresholdedRelu", "y = ThresholdedRelu <alpha=0.7> (x)", since=10),
    Case("ThresholdedRelu-default", "y = ThresholdedRelu (x)", since=10),
    Case("ThresholdedRelu-negative", "y = ThresholdedRelu <alpha=-0.7> (x)", since=10),
    Case("LeakyRelu", "y = LeakyRelu(x)", since=7, torch=lambda t, x, _: t.nn.functional.leaky_relu(x, 0.01)),
    Case("LeakyRelu-alpha", "y = LeakyRelu <alpha=-0.3> (x)"),
    Case("PRelu", "y = PRelu(x, s)", (2, 3, 4), {"s": normal(3, 1)}, since=7),
    Case("PRelu-slope", "y = PRelu(b, x)", (3, 1), {"b": apart((2, 3, 4))}),
    Case("Elu", "y = Elu(x)", since=7, torch=lambda t, x, _: t.nn.functional.elu(x)),
    Case("Elu-alpha", "y = Elu <alpha=0.3> (x)", torch=lambda t, x, _: t.nn.functional.elu(x, 0.3)),
    Case("Selu", "y = Selu(x)", since=7, torch=lambda t, x, _: t.nn.functional.selu(x)),
    Case("Selu-constants", "y = Selu <alpha=0.7, gamma=1.3> (x)"),
    Case("Celu", "y = Celu(x)", since=12, torch=lambda t, x, _: t.nn.functional.celu(x)),
    Case("Celu-alpha", "y = Celu <alpha=0.3> (x)", since=12, torch=lambda t, x, _: t.nn.functional.celu(x, 0.3)),
    Case("Gelu", "y = Gelu(x)", since=20, torch=lambda t, x, _: t.nn.functional.gelu(x)),
    Case(
        "Gelu-tanh",
        'y = Gelu <approximate="tanh"> (x)',
        since=20,
        torch=lambda t, x, _: t.nn.functional.gelu(x, approximate="tanh"),
    ),
    Case("Sigmoid", "y = Sigmoid(x)", since=7, torch=lambda t, x, _: t.sigmoid(x)),
    Case("HardSigmoid", "y = HardSigmoid(x)", since=7, between=(-4, 4)),
    Case("HardSigmoid-constants", "y = HardSigmoid <alpha=0.45, beta=0.3> (x)", between=(-4, 4)),
    Case(
        "HardSwish", "y = HardSwish(x)", since=14, between=(-5, 5), torch=lambda t, x, _: t.nn.functional.hardswish(x)
    ),
    Case("Tanh", "y = Tanh(x)", since=7, torch=lambda t, x, _: t.tanh(x)),
    Case("Softplus", "y = Softplus(x)", since=7, torch=lambda t, x, _: t.nn.functional.softplus(x)),
    Case("Softsign", "y = Softsign(x)", since=7, torch=lambda t, x, _: t.nn.functional.softsign(x)),
    Case("Mish", "y = Mish(x)", since=18, torch=lambda t, x, _: t.nn.functional.mish(x)),
    Case("Swish", "y = Swish(x)", since=24, runtime=0, torch=lambda t, x, _: t.nn.functional.silu(x)),
    Case("Swish-alpha", "y = Swish <alpha=1.7> (x)", since=24, runtime=0),
    Case("Clip", "y = Clip(x, low, high)", constants={"low": np.float64(-0.7), "high": np.float64(1.1)}, since=11),
    Case("Clip-attributes", "y = Clip <min=-0.7, max=1.1> (x)", since=7, until=10),
    Case("Clip-low-attribute", "y = Clip <min=-0.7> (x)", since=7, until=10),
    Case("Clip-low", "y = Clip(x, low)", constants={"low": np.float64(-0.7)}, since=11),
    Case("Clip-high", "y = Clip(x, , high)", constants={"high": np.float64(0.7)}, since=11),
    Case("Clip-open", "y = Clip(x)"),
]


def _reductions() -> list[Case]:
    cases = []
    for op in (
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceL1",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceLogSumExp",
    ):
        moved = 13 if op == "ReduceSum" else 18  # the axes become an input
        cases += [
            Case(f"{op}", f"y = {op}(x)", since=7),
            Case(f"{op}-flat", f"y = {op} <keepdims=0> (x)"),
            Case(f"{op}-attribute", f"y = {op} <axes=[1]> (x)", since=7, until=moved - 1),
            Case(f"{op}-attribute-flat", f"y = {op} <axes=[2, 0], keepdims=0> (x)", until=moved - 1),
            Case(f"{op}-attribute-negative", f"y = {op} <axes=[-1, -2], keepdims=0> (x)", since=11, until=moved - 1),
            Case(f"{op}-input", f"y = {op} (x, a)", constants={"a": ints(1)}, since=moved),
            Case(f"{op}-input-flat", f"y = {op} <keepdims=0> (x, a)", constants={"a": ints(-1, 0)}, since=moved),
            Case(f"{op}-noop", f"y = {op} <noop_with_empty_axes=1> (x)", since=moved),
            Case(f"{op}-empty", f"y = {op} <noop_with_empty_axes=0> (x, a)", constants={"a": ints()}, since=moved),
        ]
    return cases


GLOBAL_POOLS = [
    Case(
        "GlobalAveragePool",
        "y = GlobalAveragePool(x)",
        (2, 3, 4, 5),
        since=7,
        torch=lambda _, x, __: x.mean((2, 3), keepdim=True),
    ),
    Case("GlobalAveragePool-1d", "y = GlobalAveragePool(x)", (2, 3, 4)),
    Case("GlobalAveragePool-3d", "y = GlobalAveragePool(x)", (2, 2, 3, 2, 3)),
    Case(
        "GlobalMaxPool",
        "y = GlobalMaxPool(x)",
        (2, 3, 4, 5),
        since=7,
        torch=lambda _, x, __: x.amax((2, 3), keepdim=True),
    ),
    Case("GlobalMaxPool-3d", "y = GlobalMaxPool(x)", (2, 2, 3, 2, 3), reference=False),
    Case("GlobalLpPool", "y = GlobalLpPool(x)", (2, 3, 4), since=7, until=21),
    *(
        Case(f"GlobalLpPool-{p}", f"y = GlobalLpPool <p={p}> (x)", (2, 3, 4, 5), until=21, torch=_norm)
        for p, _norm in (
            (1, lambda _, x, __: x.abs().sum((2, 3), keepdim=True)),
            (2, lambda _, x, __: (x**2).sum((2, 3), keepdim=True).sqrt()),
            (3, lambda _, x, __: (x.abs() ** 3).sum((2, 3), keepdim=True) ** (1 / 3)),
        )
    ),
]

CASES = [*ARITHMETIC, *ACTIVATIONS, *_reductions(), *GLOBAL_POOLS]
