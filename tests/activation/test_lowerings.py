"""Every lowering of the hard form is JumpReLU: bit for bit, in every element type, form and opset that it supports."""

import itertools
import re

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu import PatchError, patch_model, revert_model
from onnx_jumprelu.activation.lowerings import LOWERINGS
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import RunError
from onnx_jumprelu.graphs.constants import numpy_dtype
from onnx_jumprelu.graphs.scopes import newest_opset
from onnx_jumprelu.runtime import OrtRunner
from tests.models import f32, oracle, run, run_reference, single, spread

JUMP = 0.3  # no float holds it exactly, so rounding to the element type shows
FLOATS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "float64": TensorProto.DOUBLE}
HARD = [name for name, lowering in LOWERINGS.items() if lowering.form != "soft"]
# (lowering, oldest opset, oldest opset for bfloat16)
AGES = {"where": (9, 16), "thresholded-relu": (10, 22), "function": (15, 16), "cast-mul": (7, 13)}


def capped(elem_type: int, opset: int) -> ModelProto:
    """ReLU6 as the opset has it."""
    if opset < 11:
        return single("Clip", elem_type=elem_type, opset=opset, min=0.0, max=6.0)
    dtype = numpy_dtype(elem_type)
    bounds: dict[str, Array] = {"lo": np.zeros((), dtype), "hi": np.full((), 6.0).astype(dtype)}
    return single("Clip", elem_type=elem_type, opset=opset, inputs=["x", "lo", "hi"], extra=bounds)


def values(model: ModelProto, x: Array, *, optimize: bool) -> Array:
    """The output, from onnxruntime, or from the reference evaluator where onnxruntime lacks a kernel or an opset."""
    try:
        (y,) = run(model, {"x": x}, optimize=optimize)
    except RunError as error:
        if not re.search(
            "Could not find an implementation|is under development|Unsupported model IR version", str(error)
        ):
            raise
        (y,) = run_reference(model, {"x": x})
    return y


def same(actual: Array, expected: Array) -> bool:
    """Equal bits; a zero's sign does not count, since Relu itself returns -0 for -0."""
    bits = actual == expected
    return actual.dtype == expected.dtype and bool(bits.all())


def test_every_lowering_is_tested() -> None:
    assert set(AGES) == set(HARD)


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("cap", [False, True])
@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("lowering", HARD)
def test_is_jumprelu(lowering: str, name: str, *, cap: bool, optimize: bool) -> None:
    elem_type, jump = FLOATS[name], JUMP
    if (lowering, name) == ("thresholded-relu", "float64"):
        jump = 0.3125  # its alpha is a float32
    for opset in sorted({AGES[lowering][0], 11, 13, 17, 22, newest_opset()}):
        if opset < AGES[lowering][0]:
            continue
        original = capped(elem_type, opset) if cap else single("Relu", elem_type=elem_type, opset=opset)
        patched = patch_model(original, jump, lowering=lowering).model  # type: ignore[arg-type]
        onnx.checker.check_model(patched, full_check=True)
        x = spread(elem_type, jump)
        expected = oracle(x, jump, 6.0 if cap else np.inf)
        assert same(values(patched, x, optimize=optimize), expected), f"opset {opset}"
        assert revert_model(patched).SerializeToString() == original.SerializeToString()


@pytest.mark.parametrize("lowering", HARD)
def test_bfloat16_in_the_reference_evaluator(lowering: str) -> None:
    original = single("Relu", elem_type=TensorProto.BFLOAT16, opset=22, ir_version=10)
    patched = patch_model(original, JUMP, lowering=lowering).model  # type: ignore[arg-type]
    onnx.checker.check_model(patched, full_check=True)
    x = spread(TensorProto.BFLOAT16, JUMP)
    (y,) = run_reference(patched, {"x": x})
    assert same(y, oracle(x, JUMP))


def test_all_numbers_of_float16() -> None:
    x: Array = np.arange(2**16, dtype=np.uint16).view(np.float16)
    x = x[~np.isnan(x)]
    for lowering, jump in itertools.product(HARD, (0.0, 6e-8, JUMP, 1.0)):
        patched = patch_model(single("Relu", elem_type=TensorProto.FLOAT16), jump, lowering=lowering).model  # type: ignore[arg-type]
        (y,) = run(patched, {"x": x})
        assert same(y, oracle(x, jump)), (lowering, jump)


@pytest.mark.parametrize("lowering", HARD)
@pytest.mark.parametrize("form", ["Max", "LeakyRelu", "PRelu"])
def test_other_forms(form: str, lowering: str) -> None:
    zero = np.zeros((), np.float32)
    model = {
        "Max": single("Max", inputs=["zero", "x"], extra={"zero": zero}),
        "LeakyRelu": single("LeakyRelu", alpha=0.0),
        "PRelu": single("PRelu", inputs=["x", "s"], extra={"s": zero.reshape(1)}),
    }[form]
    x = spread(TensorProto.FLOAT, JUMP)
    patched = patch_model(model, JUMP, lowering=lowering).model  # type: ignore[arg-type]
    assert same(values(patched, x, optimize=False), oracle(x, JUMP))


@pytest.mark.parametrize("lowering", HARD)
def test_strictly_greater(lowering: str) -> None:
    patched = patch_model(single("Relu"), 1.0, lowering=lowering).model  # type: ignore[arg-type]
    (y,) = run(patched, {"x": f32([1.0, np.nextafter(np.float32(1), np.float32(2))])})
    assert y.tolist() == [0.0, 1.0000001192092896]


@pytest.mark.parametrize("lowering", HARD)
@pytest.mark.parametrize("bfloat16", [False, True])
def test_too_old_an_opset_is_refused(lowering: str, *, bfloat16: bool) -> None:
    oldest = AGES[lowering][bfloat16]
    elem_type = TensorProto.BFLOAT16 if bfloat16 else TensorProto.FLOAT
    assert patch_model(single("Relu", elem_type=elem_type, opset=oldest), 0.5, lowering=lowering).sites  # type: ignore[arg-type]
    if oldest > 7:
        with pytest.raises(PatchError, match=f"needs opset {oldest}, the model has {oldest - 1}"):
            patch_model(single("Relu", elem_type=elem_type, opset=oldest - 1), 0.5, lowering=lowering)  # type: ignore[arg-type]


@pytest.mark.parametrize(("opset", "expected"), [(7, "cast-mul"), (8, "cast-mul"), (9, "where"), (17, "where")])
def test_auto(opset: int, expected: str) -> None:
    assert patch_model(single("Relu", opset=opset), 0.5).lowering == expected


def test_auto_for_bfloat16() -> None:
    assert patch_model(single("Relu", elem_type=TensorProto.BFLOAT16, opset=15), 0.5).lowering == "cast-mul"


def test_function_needs_ir_8() -> None:
    with pytest.raises(PatchError, match="needs IR version 8, the model has 7"):
        patch_model(single("Relu", ir_version=7), 0.5, lowering="function")


def test_thresholded_relu_refuses_a_jump_that_float32_cannot_hold() -> None:
    with pytest.raises(PatchError, match=r"float32 attribute and cannot hold 0\.3"):
        patch_model(single("Relu", elem_type=TensorProto.DOUBLE), 0.3, lowering="thresholded-relu")


@pytest.mark.parametrize(
    ("lowering", "keep_nan", "kept"),
    [
        ("where", False, False),
        ("where", True, True),
        ("function", False, False),
        ("function", True, True),
        ("thresholded-relu", False, False),
        ("cast-mul", False, True),
    ],
)
def test_nan(lowering: str, *, keep_nan: bool, kept: bool) -> None:
    patched = patch_model(single("Relu"), 0.5, lowering=lowering, keep_nan=keep_nan).model  # type: ignore[arg-type]
    (y,) = run(patched, {"x": f32([np.nan, 1.0, 0.5])})
    assert bool(np.isnan(y[0])) is kept
    assert y[1:].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("opset", [9, 11, 12])
def test_keep_nan_before_and_after_less_or_equal(opset: int) -> None:
    patched = patch_model(single("Relu", opset=opset), 0.5, keep_nan=True).model
    x = np.append(spread(TensorProto.FLOAT, 0.5), np.float32(np.nan))
    (y,) = run(patched, {"x": x})
    assert np.isnan(y[-1])
    assert same(y[:-1], oracle(x[:-1], 0.5))


@pytest.mark.parametrize("lowering", ["where", "function", "cast-mul"])
def test_a_type_known_only_at_run_time(lowering: str) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18, "my" : 1]>
        net (float[N] x, double[N] z, float16[N] h) => (float[N] y, double[N] w, float16[N] g)
        { y = my.F(x)  w = my.F(z)  g = my.F(h) }
        <domain: "my", opset_import: ["" : 18]> F (u) => (v) { v = Relu(u) }"""
    )
    patched = patch_model(model, JUMP, lowering=lowering).model  # type: ignore[arg-type]
    onnx.checker.check_model(patched, full_check=True)
    feeds = {
        "x": spread(TensorProto.FLOAT, JUMP),
        "z": spread(TensorProto.DOUBLE, JUMP),
        "h": spread(TensorProto.FLOAT16, JUMP),
    }
    # Not the jump itself: onnxruntime computes float16 in float32 on the CPU and may leave the jump unrounded.
    feeds["h"][feeds["h"] == np.float16(JUMP)] = 1
    for y, x in zip(OrtRunner(patched).run(None, feeds), feeds.values(), strict=True):
        assert same(y, oracle(x, JUMP))
    assert revert_model(patched).SerializeToString() == model.SerializeToString()


def test_constants_have_the_sites_type_and_are_shared() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float16[N] x, float[N] z) => (float16[N] y, float[N] w)
        { a = Relu(x)  y = Relu(a)  b = Relu(z)  w = Relu(b) }"""
    )
    patched = patch_model(model, 0.5).model
    constants = [
        numpy_helper.to_array(helper.get_node_attr_value(node, "value"))
        for node in patched.graph.node
        if node.op_type == "Constant"
    ]
    assert [(value.dtype.name, value.shape, float(value)) for value in constants] == [
        ("float16", (), 0.5),
        ("float16", (), 0.0),
        ("float32", (), 0.5),
        ("float32", (), 0.0),
    ]


def test_the_function_lowering_reads_well() -> None:
    patched = patch_model(single("Relu"), 0.5, lowering="function").model
    assert [node.op_type for node in patched.graph.node] == ["Constant", "JumpReLU"]
    (function,) = patched.functions
    assert (function.name, list(function.input)) == ("JumpReLU", ["x", "jump"])
    assert {entry.domain for entry in patched.opset_import} == {"", "onnx_jumprelu"}
