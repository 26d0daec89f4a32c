"""If with a condition that only the run knows."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from onnx_jumprelu import patch_model
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import GradientError
from onnx_jumprelu.gradient.core.build import build_gradient_model
from onnx_jumprelu.runtime import OrtRunner
from tests.gradient.harness import normal, with_gradient
from tests.gradient.networks import run_gradient, slope
from tests.gradient.oracles import gradient
from tests.models import parse

# The branches take from outside: x, h and s, which depend on x; k and shape, which do not. One holds a second If.
BRANCHES = """
<ir_version: 10, opset_import: ["" : {opset}]>
net (float[N, 4] x) => (float[N, 3] y) {{
    s = ReduceSum <keepdims=0> (x)
    zero = Constant <value_float=0.0> ()
    c = Greater(s, zero)
    h = Sigmoid(x)
    z = If (c) <
        then_branch = yes () => (float[N, 4] out) {{
            a = Relu(h)
            d = Greater(s, k)
            inner = If (d) <
                then_branch = deep () => (float[N, 4] deep_out) {{ deep_out = Mul(a, x) }},
                else_branch = flat () => (float[N, 4] flat_out) {{ flat_out = Neg(a) }}
            >
            out = Mul(inner, h)
        }},
        else_branch = no () => (float[N, 4] out2) {{
            e = Exp(x)
            r = Reshape(e, shape)
            out2 = Mul(r, s)
        }}
    >
    zz = Add(z, x)
    y = MatMul(zz, w)
}}
"""


def _with_constants(text: str, **constants: Array) -> ModelProto:
    model = parse(text)
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model


def branches(opset: int = 18) -> ModelProto:
    return _with_constants(
        BRANCHES.format(opset=opset),
        k=np.float32(5),
        shape=np.asarray([-1, 4]),
        w=normal(4, 3).astype(np.float32),
    )


@pytest.mark.parametrize("opset", [13, 18, 21])
@pytest.mark.parametrize("shift", [-1.0, 0.2, 2.0])
def test_each_way(opset: int, shift: float) -> None:
    """Through the second branch, through the second branch of the first, and through the first of the first."""
    model = branches(opset)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 4)) + shift, rng.normal(size=(5, 3))
    assert (x.sum() > 0, x.sum() > 5) == (shift > 0, shift > 1)
    whole = with_gradient(model)
    found = gradient(whole, OrtRunner(whole), x, {"w_y": w})
    runner = OrtRunner(model)
    for _ in range(3):
        direction = rng.normal(size=x.shape)
        expected = slope(lambda at: runner.run(None, {"x": at})[0] * w, x.astype(np.float32), direction, 2e-3)
        np.testing.assert_allclose((found * direction).sum(), expected, rtol=2e-3, atol=2e-3)


def test_whole_classifier() -> None:
    model = branches()
    whole = build_gradient_model(model)
    onnx.checker.check_model(whole, full_check=True)
    x, labels = normal(5, 4).astype(np.float32), np.asarray([0, 1, 2, 1, 0])
    runner = OrtRunner(whole, optimize=True)
    found = run_gradient(whole, runner, x, labels)[2]
    direction = normal(5, 4, seed=1)
    expected = slope(lambda at: run_gradient(whole, runner, at, labels)[1], x, direction, 2e-3)
    np.testing.assert_allclose((found * direction).sum(), expected, rtol=2e-3, atol=2e-3)
    assert np.abs(found).max() > 0.01


SITES = """
<ir_version: 10, opset_import: ["" : 18]>
net (float[N] x, bool flag) => (float[N] y) {
    y = If (flag) <
        then_branch = yes () => (float[N] out) { r = Relu(x) out = Mul(r, two) },
        else_branch = no () => (float[N] out2) { out2 = Identity(x) }
    >
}
"""


@pytest.mark.parametrize("jump_input", [False, True])
@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize(("surrogate", "expected"), [("exact", [0, 0, 2]), ("relu", [0, 2, 2])])
def test_surrogate_in_a_branch(surrogate: str, expected: list[int], *, flag: bool, jump_input: bool) -> None:
    """A jump that is an input of the model counts in its branches too."""
    model = patch_model(_with_constants(SITES, two=np.float32(2)), 0.5, jump_input=jump_input).model
    whole = with_gradient(model, surrogate)
    x = np.asarray([-1, 0.2, 1], np.float32)
    found = OrtRunner(whole).run(None, {"x": x, "w_y": np.ones_like(x), "flag": np.asarray(flag)})[-1]
    np.testing.assert_array_equal(found, expected if flag else [1, 1, 1])


POOL = """
<ir_version: 10, opset_import: ["" : 18]>
net (float[1, 1, 5] x, bool flag) => (float[] y) {
    y = If (flag) <
        then_branch = yes () => (float[1, 1, 2] out) { out = MaxPool <kernel_shape=[3], strides=[2]> (x) },
        else_branch = no () => (float[1, 1, 1] out2) { out2 = Identity(k) }
    >
}
"""


def test_branches_of_other_shapes() -> None:
    """A pool whose backward pass changes the node itself; and a branch that does not look at the input."""
    whole = with_gradient(_with_constants(POOL, k=np.ones((1, 1, 1), np.float32)))
    runner = OrtRunner(whole)
    feeds = {"x": np.asarray([[[1, 5, 2, 0, 3]]], np.float32)}
    w = np.asarray([[[1, 10]]], np.float32)
    found = runner.run(None, {**feeds, "w_y": w, "flag": np.asarray(True)})[-1]
    np.testing.assert_array_equal(found, [[[0, 1, 0, 0, 10]]])
    found = runner.run(None, {**feeds, "w_y": w[..., :1], "flag": np.asarray(False)})[-1]
    np.testing.assert_array_equal(found, np.zeros((1, 1, 5)))


def test_operator_without_rule_in_a_branch() -> None:
    model = _with_constants(SITES.replace("Relu(x)", "LpNormalization(x)"), two=np.float32(2))
    with pytest.raises(GradientError, match=r"\(LpNormalization\): no gradient rule for LpNormalization"):
        with_gradient(model)
