"""Soft sites are proved against the float64 reference, and planted faults are found."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from onnx_jumprelu import Recipe, patch_model, verify
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.names import LoweringName
from tests.models import parse, single

NETWORK = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 2] x) => (float[N, 2] y)
<float[2, 2] w = {1.0, -2.0, 0.5, 3.0}, float zero = {0.0}, float six = {6.0}>
{ a = MatMul(x, w) b = Relu(a) c = MatMul(b, w) d = Clip(c, zero, six) y = MatMul(d, w) }
"""
RECIPES = {
    "softness": Parameters(0.0, 0.1),
    "jump and softness": Parameters(0.5, 0.1),
    "centered": Parameters(0.5, 0.1, -0.25),
    "per channel": Parameters((0.0, 0.5), (0.1, 0.2), (0.0, 0.3)),
}


def checks(original: ModelProto, patched: ModelProto) -> dict[str, bool]:
    return {check.name: check.ok for check in verify(original, patched).checks}


@pytest.mark.parametrize("lowering", ["auto", "exp-log", "function"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_it_is_proved(recipe: str, lowering: LoweringName) -> None:
    original = parse(NETWORK)
    patched = patch_model(original, recipe=Recipe(None, {"*": RECIPES[recipe]}), lowering=lowering).model
    report = verify(original, patched)
    assert report.ok, report


@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_in_other_types(elem_type: int) -> None:
    original = single("Relu", elem_type=elem_type)
    assert verify(original, patch_model(original, 0.25, softness=0.125).model).ok


def test_with_parameters_as_inputs() -> None:
    original = parse(NETWORK)
    assert verify(original, patch_model(original, 0.5, softness=0.1, jump_input=True).model).ok


def test_hard_and_soft_sites_in_one_model() -> None:
    original = parse(NETWORK)
    recipe = Recipe(None, {"b": 0.5, "d": Parameters(0.0, 0.1)})
    assert verify(original, patch_model(original, recipe=recipe, lowering="thresholded-relu").model).ok


def constant_scaled(operator: str, place: int) -> Callable[[ModelProto], None]:
    def plant(model: ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == operator)
        made = next(each for each in model.graph.node if each.output[0] == node.input[place])
        value = numpy_helper.to_array(made.attribute[0].t)
        copied = type(made)()
        copied.CopyFrom(made)
        copied.output[0] = node.input[place] = "planted"
        copied.attribute[0].t.CopyFrom(numpy_helper.from_array((value * np.float32(1.0001)).astype(np.float32)))
        model.graph.node.insert(0, copied)

    return plant


def operator_changed(before: str, after: str) -> Callable[[ModelProto], None]:
    def plant(model: ModelProto) -> None:
        next(node for node in model.graph.node if node.op_type == before).op_type = after

    return plant


FAULTS = {
    "another softness in the quotient": constant_scaled("Div", 1),
    "another jump in the difference": constant_scaled("Sub", 1),
    "a rectifier instead of Softplus": operator_changed("Softplus", "Relu"),
    "a tangent instead of a sigmoid": operator_changed("Sigmoid", "Tanh"),
    "a product instead of the quotient": operator_changed("Div", "Mul"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    original = parse(NETWORK)
    patched = patch_model(original, 0.5, softness=0.125, include=["b"]).model
    assert verify(original, patched).ok
    FAULTS[fault](patched)
    assert not checks(original, patched)["sites"]


def test_a_record_that_says_another_softness_is_found() -> None:
    original = parse(NETWORK)
    patched = patch_model(original, 0.5, softness=0.125).model
    for entry in patched.metadata_props:
        entry.value = re.sub(r'"softness":0\.125', '"softness":0.25', entry.value)
    assert not checks(original, patched)["record"]
