"""JumpReLUs are recognised in every spelling, and nothing else is."""

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from onnx_jumprelu import OnnxClassifier, find_activations, patch_model
from onnx_jumprelu.activation.finder import JumpReLU, find_jumprelus
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.scopes import walk_scopes
from tests.models import f32, oracle, parse, run, spread

CONSTANTS = "float j = {0.5}, float n = {-0.5}, float zero = {0}, float one = {1}"
HEAD = '<ir_version: 8, opset_import: ["" : 17]> net'

# The nodes from x to y, a JumpReLU of x with jump 0.5.
SPELLINGS = {
    "Where": "m = Greater(x, j)  y = Where(m, x, zero)",
    "Where, the branches swapped": "m = LessOrEqual(x, j)  y = Where(m, zero, x)",
    "Where, Less": "m = Less(j, x)  y = Where(m, x, zero)",
    "Where, not at most": "l = LessOrEqual(x, j)  m = Not(l)  y = Where(m, x, zero)",
    "Where, a difference": "d = Sub(x, j)  m = Greater(d, zero)  y = Where(m, x, zero)",
    "Where, the other difference": "d = Sub(j, x)  m = Less(d, zero)  y = Where(m, x, zero)",
    "Where, a sum": "d = Add(x, n)  m = Greater(d, zero)  y = Where(m, x, zero)",
    "Where, of a ReLU": "r = Relu(x)  m = Greater(r, j)  y = Where(m, r, zero)",
    "Where, the ReLU compared": "r = Relu(x)  m = Greater(r, j)  y = Where(m, x, zero)",
    "Where, the ReLU kept": "r = Relu(x)  m = Greater(x, j)  y = Where(m, r, zero)",
    "Where, zeros made of the shape": "m = Greater(x, j)  s = Shape(x)  z = ConstantOfShape(s)  y = Where(m, x, z)",
    "Where, zeros expanded": "m = Greater(x, j)  s = Shape(x)  z = Expand(zero, s)  y = Where(m, x, z)",
    "Where, an expanded jump": "s = Shape(x)  e = Expand(j, s)  m = Greater(x, e)  y = Where(m, x, zero)",
    "Where, a mask cast twice": "m = Greater(x, j)  f = Cast<to = 1>(m)  b = Cast<to = 9>(f)  y = Where(b, x, zero)",
    "Where, Identity between": "i = Identity(x)  m = Greater(i, j)  k = Identity(m)  y = Where(k, x, zero)",
    "Where, compared in float64": """d = Cast<to = 11>(x)  e = Cast<to = 11>(j)  m = Greater(d, e)
        y = Where(m, x, zero)""",
    "Mul": "m = Greater(x, j)  f = Cast<to = 1>(m)  y = Mul(x, f)",
    "Mul, the mask first": "m = Greater(x, j)  f = CastLike(m, x)  y = Mul(f, x)",
    "Mul, the mask chosen": "m = Greater(x, j)  f = Where(m, one, zero)  y = Mul(x, f)",
    "Mul, the mask chosen the other way": "m = LessOrEqual(x, j)  f = Where(m, zero, one)  y = Mul(x, f)",
    "Mul, of a ReLU": "r = Relu(x)  m = Greater(x, j)  f = Cast<to = 1>(m)  y = Mul(r, f)",
    "Mul, of a Max": "r = Max(x, zero)  m = Greater(x, j)  f = Cast<to = 1>(m)  y = Mul(r, f)",
    "Mul, of a Clip": "r = Clip(x, zero)  m = Greater(x, j)  f = Cast<to = 1>(m)  y = Mul(r, f)",
    "Mul, of a LeakyRelu": "r = LeakyRelu(x)  m = Greater(x, j)  f = Cast<to = 1>(m)  y = Mul(r, f)",
    "Mul, of Abs": "r = Abs(x)  m = Greater(x, j)  f = Cast<to = 1>(m)  y = Mul(r, f)",
    "Mul, the sign of a rectified difference": "d = Sub(x, j)  r = Relu(d)  f = Sign(r)  y = Mul(x, f)",
    "Mul, the rectified sign of a difference": "d = Sub(x, j)  s = Sign(d)  f = Relu(s)  y = Mul(x, f)",
    "Add": "d = Sub(x, j)  r = Relu(d)  m = Greater(x, j)  f = Cast<to = 1>(m)  p = Mul(j, f)  y = Add(r, p)",
    "ThresholdedRelu": "y = ThresholdedRelu<alpha = 0.5>(x)",
    "ThresholdedRelu of Identity": "i = Identity(x)  y = ThresholdedRelu<alpha = 0.5>(i)",
}
OTHERS = {
    "a mask of something else": "s = Sin(x)  m = Greater(s, j)  y = Where(m, x, zero)",
    "below the jump": "m = Less(x, j)  y = Where(m, x, zero)",
    "one elsewhere": "m = Greater(x, j)  y = Where(m, x, one)",
    "a negative jump": "m = Greater(x, n)  y = Where(m, x, zero)",
    "hard shrinkage": "a = Abs(x)  m = Greater(a, j)  y = Where(m, x, zero)",
    "a step": "m = Greater(x, j)  y = Cast<to = 1>(m)",
    "the mask of ones and halves": "m = Greater(x, j)  f = Where(m, one, j)  y = Mul(x, f)",
    "a rectifier that flips": "r = LeakyRelu<alpha = -1.0>(x)  m = Greater(r, j)  y = Where(m, x, zero)",
    "a difference above 1": "d = Sub(x, j)  m = Greater(d, one)  y = Where(m, x, zero)",
    "a truncated number": "i = Cast<to = 7>(x)  k = Cast<to = 1>(i)  m = Greater(x, j)  y = Where(m, k, zero)",
    "soft shrinkage": """d = Sub(x, j)  r = Relu(d)  m = Greater(x, j)  f = Cast<to = 1>(m)  p = Mul(n, f)
        y = Add(r, p)""",
}


def model(nodes: str) -> ModelProto:
    return parse(f"{HEAD} (float[N] x) => (float[N] y) <{CONSTANTS}> {{ {nodes} }}")


def at_y(found: ModelProto) -> JumpReLU | None:
    (scope,) = walk_scopes(found)
    return find_jumprelus(scope).get("y")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_is_a_jumprelu_and_is_found(spelling: str) -> None:
    written = model(SPELLINGS[spelling])
    x = spread(TensorProto.FLOAT, 0.5)
    x = x[np.isfinite(x)]  # Infinity minus itself or times 0 is NaN
    (y,) = run(written, {"x": x})
    np.testing.assert_allclose(y, oracle(x, 0.5), rtol=1e-6)
    site = at_y(written)
    assert site is not None
    assert site.jumps == (0.5,)


@pytest.mark.parametrize("other", OTHERS)
def test_others_are_not(other: str) -> None:
    written = model(OTHERS[other])
    x = f32([-2.0, -0.25, 0.25, 0.75, 1.25, 2.5, 3.0])
    (y,) = run(written, {"x": x})
    assert not np.allclose(y, oracle(x, 0.5))
    assert at_y(written) is None


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_is_listed_and_nothing_of_it_is_patched(spelling: str) -> None:
    """A rectifier behind the JumpReLU is one of the model's own."""
    text = f"""{HEAD} (float[N] x) => (float[N] out) <{CONSTANTS}>
        {{ {SPELLINGS[spelling]}  w = Neg(y)  out = Relu(w) }}"""
    sites = find_activations(parse(text))
    assert [site.tensor for site in sites if site.patchable] == ["out"]
    assert any("is already a JumpReLU (jump 0.5)" in str(site.reason) for site in sites)
    assert [site.name for site in patch_model(parse(text), 1.0).sites] == ["out"]


def test_a_rectifier_that_others_use_too_is_not_part_of_it() -> None:
    text = f"""{HEAD} (float[N] x) => (float[N] y, float[N] r) <{CONSTANTS}>
        {{ r = Relu(x)  m = Greater(r, j)  y = Where(m, r, zero) }}"""
    assert [site.tensor for site in find_activations(parse(text)) if site.patchable] == ["r"]


@pytest.mark.parametrize(
    "between",
    [
        "i = Identity(y)",
        "d = Cast<to = 11>(y)  i = Cast<to = 1>(d)",
        "q = QuantizeLinear(y, j)  i = DequantizeLinear(q, j)",
    ],
)
def test_a_cap_behind_it(between: str) -> None:
    text = f"""{HEAD} (float[N] x) => (float[N] out) <{CONSTANTS}, float six = {{6}}>
        {{ m = Greater(x, j)  y = Where(m, x, zero)  {between}  out = Clip(i, zero, six) }}"""
    (site,) = (site for site in find_activations(parse(text)) if site.tensor == "out")
    assert "follows a JumpReLU (jump 0.5)" in str(site.reason)


def test_a_cap_inside() -> None:
    text = f"""{HEAD} (float[N] x) => (float[N] y) <{CONSTANTS}, float six = {{6}}>
        {{ r = Clip(x, zero, six)  m = Greater(x, j)  f = Cast<to = 1>(m)  y = Mul(r, f) }}"""
    site = at_y(parse(text))
    assert site is not None
    assert site.x == "r"
    assert not any(site.patchable for site in find_activations(parse(text)))


@pytest.mark.parametrize("domain", ["onnx_jumprelu", "other"])
def test_a_call_of_a_function(domain: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 17, "{domain}" : 1]>
        net (float[N] x) => (float[N] y) <float j = {{0.5}}> {{ y = {domain}.Step(x, j) }}
        <domain: "{domain}", opset_import: ["" : 17]> Step (u, k) => (v)
        {{ d = Constant<value = double {{0}}>()  z = CastLike(d, u)  m = Greater(u, k)  v = Where(m, u, z) }}"""
    (site,) = find_activations(parse(text))
    assert "is already a JumpReLU (jump 0.5)" in str(site.reason)
    swapped = parse(text.replace("Greater(u, k)", "Greater(k, u)"))
    assert find_activations(swapped) == []


def _classifier(nodes: str) -> ModelProto:
    return parse(
        f"""{HEAD} (float[N, 2] a) => (float[N, 2] logits) <{CONSTANTS}, float[2, 2] w = {{1, 2, -1, 1}}>
        {{ x = MatMul(a, w)  {nodes}  logits = Neg(y) }}"""
    )


@pytest.mark.parametrize("spelling", [name for name in SPELLINGS if "Mul, of Abs" not in name])
@pytest.mark.parametrize("surrogate", ["relu", "smooth", "exact"])
def test_surrogates_act_on_every_spelling(surrogate: str, spelling: str) -> None:
    """The gradient is the one of the plainest spelling."""

    def gradient(nodes: str) -> Array:
        classifier = OnnxClassifier(_classifier(nodes), surrogate=surrogate, bounds=(-4.0, 4.0))
        assert classifier.n_jumps == 1
        x = f32([[0.3, 0.2], [-0.5, 0.9], [2.0, 1.0], [0.1, -0.3]])
        return classifier.evaluate(x, np.array([0, 1, 0, 1]), "ce")[2]

    np.testing.assert_allclose(gradient(SPELLINGS[spelling]), gradient(SPELLINGS["Where"]), rtol=1e-4, atol=2e-5)
