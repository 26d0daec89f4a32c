"""The table of rules: complete, covered by cases, compared with the installed ONNX; and what it says of the rest."""

from __future__ import annotations

import re

import onnx
import onnx.parser
import pytest

from onnx_jumprelu.errors import GradientError
from onnx_jumprelu.gradient.core import registry
from onnx_jumprelu.gradient.core.registry import AUDITED_OPSET, NON_DIFFERENTIABLE, RULES, rule_for
from tests.gradient.cases import CASES, KNOWN, RUNS, versions_of
from tests.gradient.harness import Case, with_gradient

PROMISED = [
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "BatchNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "GroupNormalization",
    "LRN",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Neg",
    "Pow",
    "Sqrt",
    "Exp",
    "Log",
    "Abs",
    "Reciprocal",
    "Erf",
    "Min",
    "Max",
    "Sum",
    "Mean",
    "Relu",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Softplus",
    "Softsign",
    "Mish",
    "ThresholdedRelu",
    "Clip",
    "Softmax",
    "LogSoftmax",
    "Reshape",
    "Flatten",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Expand",
    "Concat",
    "Split",
    "Slice",
    "Pad",
    "Tile",
    "Gather",
    "Where",
    "Identity",
    "Cast",
    "Dropout",
    "Resize",
    "DepthToSpace",
    "SpaceToDepth",
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceL2",
    "ReduceSumSquare",
    "GlobalLpPool",
]
WITHOUT_DERIVATIVE = [
    "Shape",
    "Size",
    "Greater",
    "Less",
    "Equal",
    "GreaterOrEqual",
    "LessOrEqual",
    "And",
    "Or",
    "Not",
    "Xor",
    "ArgMax",
    "NonZero",
]

# Neither onnxruntime nor the reference evaluator runs these.
NOWHERE = {("GlobalLpPool", 22)}
LOWEST = 9  # models of opset 7 and 8 are raised to it


def test_every_promised_operator_has_a_rule() -> None:
    assert [op for op in PROMISED if op not in RULES] == []


def test_shapes_and_comparisons_are_declared() -> None:
    assert [op for op in WITHOUT_DERIVATIVE if op not in NON_DIFFERENTIABLE] == []


def test_no_operator_has_a_rule_and_is_declared_to_have_none() -> None:
    assert RULES.keys() & NON_DIFFERENTIABLE == set()


@pytest.mark.parametrize("op", sorted({*RULES, *NON_DIFFERENTIABLE}))
def test_operator_exists(op: str) -> None:
    if not versions_of(op) and onnx.defs.onnx_opset_version() < AUDITED_OPSET:
        pytest.skip(f"this onnx does not know {op} yet")
    assert versions_of(op)


@pytest.mark.parametrize("op", sorted({*RULES, *NON_DIFFERENTIABLE}))
def test_no_version_is_newer_than_the_audited_ones(op: str) -> None:
    """Where this fails: read what changed, correct the rule, add a case, and raise AUDITED_OPSET."""
    assert [version for version in versions_of(op) if version > AUDITED_OPSET] == []


@pytest.mark.parametrize("op", sorted(RULES))
def test_operator_has_a_case(op: str) -> None:
    assert any(case.op == op for case in CASES)


@pytest.mark.parametrize("op", sorted(RULES))
def test_every_version_has_a_case(op: str) -> None:
    """Every version that a model of opset 9 or later can hold."""
    versions = versions_of(op)
    held = [max((v for v in versions if v <= opset), default=0) for opset in range(LOWEST, KNOWN + 1)]
    deprecated = {v for v in versions if onnx.defs.get_schema(op, v).deprecated}
    tried = {max(v for v in versions if v <= opset) for case, opset in RUNS if case.op == op and opset >= LOWEST}
    wanted = {version for version in held if version} - deprecated
    assert wanted - tried - {version for name, version in NOWHERE if name == op} == set()


@pytest.mark.parametrize("op", sorted(RULES))
def test_rules_stand_from_the_newest_to_the_oldest(op: str) -> None:
    since = [rule.since for rule in RULES[op]]
    assert since == sorted(set(since), reverse=True)


def _gradient_of(nodes: str, opset: int = 18, domains: str = "") -> None:
    text = f'<ir_version: 10, opset_import: ["" : {opset}{domains}]> net (float[2, 3] x) => (float[] y) {{ {nodes} }}'
    with_gradient(onnx.parser.parse_model(text))


def test_unknown_operator() -> None:
    """The message names operator, version, domain and node, and how to add a rule."""
    with pytest.raises(GradientError) as caught:
        _gradient_of("[odd] y = Unique(x)")
    message = str(caught.value)
    for part in ("node 'odd' (Unique)", "version 11", "ai.onnx", "@vjp"):
        assert part in message
    assert "\n" not in message


def test_unknown_domain() -> None:
    with pytest.raises(
        GradientError, match=re.escape("node 'y' (Swirl): no gradient rule for my.domain::Swirl; add one")
    ):
        _gradient_of("y = my.domain.Swirl(x)", domains=', "my.domain" : 1')


def test_operator_that_the_opset_lacks() -> None:
    with pytest.raises(GradientError, match=r"node 'y' \(Gelu\): opset 18 has no operator Gelu"):
        _gradient_of("y = Gelu(x)")


def test_version_that_nobody_audited(monkeypatch: pytest.MonkeyPatch) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    assert rule_for(node, 18).since == 6
    monkeypatch.setattr(registry, "AUDITED_OPSET", 13)
    with pytest.raises(GradientError, match=r"no gradient rule for Relu, version 14"):
        rule_for(node, 18)


@pytest.mark.parametrize(
    "nodes",
    [
        "zero = Constant <value_float=0.0> () one = Constant <value_float=1.0> () y = Range(zero, s, one)",
        "i = Constant <value_ints=[0]> () d = Constant <value_int=2> () v = Concat <axis=0> (r, r) y = OneHot(i, d, v)",
        "y = Unique(r)",
        # The body takes `s` from outside; no input of the node itself depends on x.
        (
            "n = Constant <value_int=2> () t = Constant <value=bool {1}> () b = Constant <value_float=1.0> () "
            "y, _ = Loop(n, t, b) <body = step (int64 i, bool go, float state) => (bool on, float next, float z) "
            "{ on = Identity(go) next = Mul(state, s) z = Neg(s) }>"
        ),
    ],
    ids=["Range", "OneHot", "Unique", "Loop"],
)
def test_no_silent_zero(nodes: str) -> None:
    """A node without a rule is refused if it depends on the input, also inside a subgraph."""
    head = "s = ReduceSum <keepdims=0> (x) m = Constant <value_ints=[-1]> () r = Reshape(s, m) "
    with pytest.raises(GradientError, match="no gradient rule for"):
        _gradient_of(head + nodes)


def test_declared_operator_ends_the_way() -> None:
    """Floor is declared non-differentiable: paths through it have no derivative, paths around it have one."""
    with pytest.raises(AssertionError):  # nothing at all depends on x
        _gradient_of("f = Floor(x) y = Neg(f)")
    _gradient_of("f = Floor(x) y = Mul(f, x)")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ("y, m = LayerNormalization(x, k)", None),
        ("z, y = LayerNormalization(x, k)", "its outputs Mean and InvStdDev have no gradient rule"),
        ("s = Sigmoid(x) y = LayerNormalization(x, s)", "input 1 depends on the model's input"),
        ('y = Resize <mode="linear", keep_aspect_ratio_policy="not_larger"> (x, , , n)', "keep_aspect_ratio_policy"),
        ("y = Dropout(x, r, t)", "runs in training mode; export the model for inference"),
        ("s = Shape(x) y = Reshape(x, s)", None),
        ("s = ArgMax <axis=1, keepdims=0> (x) y = Tile(x, s)", "input 1 must be constant"),
    ],
)
def test_what_a_rule_refuses(nodes: str, message: str | None) -> None:
    constants = (
        "k = Constant <value_floats=[1.0, 2.0, 3.0]> () n = Constant <value_ints=[3, 3]> () "
        "r = Constant <value_float=0.5> () t = Constant <value=bool {1}> () "
    )
    if message is None:
        _gradient_of(constants + nodes)
    else:
        with pytest.raises(GradientError, match=message):
            _gradient_of(constants + nodes)


def test_a_case_reaches_what_it_is_about() -> None:
    """Each case contains the operator that it is named after."""
    strays = [case.name for case in CASES if not re.search(rf"\b{case.op}\b", case.nodes)]
    assert strays == []
    assert len({case.name for case in CASES}) == len(CASES)
    assert isinstance(CASES[0], Case)
