"""What a patch does to a model, and what it leaves alone."""

import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu import OptionError, PatchError, Recipe, find_activations, patch_model, revert_model
from onnx_jumprelu.graphs.builder import FreshNames
from onnx_jumprelu.rewrite.options import PatchOptions
from tests.models import NESTED, RELU, f32, oracle, parse, run, single, spread

TWO = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N] x) => (float[N] y) { a = Relu(x)  b = Neg(a)  c = Add(b, x)  y = Relu(c) }"""
ALL_OPTIONS: list[dict[str, Any]] = [
    {"jump": 0.5},
    {"jump": 0.5, "lowering": "cast-mul"},
    {"jump": 0.5, "lowering": "function"},
    {"jump": 0.5, "lowering": "thresholded-relu"},
    {"jump": 0.5, "keep_nan": True},
    {"jump": 0.5, "jump_input": True},
    {"recipe": Recipe(0.5, {"a": 1.0}), "jump_input": True},
    {"recipe": Recipe(None, {"a": 1.0})},
]


def ops(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_a_relu_becomes_greater_and_where_in_its_place() -> None:
    patched = patch_model(parse(TWO), 0.5).model
    assert ops(patched) == ["Constant", "Constant", "Greater", "Where", "Neg", "Add", "Greater", "Where"]
    assert [node.output[0] for node in patched.graph.node if node.op_type == "Where"] == ["a", "y"]


def test_what_the_node_said_of_itself_stays() -> None:
    model = single("Relu")
    node = model.graph.node[0]
    node.doc_string = "from layer 3"
    node.metadata_props.add(key="namespace", value="net/layer3")
    end = patch_model(model, 0.5).model.graph.node[-1]
    assert (end.op_type, end.name, end.doc_string) == ("Where", "act", "from layer 3")
    assert end.metadata_props[0].value == "net/layer3"


def test_everything_else_stays_to_the_byte() -> None:
    model = parse(TWO)
    model.producer_name, model.producer_version, model.domain, model.doc_string = "someone", "1", "their.domain", "text"
    model.model_version = 7
    model.metadata_props.add(key="labels", value="cat,dog")
    model.graph.quantization_annotation.add(tensor_name="a").quant_parameter_tensor_names.add(key="SCALE", value="s")
    values = numpy_helper.from_array(f32([1.0]), "sparse")
    indices = numpy_helper.from_array(np.asarray([2]), "sparse_indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [5]))
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N"]))
    model.training_info.add().algorithm.name = "none"
    patched = patch_model(model, 0.5).model
    for side in (model, patched):
        del side.graph.node[:]
    del patched.metadata_props[1:]
    assert patched.SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=str)
def test_the_argument_is_untouched_and_revert_restores(options: dict[str, Any]) -> None:
    model = parse(TWO)
    before = model.SerializeToString()
    patched = patch_model(model, **options).model
    assert model.SerializeToString() == before
    assert patched.SerializeToString() != before
    onnx.checker.check_model(patched, full_check=True)
    patched_before = patched.SerializeToString()
    assert revert_model(patched).SerializeToString() == before
    assert patched.SerializeToString() == patched_before


@pytest.mark.parametrize("first", ALL_OPTIONS, ids=str)
@pytest.mark.parametrize("second", ALL_OPTIONS, ids=str)
def test_patching_again_changes_the_jumps_and_never_stacks(first: dict[str, Any], second: dict[str, Any]) -> None:
    model = parse(TWO)
    again = patch_model(patch_model(model, **first).model, **second)
    assert again.repatched
    assert again.model.SerializeToString() == patch_model(model, **second).model.SerializeToString()


@pytest.mark.parametrize("lowering", ["where", "thresholded-relu", "function", "cast-mul"])
def test_all_scopes_are_patched(lowering: str) -> None:
    model = parse(NESTED)
    result = patch_model(model, 0.25, lowering=lowering)  # type: ignore[arg-type]
    assert len(result.sites) == 7
    onnx.checker.check_model(result.model, full_check=True)
    assert revert_model(result.model).SerializeToString() == model.SerializeToString()
    x = np.float32(np.random.default_rng(0).standard_normal((3, 4)))

    def by_hand(*, flag: bool, trips: int) -> Any:  # noqa: ANN401
        jump = 0.25
        a = oracle(x, jump)
        state = oracle(oracle(a, jump), jump) if flag else oracle(a, jump)
        for _ in range(trips):
            state = oracle(state - a, jump)
        return oracle(oracle(-state, jump), jump)

    for flag in (False, True):
        for trips in (0, 1):
            feeds = {"x": x, "flag": np.asarray(flag), "trips": np.asarray(trips)}
            (y,) = run(result.model, feeds)
            assert np.array_equal(y, by_hand(flag=flag, trips=trips))


def test_scan_bodies_are_patched() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[2] start, float[T, 2] xs) => (float[2] end, float[T, 2] ys) {
            end, ys = Scan <num_scan_inputs = 1, body = step (float[2] s, float[2] e) => (float[2] s2, float[2] out) {
                s2 = Add(s, e)  out = Relu(s2) }> (start, xs)
        }"""
    )
    result = patch_model(model, 1.0)
    _, ys = run(result.model, {"start": np.zeros(2, np.float32), "xs": f32([[1, 2], [1, -4]])})
    assert ys.tolist() == [[0, 2], [2, 0]]
    assert revert_model(result.model).SerializeToString() == model.SerializeToString()


def test_deterministic_across_processes() -> None:
    script = (
        "import hashlib, onnx.parser, onnx_jumprelu as oj, tests.models as m;"
        "print(hashlib.sha256(oj.patch_model(m.parse(m.NESTED), 0.5, lowering='function')"
        ".model.SerializeToString()).hexdigest())"
    )
    hashes = {
        subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            text=True,
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


def test_generated_names_never_clash() -> None:
    taken = ["jumprelu/zero", "jumprelu/jump", "a/above", "a/above/Greater", "jump", "jumprelu/zero_2", "a/jumprelu"]
    model = parse(TWO)
    for name in taken:
        model.graph.initializer.append(numpy_helper.from_array(f32([0]), name))
    sparse = numpy_helper.from_array(f32([1.0]), "a/above_2")
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(sparse, numpy_helper.from_array(np.asarray([2])), [5])
    )
    model.training_info.add().algorithm.node.add(op_type="Neg", input=["x"], output=["jumprelu/zero_3"])
    taken += ["a/above_2", "jumprelu/zero_3"]
    for options in ALL_OPTIONS:
        patched = patch_model(model, **options).model
        outputs = [name for node in patched.graph.node for name in node.output]
        assert not set(outputs) & set(taken)
        assert len(set(outputs)) == len(outputs)
        onnx.checker.check_model(patched, full_check=True)


def test_no_new_ir_version_or_opset() -> None:
    for options in ALL_OPTIONS[:2]:
        model = single("Relu", opset=9, ir_version=3)
        patched = patch_model(model, **options).model
        assert (patched.ir_version, patched.opset_import[0].version) == (3, 9)


class TestJumpInput:
    def test_one_input_holds_every_jump(self) -> None:
        patched = patch_model(parse(TWO), 0.5, jump_input=True).model
        x = spread(TensorProto.FLOAT, 1.5)[:-2]  # finite
        for jump in (None, 0.0, 1.5):
            feeds = {"x": x} if jump is None else {"x": x, "jump": np.asarray(jump, np.float32)}
            used = 0.5 if jump is None else jump
            (y,) = run(patched, feeds)
            assert np.array_equal(y, oracle(x - oracle(x, used), used))

    def test_one_input_per_site_for_a_recipe(self) -> None:
        patched = patch_model(parse(TWO), recipe=Recipe(0.5, {"a": 1.0}), jump_input=True).model
        defaults = {tensor.name: float(numpy_helper.to_array(tensor)) for tensor in patched.graph.initializer}
        assert defaults == {"jump.a": 1.0, "jump.y": 0.5}
        x = spread(TensorProto.FLOAT, 1.0)[:-2]
        (y,) = run(patched, {"x": x, "jump.y": np.asarray(0.25, np.float32)})
        assert np.array_equal(y, oracle(x - oracle(x, 1.0), 0.25))

    def test_in_subgraphs_but_not_in_functions(self) -> None:
        result = patch_model(parse(NESTED), 0.5, jump_input=True)
        assert len(result.sites) == 5
        assert all("function body cannot read a graph input" in site.reason for site in result.skipped)
        assert len(result.skipped) == 2

    def test_ir_3_has_none(self) -> None:
        with pytest.raises(PatchError, match="IR version 3 has no overridable inputs"):
            patch_model(single("Relu", opset=9, ir_version=3), 0.5, jump_input=True)

    def test_one_input_cannot_have_two_types(self) -> None:
        model = parse(
            """<ir_version: 8, opset_import: ["" : 17]> net (float16[N] x, float[N] z) => (float16[N] y, float[N] w)
            { y = Relu(x)  w = Relu(z) }"""
        )
        with pytest.raises(OptionError, match=r"different types \(float16, float32\); give a recipe"):
            patch_model(model, 0.5, jump_input=True)
        patched = patch_model(model, recipe=Recipe(0.5), jump_input=True).model
        onnx.checker.check_model(patched, full_check=True)

    def test_the_inputs_type_is_the_sites(self) -> None:
        patched = patch_model(single("Relu", elem_type=TensorProto.FLOAT16), 0.5, jump_input=True).model
        assert patched.graph.input[-1].type.tensor_type.elem_type == TensorProto.FLOAT16


class TestSelection:
    def test_include_and_exclude(self) -> None:
        model = parse(NESTED)
        result = patch_model(model, 0.5, include=["*out*", "a"], exclude=["deep*"])
        assert {site.name for site in result.sites} == {"a", "out", "out2"}
        assert {site.reason for site in result.skipped} == {"not included", "excluded"}

    def test_a_pattern_that_matches_nothing_is_an_error(self) -> None:
        with pytest.raises(OptionError, match="include names 'conv9', which matches no site; the sites are: a, y"):
            patch_model(parse(TWO), 0.5, include=["conv9"])

    def test_nothing_left(self) -> None:
        with pytest.raises(PatchError, match="none of its activations \\(2\\) is patched; 'a': excluded"):
            patch_model(parse(TWO), 0.5, exclude=["*"])

    def test_no_activation_at_all(self) -> None:
        with pytest.raises(PatchError, match="no activation that JumpReLU can replace"):
            patch_model(single("Sigmoid"), 0.5)

    def test_refused_sites_are_reported(self) -> None:
        model = parse(
            """<ir_version: 8, opset_import: ["" : 17]> net (float[N] x) => (float[N] y)
            { a = LeakyRelu<alpha = 0.1>(x)  y = Relu(a) }"""
        )
        result = patch_model(model, 0.5)
        assert [site.name for site in result.sites] == ["y"]
        assert [(site.name, site.reason[:12]) for site in result.skipped] == [("a", "alpha is 0.1")]


class TestOptions:
    @pytest.mark.parametrize("jump", [-0.1, float("nan"), float("inf"), -float("inf")])
    def test_bad_jumps(self, jump: float) -> None:
        with pytest.raises(OptionError, match="must be a finite number of at least 0"):
            patch_model(parse(RELU), jump)

    def test_neither_or_both(self) -> None:
        for options in ({}, {"jump": 1.0, "recipe": Recipe(1.0)}):
            with pytest.raises(OptionError, match="either a jump, a softness or both, or a recipe"):
                PatchOptions(**options)  # type: ignore[arg-type]

    def test_unknown_lowering(self) -> None:
        with pytest.raises(OptionError, match="no lowering 'fancy'; there are auto, where"):
            patch_model(parse(RELU), 0.5, lowering="fancy")  # type: ignore[arg-type]

    @pytest.mark.parametrize("options", [{"keep_nan": True}, {"jump_input": True}], ids=str)
    def test_what_thresholded_relu_cannot_do(self, options: dict[str, Any]) -> None:
        with pytest.raises(OptionError, match="thresholded-relu has no"):
            patch_model(parse(RELU), 0.5, lowering="thresholded-relu", **options)

    def test_a_lone_string_is_no_list_of_globs(self) -> None:
        with pytest.raises(OptionError, match="lists of names"):
            patch_model(parse(RELU), 0.5, include="y")

    def test_a_jump_beyond_the_type(self) -> None:
        with pytest.raises(OptionError, match=r"site 'act': jump 70000\.0 is out of range for float16"):
            patch_model(single("Relu", elem_type=TensorProto.FLOAT16), 70000.0)

    def test_an_integer_jump_is_fine(self) -> None:
        assert patch_model(parse(RELU), 1).sites[0].jump == 1.0


def test_a_patched_model_lists_its_original_sites_with_their_jumps() -> None:
    model = parse(TWO)
    for lowering in ("where", "cast-mul", "function"):
        patched = patch_model(model, recipe=Recipe(0.5, {"a": 1.0}), lowering=lowering).model
        sites = find_activations(patched)
        assert [(site.name, site.form, site.jump) for site in sites] == [("a", "Relu", 1.0), ("y", "Relu", 0.5)]


def test_a_foreign_domain_of_our_name_is_left_alone() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17, "onnx_jumprelu" : 1]>
        net (float[N] x) => (float[N] y) { a = onnx_jumprelu.JumpReLU(x)  y = Relu(a) }
        <domain: "onnx_jumprelu", opset_import: ["" : 17]> JumpReLU (x) => (y) { y = Neg(x) }"""
    )
    with pytest.raises(PatchError, match="already uses the domain onnx_jumprelu"):
        patch_model(model, 0.5, lowering="function")
    patched = patch_model(model, 0.5).model
    assert revert_model(patched).SerializeToString() == model.SerializeToString()


def test_a_function_may_be_named_like_another_ones_subgraph() -> None:
    model = parse(
        """<ir_version: 10, opset_import: ["" : 18, "my" : 1]>
        net (float[N] x, bool b) => (float[N] y) { a = my.N(x, b)  y = my.Other(a) }
        <domain: "my", opset_import: ["" : 18]> N (u, b) => (v) {
            v = If (b) < then_branch = t () => (p) { n = Neg(u)  p = Relu(n) },
                         else_branch = e () => (q) { q = Relu(u) } >
        }
        <domain: "my", opset_import: ["" : 18]> Other (u) => (v) { m = Neg(u)  k = Neg(m)  v = Relu(k) }"""
    )
    model.functions[1].name = model.graph.node[1].op_type = "N/v.then_branch"
    before = model.SerializeToString()
    for lowering in ("where", "function", "cast-mul"):
        patched = patch_model(model, 0.5, lowering=lowering).model
        onnx.checker.check_model(patched)
        assert revert_model(patched).SerializeToString() == before
        (y,) = run(patched, {"x": f32([-3, 0.3, 3]), "b": np.asarray(True)})
        assert y.tolist() == [3, 0, 0]


def test_the_body_of_the_function_lowering_fits_the_main_opset_too() -> None:
    """The call alone (Constant, JumpReLU) would fit; the Where in its body does not."""
    model = parse(
        """<ir_version: 10, opset_import: ["" : 17, "my" : 1]> net (float[N] x) => (float[N] y) { y = my.F(x) }
        <domain: "my", opset_import: ["" : 15]> F (u) => (v) { v = Relu(u) }"""
    )
    with pytest.raises(PatchError, match=r"Where differs between opset 15 here and 17 in the main graph"):
        patch_model(model, 0.5, lowering="function")
    patched = patch_model(model, 0.5, lowering="cast-mul").model
    onnx.checker.check_model(patched, full_check=True)


def test_a_functions_own_opset_is_respected() -> None:
    """Onnx wants each operator in a function to be the same at the function's opset and at the main graph's."""
    model = parse(
        """<ir_version: 10, opset_import: ["" : 21, "my" : 1]> net (float[N] x) => (float[N] y) { y = my.F(x) }
        <domain: "my", opset_import: ["" : 18]> F (u) => (v) { v = Relu(u) }"""
    )
    onnx.checker.check_model(model)
    for lowering in ("auto", "where", "function", "cast-mul"):
        with pytest.raises(PatchError, match=r"differs between opset 18 here and 21 in the main graph"):
            patch_model(model, 0.5, lowering=lowering)
    onnx.checker.check_model(patch_model(model, 0.5, lowering="thresholded-relu").model)


def test_a_foreign_domain_of_our_name_in_a_function_only() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17, "my" : 1]> net (float[N] x) => (float[N] y) { y = my.F(x) }
        <domain: "my", opset_import: ["" : 17, "onnx_jumprelu" : 1]>
        F (u) => (v) { a = onnx_jumprelu.JumpReLU(u)  v = Relu(a) }
        <domain: "onnx_jumprelu", opset_import: ["" : 17]> JumpReLU (x) => (y) { y = Neg(x) }"""
    )
    with pytest.raises(PatchError, match="already uses the domain onnx_jumprelu"):
        patch_model(model, 0.5, lowering="function")


def test_an_exact_name_is_no_glob() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[N] x) => (float[N] y)
        { a = Relu(x)  b = Relu(a)  y = Relu(b) }"""
    )
    for node, name in zip(model.graph.node, ("relu1", "relu[1]", "y"), strict=True):
        node.name = name
    assert {site.name for site in patch_model(model, 0.5, exclude=["relu[1]"]).sites} == {"relu1", "y"}
    result = patch_model(model, recipe=Recipe(0.5, {"relu[1]": 1.0}))
    assert {site.name: site.jump for site in result.sites} == {"relu1": 0.5, "relu[1]": 1.0, "y": 0.5}


def test_the_name_of_the_jump_input_is_in_the_result() -> None:
    model = parse(TWO)
    model.graph.initializer.append(numpy_helper.from_array(f32(0), "jump"))
    assert {site.jump_input for site in patch_model(model, 0.5, jump_input=True).sites} == {"jump_2"}
    assert {site.jump_input for site in patch_model(model, 0.5).sites} == {None}


def test_numpys_numbers_are_jumps() -> None:
    for jump in (np.float32(0.5), np.float16(0.5), np.float64(0.5)):
        assert patch_model(parse(RELU), jump).sites[0].jump == 0.5
    for bad in (10**400, True):
        with pytest.raises(OptionError, match="finite number"):
            patch_model(parse(RELU), bad)


def test_many_names_of_one_base_are_found_quickly() -> None:
    """With a counter per base; trying every number from 2 on would take minutes here."""
    names = FreshNames(parse(RELU))
    assert [names("jumprelu/jump") for _ in range(50_000)][-1] == "jumprelu/jump_50000"
