"""Every check fails on a planted fault."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu import patch_files, patch_model, verify
from onnx_jumprelu.files.models import ModelFile
from onnx_jumprelu.rewrite.record import PREFIX
from onnx_jumprelu.runtime import Feeds, Runner
from onnx_jumprelu.verification.pair import Pair
from tests.models import NESTED, f32, parse, single, with_external_weights
from tests.verification.nets import NET, failed, nodes


def _greater_or_equal(model: ModelProto) -> None:
    nodes(model, "Greater")[0].op_type = "GreaterOrEqual"


def _one_ulp(model: ModelProto) -> None:
    (constant,) = [node for node in nodes(model, "Constant") if numpy_helper.to_array(node.attribute[0].t) == f32(0.5)]
    constant.attribute[0].t.CopyFrom(numpy_helper.from_array(np.asarray(np.nextafter(f32(0.5), f32(1)), np.float32)))


def _swapped_branches(model: ModelProto) -> None:
    node = nodes(model, "Where")[0]
    node.input[1], node.input[2] = node.input[2], node.input[1]


def _wrong_input(model: ModelProto) -> None:
    nodes(model, "Greater")[0].input[0] = "x"


def _weights(model: ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    values = numpy_helper.to_array(tensor).copy()
    values[0, 0] = np.nextafter(values[0, 0], f32(9))
    tensor.CopyFrom(numpy_helper.from_array(values, "w"))


def _extra_node(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Neg", ["b"], ["spare"]))


def _missing_node(model: ModelProto) -> None:
    missing = nodes(model, "MatMul")[0]
    model.graph.node.remove(missing)
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = missing.input[0] if name == missing.output[0] else name


def _moved_node(model: ModelProto) -> None:
    last = model.graph.node.pop()
    model.graph.node.insert(0, last)


def _other_node(model: ModelProto) -> None:
    nodes(model, "MatMul")[1].op_type = "Add"


def _lost_cap(model: ModelProto) -> None:
    node = nodes(model, "Clip")[0]
    del node.input[2]


def _other_cap(model: ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "hi")
    tensor.CopyFrom(numpy_helper.from_array(f32(5), "hi"))


def _output_renamed(model: ModelProto) -> None:
    model.graph.output[0].name = "c"


def _other_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 18


def _extra_input(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("knob", TensorProto.FLOAT, []))
    model.graph.initializer.append(numpy_helper.from_array(f32(1), "knob"))


def _weights_made_an_input(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 3]))


def _extra_function(model: ModelProto) -> None:
    body = [helper.make_node("Neg", ["x"], ["y"])]
    model.functions.append(helper.make_function("their", "F", ["x"], ["y"], body, [helper.make_opsetid("", 17)]))


def _metadata(model: ModelProto) -> None:
    model.metadata_props.add(key="author", value="someone else")


def _recorded_jump(model: ModelProto) -> None:
    entry = next(entry for entry in model.metadata_props if entry.key == PREFIX + "jumps")
    entry.value = entry.value.replace("0.5", "0.25")


def _recorded_original(model: ModelProto) -> None:
    entry = next(entry for entry in model.metadata_props if entry.key == PREFIX + "input_sha256")
    entry.value = "0" * 64


def _rarely_wrong(model: ModelProto) -> None:
    # Right everywhere but at infinity: x * 1 for Where, x * 0 below the jump.
    node = nodes(model, "Where")[0]
    above, x = node.input[0], node.input[1]
    index = list(model.graph.node).index(node)
    model.graph.node.insert(index, helper.make_node("Cast", [above], ["ones"], to=1))
    node.op_type = "Mul"
    del node.input[:]
    node.input.extend([x, "ones"])


FAULTS: list[tuple[Callable[[ModelProto], None], str]] = [
    (_greater_or_equal, "sites"),
    (_one_ulp, "record"),
    (_swapped_branches, "sites"),
    (_wrong_input, "structure"),
    (_weights, "structure"),
    (_extra_node, "structure"),
    (_missing_node, "structure"),
    (_moved_node, "structure"),
    (_other_node, "structure"),
    (_lost_cap, "sites"),
    (_other_cap, "structure"),
    (_output_renamed, "structure"),
    (_other_opset, "structure"),
    (_extra_input, "structure"),
    (_weights_made_an_input, "structure"),
    (_extra_function, "structure"),
    (_metadata, "structure"),
    (_recorded_jump, "record"),
    (_recorded_original, "record"),
    (_rarely_wrong, "sites"),
]


@pytest.mark.parametrize(("fault", "check"), FAULTS, ids=lambda value: getattr(value, "__name__", value))
def test_planted_faults_are_found(fault: Callable[[ModelProto], None], check: str) -> None:
    model = parse(NET)
    patched = patch_model(model, 0.5).model
    fault(patched)
    report = verify(model, patched)
    assert not report.ok
    assert check in failed(report)


def test_a_wrong_function_body_is_found() -> None:
    model = parse(NET)
    patched = patch_model(model, 0.5, lowering="function").model
    body = next(node for node in patched.functions[0].node if node.op_type == "Greater")
    body.op_type = "Less"
    assert "sites" in failed(verify(model, patched))


def test_a_changed_subgraph_is_found() -> None:
    model = parse(NESTED)
    patched = patch_model(model, 0.5).model
    branch = next(entry.g for entry in nodes(patched, "If")[0].attribute if entry.name == "else_branch")
    branch.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    assert failed(verify(model, patched)) == ["structure"]


def test_an_invalid_model_is_found() -> None:
    model = parse(NET)
    patched = patch_model(model, 0.5).model
    nodes(patched, "Greater")[0].op_type = "NoSuchOp"
    assert failed(verify(model, patched))[:2] == ["checker", "session"]


def test_an_unpatched_model_is_not_proved() -> None:
    model = parse(NET)
    report = verify(model, model)
    assert not report.ok
    assert "nothing was patched" in report.checks[-1].detail


def test_swapped_models_are_refused_with_advice() -> None:
    model = parse(NET)
    report = verify(patch_model(model, 0.5).model, model)
    assert not report.ok
    assert "give the original first and the patched model second" in report.checks[-1].detail


def test_another_original_is_found() -> None:
    other = parse(NET.replace("0.25", "0.75"))
    assert not verify(other, patch_model(parse(NET), 0.5).model).ok


def _nan_dropped(model: ModelProto) -> None:
    """The NaN-keeping form replaced by the one that turns NaN into 0."""
    mask, where = nodes(model, "LessOrEqual")[0], nodes(model, "Where")[0]
    mask.op_type = "Greater"
    where.input[1], where.input[2] = where.input[2], where.input[1]


def test_nan_in_float32_is_tried() -> None:
    """Both forms agree on all other inputs."""
    model = single("Relu")
    patched = patch_model(model, 0.5, keep_nan=True).model
    _nan_dropped(patched)
    report = verify(model, patched)
    assert "sites" in failed(report), report
    assert any("0.0 instead of nan" in check.detail for check in report.checks if check.name == "sites")


def test_optimized_sessions_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime whose optimizations alone break a site is noticed."""

    class Off:
        def __init__(self, runner: Runner) -> None:
            self._runner = runner

        def run(self, names: Sequence[str] | None, feeds: Feeds) -> list[Any]:
            return [output + 1 for output in self._runner.run(names, feeds)]

    plain = Pair.runner

    def runner(self: Pair, model: ModelProto, of: ModelFile, *, optimize: bool = False) -> Runner:
        made = plain(self, model, of, optimize=optimize)
        return Off(made) if optimize else made

    model = parse(NET)
    patched = patch_model(model, 0.5).model
    monkeypatch.setattr(Pair, "runner", runner)
    assert failed(verify(model, patched)) == ["sites"]


def test_the_patched_files_own_weights_are_checked(tmp_path: Path) -> None:
    path = with_external_weights(tmp_path / "in")
    patched = tmp_path / "out" / "model.jumprelu.onnx"
    patch_files([path], patched.parent, 0.5)
    assert verify(path, patched).ok
    (patched.parent / "weights.bin").write_bytes(bytes(256))
    report = verify(path, patched)
    assert failed(report) == ["structure"]
    assert "the weights differ" in report.checks[2].detail


def test_a_difference_is_named() -> None:
    model = parse(NET)
    details = {}
    for fault in (_weights, _metadata, _other_opset, _output_renamed):
        patched = patch_model(model, 0.5).model
        fault(patched)
        details[fault] = verify(model, patched).checks[2].detail
    assert "in graph.initializer 'w'" in details[_weights]
    assert "in metadata_props" in details[_metadata]
    assert "in opset_import" in details[_other_opset]
    assert "in graph.output 'y'" in details[_output_renamed]
