"""Random models: patching never clashes, changes nothing else, and is undone to the byte."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_jumprelu import PatchError, find_activations, patch_model, revert_model
from onnx_jumprelu.errors import RunError
from onnx_jumprelu.graphs.scopes import walk_scopes
from onnx_jumprelu.names import LoweringName
from onnx_jumprelu.runtime import OrtRunner
from onnx_jumprelu.verification.structure import compare
from tests.models import f32

# Names that generated ones could collide with, and such as exporters write.
AWKWARD = ["jump", "jumprelu/zero", "jumprelu/jump", "x/above", "t1/above", "t1/jumprelu", "t1/above/Greater", "F",
           "JumpReLU", "a.b/c:0", "Relu", "main", "ünï", "#2", "[0]", "*", " "]  # fmt: skip
LOWERINGS: list[LoweringName] = ["auto", "where", "thresholded-relu", "function", "cast-mul"]
SIZE = 3


class Builder:
    """Draws a model of float32 tensors of shape (3,): every op keeps the shape, so any tensor can feed any node."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.used: set[str] = {""}

    def name(self) -> str:
        name = self.data.draw(st.sampled_from(AWKWARD) | st.builds("t{}".format, st.integers(0, 40)))
        while name in self.used:
            name += "_"
        self.used.add(name)
        return name

    def pick(self, visible: list[str]) -> str:
        return self.data.draw(st.sampled_from(visible))

    def nodes(self, visible: list[str], depth: int, *, in_function: bool = False) -> list[NodeProto]:
        visible = list(visible)
        result: list[NodeProto] = []
        for _ in range(self.data.draw(st.integers(1, 4))):
            kinds = ["Relu", "Relu", "Clip", "Max", "LeakyRelu", "PRelu", "Neg", "Add"]
            if depth:
                kinds += ["If", "Loop"]
            if not in_function:
                kinds.append("call")
            made = self.node(self.data.draw(st.sampled_from(kinds)), visible, depth)
            result += made
            visible.append(made[-1].output[0])
        return result

    def node(self, kind: str, visible: list[str], depth: int) -> list[NodeProto]:
        output = self.name()
        label = self.data.draw(st.sampled_from(["", "same", output, self.data.draw(st.sampled_from(AWKWARD))]))
        x = self.pick(visible)
        if kind == "If":
            then, otherwise = self.subgraph(visible, depth - 1), self.subgraph(visible, depth - 1)
            return [helper.make_node("If", ["flag"], [output], name=label, then_branch=then, else_branch=otherwise)]
        if kind == "Loop":
            return [
                helper.make_node("Loop", ["trips", "", x], [output], name=label, body=self.body(visible, depth - 1))
            ]
        if kind == "call":
            return [helper.make_node("F", [x], [output], name=label, domain="their")]
        constant = {"Clip": 0.0, "Max": 0.0, "PRelu": self.data.draw(st.sampled_from([0.0, 0.5]))}.get(kind)
        if constant is not None:
            bound = self.name()
            tensor = numpy_helper.from_array(f32(constant))
            return [
                helper.make_node("Constant", [], [bound], value=tensor),
                helper.make_node(kind, [x, bound], [output], name=label),
            ]
        if kind == "LeakyRelu":
            return [
                helper.make_node(kind, [x], [output], name=label, alpha=self.data.draw(st.sampled_from([0.0, 0.1])))
            ]
        inputs = [x, self.pick(visible)] if kind == "Add" else [x]
        return [helper.make_node(kind, inputs, [output], name=label)]

    def subgraph(self, visible: list[str], depth: int) -> GraphProto:
        nodes = self.nodes(visible, depth)
        return helper.make_graph(nodes, self.name(), [], [tensor(nodes[-1].output[0])])

    def body(self, visible: list[str], depth: int) -> GraphProto:
        count, go, state, out = self.name(), self.name(), self.name(), self.name()
        nodes = [helper.make_node("Identity", [go], [out]), *self.nodes([*visible, state], depth)]
        inputs = [scalar(count, TensorProto.INT64), scalar(go, TensorProto.BOOL), tensor(state)]
        outputs = [scalar(out, TensorProto.BOOL), tensor(nodes[-1].output[0])]
        return helper.make_graph(nodes, self.name(), inputs, outputs)

    def function(self) -> FunctionProto:
        # Names inside a function are its own, so they may repeat those of the graph.
        outside, self.used = self.used, {""}
        nodes = self.nodes(["u"], 1, in_function=True)
        nodes = [node for node in nodes if node.op_type not in ("If", "Loop")] or [
            helper.make_node("Relu", ["u"], ["v"])
        ]
        self.used = outside
        defined = {"u"}
        kept = []
        for node in nodes:
            if set(node.input) <= defined:
                kept.append(node)
                defined.update(node.output)
        kept.append(helper.make_node("Relu", [kept[-1].output[0] if kept else "u"], ["end of F"]))
        return helper.make_function("their", "F", ["u"], ["end of F"], kept, [helper.make_opsetid("", 18)])

    def model(self) -> ModelProto:
        shared = self.name()
        nodes = self.nodes(["x", shared], 2)
        graph = helper.make_graph(
            nodes,
            "net",
            [tensor("x"), scalar("flag", TensorProto.BOOL), scalar("trips", TensorProto.INT64)],
            [tensor(nodes[-1].output[0])],
            [numpy_helper.from_array(f32([-1, 0.25, 2]), shared)],
        )
        imports = [helper.make_opsetid("", 18), helper.make_opsetid("their", 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=10, functions=[self.function()])


def tensor(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [SIZE])


def scalar(name: str, elem_type: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, elem_type, [])


def feeds(*, flag: bool) -> dict[str, Any]:
    return {"x": f32([-0.5, 0.5, 1.5]), "flag": np.asarray(flag), "trips": np.asarray(2)}


def assert_names_are_unique(model: ModelProto) -> None:
    for scope in walk_scopes(model):
        outputs = [name for node in scope.nodes for name in node.output if name]
        assert len(set(outputs)) == len(outputs)


@pytest.mark.slow
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_patch_never_clashes_and_revert_restores(data: st.DataObject) -> None:
    model = Builder(data).model()
    onnx.checker.check_model(model)
    before = model.SerializeToString()
    lowering = data.draw(st.sampled_from(LOWERINGS))
    jump_input = lowering != "thresholded-relu" and data.draw(st.booleans())
    try:
        result = patch_model(model, 0.75, lowering=lowering, jump_input=jump_input)
    except PatchError:
        # A function that nothing calls has no types; a function body sees no graph input.
        assert lowering == "thresholded-relu" or jump_input or not any(s.patchable for s in find_activations(model))
        return
    patched = result.model
    assert model.SerializeToString() == before
    onnx.checker.check_model(patched)
    assert_names_are_unique(patched)
    assert revert_model(patched).SerializeToString() == before
    assert len(compare(model, patched)) == len(result.sites)  # raises where anything else differs
    zero = patch_model(patched, 0.0).model
    assert zero.SerializeToString() == patch_model(model, 0.0).model.SerializeToString()
    try:
        runner = OrtRunner(model)
    except RunError:
        return  # onnxruntime takes no node names that occur twice
    zero_runner, patched_runner = OrtRunner(zero), OrtRunner(patched)
    for flag in (False, True):
        try:
            expected = runner.run(None, feeds(flag=flag))
        except RunError:
            continue  # nor does it run every graph that onnx accepts
        assert np.array_equal(zero_runner.run(None, feeds(flag=flag)), expected)
        patched_runner.run(None, feeds(flag=flag))


def test_the_structure_check_can_fail() -> None:
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net", [tensor("x")], [tensor("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    patched = patch_model(model, 0.75).model
    patched.graph.name = "other"
    with pytest.raises(Exception, match="differ outside their nodes"):
        compare(model, patched)
