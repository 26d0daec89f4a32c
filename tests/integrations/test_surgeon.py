"""The interface for GraphSurgeon's users."""

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from onnx_jumprelu import OptionError, surgeon
from tests.models import f32, oracle, parse, run

NET = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N] x) => (float[N] y) { a = Relu(x)  b = Neg(a)  c = Add(b, x)  y = Relu(c) }"""


def test_retrofit() -> None:
    graph = gs.import_onnx(parse(NET))
    patched = surgeon.retrofit(graph, 0.5)
    assert [node.op for node in graph.nodes] == ["Relu", "Neg", "Add", "Relu"]
    x = f32([-1, 0.3, 0.5, 0.7, 3])
    (y,) = run(gs.export_onnx(patched), {"x": x})
    assert np.array_equal(y, oracle(x - oracle(x, 0.5), 0.5))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_layer_keeps_the_type(dtype: type[np.floating]) -> None:
    x = gs.Variable("x", np.dtype(dtype), ["N"])
    graph = gs.Graph(nodes=[], inputs=[x], opset=17)
    y = graph.jumprelu(x, 0.3)
    assert (y.dtype, y.shape) == (np.dtype(dtype), ["N"])
    graph.outputs = [graph.jumprelu(y, 0.4)]
    model = gs.export_onnx(graph)
    model.ir_version = 8  # onnx may be ahead of onnxruntime
    onnx.checker.check_model(model, full_check=True)
    values = np.asarray([0.3, 0.35, 0.4, 0.5], dtype)
    (actual,) = run(model, {"x": values})
    assert np.array_equal(actual, oracle(oracle(values, 0.3), 0.4))


def test_bad_calls() -> None:
    graph = gs.Graph(opset=17)
    with pytest.raises(OptionError, match="must be a finite number"):
        graph.jumprelu(gs.Variable("x", np.dtype(np.float32)), -1.0)
    with pytest.raises(OptionError, match="tensor 'x' has no dtype"):
        graph.jumprelu(gs.Variable("x"), 1.0)
    for bad, message in (
        (gs.Variable("x", np.dtype(np.int64)), "needs a floating-point tensor"),
        (gs.Variable("x", np.dtype(np.float16)), "out of range for float16"),
    ):
        with pytest.raises(OptionError, match=message):
            graph.jumprelu(bad, 1e6)
    with pytest.raises(OptionError, match="the graph has opset 7; lowering where: needs opset 9"):
        gs.Graph(opset=7).jumprelu(gs.Variable("x", np.dtype(np.float32)), 1.0)
