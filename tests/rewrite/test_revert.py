"""Reverting: the original's bytes for an unchanged patched model, a clear refusal where the graph was changed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu import ProvenanceError, find_activations, patch_model, revert_model
from onnx_jumprelu.rewrite.record import PREFIX
from onnx_jumprelu.rewrite.revert import record_note
from tests.models import NESTED, f32, parse, single

TWO = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N] x) => (float[N] y) <float slope = {0}> { a = Relu(x)  b = Neg(a)  y = PRelu(b, slope) }"""


def test_changes_elsewhere_stay() -> None:
    model = parse(TWO)
    patched = patch_model(model, 0.5).model
    for changed in (patched, model):
        changed.metadata_props.add(key="labels", value="cat,dog")
        changed.graph.doc_string = "new"
        changed.graph.node.append(helper.make_node("Exp", ["a"], ["e"]))
        changed.graph.output.append(helper.make_tensor_value_info("e", TensorProto.FLOAT, ["N"]))
        changed.graph.node.insert(0, helper.make_node("Sqrt", ["x"], ["s"]))
    reverted = revert_model(patched)
    assert reverted.graph == model.graph
    assert list(reverted.metadata_props) == list(model.metadata_props)


def test_a_model_without_a_record() -> None:
    with pytest.raises(ProvenanceError, match="has no record of a patch"):
        revert_model(parse(TWO))


def _site_renamed(model: ModelProto) -> None:
    model.graph.node[3].output[0] = model.graph.node[4].input[0] = "renamed"


def _mask_replaced(model: ModelProto) -> None:
    model.graph.node[2].op_type = "Less"


def _site_replaced(model: ModelProto) -> None:
    model.graph.node[3].CopyFrom(helper.make_node("Sin", ["x"], ["a"]))


def _below_zero(model: ModelProto) -> None:
    model.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("value", numpy_helper.from_array(f32(-0.5))))


def _helper_put_out(model: ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("a/above", TensorProto.BOOL, ["N"]))


def _bound_dropped(model: ModelProto) -> None:
    del model.graph.initializer[:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_site_renamed, "no node outputs 'a'"),
        (_mask_replaced, "'a' is not a JumpReLU now"),
        (_site_replaced, "'a' is not a JumpReLU now"),
        (_below_zero, "'a' is not a JumpReLU now"),
        (_helper_put_out, "'a/above' is used elsewhere"),
        (_bound_dropped, "'slope', which 'y' was computed from, is missing"),
    ],
)
def test_a_changed_site_is_refused_and_nothing_happens(change: Callable[[ModelProto], None], message: str) -> None:
    patched = patch_model(parse(TWO), 0.5).model
    change(patched)
    before = patched.SerializeToString()
    with pytest.raises(ProvenanceError) as error:
        revert_model(patched)
    assert message in str(error.value)
    assert "start again from the original file" in str(error.value)
    assert message in str(record_note(patched))
    find_activations(patched)  # as if there were no record
    assert patched.SerializeToString() == before


def test_a_constant_that_something_else_uses_stays() -> None:
    patched = patch_model(parse(TWO), 0.5).model
    patched.graph.node.append(helper.make_node("Neg", ["jumprelu/zero"], ["n"]))
    assert [node.op_type for node in revert_model(patched).graph.node] == ["Constant", "Relu", "Neg", "PRelu", "Neg"]


def test_a_function_that_something_else_calls_is_refused() -> None:
    patched = patch_model(parse(TWO), 0.5, lowering="function").model
    patched.graph.node.append(helper.make_node("JumpReLU", ["x", "slope"], ["n"], domain="onnx_jumprelu"))
    with pytest.raises(ProvenanceError, match="also calls JumpReLU"):
        revert_model(patched)


def test_a_scope_that_is_gone_is_refused() -> None:
    patched = patch_model(parse(NESTED), 0.5).model
    node = next(node for node in patched.graph.node if node.op_type == "Loop")
    node.op_type, node.input[:] = "Identity", ["b"]
    del node.attribute[:]
    with pytest.raises(ProvenanceError, match=r"'main/c\.body' is missing"):
        revert_model(patched)


@pytest.mark.parametrize("key", ["revert", "jumps"])
@pytest.mark.parametrize("value", ["", "{", "[]", "{}", '{"sites": [{"name": 1}]}'])
def test_a_damaged_record_is_refused(key: str, value: str) -> None:
    patched = patch_model(parse(TWO), 0.5).model
    next(entry for entry in patched.metadata_props if entry.key == PREFIX + key).value = value
    with pytest.raises(ProvenanceError, match="record of the patch is damaged"):
        revert_model(patched)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record["sites"].pop(),
        lambda record: record["sites"].append(record["sites"][0]),
        lambda record: record["sites"][0].update(scope=[]),
        lambda record: record["sites"][0].update(tensor=1),
        lambda record: record["sites"][0].update(added="a/above"),
        lambda record: record.update(functions=[None]),
    ],
)
def test_a_record_with_wrong_entries_is_damaged(damage: Callable[[dict[str, Any]], object]) -> None:
    patched = patch_model(parse(TWO), 0.5).model
    entry = next(entry for entry in patched.metadata_props if entry.key == PREFIX + "revert")
    record = json.loads(entry.value)
    damage(record)
    entry.value = json.dumps(record)
    with pytest.raises(ProvenanceError, match="record of the patch is damaged"):
        revert_model(patched)
    assert "damaged" in str(record_note(patched))


def test_an_input_that_the_record_names_twice() -> None:
    patched = patch_model(parse(TWO), 0.5, jump_input=True).model
    entry = next(entry for entry in patched.metadata_props if entry.key == PREFIX + "revert")
    entry.value = entry.value.replace('"jump_inputs":["jump"]', '"jump_inputs":["jump","jump"]')
    assert revert_model(patched) == parse(TWO)


def test_a_damaged_original_node_is_refused() -> None:
    patched = patch_model(single("Relu"), 0.5).model
    entry = patched.metadata_props[-1]
    encoded = entry.value.split('"original":"')[1].split('"')[0]
    for broken in ("AAAA", "////", ""):
        entry.value = entry.value.replace(encoded, broken)
        encoded = broken or '"original":""'
        with pytest.raises(ProvenanceError, match="damaged"):
            revert_model(patched)


def test_the_record_is_in_the_metadata() -> None:
    patched = patch_model(single("Relu"), 0.5).model
    record = {entry.key: entry.value for entry in patched.metadata_props}
    assert record["onnx_jumprelu.lowering"] == "where"
    assert record["onnx_jumprelu.jumps"] == '{"act":0.5}'
    assert len(record["onnx_jumprelu.input_sha256"]) == 64
    assert set(record) == {
        f"onnx_jumprelu.{key}" for key in ("version", "lowering", "keep_nan", "jumps", "input_sha256", "revert")
    }
