"""Names that nothing uses yet, and constants that are shared only if they are the same."""

import numpy as np
import onnx.parser
import pytest
from onnx import TensorProto, helper

from onnx_jumprelu.graphs.builder import FreshNames, GraphBuilder

MODEL = """
<ir_version: 10, opset_import: ["" : 18, "my" : 1]>
net (float[N] x) => (float[N] y) <float[1] weight = {1}> {
    [first] inner = my.Block (x)
    y = Relu(inner)
}
<opset_import: ["" : 18], domain: "my">
Block <slope> (given) => (result) {
    [second] middle = LeakyRelu <alpha: float = @slope> (given)
    result = Relu(middle)
}
"""


@pytest.mark.parametrize(
    "taken",
    ["x", "y", "weight", "first", "inner", "given", "result", "slope", "second", "middle"],
)
def test_every_kind_of_name_is_taken(taken: str) -> None:
    fresh = FreshNames(onnx.parser.parse_model(MODEL))
    assert fresh(taken) == f"{taken}_2"
    assert fresh(taken) == f"{taken}_3"


def test_a_free_name_stays_and_is_taken_from_then_on() -> None:
    fresh = FreshNames(onnx.parser.parse_model(MODEL))
    assert [fresh("free"), fresh("free")] == ["free", "free_2"]


def test_names_of_training_graphs_are_taken() -> None:
    model = onnx.parser.parse_model(MODEL)
    node = helper.make_node("Relu", ["gradient"], ["update"])
    algorithm = helper.make_graph([node], "algorithm", [], [])
    model.training_info.append(helper.make_training_info(algorithm, [], None, None))
    assert FreshNames(model)("update") == "update_2"


def builder() -> GraphBuilder:
    return GraphBuilder(FreshNames(onnx.parser.parse_model(MODEL)))


def test_equal_constants_are_shared() -> None:
    to = builder()
    assert to.constant(TensorProto.FLOAT, 0.5, "half") == to.constant(TensorProto.FLOAT, 0.5, "again")
    assert len(to.take()) == 1


def test_constants_with_the_same_bytes_are_not_shared_across_types_and_shapes() -> None:
    """A zero has the same bytes in float16 and bfloat16, and a number the same as a list of one."""
    to = builder()
    names = {
        to.constant(TensorProto.FLOAT16, 0.0, "zero"),
        to.constant(TensorProto.BFLOAT16, 0.0, "zero"),
        to.constant(TensorProto.FLOAT, 0.0, "zero"),
        to.constant(TensorProto.FLOAT, np.zeros(1), "zero"),
        to.constant(TensorProto.FLOAT, np.zeros((1, 1)), "zero"),
    }
    assert len(names) == 5
