"""Small models for tests, mostly as ONNX text."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu.arrays import Array, Floats, Labels
from onnx_jumprelu.classifier.classifier import OnnxClassifier
from onnx_jumprelu.graphs.constants import numpy_dtype
from onnx_jumprelu.runtime import OrtRunner, ReferenceRunner

RELU = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 4] x) => (float[N, 4] y) {
    y = Relu(x)
}
"""

# Rectifiers in the main graph, in nested subgraphs and in functions that call each other.
NESTED = """
<ir_version: 10, opset_import: ["" : 18, "my" : 1]>
net (float[N, 4] x, bool flag, int64 trips) => (float[N, 4] y) {
    a = Relu(x)
    b = If (flag) <
        then_branch = yes () => (float[N, 4] out) {
            inner = If (flag) <
                then_branch = deep () => (float[N, 4] deep_out) { deep_out = Relu(a) },
                else_branch = flat () => (float[N, 4] flat_out) { flat_out = Neg(a) }
            >
            out = Relu(inner)
        },
        else_branch = no () => (float[N, 4] out2) { out2 = Relu(a) }
    >
    c = Loop (trips, , b) <
        body = step (int64 i, bool go, float[N, 4] state) => (bool go_on, float[N, 4] next) {
            go_on = Identity(go)
            minus = Sub(state, a)
            next = Relu(minus)
        }
    >
    d = my.Outer(c)
    y = Identity(d)
}
<domain: "my", opset_import: ["" : 18, "my" : 1]>
Outer (u) => (w) {
    v = my.Inner(u)
    w = Relu(v)
}
<domain: "my", opset_import: ["" : 18]>
Inner (u) => (w) {
    n = Neg(u)
    w = Relu(n)
}
"""


def parse(text: str) -> ModelProto:
    """A model from ONNX text."""
    return onnx.parser.parse_model(text)


def single(
    op: str,
    *,
    elem_type: int = TensorProto.FLOAT,
    opset: int = 17,
    ir_version: int = 8,
    extra: dict[str, Array] | None = None,
    inputs: list[str] | None = None,
    shape: list[int | str] | None = None,
    **attributes: object,
) -> ModelProto:
    """A model of one node named `act` from x to y; `extra` are initializers."""
    shape = ["N"] if shape is None else shape
    node = helper.make_node(op, inputs or ["x"], ["y"], name="act", **attributes)  # type: ignore[arg-type]
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("x", elem_type, shape)],
        [helper.make_tensor_value_info("y", elem_type, shape)],
        [numpy_helper.from_array(value, name) for name, value in (extra or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def f32(values: object) -> Array:
    """A float32 array."""
    return np.asarray(values, np.float32)


def run(model: ModelProto, feeds: dict[str, Array], *, optimize: bool = False) -> list[Array]:
    """All outputs of a model in onnxruntime."""
    return OrtRunner(model, optimize=optimize).run(None, feeds)


def run_reference(model: ModelProto, feeds: dict[str, Array]) -> list[Array]:
    """All outputs of a model in onnx's reference evaluator."""
    return ReferenceRunner(model).run(None, feeds)


def oracle(x: Array, jump: float, cap: float = np.inf) -> Array:
    """JumpReLU value by value in plain Python, apart from the package's own: `min(x, cap) if x > jump else 0`."""
    threshold = float(np.asarray(jump).astype(x.dtype))
    values = [min(float(value), cap) if float(value) > threshold else 0.0 for value in x.ravel()]
    return np.asarray(values, np.float64).reshape(x.shape).astype(x.dtype)


def spread(elem_type: int, jump: float) -> Array:
    """Values around a jump, of shape (N,): far, near, the neighbours on both sides, the jump itself, no NaN."""
    dtype = numpy_dtype(elem_type)
    at = np.asarray([jump], np.float64).astype(dtype)
    ends = np.asarray([-np.inf, np.inf], np.float64).astype(dtype)
    near = np.concatenate([np.nextafter(at, ends[:1]), at, np.nextafter(at, ends[1:])])
    wide = np.asarray([-3, -jump, -0.0, 0.0, jump / 2, 2 * jump, 5.9, 6.0, 6.5, 100.0], np.float64).astype(dtype)
    return np.concatenate([near, wide, ends])


def with_external_weights(folder: Path, name: str = "model.onnx", location: str = "weights.bin") -> Path:
    """A model file in `folder` whose weights lie in a file of their own."""
    weights = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 8] x) => (float[N, 8] y) { a = MatMul(x, w)  y = Relu(a) }"""
    )
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, folder / name, save_as_external_data=True, location=location, size_threshold=0)
    return folder / name


def clean_accuracy(model: ModelProto, x: Floats, labels: Labels) -> float:
    """Share of inputs (N, ...), as the model takes them, whose largest logit is their label's."""
    return float((OnnxClassifier(model).predict(x) == labels).mean())
