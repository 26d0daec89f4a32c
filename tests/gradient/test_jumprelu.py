"""JumpReLU found by its structure, and its derivative, which is a choice."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu import patch_model
from onnx_jumprelu.activation.finder import JumpReLU, find_jumprelus
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.gradient.prepare.pipeline import prepared
from onnx_jumprelu.graphs.scopes import walk_scopes
from onnx_jumprelu.runtime import OrtRunner
from tests.gradient.harness import with_gradient
from tests.gradient.oracles import gradient
from tests.models import parse, single

JUMP = 0.5
X = np.asarray([-2, -0.3, 0, 0.2, 0.5, 0.55, 0.8, 3, 5, 7])
CAP = 6
SURROGATES = ["exact", "relu", "smooth"]


def expected_slope(surrogate: str, x: Array, jump: Array | float) -> Array:
    """The derivative at a site, in NumPy."""
    if surrogate == "exact":
        return np.where(x > jump, 1.0, 0.0)
    if surrogate == "relu":
        return np.where(x > 0, 1.0, 0.0)
    t = np.maximum(0.1 * np.asarray(jump, np.float64), 1e-6)
    with np.errstate(over="ignore"):
        gate = 1 / (1 + np.exp(-(x - jump) / t))
    return np.asarray(gate + x / t * gate * (1 - gate))


def slope(model: ModelProto, surrogate: str, x: Array = X) -> Array:
    whole = with_gradient(model, surrogate)
    return gradient(whole, OrtRunner(whole), x, {"w_y": np.ones_like(x)})


def sites_of(model: ModelProto) -> list[JumpReLU]:
    return list(find_jumprelus(next(iter(walk_scopes(prepared(model))))).values())


LOWERINGS: dict[str, dict[str, object]] = {
    "where": {"lowering": "where"},
    "where, NaN kept": {"lowering": "where", "keep_nan": True},
    "where, jump as input": {"lowering": "where", "jump_input": True},
    "thresholded-relu": {"lowering": "thresholded-relu"},
    "function": {"lowering": "function"},
    "function, jump as input": {"lowering": "function", "jump_input": True},
    "function, NaN kept": {"lowering": "function", "keep_nan": True},
    "cast-mul": {"lowering": "cast-mul"},
    "cast-mul, jump as input": {"lowering": "cast-mul", "jump_input": True},
}


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("name", LOWERINGS)
@pytest.mark.parametrize("jump", [0.0, JUMP])
def test_each_lowering(name: str, surrogate: str, jump: float) -> None:
    patched = patch_model(single("Relu"), jump, **LOWERINGS[name]).model  # type: ignore[arg-type]
    assert [(site.x, site.y) for site in sites_of(patched)] == [("x", "y")]
    np.testing.assert_allclose(slope(patched, surrogate), expected_slope(surrogate, X, jump), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("opset", [8, 9, 11])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_old_opsets(opset: int, surrogate: str) -> None:
    patched = patch_model(single("Relu", opset=opset), JUMP, keep_nan=opset == 9).model
    assert len(sites_of(patched)) == 1
    np.testing.assert_allclose(slope(patched, surrogate), expected_slope(surrogate, X, JUMP), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("lowering", ["where", "thresholded-relu", "function", "cast-mul"])
def test_capped(lowering: str, surrogate: str) -> None:
    """ReLU6: above the cap nothing, below it what the surrogate says; `relu` passes between 0 and the jump."""
    bounds = {"low": np.float32(0), "high": np.float32(CAP)}
    model = single("Clip", extra=bounds, inputs=["x", "low", "high"])
    patched = patch_model(model, JUMP, lowering=lowering).model  # type: ignore[arg-type]
    assert len(sites_of(patched)) == 1
    expected = np.where(X > CAP, 0, expected_slope(surrogate, X, JUMP))
    np.testing.assert_allclose(slope(patched, surrogate), expected, rtol=1e-5, atol=1e-6)
    if surrogate == "relu":
        assert slope(patched, surrogate)[3] == 1  # at 0.2


VARIANTS = {
    "less": "m = Less(j, x) y = Where(m, x, zero)",
    "swapped": "m = LessOrEqual(x, j) y = Where(m, zero, x)",
    "not": "b = LessOrEqual(x, j) m = Not(b) y = Where(m, x, zero)",
    "not greater": "a = Greater(x, j) m = Not(a) y = Where(m, zero, x)",
    "or equal": "m = GreaterOrEqual(j, x) y = Where(m, zero, x)",
    "rectified": "r = Relu(x) m = Greater(x, j) y = Where(m, r, zero)",
    "identity": "i = Identity(x) m = Greater(i, j) k = Identity(m) z = Identity(x) y = Where(k, z, zero)",
    "product": "m = Greater(x, j) c = Cast <to=1> (m) y = Mul(x, c)",
    "product turned": "m = Less(j, x) c = Cast <to=1> (m) y = Mul(c, x)",
    "product with CastLike": "m = Greater(x, j) c = CastLike(m, x) y = Mul(x, c)",
    "product of the ReLU": "r = Relu(x) m = Greater(x, j) c = Cast <to=1> (m) y = Mul(r, c)",
    "zeros like": "k = CastLike(zero, x) l = CastLike(j, x) m = Greater(x, l) y = Where(m, x, k)",
    "cast jump": "d = Cast <to=11> (j) k = Cast <to=1> (d) m = Greater(x, k) y = Where(m, x, zero)",
}


def _with_constants(nodes: str, jump: Array | None = None, shape: str = "N") -> ModelProto:
    text = f'<ir_version: 8, opset_import: ["" : 17]> net (float[{shape}] x) => (float[{shape}] y) {{ {nodes} }}'
    model = onnx.parser.parse_model(text)
    for name, value in {"j": JUMP if jump is None else jump, "zero": 0.0, "minus": -JUMP, "one": 1.0}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
    return model


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("name", VARIANTS)
def test_patched_elsewhere(name: str, surrogate: str) -> None:
    model = _with_constants(VARIANTS[name])
    assert [(site.x, site.y) for site in sites_of(model)] == [("x", "y")]
    x = X[X != JUMP]  # on the jump itself they differ
    np.testing.assert_allclose(slope(model, surrogate, x), expected_slope(surrogate, x, JUMP), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("nodes", [VARIANTS["less"], VARIANTS["product"]])
def test_a_jump_per_channel(nodes: str, surrogate: str) -> None:
    jump = np.asarray([0.0, 0.5, 2.0], np.float32)[:, None]
    model = _with_constants(nodes, jump, "N, 3, 10")
    x = np.tile(X, (2, 3, 1)) + 0.01
    np.testing.assert_allclose(slope(model, surrogate, x), expected_slope(surrogate, x, jump), rtol=1e-4, atol=1e-5)


LOOK_ALIKES = {
    "negative jump": "m = Greater(x, minus) y = Where(m, x, zero)",
    "negative alpha": "y = ThresholdedRelu <alpha=-0.5> (x)",
    "not zero elsewhere": "m = Greater(x, j) y = Where(m, x, one)",
    "another tensor": "z = Exp(x) m = Greater(x, j) y = Where(m, z, zero)",
    "another tensor's ReLU": "n = Neg(x) z = Relu(n) m = Greater(x, j) y = Where(m, z, zero)",
    "another tensor's mask": "z = Exp(x) m = Greater(z, j) y = Where(m, x, zero)",
    "what lies below": "m = Greater(x, j) y = Where(m, zero, x)",
    "product with what lies below": "m = Less(x, j) c = Cast <to=1> (m) y = Mul(x, c)",
    "product with a number": "c = Cast <to=1> (j) y = Mul(x, c)",
    "threshold from the data": "t = ReduceMean(x) a = Abs(t) m = Greater(x, a) y = Where(m, x, zero)",
    "two thresholds": "m = Greater(x, j) n = Less(x, one) b = And(m, n) y = Where(b, x, zero)",
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_look_alikes(name: str) -> None:
    model = _with_constants(LOOK_ALIKES[name])
    assert sites_of(model) == []
    # Whatever the surrogate, they have their own derivative.
    np.testing.assert_array_equal(slope(model, "relu"), slope(model, "exact"))


def test_a_jump_without_a_default_is_not_a_jump() -> None:
    model = parse(
        '<ir_version: 8, opset_import: ["" : 17]> net (float[N] x, float j) => (float[N] y) '
        "{ zero = Constant <value_float=0.0> () m = Greater(x, j) y = Where(m, x, zero) }"
    )
    assert sites_of(model) == []


def test_an_input_that_was_broadcast() -> None:
    """One number against three jumps: its cotangent is their sum."""
    model = _with_constants(VARIANTS["less"], np.asarray([0.1, 0.5, 2.0]), "1")
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    whole = with_gradient(model, "exact")
    found = gradient(whole, OrtRunner(whole), np.asarray([1.0]), {"w_y": np.asarray([1.0, 10.0, 100.0])})
    np.testing.assert_allclose(found, [11.0])


def test_unknown_sizes_hide_no_site() -> None:
    """A site is found even where the name of a dimension is lost on one side."""
    model = _with_constants("m = Greater(x, j) z = Where(m, x, zero) y = Identity(z)")
    model.graph.value_info.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["M"]))
    np.testing.assert_array_equal(slope(model, "relu"), expected_slope("relu", X, JUMP))


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_the_jump_that_is_fed_counts(surrogate: str) -> None:
    """An overridable jump: the derivative follows what the run is given."""
    patched = patch_model(single("Relu"), JUMP, jump_input=True).model
    (jump_name,) = [tensor.name for tensor in patched.graph.initializer]
    whole = with_gradient(patched, surrogate)
    feeds = {"x": X, "w_y": np.ones_like(X), jump_name: np.asarray(2.0)}
    found = OrtRunner(whole).run(None, {name: value.astype(np.float32) for name, value in feeds.items()})[-1]
    np.testing.assert_allclose(found, expected_slope(surrogate, X, 2.0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_float64(surrogate: str) -> None:
    patched = patch_model(single("Relu", elem_type=TensorProto.DOUBLE), JUMP).model
    found = slope(patched, surrogate)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected_slope(surrogate, X, JUMP), rtol=1e-9, atol=1e-9)
