"""Arithmetic on shapes, as exporters write it for a batch of any size."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.gradient.prepare.fold import fold_shapes
from onnx_jumprelu.gradient.prepare.pipeline import prepared
from onnx_jumprelu.graphs.tensor_types import infer_types
from onnx_jumprelu.runtime import OrtRunner
from tests.gradient.harness import apart, with_gradient
from tests.gradient.networks import slope
from tests.gradient.oracles import gradient
from tests.models import parse

CONSTANTS = {
    "zero": np.int64(0),
    "one": np.int64(1),
    "two": np.int64(2),
    "c0": np.asarray([0]),
    "c1": np.asarray([1]),
    "c2": np.asarray([2]),
    "minus": np.asarray([-1]),
    "seven": np.asarray([7, 9]),
    "none": np.zeros(0, np.float32),
}


def _model(nodes: str, shape: str = "N, 4, 3, 5") -> ModelProto:
    text = f'<ir_version: 8, opset_import: ["" : 17]> net (float[{shape}] x) => (float[] y) {{ {nodes} }}'
    model = parse(text)
    for name, value in CONSTANTS.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


PATTERNS = {
    "view": "s = Shape(x) n = Gather(s, zero) u = Unsqueeze(n, c0) t = Concat <axis=0> (u, minus) y = Reshape(x, t)",
    "chunk": """
        s = Shape(x) n = Gather(s, one) a = Add(n, one) h = Div(a, two) b = Mul(h, one) e = Mul(h, two)
        ub = Unsqueeze(b, c0) ue = Unsqueeze(e, c0) p = Slice(x, c0, ub, c1) q = Slice(x, ub, ue, c1)
        g = Sigmoid(q) m = Mul(p, g) y = Concat <axis=1> (m, q)""",
    "shuffle": """
        s = Shape(x) n = Gather(s, zero) h = Gather(s, two) un = Unsqueeze(n, c0) uh = Unsqueeze(h, c0)
        t = Concat <axis=0> (un, c2, c2, uh, minus) r = Reshape(x, t) z = Transpose <perm=[0,2,1,3,4]> (r)
        k = Shape(x) f = Reshape(z, k) y = Mul(f, x)""",
    "resize": """
        s = Shape(x) n = Slice(s, c0, c2) t = Concat <axis=0> (n, seven)
        r = Resize <mode="linear"> (x, none, none, t) y = Neg(r)""",
    "expand": """
        s = Shape(x) n = Gather(s, zero) un = Unsqueeze(n, c0) t = Concat <axis=0> (un, c1, c1, c1)
        m = ReduceMean <axes=[0]> (x) e = Expand(m, t) y = Mul(e, x)""",
    "concat of unknown sizes": """
        s = Shape(x) n = Gather(s, zero) un = Unsqueeze(n, c0) t = Concat <axis=0> (un, minus, c1)
        r = Reshape(x, t) g = Sigmoid(r) y = Concat <axis=1> (r, g, r)""",
    "condition on a size": """
        s = Shape(x) n = Gather(s, one) c = Equal(n, one)
        y = If (c) < then_branch = yes () => (float[] p) { p = my.Unknown(x) },
                     else_branch = no () => (float[] q) { q = Exp(x) } >""",
    "scale by a size": """
        s = Shape(x) n = Gather(s, two) f = Cast <to=1> (n) r = Sqrt(f) y = Div(x, r)""",
    "scale by the batch": """
        s = Shape(x) n = Gather(s, zero) f = Cast <to=1> (n) r = Sqrt(f) y = Div(x, r)""",
}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", PATTERNS)
def test_gradient_behind_a_computed_shape(name: str, batch: int) -> None:
    model = _model(PATTERNS[name])
    x = apart((batch, 4, 3, 5))
    whole = with_gradient(model)
    assert "If" not in {node.op_type for node in whole.graph.node}
    runner = OrtRunner(prepared(model))
    rng = np.random.default_rng(0)
    w = rng.normal(size=runner.run(None, {"x": x.astype(np.float32)})[0].shape)
    found = gradient(whole, OrtRunner(whole), x, {"w_y": w})
    direction = rng.normal(size=x.shape)

    def loss(at: Array) -> Array:
        return np.asarray(runner.run(None, {"x": at})[0] * w)

    expected = slope(loss, x.astype(np.float32), direction, 1e-2)
    np.testing.assert_allclose((found * direction).sum(), expected, rtol=2e-3, atol=2e-3 * np.sqrt((found**2).sum()))


def _kinds(nodes: str) -> dict[str, str]:
    """Operator by output, after folding."""
    model = _model(nodes)
    while fold_shapes(model):
        pass
    return {node.output[0]: node.op_type for node in model.graph.node}


def test_only_what_is_certain_is_folded() -> None:
    kinds = _kinds("s = Shape(x) n = Gather(s, zero) c = Gather(s, one) d = Add(n, c) e = Add(c, c) y = Exp(x)")
    assert kinds == {"s": "Shape", "n": "Gather", "c": "Constant", "d": "Add", "e": "Constant", "y": "Exp"}


@pytest.mark.parametrize("to", [TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT8])
def test_an_open_size_in_another_type_stays_open(to: int) -> None:
    kinds = _kinds(f"s = Shape(x) n = Gather(s, zero) f = Cast <to={to}> (n) k = Not(f) y = Exp(x)")
    assert kinds == {"s": "Shape", "n": "Gather", "f": "Cast", "k": "Not", "y": "Exp"}


def test_the_batch_keeps_its_name() -> None:
    model = prepared(_model(PATTERNS["resize"]))
    assert infer_types(model)["main"]["r"].shape == ("N", 4, 7, 9)


def test_weights_are_left_alone() -> None:
    """A tensor of many numbers is not arithmetic on shapes."""
    model = _model("k = Constant <value_ints=[50, 60]> () w = ConstantOfShape(k) v = Neg(w) y = Exp(x)")
    assert not fold_shapes(model)
