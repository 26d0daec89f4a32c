"""Gradient models of whole classifiers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from onnx_jumprelu import patch_model
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import GradientError, OptionError
from onnx_jumprelu.gradient.core.build import build_gradient_model
from onnx_jumprelu.runtime import ReferenceRunner
from tests.gradient.harness import apart, normal
from tests.gradient.networks import built, digits, in_type, run_gradient, slope, small, with_random_weights
from tests.models import parse

LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))
QUICK = {"light_shufflenet", "light_squeezenet"}  # the others take seconds
SAMPLES = ["digits_cnn", "digits_cnn_adv", "digits_relu6"]


def assert_slopes_of_double(model: ModelProto, x: Array, labels: Array, gradient: Array) -> None:
    """The gradient of float32 gives the slopes of a copy in float64, in the reference evaluator."""
    double = in_type(model, TensorProto.DOUBLE)
    runner, rows = ReferenceRunner(double), np.arange(len(x))

    def loss(at: Array) -> Array:
        logits = runner.run(None, {model.graph.input[0].name: at})[0]
        return np.asarray(np.log(np.exp(logits).sum(1)) - logits[rows, labels])

    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = rng.normal(size=x.shape)
        expected = slope(loss, x.astype(np.float64), direction, 1e-6)
        size = np.sqrt((gradient.astype(np.float64) ** 2).sum())
        np.testing.assert_allclose((gradient * direction).sum(), expected, rtol=1e-3, atol=1e-4 * size)


@pytest.mark.parametrize("name", SAMPLES)
def test_samples(samples: Path, name: str) -> None:
    model = onnx.load(samples / f"{name}.onnx")
    x, labels = digits(samples, 4)
    x = x + np.random.default_rng(1).uniform(0.001, 0.01, x.shape).astype(np.float32)  # off the ties of black pixels
    whole, runner = built(model)
    _, _, gradient = run_gradient(whole, runner, x, labels)
    assert_slopes_of_double(model, x, labels, gradient)


def test_real_network(shared: Path) -> None:
    model = onnx.load(shared / "models" / "mnist_lenet.onnx")
    with np.load(shared / "data" / "mnist_test.npz") as data:
        x, labels = data["x"][:4].astype(np.float32) / 255, data["y"][:4].astype(np.int64)
    x = x.reshape(4, 1, 28, 28) + np.random.default_rng(1).uniform(0.001, 0.01, (4, 1, 28, 28)).astype(np.float32)
    whole, runner = built(model)
    _, _, gradient = run_gradient(whole, runner, x, labels)
    assert_slopes_of_double(model, x, labels, gradient)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem in QUICK else [pytest.mark.slow]) for path in LIGHT],
    ids=lambda path: path.stem,
)
def test_light_models(path: Path) -> None:
    """With random weights: with their own, which are all alike, every logit is the same."""
    model = onnx.load(path)
    built(model)
    rng = np.random.default_rng(0)
    whole, runner = built(with_random_weights(model, rng), "logit")
    x, labels = rng.normal(size=(1, 3, 224, 224)).astype(np.float32), np.zeros(1, np.int64)
    logits, _, gradient = run_gradient(whole, runner, x, labels)
    assert np.std(logits) > 0.1
    size = np.sqrt((gradient.astype(np.float64) ** 2).sum())
    assert size > 1e-3
    # Uphill, where the slope is as large as the gradient: a wrong gradient is not that steep in its own direction.
    found = slope(lambda at: run_gradient(whole, runner, at, labels)[1], x, gradient / size, 0.03)
    np.testing.assert_allclose(found, size, rtol=0.02)


TAILS = {
    "Softmax": "y = Softmax <axis=1> (logits)",
    "LogSoftmax": "y = LogSoftmax <axis=1> (logits)",
    "Softmax by default": "y = Softmax (logits)",
    "Softmax and Identity": "s = Softmax <axis=1> (logits) y = Identity(s)",
    "twice": "s = Softmax <axis=1> (logits) y = LogSoftmax <axis=1> (s)",
}


@pytest.mark.parametrize("opset", [7, 11, 13, 18])
@pytest.mark.parametrize("tail", TAILS)
def test_trailing_softmax_is_left_out(tail: str, opset: int) -> None:
    x, labels = apart((3, 2, 6, 6)).astype(np.float32), np.asarray([0, 3, 1])
    plain, softened = (built(model) for model in (small(opset), small(opset, TAILS[tail])))
    for expected, found in zip(run_gradient(*plain, x, labels), run_gradient(*softened, x, labels), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert "Softmax" not in {node.op_type for node in softened[0].graph.node}


def test_softmax_over_something_else_stays() -> None:
    model = small(18, "y = Softmax <axis=0> (logits)")
    whole, _ = built(model)
    assert "Softmax" in {node.op_type for node in whole.graph.node}


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 15, 17, 18, 21])
@pytest.mark.parametrize("surrogate", ["exact", "relu"])
def test_every_opset(opset: int, surrogate: str) -> None:
    """The same network at every opset, patched, against the newest one's gradient."""
    x, labels = apart((3, 2, 6, 6)).astype(np.float32), np.asarray([0, 3, 1])
    found, expected = (
        run_gradient(*built(patch_model(small(version), 0.4).model, surrogate=surrogate), x, labels)
        for version in (opset, 20)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert np.abs(found[2]).max() > 0.01


def test_old_batch_normalization_that_is_not_spatial() -> None:
    model = small(8)
    model.graph.node[1].attribute.append(helper.make_attribute("spatial", 0))
    with pytest.raises(GradientError, match=r"\(BatchNormalization\): means something else at opset 9"):
        build_gradient_model(model)
    model.graph.node[1].attribute[-1].i = 1
    built(model)


def test_functions_are_inlined() -> None:
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17, "my" : 1]>
        net (float[N, 4] x) => (float[N, 4] y) { h = my.Outer(x) y = Mul(h, x) }
        <domain: "my", opset_import: ["" : 17, "my" : 1]> Outer (u) => (w) { v = my.Inner(u) w = Exp(v) }
        <domain: "my", opset_import: ["" : 17]> Inner (u) => (w) { w = Sigmoid(u) }
        """
    )
    x, labels = normal(3, 4).astype(np.float32), np.asarray([0, 1, 3])
    _, _, found = run_gradient(*built(model, "logit"), x, labels)
    gate = 1 / (1 + np.exp(-x))
    expected = np.eye(4)[labels] * np.exp(gate) * (1 + x * gate * (1 - gate))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_constant_condition_is_inlined() -> None:
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 4] x) => (float[N, 4] y) {
            yes = Constant <value=bool {1}> ()
            y = If (yes) < then_branch = a () => (float[N, 4] p) { e = Exp(x) p = Mul(e, x) },
                           else_branch = b () => (float[N, 4] q) { q = my.Unknown(x) } >
        }
        """
    )
    x, labels = normal(3, 4).astype(np.float32), np.asarray([0, 1, 3])
    whole, runner = built(model, "logit")
    assert "If" not in {node.op_type for node in whole.graph.node}
    found = run_gradient(whole, runner, x, labels)[2]
    np.testing.assert_allclose(found, np.eye(4)[labels] * np.exp(x) * (1 + x), rtol=1e-4, atol=1e-6)


def _text(inputs: str, nodes: str, output: str = "float[N, 5] y") -> ModelProto:
    return parse(f'<ir_version: 8, opset_import: ["" : 17]> net ({inputs}) => ({output}) {{ {nodes} }}')


REFUSED: dict[str, tuple[ModelProto, str]] = {
    "float16": (in_type(small(17), TensorProto.FLOAT16), "convert the model to float32"),
    "float16 inside": (
        _text("float[N, 5] x", "h = Cast <to=10> (x) e = Exp(h) y = Cast <to=1> (e)"),
        r"node 'h' \(Cast\): computes in float16",
    ),
    "integers": (_text("int64[N, 5] x", "y = Cast <to=1> (x)"), "convert the model to float32"),
    "two inputs": (_text("float[N, 5] x, float[N, 5] z", "y = Add(x, z)"), "the model has 2 inputs"),
    "an image": (
        _text("float[N, 3, 8, 8] x", "y = Exp(x)", "float[N, 3, 8, 8] y"),
        r"logits of shape \(N, classes\) are needed",
    ),
    "one class": (_text("float[N, 1] x", "y = Exp(x)", "float[N, 1] y"), "a classifier with at least 2 is needed"),
    "classes unknown": (_text("float[N, C] x", "y = Exp(x)", "float[N, C] y"), "with the classes fixed"),
    "no rule": (_text("float[N, 5] x", "y = my.Odd(x)"), "no gradient rule for my::Odd"),
    "too old": (small(6), "opsets 7 to"),
}
REFUSED["no rule"][0].opset_import.append(helper.make_opsetid("my", 1))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    model, message = REFUSED[name]
    with pytest.raises(GradientError, match=message) as caught:
        build_gradient_model(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("loss", "surrogate"), [("hinge", "exact"), ("ce", "straight")])
def test_unknown_options(loss: str, surrogate: str) -> None:
    with pytest.raises(OptionError, match="is unknown; choose"):
        build_gradient_model(small(17), loss, surrogate)


def test_a_loss_that_needs_more_classes() -> None:
    model = _text("float[N, 3] x", "y = Exp(x)", "float[N, 3] y")
    with pytest.raises(GradientError, match="loss dlr-targeted needs at least 4 classes; the model has 3"):
        build_gradient_model(model, "dlr-targeted")


def test_names_that_are_taken() -> None:
    """A model that uses the new names itself."""
    model = small(17, "loss = Exp(logits) gradient = Identity(loss) labels = Neg(gradient) y = Identity(labels)")
    whole, runner = built(model)
    names = [value.name for value in whole.graph.output]
    assert len(set(names)) == 3
    assert not {"loss", "gradient"} & set(names)
    x, labels = apart((3, 2, 6, 6)).astype(np.float32), np.asarray([0, 3, 1])
    assert [value.shape for value in run_gradient(whole, runner, x, labels)] == [(3, 5), (3,), (3, 2, 6, 6)]
