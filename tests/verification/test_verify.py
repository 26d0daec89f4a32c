"""The proof holds for what `patch` makes, and every check fails on a planted fault."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu import DataError, Recipe, VerifyReport, find_activations, patch_files, patch_model, verify
from onnx_jumprelu.files.models import ModelFile
from onnx_jumprelu.rewrite.record import PREFIX
from onnx_jumprelu.runtime import Feeds, Runner
from onnx_jumprelu.verification.checks import CHECKS
from onnx_jumprelu.verification.pair import Pair
from onnx_jumprelu.verification.sites import difference
from tests.models import NESTED, RELU, f32, parse, single, with_external_weights

LOWERINGS = ["where", "thresholded-relu", "function", "cast-mul"]
NET = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3] x) => (float[N, 3] y)
<float[3, 3] w = {0.5, -1, 2, 1, 0.25, -0.5, 3, 1, -2}, float lo = {0}, float hi = {6}>
{ a = MatMul(x, w)  b = Relu(a)  c = MatMul(b, w)  y = Clip(c, lo, hi) }"""


def failed(report: VerifyReport) -> list[str]:
    return [check.name for check in report.checks if not check.ok]


def nodes(model: ModelProto, op: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == op]


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


def test_real_inputs_are_used() -> None:
    model = parse(NET)
    patched = patch_model(model, 0.5).model
    assert "the given inputs" in verify(model, patched, f32([[1, 2, 3]])).checks[-1].detail
    assert verify(model, patched, {"x": f32([[1, 2, 3]])}).ok
    with pytest.raises(DataError, match=r"shape \[1, 4\] do not fit the input 'x' of shape \['\?', 3\]"):
        verify(model, patched, f32([[1, 2, 3, 4]]))
    with pytest.raises(DataError, match="no data for the input 'x'"):
        verify(model, patched, {"z": f32([[1, 2, 3]])})


def test_a_fixed_batch_takes_what_it_can() -> None:
    model = single("Relu", shape=[1, 2])
    assert verify(model, patch_model(model, 0.5).model, f32([[1, 2], [3, 4]])).ok


def test_on_check_is_called_for_each() -> None:
    model = parse(NET)
    seen: list[str] = []
    verify(model, patch_model(model, 0.5).model, on_check=lambda check: seen.append(check.name))
    assert seen == list(CHECKS)


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


def test_an_original_that_nothing_runs_is_not_proved() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17, "odd" : 1]> net (float[N] x) => (float[N] y)
        { a = Relu(x)  y = odd.Op(a) }"""
    )
    assert "session" in failed(verify(model, patch_model(model, 0.5).model))


def test_an_original_that_draws_random_numbers_is_compared_on_the_same_ones() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[3] x) => (float[3] y)
        { noise = RandomNormalLike(x)  a = Add(x, noise)  y = Relu(a) }"""
    )
    assert verify(model, patch_model(model, 0.5).model).ok


def test_external_weights(tmp_path: Path) -> None:
    path = with_external_weights(tmp_path)
    patched = tmp_path / "patched.onnx"
    model = onnx.load(path, load_external_data=False)
    onnx.save(patch_model(model, 0.5).model, patched)
    assert verify(path, patched).ok


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


class TestDifference:
    def test_bits(self) -> None:
        assert difference(f32([1.0]), f32([np.nextafter(f32(1), f32(2))])) is not None

    def test_zero_and_nan(self) -> None:
        assert difference(f32([0.0, np.nan]), f32([-0.0, -np.nan])) is None
        assert difference(f32([0.0]), f32([np.nan])) is not None

    def test_shape_and_type(self) -> None:
        assert difference(f32([1.0]), f32([[1.0]])) is not None
        assert difference(f32([1.0]), np.asarray([1.0])) is not None


def test_forms_with_bounds(samples: Path) -> None:
    model = onnx.load(samples / "digits_relu6.onnx")
    assert {site.form for site in find_activations(model)} == {"Clip"}
    assert verify(model, patch_model(model, 0.75).model).ok


def test_the_patched_files_own_weights_are_checked(tmp_path: Path) -> None:
    path = with_external_weights(tmp_path / "in")
    patched = tmp_path / "out" / "model.jumprelu.onnx"
    patch_files([path], patched.parent, 0.5)
    assert verify(path, patched).ok
    (patched.parent / "weights.bin").write_bytes(bytes(256))
    report = verify(path, patched)
    assert failed(report) == ["structure"]
    assert "the weights differ" in report.checks[2].detail


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


def test_nan_of_the_original_is_avoided() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[N] x) => (float[N] y) { a = Log(x)  y = Relu(a) }"""
    )
    patched = patch_model(model, 0.5).model
    assert verify(model, patched).ok
    report = verify(model, patched, f32([-1.0]))
    assert "The original computes NaN here" in report.checks[-1].detail


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
        """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> net (float[N] x) => (float[N] y)
        { a = com.microsoft.Gelu(x)  b = Relu(a)  c = com.microsoft.Gelu(b)  y = Identity(c) }"""
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


def test_batches_of_one() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[N, 4] x) => (float[M] y)
        { shape = Constant<value_ints = [4]>()  a = Reshape(x, shape)  y = Relu(a) }"""
    )
    assert verify(model, patch_model(model, 0.5).model).ok


def test_the_recorded_jump_is_compared_whatever_version_wrote_it() -> None:
    model = parse(NET)
    patched = patch_model(model, 0.5).model
    entries = {entry.key.removeprefix(PREFIX): entry for entry in patched.metadata_props}
    entries["version"].value = "9.9.9"
    assert verify(model, patched).ok
    entries["jumps"].value = entries["jumps"].value.replace("0.5", "0.25")
    assert failed(verify(model, patched)) == ["record"]


def test_sites_fed_by_weights_and_defaults() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[2] x, float[2] d = {1, 2}) => (float[2] y, float[2] z, float[2] u) <float[2] w = {0.2, 3}>
        { a = Relu(w)  y = Add(a, x)  z = Relu(d)  u = Relu(x) }"""
    )
    assert verify(model, patch_model(model, 0.5).model).ok


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
