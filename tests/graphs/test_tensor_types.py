"""Types and shapes of a function's tensors: what all its calls agree on."""

from onnx import TensorProto

from onnx_jumprelu.graphs.tensor_types import TensorType, infer_types
from tests.models import parse

TWO_CALLS = """<ir_version: 10, opset_import: ["" : 18, "my" : 1]>
net (float[N, 3] x, {second} z) => (float[N, 3] y, {second} w) {{ y = my.F(x)  w = my.F(z) }}
<domain: "my", opset_import: ["" : 18]> F (u) => (v) {{ v = Relu(u) }}"""


def type_in_function(second: str) -> TensorType | None:
    return infer_types(parse(TWO_CALLS.format(second=second)))["function my::F"].get("v")


def test_calls_with_equal_types() -> None:
    assert type_in_function("float[N, 3]") == TensorType(TensorProto.FLOAT, ("N", 3))


def test_calls_with_different_shapes() -> None:
    assert type_in_function("float[N, 4]") == TensorType(TensorProto.FLOAT, None)


def test_calls_with_different_element_types() -> None:
    assert type_in_function("double[N, 3]") == TensorType(None, ("N", 3))
