"""Nodes that are out of order in a file, as onnxruntime accepts them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto

from onnx_jumprelu import OnnxClassifier, find_activations, patch_model, revert_model, verify
from onnx_jumprelu.graphs.order import sort_nodes
from tests.models import f32, oracle, parse, run

IN_ORDER = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 2] x) => (float[N, 2] y)
<float[2, 2] w = {1.0, 2.0, 3.0, 4.0}, float two = {2.0}> { a = Mul(x, two) b = MatMul(a, w) y = Relu(b) }
"""
BRANCHES = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 2] x, bool c) => (float[N, 2] y)
<float two = {2.0}> {
    a = Mul(x, two)
    y = If (c) <then_branch = then () => (float[N, 2] t) { u = Mul(a, two) t = Relu(u) },
                else_branch = other () => (float[N, 2] e) { e = Identity(a) }>
}
"""


def shuffled(text: str, order: list[int]) -> ModelProto:
    model = parse(text)
    nodes = [model.graph.node[place] for place in order]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def test_they_are_sorted_and_sorted_ones_stay() -> None:
    model = shuffled(IN_ORDER, [2, 0, 1])
    sort_nodes(model)
    assert [node.op_type for node in model.graph.node] == ["Mul", "MatMul", "Relu"]
    before = model.SerializeToString()
    sort_nodes(model)
    assert model.SerializeToString() == before


def test_what_a_branch_reads_comes_first() -> None:
    model = shuffled(BRANCHES, [1, 0])
    branch = model.graph.node[0].attribute[0].g
    branch.node.extend([branch.node[0]])
    del branch.node[0]
    sort_nodes(model)
    assert [node.op_type for node in model.graph.node] == ["Mul", "If"]
    assert [node.op_type for node in model.graph.node[1].attribute[0].g.node] == ["Mul", "Relu"]


def test_every_step_works_and_the_file_keeps_its_order() -> None:
    for order in ([2, 1, 0], [1, 2, 0], [0, 2, 1]):
        model = shuffled(IN_ORDER, order)
        (site,) = find_activations(model)
        assert (site.dtype, site.shape) == ("float32", ("N", 2))
        patched = patch_model(model, 0.5).model
        kept = [node.op_type for node in patched.graph.node if node.op_type in ("Mul", "MatMul")]
        assert kept == [node.op_type for node in model.graph.node if node.op_type in ("Mul", "MatMul")]
        x = f32([[1, -1], [0.25, 0.125]])
        expected = oracle((x * 2) @ np.asarray([[1, 2], [3, 4]], np.float32), 0.5)
        np.testing.assert_array_equal(run(patched, {"x": x})[0], expected)
        assert verify(model, patched).ok
        assert revert_model(patched).SerializeToString() == model.SerializeToString()
        _, gradient = OnnxClassifier(patched).loss_and_grad(x, np.asarray([0, 1]), "logit")
        np.testing.assert_array_equal(gradient, [[0, 0], [4, 8]])


def test_types_are_those_of_sorted_nodes() -> None:
    """Nothing declares the type of the rectifier, whose input is made further down."""
    model = shuffled(IN_ORDER.replace("y = Relu(b)", "r = Relu(b) y = Neg(r)"), [3, 2, 1, 0])
    (site,) = find_activations(model)
    assert (site.tensor, site.dtype, site.shape) == ("r", "float32", ("N", 2))
