"""Patched models that another tool has rewritten: what fits is used, the rest is set aside, and nothing is lost."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, compose, helper, numpy_helper

from onnx_jumprelu import PatchError, ProvenanceError, find_activations, patch_model, record_note, revert_model, verify
from onnx_jumprelu.cli import main
from onnx_jumprelu.rewrite.record import PREFIX
from tests.models import f32, parse, run, single

TWO = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N] x) => (float[N] y) <float lo = {0}, float hi = {6}>
{ p = Neg(x)  a = Relu(p)  q = Sin(a)  y = Clip(q, lo, hi) }"""
X = f32([-2.0, -0.75, -0.25, 0.25, 3.0])


def patched(text: str = TWO, jump: float = 0.5) -> ModelProto:
    return patch_model(parse(text), jump).model


def renamed(model: ModelProto) -> ModelProto:
    """As a tool that gives every tensor another name."""
    return compose.add_prefix(model, "p/", rename_inputs=False, rename_outputs=False)


def ops(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def _constants_as_initializers(model: ModelProto) -> None:
    for index in reversed(range(len(model.graph.node))):
        node = model.graph.node[index]
        if node.op_type == "Constant":
            model.graph.initializer.append(
                numpy_helper.from_array(numpy_helper.to_array(node.attribute[0].t), node.output[0])
            )
            del model.graph.node[index]


def _zeros_merged(model: ModelProto) -> None:
    """The tool keeps its own name for the zero of the patch, and drops the model's."""
    _constants_as_initializers(model)
    _rename(model, "lo", "jumprelu/zero")
    del model.graph.initializer[0]


def _mask_renamed(model: ModelProto) -> None:
    _rename(model, "a/above", "v1")


def _pre_activation_renamed(model: ModelProto) -> None:
    _rename(model, "p", "fused")


def _negated(model: ModelProto) -> None:
    """Where(Not(x <= jump), ...)."""
    place = ops(model).index("Greater")
    mask = model.graph.node[place]
    mask.op_type = "LessOrEqual"
    output, mask.output[0] = mask.output[0], "below"
    model.graph.node.insert(place + 1, helper.make_node("Not", ["below"], [output]))


def _identity_between(model: ModelProto) -> None:
    _rename(model, "p", "behind")
    model.graph.node[0].output[0] = "p"
    model.graph.node.insert(1, helper.make_node("Identity", ["p"], ["behind"]))


def _rename(model: ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


TOOLS = [
    _constants_as_initializers,
    _zeros_merged,
    _mask_renamed,
    _pre_activation_renamed,
    _negated,
    _identity_between,
]


@pytest.mark.parametrize("tool", TOOLS)
def test_helper_nodes_may_change(tool: Callable[[ModelProto], None]) -> None:
    model, original = patched(), parse(TWO)
    tool(model)
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(run(model, {"x": X})[0], run(patched(), {"x": X})[0])
    assert record_note(model) is None
    assert [site.jump for site in find_activations(model)] == [0.5, 0.5]
    reverted = revert_model(model)
    onnx.checker.check_model(reverted, full_check=True)
    assert {"Greater", "Where", "LessOrEqual", "Not"}.isdisjoint(ops(reverted))
    assert len(reverted.graph.initializer) == len(original.graph.initializer)
    np.testing.assert_array_equal(run(reverted, {"x": X})[0], run(original, {"x": X})[0])
    again = patch_model(model, 0.7)
    assert (again.repatched, again.notes) == (True, ())
    np.testing.assert_array_equal(run(again.model, {"x": X})[0], run(patched(jump=0.7), {"x": X})[0])


def test_a_quantized_pre_activation_stays_quantized() -> None:
    model = patched()
    scale = [numpy_helper.from_array(f32(0.25), "scale"), numpy_helper.from_array(np.int8(0), "point")]
    model.graph.initializer.extend(scale)
    _rename(model, "p", "r")
    model.graph.node[0].output[0] = "p"
    model.graph.node.insert(1, helper.make_node("QuantizeLinear", ["p", "scale", "point"], ["q8"]))
    model.graph.node.insert(2, helper.make_node("DequantizeLinear", ["q8", "scale", "point"], ["r"]))
    reverted = revert_model(model)
    assert ops(reverted) == ["Neg", "QuantizeLinear", "DequantizeLinear", "Relu", "Sin", "Clip"]
    assert list(reverted.graph.node[3].input) == ["r"]


def test_a_jump_that_was_changed_is_shown_and_can_be_reverted() -> None:
    model = patched()
    held = next(node for node in model.graph.node if node.output[0] == "jumprelu/jump")
    held.attribute[0].CopyFrom(helper.make_attribute("value", numpy_helper.from_array(f32(0.75))))
    assert [site.jump for site in find_activations(model)] == [0.75, 0.75]
    assert revert_model(model) == parse(TWO)


def test_a_jump_input_that_became_a_constant_goes_too() -> None:
    model = patch_model(parse(TWO), 0.5, jump_input=True).model
    del model.graph.input[1]
    assert revert_model(model) == parse(TWO)


def test_an_inlined_function_is_removed() -> None:
    model = patch_model(parse(TWO), 0.5, lowering="function").model
    inlined = onnx.inliner.inline_local_functions(model)
    assert revert_model(inlined).graph.node == parse(TWO).graph.node


# What would make reverting wrong.


def _older_clip(model: ModelProto) -> None:
    """A Clip with attributes, converted to an opset where its bounds are inputs."""
    model.opset_import[0].version = 17


def _slope_of_another_type(model: ModelProto) -> None:
    """A float16 converter that leaves alone what no node uses."""
    model.graph.input[0].type.tensor_type.elem_type = model.graph.output[0].type.tensor_type.elem_type = (
        TensorProto.FLOAT16
    )


def _cap_moved(model: ModelProto) -> None:
    """The names of both sites are exchanged."""
    for old, new in (("a", "t"), ("y", "a"), ("t", "y")):
        _rename(model, old, new)


def _function_dropped(model: ModelProto) -> None:
    del model.functions[:]
    model.functions.append(parse(F).functions[0])


def _original_leaks(model: ModelProto) -> None:
    """A record that was tampered with."""
    entry = next(entry for entry in model.metadata_props if entry.key == PREFIX + "revert")
    record = json.loads(entry.value)
    leaky = helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.5)
    record["sites"][0]["original"] = base64.b64encode(leaky.SerializeToString()).decode()
    entry.value = json.dumps(record)


def _bound_changed(model: ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(f32(-1), "lo"))


def _used_in_a_branch(model: ModelProto) -> None:
    inner = onnx.helper.make_graph(
        [helper.make_node("Identity", ["a/above"], ["i"])],
        "branch",
        [],
        [helper.make_tensor_value_info("i", TensorProto.BOOL, None)],
    )
    node = helper.make_node("If", ["flag"], ["o"], then_branch=inner, else_branch=inner)
    model.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    model.graph.output.append(helper.make_tensor_value_info("o", TensorProto.BOOL, None))
    model.graph.node.append(node)


F = """<ir_version: 8, opset_import: ["" : 17, "onnx_jumprelu" : 1]>
net (float[N] x, float k) => (float[N] y) { y = onnx_jumprelu.JumpReLU(x, k) }
<domain: "onnx_jumprelu", opset_import: ["" : 17]> JumpReLU (x, jump) => (y) { y = Sub(x, jump) }"""


def _patched(model: ModelProto, **options: object) -> ModelProto:
    return patch_model(model, 0.5, **options).model  # type: ignore[arg-type]


WRONG: dict[str, tuple[ModelProto, Callable[[ModelProto], None], str]] = {
    "opset": (_patched(single("Clip", opset=10, min=0.0)), _older_clip, "would not be a rectifier"),
    "type": (
        _patched(single("PRelu", inputs=["x", "s"], extra={"s": f32(0)}), lowering="thresholded-relu"),
        _slope_of_another_type,
        "'s' is float32, and 'y' is float16",
    ),
    "record": (_patched(single("Relu")), _original_leaks, "would not be a rectifier"),
    "bound": (
        _patched(single("Clip", inputs=["x", "lo"], extra={"lo": f32(0)})),
        _bound_changed,
        "would not be a rectifier",
    ),
    "branch": (patched(), _used_in_a_branch, "'a/above' is used elsewhere"),
    "names": (patched(), _cap_moved, "is not a JumpReLU now"),
    "function": (_patched(parse(TWO), lowering="function"), _function_dropped, "is not a JumpReLU now"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_revert_is_refused(case: str) -> None:
    given, tool, message = WRONG[case]
    model = ModelProto()
    model.CopyFrom(given)
    assert record_note(model) is None
    tool(model)
    with pytest.raises(ProvenanceError, match=message):
        revert_model(model)
    assert message in str(record_note(model))


# Where the record does not fit.

REMAINING = TWO.replace("y = Clip(q, lo, hi)", "b = Clip(q, lo, hi)  c = Neg(b)  y = Relu(c)")


def set_aside() -> ModelProto:
    """One JumpReLU, with a cap, and a ReLU that was not patched; no name of the record is left."""
    return renamed(patch_model(parse(REMAINING), 0.5, include=["b"]).model)


def test_sites_are_recognised_by_structure() -> None:
    model = set_aside()
    sites = {site.name: site for site in find_activations(model)}
    assert [name for name, site in sites.items() if site.patchable] == ["p/a", "y"]
    reasons = [str(site.reason) for site in sites.values() if not site.patchable]
    assert reasons == ["is already a JumpReLU (jump 0.5)", "follows a JumpReLU (jump 0.5)"]
    assert "the record of an earlier patch is set aside" in str(record_note(model))
    assert "no node outputs 'b'" in str(record_note(model))


def test_what_remains_is_patched_and_nothing_is_lost() -> None:
    model = set_aside()
    before = model.SerializeToString()
    result = patch_model(model, 0.25)
    assert [site.name for site in result.sites] == ["p/a", "y"]
    assert (result.repatched, result.notes) == (False, (record_note(model),))
    assert verify(model, result.model).ok
    assert record_note(result.model) is None
    assert patch_model(result.model, 0.5).repatched
    assert revert_model(result.model).SerializeToString() == before
    twice = renamed(result.model)
    with pytest.raises(PatchError, match="is already a JumpReLU"):
        patch_model(twice, 1.0)
    twice.graph.node.extend([helper.make_node("Neg", ["y"], ["n"]), helper.make_node("Relu", ["n"], ["z"])])
    twice.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N"]))
    assert revert_model(patch_model(twice, 1.0, include=["z"]).model) == twice


def test_a_damaged_record_is_set_aside() -> None:
    model = patched()
    next(entry for entry in model.metadata_props if entry.key == PREFIX + "revert").value = "{"
    assert "the record of the patch is damaged" in str(record_note(model))
    assert not any(site.patchable for site in find_activations(model))


def test_a_rewritten_file_is_not_verified_and_the_reason_is_given() -> None:
    (failed,) = (check for check in verify(parse(TWO), renamed(patched())).checks if not check.ok)
    assert failed.name == "structure"
    assert "the file was changed after it was patched; verify the file that 'patch' wrote" in failed.detail


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(set_aside(), "rewritten.onnx")
    note = f"note: {record_note(set_aside())}"
    assert main(["inspect", "rewritten.onnx"]) == 0
    assert note in capsys.readouterr().out
    assert main(["inspect", "rewritten.onnx", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [record_note(set_aside())]
    assert main(["patch", "rewritten.onnx", "--jump", "0.25", "-o", "again.onnx", "--verify"]) == 0
    assert note in capsys.readouterr().out
    assert main(["patch", "rewritten.onnx", "again.onnx", "--jump", "0.25", "--out-dir", "out"]) == 0
    assert capsys.readouterr().out.count("note: ") == 1
    assert main(["verify", "rewritten.onnx", "again.onnx"]) == 0
    assert main(["revert", "rewritten.onnx"]) == 2
    assert "rewritten.onnx: the graph was changed after it was patched" in capsys.readouterr().err
    assert main(["revert", "again.onnx", "-o", "back.onnx"]) == 0
    assert Path("back.onnx").read_bytes() == Path("rewritten.onnx").read_bytes()
