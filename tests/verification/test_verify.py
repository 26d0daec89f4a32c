"""The proof holds for what `patch` makes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx_jumprelu import Recipe, find_activations, patch_model, verify
from onnx_jumprelu.verification.checks import CHECKS
from tests.models import NESTED, RELU, f32, parse, single, with_external_weights
from tests.verification.nets import LOWERINGS, NET, failed


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("options", [{"jump": 0.5}, {"recipe": Recipe(0.25, {"b": 1.0})}], ids=str)
def test_holds_for_every_lowering(lowering: str, options: dict[str, Any]) -> None:
    model = parse(NET)
    report = verify(model, patch_model(model, lowering=lowering, **options).model)  # type: ignore[arg-type]
    assert report.ok, report
    assert [check.name for check in report.checks] == list(CHECKS)
    assert "discontinuity" in report.notes[0]


@pytest.mark.parametrize("options", [{"jump_input": True}, {"keep_nan": True}, {"include": ["b"]}], ids=str)
def test_holds_for_other_options(options: dict[str, Any]) -> None:
    model = parse(NET)
    assert verify(model, patch_model(model, 0.5, **options).model).ok


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_holds_in_subgraphs_and_functions(lowering: str) -> None:
    model = parse(NESTED)
    report = verify(model, patch_model(model, 0.5, lowering=lowering).model)  # type: ignore[arg-type]
    assert report.ok, report


@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE])
@pytest.mark.parametrize("lowering", ["where", "function", "cast-mul"])
def test_holds_for_other_types(elem_type: int, lowering: str) -> None:
    model = single("Relu", elem_type=elem_type)
    report = verify(model, patch_model(model, 0.3, lowering=lowering).model)  # type: ignore[arg-type]
    assert report.ok, report
    used_reference = "reference evaluator runs both" in report.checks[1].detail
    assert used_reference is (elem_type == TensorProto.BFLOAT16)


def test_float16_between_casts_is_judged_where_rounding_is_exact() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[1000] x) => (float[1000] y)
        { h = Cast<to = 10>(x)  r = Relu(h)  y = Cast<to = 1>(r) }"""
    )
    patched = patch_model(model, 0.3).model
    # The second: above the jump before rounding to float16, at the jump after it.
    for x in (None, np.full(1000, 0.3001, np.float32)):
        report = verify(model, patched, x)
        assert report.ok, report


def test_on_check_is_called_for_each() -> None:
    model = parse(NET)
    seen: list[str] = []
    verify(model, patch_model(model, 0.5).model, on_check=lambda check: seen.append(check.name))
    assert seen == list(CHECKS)


def test_an_original_that_nothing_runs_is_not_proved() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17, "odd" : 1]> net (float[N] x) => (float[N] y)
        { a = Relu(x)  y = odd.Op(a) }"""
    )
    assert "session" in failed(verify(model, patch_model(model, 0.5).model))


def test_external_weights(tmp_path: Path) -> None:
    path = with_external_weights(tmp_path)
    patched = tmp_path / "patched.onnx"
    model = onnx.load(path, load_external_data=False)
    onnx.save(patch_model(model, 0.5).model, patched)
    assert verify(path, patched).ok


def test_forms_with_bounds(samples: Path) -> None:
    model = onnx.load(samples / "digits_relu6.onnx")
    assert {site.form for site in find_activations(model)} == {"Clip"}
    assert verify(model, patch_model(model, 0.75).model).ok


@pytest.mark.parametrize("form", ["Max", "PRelu"])
def test_holds_before_ir_4(form: str) -> None:
    model = single(form, opset=8, ir_version=3, inputs=["x", "c"], extra={"c": f32([0])}, shape=["N", 1])
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [1]))
    report = verify(model, patch_model(model, 0.5).model)
    assert report.ok, report


def test_holds_where_onnxruntime_lacks_the_originals_kernel() -> None:
    model = single("LeakyRelu", elem_type=TensorProto.DOUBLE, opset=14, alpha=0.0)
    report = verify(model, patch_model(model, 0.5).model)
    assert report.ok, report
    assert "cannot load the original" in report.checks[1].detail


@pytest.mark.parametrize("options", [{}, {"jump_input": True}], ids=str)
def test_holds_for_a_type_that_is_not_known(options: dict[str, Any]) -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> net (float[N] x) => (float[1, 1, N] y)
        <int32 axis = {0}>
        { a = com.microsoft.ExpandDims(x, axis)  b = Relu(a)
          c = com.microsoft.ExpandDims(b, axis)  y = Identity(c) }"""
    )
    assert [site.dtype for site in find_activations(model)] == [None]
    report = verify(model, patch_model(model, 0.7, **options).model)
    assert report.ok, report


def test_sequences_are_compared() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[N] x) => (seq(float[N]) y)
        { a = Relu(x)  b = Neg(a)  y = SequenceConstruct(a, b, a) }"""
    )
    report = verify(model, patch_model(model, 0.5).model)
    assert report.ok, report


def test_a_rewrite_by_hand_is_judged_too() -> None:
    model = parse(RELU)
    by_hand = RELU.replace(
        "y = Relu(x)",
        "j = Constant<value_float = 0.5>()  z = Constant<value_float = 0.0>() m = Greater(x, j)  y = Where(m, x, z)",
    )
    assert verify(model, parse(by_hand)).ok
    assert verify(model, parse(RELU.replace("Relu", "ThresholdedRelu"))).ok
    assert not verify(model, parse(by_hand.replace("Greater", "GreaterOrEqual"))).ok


def test_what_cannot_be_checked_is_not_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(_: object) -> str:
        raise ZeroDivisionError("oh")

    monkeypatch.setitem(CHECKS, "record", explode)
    report = verify(parse(NET), patch_model(parse(NET), 0.5).model)
    assert "cannot be checked (ZeroDivisionError: oh)" in report.checks[3].detail
    assert not report.ok


def test_sites_fed_by_weights_and_defaults() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[2] x, float[2] d = {1, 2}) => (float[2] y, float[2] z, float[2] u) <float[2] w = {0.2, 3}>
        { a = Relu(w)  y = Add(a, x)  z = Relu(d)  u = Relu(x) }"""
    )
    assert verify(model, patch_model(model, 0.5).model).ok
