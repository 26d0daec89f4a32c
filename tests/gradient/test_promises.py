"""Models on which a gradient could go wrong without a word: it is right, or there is an error."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnx_jumprelu import DataError, GradientError, OnnxClassifier, OptionError, patch_model
from onnx_jumprelu.gradient.core.build import build_gradient_model, build_logits_model
from tests.models import f32, parse, run

RNG = np.random.default_rng(3)
X = RNG.random((3, 4), dtype=np.float32)
LABELS = np.asarray([0, 1, 2])
HEAD = '<ir_version: 8, opset_import: ["" : 18]> net '


def test_a_slice_whose_bound_is_the_batch_is_not_folded_away() -> None:
    model = parse(
        HEAD
        + """(float[N, 4] x) => (float[N, 4] y)
        { s = Shape(x)  zero = Constant<value_ints=[0]>()  one = Constant<value_ints=[1]>()  n = Slice(s, zero, one)
          ids = Constant<value_ints=[1, 2, 3, 4, 5]>()  few = Slice(ids, zero, n)  f = Cast<to=1>(few)
          column = Unsqueeze(f, one)  y = Mul(x, column) }"""
    )
    classifier = OnnxClassifier(model)
    scale = f32([[1], [2], [3]])
    assert np.array_equal(classifier.logits(X), X * scale)
    gradient = classifier.loss_and_grad(X, LABELS, "logit")[1]
    assert np.array_equal(gradient, np.eye(4, dtype=np.float32)[LABELS] * scale)


def test_shapes_that_the_file_gets_wrong_are_not_believed() -> None:
    model = parse(
        HEAD
        + """(float[N, 4] x) => (float[N, 4] y)
        { a = Exp(x)  b = Neg(x)  c = Add(a, b)  y = Mul(c, a) }"""
    )
    right = OnnxClassifier(model).loss_and_grad(X, LABELS)[1]
    for name in ("a", "b", "c"):  # as traced with one example, before the batch was opened
        model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]))
    assert np.allclose(OnnxClassifier(model).loss_and_grad(X, LABELS)[1], right, rtol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        """{ s = Constant<value_float=0.1>()  z = Constant<value = int8 {0}>()
             q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  y = Add(d, x) }""",
        """{ a = Cast<to=17>(x)  b = Cast<to=1>(a)  y = Add(b, x) }""",
    ],
    ids=["quantized", "float8"],
)
def test_what_is_rounded_away_is_no_silent_zero(body: str) -> None:
    model = parse('<ir_version: 10, opset_import: ["" : 19]> net (float[N, 4] x) => (float[N, 4] y) ' + body)
    with pytest.raises(GradientError, match=r"DequantizeLinear|float8"):
        build_gradient_model(model)


@pytest.mark.parametrize("comparison", ["GreaterOrEqual(x, j)", "LessOrEqual(j, x)", "Greater(x, j)", "Less(j, x)"])
def test_every_comparison_is_recognised(comparison: str) -> None:
    model = parse(
        HEAD
        + f"""(float[N, 4] x) => (float[N, 4] y)
        {{ j = Constant<value_float=0.5>()  zero = Constant<value_float=0.0>()
           m = {comparison}  y = Where(m, x, zero) }}"""
    )
    classifier = OnnxClassifier(model, surrogate="relu")
    assert classifier.n_jumprelus == 1
    assert np.array_equal(classifier.loss_and_grad(X, LABELS, "logit")[1], np.eye(4, dtype=np.float32)[LABELS])


def test_jumps_in_branches_count() -> None:
    """A surrogate replaces their gradients. A verdict must know that, or it needs no attack that sees past them."""
    branch = """() => (float[N, 4] {0})
        {{ z{0} = Constant<value_float=0.0>()  m{0} = Greater(x, j)  {0} = Where(m{0}, x, z{0}) }}"""
    model = parse(
        HEAD
        + """(float[N, 4] x) => (float[N, 4] y)
        { j = Constant<value_float=0.5>()  low = Constant<value_float=-9.0>()  most = ReduceMax<keepdims=0>(x)
          c = Greater(most, low)
          y = If (c) <then_branch = one """
        + branch.format("a")
        + ", else_branch = other "
        + branch.format("b")
        + "> }"
    )
    classifier = OnnxClassifier(model, surrogate="relu")
    assert classifier.n_jumps == 2
    assert np.array_equal(classifier.loss_and_grad(X, LABELS, "logit")[1], np.eye(4, dtype=np.float32)[LABELS])


def test_x_that_is_broadcast_against_a_jump_per_channel() -> None:
    model = parse(
        HEAD
        + """(float[N, M] x) => (float[N, 4] y)
        { j = Constant<value_floats=[0.1, 0.2, 0.3, 0.9]>()  zero = Constant<value_float=0.0>()
          m = Greater(x, j)  y = Where(m, x, zero) }"""
    )
    classifier = OnnxClassifier(model, surrogate="relu")
    narrow = X[:, :1]
    gradient = classifier.loss_and_grad(narrow, LABELS, "logit")[1]
    assert np.array_equal(gradient, np.ones((3, 1), np.float32))


def test_a_negative_jump_is_refused() -> None:
    model = parse(HEAD + "(float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }")
    classifier = OnnxClassifier(patch_model(model, 0.5, jump_input=True).model)
    with pytest.raises(OptionError, match="it must be at least 0"):
        classifier.with_inputs(jump=-0.7)
    with pytest.raises(OptionError, match="is not a number"):
        classifier.with_inputs(jump="high")  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [-1, 0])
def test_a_batch_of_no_size_is_open(batch: int) -> None:
    model = parse(HEAD + "(float[N, 4] x) => (float[N, 4] y) { y = Exp(x) }")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    assert np.allclose(OnnxClassifier(model).loss_and_grad(X, LABELS, "logit")[0], np.exp(X)[np.arange(3), LABELS])


def test_an_operator_that_the_opset_lacks() -> None:
    model = parse('<ir_version: 3, opset_import: ["" : 8]> net (float[N, 4] x) => (float[N, 4] y) { y = Mish(x) }')
    with pytest.raises(GradientError, match="opset 8 has no operator Mish"):
        build_logits_model(model)


def test_a_loss_named_like_the_logits() -> None:
    classifier = OnnxClassifier(parse(HEAD + "(float[N, 4] x) => (float[N, 4] y) { y = Exp(x) }"))
    classifier.logits(X)
    with pytest.raises(OptionError, match="loss 'logits' is unknown"):
        classifier.loss_and_grad(X, LABELS, "logits")


def test_arguments_of_other_kinds() -> None:
    model = parse(HEAD + "(float[N, 4] x) => (float[N, 4] y) { y = Exp(x) }")
    mean, std = np.zeros(4), np.ones(4)
    classifier = OnnxClassifier(model, mean=mean, std=std)  # type: ignore[arg-type]
    assert np.allclose(classifier.logits(X), np.exp(X))
    with pytest.raises(DataError, match="numbers are needed"):
        classifier.logits(np.asarray([["a"] * 4]))
    with pytest.raises(DataError, match="is needed"):
        classifier.jacobian(X, np.asarray([0, 1, 2]))
    with pytest.raises(OptionError, match="bounds"):
        OnnxClassifier(parse(HEAD + "(float[N, 4] x) => (float[N, 4] y) { y = Exp(x) }"), bounds=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("(float[N, 4] x) => (double[N, 4] y) { a = Exp(x)  y = Cast<to=11>(a) }", "leave out the final Cast"),
        (
            "(float[N, 4] x) => (float[1, 4] y) { axes = Constant<value_ints=[0]>()  y = ReduceMean(x, axes) }",
            "has a batch of 1 for every input",
        ),
    ],
)
def test_logits_that_do_not_fit(body: str, message: str) -> None:
    with pytest.raises(GradientError, match=message):
        build_gradient_model(parse(HEAD + body))


def test_a_root_behind_a_relu_has_no_nan() -> None:
    model = parse(
        HEAD
        + """(float[N, 4] x) => (float[N, 4] y)
        { r = Relu(x)  half = Constant<value_float=0.5>()  y = Pow(r, half) }"""
    )
    gradient = OnnxClassifier(model).loss_and_grad(f32([[-1, 0, 0.25, 1]]), np.asarray([2]), "ce")[1]
    assert np.isfinite(gradient).all()
    assert gradient[0, 0] == gradient[0, 1] == 0
    assert gradient[0, 2] < 0


def test_open_sizes_are_taken_from_the_first_inputs() -> None:
    model = parse(
        HEAD
        + """(float[N, 3, H, W] x) => (float[N, 3] y)
        { a = Exp(x)  b = Neg(a)  c = Exp(b)  d = GlobalAveragePool(c)  y = Flatten(d) }"""
    )
    classifier = OnnxClassifier(model)
    assert classifier.batch_size is None
    classifier.logits(np.zeros((1, 3, 1024, 1024), np.float32))
    chosen = vars(classifier)["batch_size"]
    assert chosen * 3 * 3 * 1024**2 * 4 < 1 << 30


def test_the_prepared_model_computes_the_same() -> None:
    model = parse(
        HEAD
        + """(float[N, 2, 6] x) => (float[N, 12] y)
        { s = Shape(x)  i = Constant<value_int=0>()  n = Gather(s, i)  axes = Constant<value_ints=[0]>()
          m = Unsqueeze(n, axes)  rest = Constant<value_ints=[-1]>()  shape = Concat<axis=0>(m, rest)
          e = Exp(x)  y = Reshape(e, shape) }"""
    )
    x = RNG.random((5, 2, 6), dtype=np.float32)
    assert np.array_equal(run(build_logits_model(model), {"x": x})[0], run(model, {"x": x})[0])
