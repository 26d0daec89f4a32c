"""Models whose shapes or attributes contradict each other have no gradient, and the reason is one line."""

import pytest

from onnx_jumprelu import GradientError, build_gradient_model
from onnx_jumprelu.gradient.core.endpoints import MOST_CLASSES
from tests.models import parse


def classifier(nodes: str, x: str = "N, 1, 4, 4", y: str = "N, 4") -> str:
    return f'<ir_version: 8, opset_import: ["" : 17]> net (float[{x}] x) => (float[{y}] y) {{ {nodes} }}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (classifier("p = MaxPool <kernel_shape = [2, 2], strides = [2]> (x) y = Flatten(p)"), "do not fit each other"),
        (classifier("p = MaxPool <kernel_shape = [2]> (x) y = Flatten(p)"), "do not fit each other"),
        (classifier("y = Concat <axis = 7> (x, x)", x="N, 2"), "do not fit each other"),
        (classifier("y = Identity(x)", x=f"N, {2**40}", y=f"N, {2**40}"), f"at most {MOST_CLASSES:,} are supported"),
        (classifier("s = ReduceSum <keepdims = 0> (x) y = Softmax(s)", x="N, 2", y=""), "do not fit each other"),
    ],
)
def test_contradictions(text: str, reason: str) -> None:
    with pytest.raises(GradientError, match=reason) as error:
        build_gradient_model(parse(text))
    assert "\n" not in str(error.value)


def test_a_shape_that_no_memory_holds_is_not_made() -> None:
    sizes = """big = Constant <value = int64[1] {1000000000}> () one = Constant <value = int64[1] {1}> ()
        s = Mul(big, one) z = ConstantOfShape(s) e = Expand(one, s)"""
    build_gradient_model(parse(classifier(f"{sizes} y = Relu(x)", x="N, 4")))


def test_a_large_image_is_not_tiled() -> None:
    model = classifier(
        "p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) y = ReduceMean <axes = [2, 3], keepdims = 0> (p)",
        x=f"N, 4, {2**31}, {2**31}",
    )
    assert len(build_gradient_model(parse(model)).SerializeToString()) < 100_000
