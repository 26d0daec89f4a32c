"""Which rectifiers are found, where, and why the others are refused."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu import ActivationSite, PatchError, find_activations, patch_model
from onnx_jumprelu.graphs.scopes import newest_opset
from onnx_jumprelu.names import LoweringName
from onnx_jumprelu.rewrite.recognisers import RECOGNISERS
from tests.models import NESTED, f32, parse, single

ZERO, SIX = np.zeros((), np.float32), np.full((), 6, np.float32)
F16 = TensorProto.FLOAT16

PATCHABLE: dict[str, tuple[str, ModelProto]] = {
    "Relu": ("Relu", single("Relu")),
    "Relu at the oldest opset": ("Relu", single("Relu", opset=7, ir_version=3)),
    "Relu at the newest opset": ("Relu", single("Relu", opset=newest_opset(), ir_version=onnx.IR_VERSION)),
    "Clip, bounds as attributes": ("Clip", single("Clip", opset=10, min=0.0, max=6.0)),
    "Clip, only a minimum": ("Clip", single("Clip", opset=10, min=0.0)),
    "Clip, bounds as inputs": ("Clip", single("Clip", inputs=["x", "lo", "hi"], extra={"lo": ZERO, "hi": SIX})),
    "Clip, minimum as input": ("Clip", single("Clip", inputs=["x", "lo"], extra={"lo": ZERO})),
    "Clip, bound of shape (1,)": ("Clip", single("Clip", inputs=["x", "lo"], extra={"lo": ZERO.reshape(1)})),
    "Clip, minimum -0": ("Clip", single("Clip", inputs=["x", "lo"], extra={"lo": -ZERO})),
    "Max, zero second": ("Max", single("Max", inputs=["x", "zero"], extra={"zero": ZERO})),
    "Max, zero first": ("Max", single("Max", inputs=["zero", "x"], extra={"zero": ZERO})),
    "Max, zeros of the input's shape": (
        "Max",
        single("Max", inputs=["x", "zero"], extra={"zero": np.zeros((2, 3), np.float32)}, shape=[2, 3]),
    ),
    "Max, zero of shape (1, 1)": (
        "Max",
        single("Max", inputs=["x", "zero"], extra={"zero": np.zeros((1, 1), np.float32)}, shape=["N", 3]),
    ),
    "LeakyRelu": ("LeakyRelu", single("LeakyRelu", alpha=0.0)),
    "Elu": ("Elu", single("Elu", alpha=0.0)),
    "PRelu": ("PRelu", single("PRelu", inputs=["x", "s"], extra={"s": np.zeros(3, np.float32)}, shape=["N", 3])),
    "float16": ("Relu", single("Relu", elem_type=F16)),
    "float64": ("Relu", single("Relu", elem_type=TensorProto.DOUBLE)),
    "bfloat16": ("Relu", single("Relu", elem_type=TensorProto.BFLOAT16)),
}

REFUSED: dict[str, tuple[str, ModelProto]] = {
    "int32": ("int32 is not a floating-point type", single("Relu", elem_type=TensorProto.INT32)),
    "int64 Max": (
        "int64 is not a floating-point type",
        single("Max", elem_type=TensorProto.INT64, inputs=["x", "z"], extra={"z": np.zeros((), np.int64)}),
    ),
    "opset too low": ("opset 6 is too low", single("Relu", opset=6, ir_version=3)),
    "opset too new": ("is newer than the installed onnx knows", single("Relu", opset=newest_opset() + 1)),
    "Clip, bound computed": (
        "bounds are not constant: 'lo' is computed by Sub",
        parse("""<ir_version: 8, opset_import: ["" : 17]> net (float[N] x) => (float[N] y)
              <float one = {1}> { lo = Sub(one, one)  y = Clip(x, lo) }"""),
    ),
    "Clip, bound fed": (
        "bounds are not constant: 'lo' is an input",
        parse("""<ir_version: 8, opset_import: ["" : 17]> net (float[N] x, float lo) => (float[N] y)
              { y = Clip(x, lo) }"""),
    ),
    "Clip, maximum computed": (
        "bounds are not constant: 'hi' is computed by Sqrt",
        parse("""<ir_version: 8, opset_import: ["" : 17]> net (float[N] x) => (float[N] y)
              <float lo = {0}, float four = {4}> { hi = Sqrt(four)  y = Clip(x, lo, hi) }"""),
    ),
    "Clip, maximum NaN": ("maximum nan is not above", single("Clip", opset=10, min=0.0, max=float("nan"))),
    "Clip, bound of two values": (
        "'lo' is not a scalar",
        single("Clip", inputs=["x", "lo"], extra={"lo": np.zeros(2, np.float32)}),
    ),
    "Max, zero that can be overridden": (
        "the zero is not constant",
        parse("""<ir_version: 8, opset_import: ["" : 17]> net (float[N] x, float zero = {0}) => (float[N] y)
              { y = Max(x, zero) }"""),
    ),
    "ReLU6 in a fused node": (
        "Clip is fused into com.microsoft.FusedGemm",
        parse("""<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
              net (float[N,C] x, float[C,M] w) => (float[N,M] y)
              { y = com.microsoft.FusedGemm <activation = "Clip"> (x, w) }"""),
    ),
    "Clip to nothing": ("maximum 0 is not above", single("Clip", opset=10, min=0.0, max=0.0)),
    "Max of three": (
        "Max of more than two inputs",
        parse("""<ir_version: 8, opset_import: ["" : 17]> net (float[N] x, float[N] z) => (float[N] y)
              <float zero = {0}> { y = Max(x, z, zero) }"""),
    ),
    "Max that widens": (
        "may broadcast its input to a larger shape",
        single("Max", inputs=["x", "zero"], extra={"zero": np.zeros((2, 1), np.float32)}, shape=[1, 3]),
    ),
    "Max that adds a dimension": (
        "may broadcast its input to a larger shape",
        single("Max", inputs=["x", "zero"], extra={"zero": np.zeros((1, 1), np.float32)}, shape=[3]),
    ),
    "LeakyRelu that leaks": ("alpha is 0.01, not 0", single("LeakyRelu")),
    "PRelu that leaks": (
        "slope is not 0 everywhere",
        single("PRelu", inputs=["x", "s"], extra={"s": f32([0, 0, 1e-3])}, shape=["N", 3]),
    ),
    "PRelu, slope larger than the input": (
        "the slope of shape [1, 4] broadcasts its input to a larger shape",
        single("PRelu", inputs=["x", "s"], extra={"s": np.zeros((1, 4), np.float32)}, shape=["N", 1]),
    ),
    "PRelu, slope fed": (
        "slope is not constant",
        parse("""<ir_version: 8, opset_import: ["" : 17]> net (float[N] x, float s) => (float[N] y)
              { y = PRelu(x, s) }"""),
    ),
    "ThresholdedRelu": ("is already a JumpReLU (jump 0.7)", single("ThresholdedRelu", alpha=0.7)),
    "GRU": (
        "Relu is inside the GRU node",
        parse("""<ir_version: 8, opset_import: ["" : 17]>
              net (float[S,B,I] x, float[1,12,I] w, float[1,12,4] r) => (float[S,1,B,4] y)
              { y = GRU <hidden_size = 4, activations = ["Sigmoid", "Relu"]> (x, w, r) }"""),
    ),
    "Conv of blocked layout": (
        "Relu is fused into com.microsoft.nchwc.Conv; save the model unoptimized",
        parse("""<ir_version: 8, opset_import: ["" : 17, "com.microsoft.nchwc" : 1]>
              net (float[N,C,H,W] x, float[M,C,3,3] w) => (float[N,M,H,W] y)
              { y = com.microsoft.nchwc.Conv <activation = "Relu"> (x, w) }"""),
    ),
    "type unknown, opset below 16": (
        "element type cannot be inferred",
        parse("""<ir_version: 8, opset_import: ["" : 15, "odd" : 1]> net (float[N] x) => (float[N] y)
              { a = odd.Op(x)  b = Relu(a)  y = odd.Op(b) }"""),
    ),
}

NOT_RECTIFIERS: dict[str, ModelProto] = {
    "Clip from -1": single("Clip", opset=10, min=-1.0, max=1.0),
    "Clip without a minimum": single("Clip", inputs=["x", "", "hi"], extra={"hi": SIX}),
    "Clip from -1, maximum fed": parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[N] x, float hi) => (float[N] y)
        <float lo = {-1}> { y = Clip(x, lo, hi) }"""
    ),
    "Max of two tensors": parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[N] x, float[N] z) => (float[N] y) { y = Max(x, z) }"""
    ),
    "Max with one": single("Max", inputs=["x", "one"], extra={"one": ZERO + 1}),
    "Sigmoid": single("Sigmoid"),
    "Elu with its usual alpha": single("Elu"),
    "custom op with an activation that is not text": parse(
        """<ir_version: 8, opset_import: ["" : 17, "odd" : 1]> net (float[N] x) => (float[N] y)
        { y = odd.Op<activation = 3>(x) }"""
    ),
    "Relu of another domain": parse(
        """<ir_version: 8, opset_import: ["" : 17, "odd" : 1]> net (float[N] x) => (float[N] y) { y = odd.Relu(x) }"""
    ),
}


def only(model: ModelProto) -> ActivationSite:
    (site,) = find_activations(model)
    return site


@pytest.mark.parametrize("case", PATCHABLE)
def test_rectifiers_are_found(case: str) -> None:
    form, model = PATCHABLE[case]
    site = only(model)
    assert (site.form, site.name, site.scope, site.tensor, site.input, site.reason) == (
        form,
        "act",
        "main",
        "y",
        "x",
        None,
    )
    assert site.patchable


@pytest.mark.parametrize("case", REFUSED)
def test_look_alikes_are_refused_with_a_reason(case: str) -> None:
    reason, model = REFUSED[case]
    site = only(model)
    assert not site.patchable
    assert reason in str(site.reason)


@pytest.mark.parametrize("case", NOT_RECTIFIERS)
def test_others_are_not_listed(case: str) -> None:
    assert find_activations(NOT_RECTIFIERS[case]) == []


def test_every_recogniser_has_a_case() -> None:
    ops = {node.op_type for _, model in (*PATCHABLE.values(), *REFUSED.values()) for node in model.graph.node}
    assert set(RECOGNISERS) <= ops


def test_scopes_of_every_kind() -> None:
    sites = find_activations(parse(NESTED))
    assert [site.scope for site in sites] == [
        "main",
        "main/b.then_branch",
        "main/b.then_branch/inner.then_branch",
        "main/b.else_branch",
        "main/c.body",
        "function my::Outer",
        "function my::Inner",
    ]
    assert all(site.patchable and site.dtype == "float32" for site in sites)


def test_types_and_shapes() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float16[batch, 3] x) => (float16[batch, 3] y)
        { a = Neg(x)  y = Relu(a) }"""
    )
    site = only(model)
    assert (site.dtype, site.shape) == ("float16", ("batch", 3))


def test_a_function_called_with_two_types_has_none() -> None:
    model = parse(
        """<ir_version: 10, opset_import: ["" : 18, "my" : 1]>
        net (float[N] x, double[N] z) => (float[N] y, double[N] w) { y = my.F(x)  w = my.F(z) }
        <domain: "my", opset_import: ["" : 18]> F (u) => (v) { v = Relu(u) }"""
    )
    site = only(model)
    assert (site.dtype, site.patchable) == (None, True)


def test_a_functions_type_may_depend_on_an_attribute() -> None:
    model = parse(
        """<ir_version: 10, opset_import: ["" : 18, "my" : 1]>
        net (float[N] x) => (float16[N] y) { y = my.F<kind = 10>(x) }
        <domain: "my", opset_import: ["" : 18]> F <kind> (u) => (v) { c = Cast<to: int = @kind>(u)  v = Relu(c) }"""
    )
    assert only(model).dtype == "float16"


@pytest.mark.parametrize("kind", ["Constant", "Cast", "Identity"])
def test_bounds_are_read_through(kind: str) -> None:
    how = {
        "Constant": "lo = Constant<value_float = 0.0>()",
        "Cast": "d = Constant<value = double {0}>()  lo = Cast<to = 1>(d)",
        "Identity": "c = Constant<value = float {0}>()  lo = Identity(c)",
    }[kind]
    text = f"""<ir_version: 8, opset_import: ["" : 17]> net (float[N] x) => (float[N] y) {{ {how}  y = Clip(x, lo) }}"""
    assert only(parse(text)).patchable


@pytest.mark.parametrize(("ir_version", "patchable"), [(3, True), (8, False)])
def test_an_initializer_that_is_an_input_counts_as_constant_only_before_ir_4(
    ir_version: int, *, patchable: bool
) -> None:
    model = single("Clip", opset=11, ir_version=ir_version, inputs=["x", "lo"], extra={"lo": ZERO})
    model.graph.input.append(helper.make_tensor_value_info("lo", TensorProto.FLOAT, []))
    assert only(model).patchable is patchable


def test_a_slope_in_an_external_file_is_not_read() -> None:
    model = single("PRelu", inputs=["x", "s"], extra={"s": np.zeros(3, np.float32)}, shape=["N", 3])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    assert "external data file" in str(only(model).reason)


def test_names_are_unique() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[N] x, bool b) => (float[N] y)
        { a = Relu(x)
          y = If (b) < then_branch = t () => (float[N] p) { p = Relu(a) },
                       else_branch = e () => (float[N] q) { q = Relu(a) } > }"""
    )
    for node in [model.graph.node[0], *(entry.g.node[0] for entry in model.graph.node[1].attribute)]:
        node.name = "same"
    names = [site.name for site in find_activations(model)]
    assert names == ["main/same", "main/y.then_branch/same", "main/y.else_branch/same"]


def test_the_argument_is_untouched() -> None:
    model = parse(NESTED)
    before = model.SerializeToString()
    find_activations(model)
    assert model.SerializeToString() == before


def test_large_constants_do_not_disturb_the_types() -> None:
    weights = numpy_helper.from_array(np.ones((64, 64), np.float32))
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["w"], value=weights),
            helper.make_node("MatMul", ["x", "w"], ["a"]),
            helper.make_node("Relu", ["a"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    site = only(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    assert (site.dtype, site.shape) == ("float32", ("N", 64))


def test_a_bound_at_the_end_of_a_long_chain() -> None:
    chain = [helper.make_node("Identity", [f"c{number}"], [f"c{number + 1}"]) for number in range(3000)]
    model = single("Clip", inputs=["x", "c3000"], extra={"c0": ZERO})
    last = model.graph.node.pop()
    model.graph.node.extend([*chain, last])
    assert only(model).patchable


@pytest.mark.parametrize("lowering", ["where", "thresholded-relu", "cast-mul"])
def test_a_model_that_was_patched_elsewhere_is_left_alone(lowering: LoweringName) -> None:
    model = parse("""<ir_version: 8, opset_import: ["" : 17]> net (float[N, 4] x) => (float[N, 4] y)
                  { a = Relu(x)  low = Constant<value_float=0.0>()  high = Constant<value_float=6.0>()
                    b = Neg(a)  y = Clip(b, low, high) }""")
    patched = patch_model(model, 0.5, lowering=lowering).model
    del patched.metadata_props[:]  # as if another tool had done it
    sites = find_activations(patched)
    assert not any(site.patchable for site in sites)
    reasons = [str(site.reason) for site in sites]
    assert sum("is already a JumpReLU (jump 0.5), not added by this tool" in reason for reason in reasons) == 2
    assert any("follows a JumpReLU" in reason for reason in reasons)  # the cap
    with pytest.raises(PatchError, match="not added by this tool"):
        patch_model(patched, 1.0)
