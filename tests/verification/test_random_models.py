"""Models that draw random numbers are compared on the same numbers, or not at all."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from onnx_jumprelu import patch_model, verify
from onnx_jumprelu.runtime import OrtRunner
from onnx_jumprelu.verification import randomness
from onnx_jumprelu.verification.randomness import held_fixed, random_nodes
from tests.models import f32, parse
from tests.verification.nets import failed, nodes

HEAD = '<ir_version: 8, opset_import: ["" : 17, "my" : 1]> net (float[N, 30] x) => (float[N, 30] y) '
# The rest of a network whose first rectifier comes before the random numbers, so that a patch moves their nodes.
RANDOM = {
    "RandomNormal": "{ a = Relu(x)  n = RandomNormal<shape = [30]>()  b = Add(a, n)  y = Relu(b) }",
    "RandomNormalLike": "{ a = Relu(x)  n = RandomNormalLike(a)  b = Add(a, n)  y = Relu(b) }",
    "RandomUniform": "{ a = Relu(x)  n = RandomUniform<shape = [30]>()  b = Add(a, n)  y = Relu(b) }",
    "RandomUniformLike": "{ a = Relu(x)  n = RandomUniformLike(a)  b = Add(a, n)  y = Relu(b) }",
    "Bernoulli": "{ a = Relu(x)  p = Sigmoid(a)  n = Bernoulli(p)  b = Mul(a, n)  y = Relu(b) }",
    "Multinomial": "{ a = Relu(x)  n = Multinomial<sample_size = 30>(a)  b = Cast<to = 1>(n)  y = Relu(b) }",
    "Dropout": "<float half = {0.5}, bool train = {1}> { a = Relu(x)  b = Dropout(a, half, train)  y = Relu(b) }",
}
NESTED = {
    "If": """{ a = Relu(x)  go = Constant<value = bool {1}>()  b = If(go) <
        then_branch = yes () => (float[N, 30] t) { n = RandomNormalLike(a)  t = Add(a, n) },
        else_branch = no () => (float[N, 30] e) { e = Dropout(a) }>  y = Relu(b) }""",
    "Loop": """{ a = Relu(x)  three = Constant<value_int = 3>()  b = Loop(three, , a) <
        body = step (int64 i, bool go, float[N, 30] s) => (bool on, float[N, 30] r)
        { on = Identity(go)  n = RandomNormalLike(s)  t = Add(s, n)  r = Relu(t) }>  y = Relu(b) }""",
    "function": """{ a = Relu(x)  b = my.Noise<seed = 2.0>(a)  c = my.Noise(b)  y = Relu(c) }
        <domain: "my", opset_import: ["" : 17]> Noise <seed> (u) => (w)
        { n = RandomNormalLike<seed: float = @seed>(u)  t = Add(u, n)  w = Relu(t) }""",
}


def broken(model: ModelProto) -> ModelProto:
    """A patched model whose last site keeps the numbers below the jump."""
    patched = patch_model(model, 0.5).model
    nodes(patched, "Greater")[-1].op_type = "Less"
    return patched


@pytest.mark.parametrize("text", [*RANDOM.values(), *NESTED.values()], ids=[*RANDOM, *NESTED])
def test_random_numbers_are_held_fixed(text: str) -> None:
    model = parse(HEAD + text)
    before = model.SerializeToString()
    report = verify(model, patch_model(model, 0.5).model)
    assert report.status == "verified", report
    assert "held fixed" in report.checks[-1].detail
    assert verify(model, broken(model)).status == "wrong"
    assert model.SerializeToString() == before


@pytest.mark.parametrize("op", RANDOM)
def test_the_numbers_are_random_all_the_same(op: str) -> None:
    """Without a seed they differ from run to run; with one they differ from those of another node."""
    model, x = parse(HEAD + RANDOM[op]), {"x": np.ones((4, 30), np.float32)}
    runner = OrtRunner(model)
    assert not np.array_equal(runner.run(None, x)[0], runner.run(None, x)[0])
    fixed = held_fixed(model)
    assert fixed is not model
    assert np.array_equal(OrtRunner(fixed).run(None, x)[0], OrtRunner(held_fixed(model)).run(None, x)[0])
    two = parse(HEAD + "{ n = RandomNormalLike(x)  m = RandomNormalLike(x)  b = Sub(n, m)  y = Relu(b) }")
    assert OrtRunner(held_fixed(two)).run(None, x)[0].any()


def test_every_operator_with_a_seed_is_known() -> None:
    schemas = [schema for schema in onnx.defs.get_all_schemas() if "seed" in schema.attributes]
    assert {schema.name for schema in schemas} >= set(RANDOM)
    for schema in schemas:
        assert randomness._seed_type(schema.name, schema.since_version, schema.domain) is not None  # noqa: SLF001


@pytest.mark.parametrize(
    "text", ["{ a = Dropout(x)  y = Relu(a) }", "{ n = RandomNormalLike<seed = 1.0>(x)  b = Add(x, n)  y = Relu(b) }"]
)
def test_models_without_random_numbers_stay_as_they_are(text: str) -> None:
    model = parse(HEAD + text)
    assert held_fixed(model) is model
    assert not list(random_nodes(model))
    assert verify(model, patch_model(model, 0.5).model).ok


@pytest.mark.parametrize("op", ["RandomNormalLike", "Dropout"])
def test_random_numbers_that_cannot_be_held_fixed_are_not_a_wrong_rewrite(
    op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an operator of another tool's would be, whose seed this tool does not know."""
    monkeypatch.setattr(randomness, "_seed_type", lambda *_: None)
    model = parse(HEAD + RANDOM[op])
    report = verify(model, patch_model(model, 0.5).model, f32(np.ones((4, 30))))
    assert failed(report) == ["jump 0"]
    assert report.status == "not comparable"
    assert report.checks[-1].detail.startswith("not comparable: the original's own outputs differ from run to run")
