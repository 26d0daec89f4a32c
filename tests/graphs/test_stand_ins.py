"""Types behind onnxruntime's own operators, which onnx does not know."""

from __future__ import annotations

import pytest

from onnx_jumprelu import find_activations
from onnx_jumprelu.graphs.tensor_types import infer_types
from tests.models import parse

HEAD = """<ir_version: 8, opset_import: ["" : 13, "com.microsoft" : 1]>"""


@pytest.mark.parametrize(
    "node",
    [
        "com.microsoft.Gelu(x)",
        "com.microsoft.FastGelu(x)",
        "com.microsoft.SkipLayerNormalization(x, x, w)",
        'com.microsoft.FusedGemm <activation = "Tanh"> (x, m)',
        "com.microsoft.DequantizeLinear(q, w, q)",
    ],
)
def test_the_element_type_is_known_behind_it(node: str) -> None:
    model = parse(
        f"""{HEAD} net (float16[2, 2] x, float16[2] w, float16[2, 2] m, uint8[2, 2] q) => (float16[2, 2] y)
        {{ h = {node} y = Relu(h) }}"""
    )
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].ClearField("type")
    assert infer_types(model)["main"]["h"].dtype == "float16"
    (site,) = find_activations(model)
    assert (site.dtype, site.patchable) == ("float16", True)


def test_a_function_of_the_file_with_such_a_name_is_that_function() -> None:
    model = parse(
        f"""{HEAD} net (float[2] x) => (float[2] y) {{ y = com.microsoft.Gelu(x) }}
        <domain: "com.microsoft", opset_import: ["" : 13]> Gelu (u) => (v) {{ v = Relu(u) }}"""
    )
    (site,) = find_activations(model)
    assert (site.dtype, site.patchable) == ("float32", True)
