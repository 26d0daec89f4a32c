"""A small network, and what tests ask of a report."""

import onnx
from onnx import ModelProto

from onnx_jumprelu import VerifyReport

LOWERINGS = ["where", "thresholded-relu", "function", "cast-mul"]


NET = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3] x) => (float[N, 3] y)
<float[3, 3] w = {0.5, -1, 2, 1, 0.25, -0.5, 3, 1, -2}, float lo = {0}, float hi = {6}>
{ a = MatMul(x, w)  b = Relu(a)  c = MatMul(b, w)  y = Clip(c, lo, hi) }"""


def failed(report: VerifyReport) -> list[str]:
    return [check.name for check in report.checks if not check.ok]


def nodes(model: ModelProto, op: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == op]
