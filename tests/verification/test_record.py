"""What `verify` makes of the record of a patch, and of a file without one."""

import pytest
from onnx import helper, numpy_helper

from onnx_jumprelu import patch_model, verify
from onnx_jumprelu.rewrite.record import PREFIX
from tests.models import f32, parse
from tests.verification.nets import LOWERINGS, NET, failed, nodes


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_without_a_record_the_jumps_are_read_from_the_graph(lowering: str) -> None:
    model = parse(NET)
    patched = patch_model(model, 0.5, lowering=lowering).model  # type: ignore[arg-type]
    del patched.metadata_props[:]
    report = verify(model, patched)
    assert report.ok
    assert f"its nodes are those of lowering {lowering}" in report.checks[3].detail
    nodes(patched, "MatMul")[0].doc_string = patched.graph.node[-1].doc_string = "of my own"
    nodes(model, "MatMul")[0].doc_string = "of my own"
    assert "only tested on samples" in verify(model, patched).checks[3].detail


def test_a_record_that_is_damaged_fails_the_check() -> None:
    model = parse(NET)
    patched = patch_model(model, 0.5).model
    patched.metadata_props[-1].value = "{"
    assert "record" in failed(verify(model, patched))


def test_a_function_body_that_lies_only_for_one_number_is_found() -> None:
    model = parse(NET)
    patched = patch_model(model, 0.5, lowering="function").model
    body = patched.functions[0]
    where = next(node for node in body.node if node.op_type == "Where")
    sly = [
        helper.make_node("Constant", [], ["odd"], value=numpy_helper.from_array(f32(1.2345678))),
        helper.make_node("Equal", ["x", "odd"], ["hit"]),
        helper.make_node("Not", ["hit"], ["miss"]),
        helper.make_node("And", [where.input[0], "miss"], ["sly"]),
    ]
    where.input[0] = "sly"
    index = list(body.node).index(where)
    for node in reversed(sly):
        body.node.insert(index, node)
    assert failed(verify(model, patched)) == ["record"]


def test_the_recorded_jump_is_compared_whatever_version_wrote_it() -> None:
    model = parse(NET)
    patched = patch_model(model, 0.5).model
    entries = {entry.key.removeprefix(PREFIX): entry for entry in patched.metadata_props}
    entries["version"].value = "9.9.9"
    assert verify(model, patched).ok
    entries["jumps"].value = entries["jumps"].value.replace("0.5", "0.25")
    assert failed(verify(model, patched)) == ["record"]
