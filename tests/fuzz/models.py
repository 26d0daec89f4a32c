"""The models that are mutated: small, and together of every structure that the package looks at."""

from functools import lru_cache

import numpy as np
from onnx import ModelProto, numpy_helper

from onnx_jumprelu import patch_model
from tests.models import NESTED, RELU, f32, parse

CLASSIFIER = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 1, 4, 4] x) => (float[N, 3] y)
<float lo = {0}, float hi = {6}, int64[2] target = {0, 8}> {
    c = Conv <pads = [1, 1, 1, 1]> (x, k, b)
    r = Relu(c)
    p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
    q = Clip(p, lo, hi)
    f = Reshape(q, target)
    g = Gemm(f, w)
    y = Softmax <axis = 1> (g)
}"""
SHAPES = """<ir_version: 8, opset_import: ["" : 18]>
net (float[N, 4] x, float[4] slope) => (float[N, 4] y)
<float zero = {0}, int64[1] first = {0}, int64[1] four = {4}> {
    s = Shape(x)
    n = Gather <axis = 0> (s, first)
    t = Concat <axis = 0> (n, four)
    a = Reshape(x, t)
    z = Identity(zero)
    m = Max(a, z)
    l = LeakyRelu <alpha = 0.0> (m)
    v = PRelu(l, slope)
    above = Greater(v, zero)
    none = Not(above)
    w = Where(none, zero, v)
    e = ConstantOfShape(t)
    h = ThresholdedRelu <alpha = 0.5> (w)
    y = Add(h, e)
}"""
OLD = """<ir_version: 3, opset_import: ["" : 8]>
net (float[2, 4] x) => (float[2, 4] y) { a = Clip <min = 0.0, max = 6.0> (x)  y = Relu(a) }"""


def _classifier() -> ModelProto:
    model = parse(CLASSIFIER)
    rng = np.random.default_rng(0)
    for name, shape in (("k", (2, 1, 3, 3)), ("b", (2,)), ("w", (8, 3))):
        model.graph.initializer.append(numpy_helper.from_array(f32(rng.normal(size=shape)), name))
    return model


def _sparse() -> ModelProto:
    model = parse(RELU.replace("Relu(x)", "Relu(s)").replace("{", "{ s = Add(x, w) ", 1))
    entry = model.graph.sparse_initializer.add(dims=[4])
    entry.values.CopyFrom(numpy_helper.from_array(f32([1, 2]), "w"))
    entry.indices.CopyFrom(numpy_helper.from_array(np.asarray([0, 3])))
    return model


@lru_cache
def base_models() -> tuple[bytes, ...]:
    """Serialized models, the patched ones last."""
    plain = [parse(RELU), parse(NESTED), _classifier(), parse(SHAPES), parse(OLD), _sparse()]
    patched = [
        patch_model(parse(NESTED), 0.5).model,
        patch_model(_classifier(), 0.5, jump_input=True).model,
        patch_model(_classifier(), 0.5, lowering="function").model,
        patch_model(parse(RELU), 0.5, lowering="cast-mul").model,
    ]
    plain[2].metadata_props.add(key="author", value="nobody")
    return tuple(model.SerializeToString() for model in (*plain, *patched))
