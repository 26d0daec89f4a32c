"""OnnxClassifier: numbers against NumPy, batches of every kind, and one line for everything that is wrong."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu import DataError, GradientError, OnnxClassifier, OptionError, patch_model
from onnx_jumprelu.arrays import Array, Floats, Labels
from onnx_jumprelu.classifier.normalization import normalized
from onnx_jumprelu.errors import RunError
from tests.models import f32, parse, with_external_weights

RNG = np.random.default_rng(7)
WEIGHT = RNG.standard_normal((6, 4)).astype(np.float32)
X = RNG.random((5, 6), dtype=np.float32)
LABELS = np.asarray([0, 1, 2, 3, 1])


def linear(
    *, batch: str | int = "N", softmax: str | None = None, opset: int = 18, elem_type: int = TensorProto.FLOAT
) -> ModelProto:
    """Logits `x @ WEIGHT` of 6 features and 4 classes."""
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["scores"], name="head")]
    if softmax:
        nodes.append(helper.make_node(softmax, ["scores"], ["probabilities"], name="tail", axis=1))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", elem_type, [batch, 6])],
        [helper.make_tensor_value_info("probabilities" if softmax else "scores", elem_type, [batch, 4])],
        [numpy_helper.from_array(WEIGHT.astype(helper.tensor_dtype_to_np_dtype(elem_type)), "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def softmax(z: Array) -> Array:
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def cross_entropy(x: Floats, labels: Labels) -> tuple[Array, Array]:
    """Loss and gradient of the linear classifier, in float64."""
    weight = WEIGHT.astype(np.float64)
    p = softmax(x.astype(np.float64) @ weight)
    return -np.log(p[np.arange(len(x)), labels]), (p - np.eye(4)[labels]) @ weight.T


class TestNumbers:
    @pytest.mark.parametrize("tail", [None, "Softmax", "LogSoftmax"])
    @pytest.mark.parametrize("opset", [9, 11, 13, 18])
    def test_logits_loss_and_gradient(self, tail: str | None, opset: int) -> None:
        classifier = OnnxClassifier(linear(softmax=tail, opset=opset))
        loss, gradient = classifier.loss_and_grad(X, LABELS)
        expected_loss, expected_gradient = cross_entropy(X, LABELS)
        assert np.allclose(classifier.logits(X), X @ WEIGHT, atol=1e-6)
        assert np.array_equal(classifier.predict(X), (X @ WEIGHT).argmax(axis=1))
        assert np.allclose(loss, expected_loss, atol=1e-6)
        assert np.allclose(gradient, expected_gradient, atol=1e-6)
        assert classifier.stripped == (() if tail is None else ("tail",))

    def test_one_run_gives_the_same_logits(self) -> None:
        classifier = OnnxClassifier(linear())
        assert np.array_equal(classifier.evaluate(X, LABELS)[0], classifier.logits(X))

    def test_targeted_loss(self) -> None:
        targets = (LABELS + 1) % 4
        loss, gradient = OnnxClassifier(linear()).loss_and_grad(X, LABELS, "difference", targets)
        z, rows = X @ WEIGHT, np.arange(5)
        assert np.allclose(loss, z[rows, targets] - z[rows, LABELS], atol=1e-6)
        assert np.allclose(gradient, (WEIGHT[:, targets] - WEIGHT[:, LABELS]).T, atol=1e-6)

    def test_jacobian(self) -> None:
        classifier = OnnxClassifier(linear(), batch_size=3)
        logits, gradients = classifier.jacobian(X)
        assert np.allclose(logits, X @ WEIGHT, atol=1e-6)
        assert np.allclose(gradients, np.broadcast_to(WEIGHT.T, (5, 4, 6)), atol=1e-6)
        classes = np.asarray([[3, 0]] * 5)
        assert np.allclose(classifier.jacobian(X, classes)[1], gradients[:, [3, 0]], atol=1e-6)

    @pytest.mark.parametrize("statistics", [([0.3], [0.5]), ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]), (None, [2.0])])
    def test_normalization_is_part_of_the_graph(
        self, statistics: tuple[list[float] | None, list[float]], samples: Path
    ) -> None:
        del samples
        mean, std = statistics
        model = parse(
            """<ir_version: 8, opset_import: ["" : 18]>
            net (float[N, 3, 2, 2] x) => (float[N, 12] y) { s = Mul(x, x)  y = Flatten(s) }"""
        )
        x = RNG.random((4, 3, 2, 2), dtype=np.float32)
        labels = np.asarray([0, 5, 7, 11])
        inside = OnnxClassifier(model, mean=mean, std=std)
        outside = OnnxClassifier(model)
        given = normalized(x, mean, std)
        assert np.array_equal(inside.logits(x), outside.logits(given))
        scale = f32(std).reshape(1, -1, 1, 1)
        expected = outside.loss_and_grad(given, labels)[1] / scale
        assert np.allclose(inside.loss_and_grad(x, labels)[1], expected, rtol=1e-5, atol=1e-6)

    def test_double_precision_model(self) -> None:
        classifier = OnnxClassifier(linear(elem_type=TensorProto.DOUBLE))
        assert classifier.logits(X).dtype == np.float32
        assert np.allclose(classifier.logits(X), X @ WEIGHT, atol=1e-6)


class TestBatches:
    @pytest.mark.parametrize("batch_size", [1, 2, 4, 5, 100])
    def test_any_size_gives_the_same(self, batch_size: int) -> None:
        whole, parts = OnnxClassifier(linear()), OnnxClassifier(linear(), batch_size=batch_size)
        assert parts.batch_size == batch_size
        for one, other in zip(whole.evaluate(X, LABELS), parts.evaluate(X, LABELS), strict=True):
            assert one.shape == other.shape
            assert np.allclose(one, other, atol=1e-6)

    @pytest.mark.parametrize("fixed", [1, 2, 8])
    def test_a_model_with_a_fixed_batch(self, fixed: int) -> None:
        classifier = OnnxClassifier(linear(batch=fixed))
        assert classifier.batch_size == fixed
        loss, gradient = classifier.loss_and_grad(X, LABELS)
        expected_loss, expected_gradient = cross_entropy(X, LABELS)
        assert np.allclose(loss, expected_loss, atol=1e-6)
        assert np.allclose(gradient, expected_gradient, atol=1e-6)
        assert np.allclose(classifier.logits(X), X @ WEIGHT, atol=1e-6)

    def test_the_default_fits_in_memory(self) -> None:
        wide = parse(
            """<ir_version: 8, opset_import: ["" : 18]>
            net (float[N, 3, 512, 512] x) => (float[N, 3] y)
            { a = Relu(x)  b = Neg(a)  c = Exp(b)  d = GlobalAveragePool(c)  y = Flatten(d) }"""
        )
        numbers_per_example = 3 * (3 * 512 * 512)
        assert 1 < (OnnxClassifier(wide).batch_size or 0) < (1 << 30) / (numbers_per_example * 4)
        assert OnnxClassifier(linear()).batch_size == 128


class TestVariants:
    def test_surrogates_differ_only_in_gradients(self) -> None:
        model = parse(
            """<ir_version: 8, opset_import: ["" : 18]>
            net (float[N, 3] x) => (float[N, 3] y) { y = ThresholdedRelu <alpha = 0.5> (x) }"""
        )
        exact = OnnxClassifier(model)
        x = f32([[0.2, 0.4, 0.9]])
        labels = np.asarray([1])
        assert np.array_equal(exact.loss_and_grad(x, labels, "logit")[1], f32([[0, 0, 0]]))
        assert np.array_equal(exact.with_surrogate("relu").loss_and_grad(x, labels, "logit")[1], f32([[0, 1, 0]]))
        smooth = exact.with_surrogate("smooth").loss_and_grad(x, labels, "logit")[1]
        assert 0 < smooth[0, 1] < 1
        assert np.array_equal(exact.with_surrogate("relu").logits(x), exact.logits(x))
        assert exact.surrogate == "exact"

    def test_a_jump_input_is_set_without_a_new_session(self) -> None:
        model = parse(
            """<ir_version: 8, opset_import: ["" : 18]>
            net (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }"""
        )
        patched = patch_model(model, 0.5, jump_input=True).model
        classifier = OnnxClassifier(patched)
        x = f32([[0.2, 0.6, 0.9]])
        assert np.array_equal(classifier.logits(x), f32([[0, 0.6, 0.9]]))
        raised = classifier.with_inputs(jump=0.7)
        assert np.array_equal(raised.logits(x), f32([[0, 0, 0.9]]))
        assert np.array_equal(raised.loss_and_grad(x, np.asarray([1]), "logit")[1], f32([[0, 0, 0]]))
        assert np.array_equal(classifier.loss_and_grad(x, np.asarray([1]), "logit")[1], f32([[0, 1, 0]]))
        with pytest.raises(OptionError, match=r"no input 'leap' with a default; it has jump"):
            classifier.with_inputs(leap=1.0)

    def test_external_weights(self, tmp_path: Path) -> None:
        path = with_external_weights(tmp_path)
        x = RNG.random((2, 8), dtype=np.float32)
        weight = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
        classifier = OnnxClassifier(path)
        assert np.allclose(classifier.logits(x), np.maximum(x @ weight, 0), atol=1e-6)
        gradient = classifier.loss_and_grad(x, np.asarray([7, 7]), "logit")[1]
        above = (x @ weight[:, 7] > 0)[:, None]
        assert np.allclose(gradient, np.where(above, weight[:, 7], 0), atol=1e-6)

    def test_one_thread(self) -> None:
        assert np.allclose(OnnxClassifier(linear(), threads=1).logits(X), X @ WEIGHT, atol=1e-6)


class TestMistakes:
    def test_shape_of_x(self) -> None:
        with pytest.raises(DataError, match=r"x has shape \[5, 7\]; the model takes \(N, 6\)"):
            OnnxClassifier(linear()).logits(np.zeros((5, 7), np.float32))
        with pytest.raises(DataError, match="at least one example"):
            OnnxClassifier(linear()).logits(X[:0])

    @pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4], [-1, 0, 0, 0, 0]])
    def test_labels_out_of_range(self, labels: list[int]) -> None:
        with pytest.raises(DataError, match="the model has classes 0 to 3"):
            OnnxClassifier(linear()).loss_and_grad(X, np.asarray(labels))

    @pytest.mark.parametrize("labels", [np.zeros(4, np.int64), np.zeros(5), np.zeros((5, 1), np.int64)])
    def test_labels_of_another_form(self, labels: Array) -> None:
        with pytest.raises(DataError, match="5 integers are needed"):
            OnnxClassifier(linear()).loss_and_grad(X, labels)

    def test_settings(self) -> None:
        for settings, message in [
            ({"bounds": (1, 0)}, "the first must be below the second"),
            ({"bounds": (0, np.inf)}, "both finite"),
            ({"surrogate": "none"}, "surrogate 'none' is unknown; choose exact, relu, smooth"),
            ({"providers": ["NoSuchProvider"]}, "no provider 'NoSuchProvider' here; it has"),
            ({"threads": 0}, "threads must be at least 1"),
            ({"batch_size": 0}, "batch_size must be at least 1"),
        ]:
            with pytest.raises(OptionError, match=message):
                OnnxClassifier(linear(), **settings)  # type: ignore[arg-type]

    def test_losses(self) -> None:
        with pytest.raises(OptionError, match="loss 'mse' is unknown; choose ce, dlr"):
            OnnxClassifier(linear()).loss_and_grad(X, LABELS, "mse")
        with pytest.raises(OptionError, match="loss difference needs targets"):
            OnnxClassifier(linear()).loss_and_grad(X, LABELS, "difference")

    def test_statistics(self) -> None:
        with pytest.raises(DataError, match="give 1 value or 6"):
            OnnxClassifier(linear(), mean=[0.1, 0.2])
        with pytest.raises(DataError, match="std: every value must be above 0"):
            OnnxClassifier(linear(), std=[0.0])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("(float16[N, 4] x) => (float16[N, 4] y) { y = Relu(x) }", "input 'x' is float16; gradients need float32"),
            (
                "(float[N, 4] x) => (float[N, 2, 2] y) { s = Constant<value_ints=[-1,2,2]>()  y = Reshape(x, s) }",
                r"output 'y' has shape .*; logits of shape \(N, classes\) are needed",
            ),
            ("(float[N, 4] x, float[N, 4] z) => (float[N, 4] y) { y = Add(x, z) }", r"the model has 2 inputs \(x, z\)"),
            ("(float[N, 1] x) => (float[N, 1] y) { y = Sigmoid(x) }", "has 1 class; a classifier with at least 2"),
        ],
    )
    def test_models(self, text: str, message: str, tmp_path: Path) -> None:
        model = parse(f'<ir_version: 8, opset_import: ["" : 18]> net {text}')
        with pytest.raises(GradientError, match=message):
            OnnxClassifier(model)
        onnx.save(model, tmp_path / "model.onnx")
        with pytest.raises(GradientError, match=f"model.onnx: .*{message}"):
            OnnxClassifier(tmp_path / "model.onnx")

    def test_an_operator_without_a_rule(self) -> None:
        model = parse(
            """<ir_version: 8, opset_import: ["" : 18]>
            net (float[N, 4] x) => (float[N, 4] y) { y = Sinh(x) }"""
        )
        classifier = OnnxClassifier(model)
        assert np.allclose(classifier.logits(X[:, :4]), np.sinh(X[:, :4]), atol=1e-6)  # no gradient is asked for
        with pytest.raises(GradientError, match=r"node 'y' \(Sinh\): no gradient rule for Sinh, version 9 .*ai\.onnx"):
            classifier.loss_and_grad(X[:, :4], np.zeros(5, np.int64))

    def test_a_model_that_does_not_load(self) -> None:
        model = parse(
            """<ir_version: 8, opset_import: ["" : 18, "elsewhere" : 1]>
            net (float[N, 4] x) => (float[N, 4] y) { y = elsewhere.Magic(x) }"""
        )
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
        with pytest.raises(RunError, match="Magic"):
            OnnxClassifier(model).logits(X[:, :4])
