"""The check of a model at the door: what breaks ONNX's rules is refused in one line that names the node."""

import time
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_jumprelu import ModelFileError, build_gradient_model, find_activations, patch_model, revert_model, verify
from onnx_jumprelu.errors import RunError
from onnx_jumprelu.files.models import load
from onnx_jumprelu.graphs.function_calls import MOST_LEVELS, MOST_NODES
from onnx_jumprelu.graphs.wellformed import LONGEST_NAME, MOST_GRAPHS, check_wellformed
from onnx_jumprelu.runtime import OrtRunner
from tests.models import NESTED, RELU, f32, parse

BRANCHES = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 4] x, bool flag) => (float[N, 4] y) {
    y = If (flag) <
        then_branch = yes () => (float[N, 4] y) { y = Relu(x) },
        else_branch = no () => (float[N, 4] z) { z = Neg(x) }
    >
}"""
CALL = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
net (float[N, 4] x) => (float[N, 4] y) { y = my.F(x) }
<domain: "my", opset_import: ["" : 17, "my" : 1]> F (u) => (w) { w = Relu(u) }"""


def net(nodes: str, opset: int = 17) -> ModelProto:
    return parse(
        f"""<ir_version: 8, opset_import: ["" : {opset}]> net (float[N, 4] x) => (float[N, 4] y) {{{nodes}}}"""
    )


def changed(text: str, change: Callable[[ModelProto], object]) -> ModelProto:
    model = parse(text)
    change(model)
    return model


def first(model: ModelProto) -> NodeProto:
    return model.graph.node[0]


def weights(change: Callable[[TensorProto], object]) -> ModelProto:
    model = net("y = Add(x, w)")
    model.graph.initializer.append(numpy_helper.from_array(f32([1, 2, 3, 4]), "w"))
    change(model.graph.initializer[0])
    return model


def typed(values: list[float]) -> Callable[[TensorProto], object]:
    return lambda tensor: tensor.CopyFrom(TensorProto(name="w", data_type=1, dims=[4], float_data=values))


def sparse(values: list[int], indices: list[int], dims: list[int]) -> ModelProto:
    model = net("y = Add(x, w)")
    entry = model.graph.sparse_initializer.add(dims=dims)
    entry.values.CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, values, [0.0] * values[0]))
    entry.indices.CopyFrom(helper.make_tensor("", TensorProto.INT64, indices, [0] * indices[0]))
    return model


# What onnxruntime refuses to load, and a part of the message.
REFUSED: dict[str, tuple[ModelProto, str]] = {
    "too many inputs": (net("y = Relu(x, x)"), "node 'y' (Relu): has 2 inputs; its operator takes at most 1"),
    "no input": (net("y = Relu()"), "node 'y' (Relu): has 0 inputs; its operator takes at least 1"),
    "an input without a name": (
        changed(RELU, lambda model: first(model).input.__setitem__(0, "")),
        "node 'y' (Relu): its input 0 has no name",
    ),
    "an output without a name": (
        changed(RELU, lambda model: model.graph.node.add(op_type="Relu", name="z", input=["x"], output=[""])),
        "node 'z' (Relu): its output 0 has no name",
    ),
    "too many outputs": (net("y, z = Relu(x)"), "node 'y' (Relu): has 2 outputs"),
    "no operator": (changed(RELU, lambda model: first(model).ClearField("op_type")), "has no operator"),
    "an If without a branch": (
        changed(BRANCHES, lambda model: first(model).attribute.pop()),
        "node 'y' (If): has no attribute 'else_branch'",
    ),
    "an If whose branch is empty": (
        changed(BRANCHES, lambda model: first(model).attribute[0].ClearField("g")),
        "node 'y' (If): attribute 'then_branch': has no value",
    ),
    "an If without a condition": (
        changed(BRANCHES, lambda model: first(model).input.pop()),
        "node 'y' (If): has 0 inputs",
    ),
    "a Loop without a body": (
        changed(NESTED, lambda model: model.graph.node[2].attribute.pop()),
        "node 'c' (Loop): has no attribute 'body'",
    ),
    "a bad node in a branch": (
        changed(BRANCHES, lambda model: first(model).attribute[0].g.node[0].input.append("x")),
        "node 'y' (Relu): has 2 inputs",
    ),
    "an attribute of the wrong type": (
        net("y = LeakyRelu <alpha = 1> (x)"),
        "node 'y' (LeakyRelu): attribute 'alpha' is INT, not FLOAT",
    ),
    "an attribute without a type": (
        changed(
            RELU.replace("Relu(x)", "LeakyRelu <alpha = 0.5> (x)"),
            lambda model: first(model).attribute[0].ClearField("type"),
        ),
        "attribute 'alpha' is UNDEFINED, not FLOAT",
    ),
    "a Cast without a type": (net("y = Cast (x)"), "node 'y' (Cast): has no attribute 'to'"),
    "a Cast to a type that does not exist": (net("y = Cast <to = 127> (x)"), "the element type 127 does not exist"),
    "an input that nothing makes": (net("y = Relu(q)"), "node 'y' (Relu): reads 'q', which nothing makes"),
    "an output that nothing makes": (net("z = Relu(x)"), "graph 'net': nothing makes its output 'y'"),
    "an output that is an input": (net("x = Neg(x) y = Relu(x)"), "node 'x' (Neg): makes a tensor that is an input"),
    "an output that is an initializer": (
        changed(RELU, lambda model: model.graph.initializer.append(numpy_helper.from_array(f32([1, 2]), "y"))),
        "node 'y' (Relu): makes a tensor that is an input or an initializer of its graph too",
    ),
    "an input twice": (
        changed(RELU, lambda model: model.graph.input.append(model.graph.input[0])),
        "two inputs have the same name",
    ),
    "an output made twice": (net("y = Relu(x) y = Neg(x)"), "node 'y' (Neg): makes a tensor that another node makes"),
    "a circle": (net("z = Neg(y) y = Relu(z)"), "needs its own output"),
    "a circle through a branch": (
        parse(BRANCHES.replace("Relu(x)", "Relu(late)").replace("    >\n}", "    >\n late = Neg(y)\n}")),
        "needs its own output",
    ),
    "opset 0": (net("y = Relu(x)", opset=0), "version 0 of the operators 'ai.onnx' does not exist"),
    "a negative opset": (
        changed(RELU, lambda model: setattr(model.opset_import[0], "version", -1)),
        "version -1 of the operators 'ai.onnx' does not exist",
    ),
    "an opset beyond a C int": (
        changed(RELU, lambda model: setattr(model.opset_import[0], "version", 2**40)),
        "version 1099511627776 of the operators",
    ),
    "too few bytes": (
        weights(lambda tensor: setattr(tensor, "raw_data", bytes(12))),
        "initializer 'w': its shape [4] needs 16 bytes, and it has 12",
    ),
    "too many bytes": (weights(lambda tensor: setattr(tensor, "raw_data", bytes(20))), "needs 16 bytes, and it has 20"),
    "too few numbers": (weights(typed([0.0] * 3)), "its shape [4] needs 4 numbers, and it has 3"),
    "no data": (weights(typed([])), "its shape [4] needs 4 numbers, and it has 0"),
    "a negative size": (
        weights(lambda tensor: tensor.dims.__setitem__(0, -4)),
        "initializer 'w': its shape [-4] has a negative size",
    ),
    "a size that no memory holds": (weights(lambda tensor: tensor.dims.__setitem__(0, 2**62)), "needs 18446744073709"),
    "an initializer of no type": (
        weights(lambda tensor: setattr(tensor, "data_type", 127)),
        "initializer 'w': the element type 127 does not exist",
    ),
    "an input of no type": (
        changed(RELU, lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 127)),
        "tensor 'x': the element type 127 does not exist",
    ),
    "a sparse tensor of two axes": (sparse([2], [3], [4]), "values of shape [2] and indices of shape [3]"),
    "a function called with too many arguments": (
        parse(CALL.replace("F(x)", "F(x, x)")),
        "node 'y' (F): has 2 inputs; its function has 1",
    ),
    "a function called for too many results": (
        parse(CALL.replace("y = my", "y, z = my")),
        "node 'y' (F): has 2 outputs; its function has 1",
    ),
    "a function that calls itself": (
        parse(CALL.replace("Relu(u)", "my.F(u)")),
        "function my::F calls itself",
    ),
    "functions that call each other": (
        parse(
            CALL.replace("Relu(u)", "my.G(u)") + '<domain: "my", opset_import: ["my" : 1]> G (u) => (w) {w = my.F(u)}'
        ),
        "calls itself",
    ),
    "a function whose body reads nothing": (
        parse(CALL.replace("Relu(u)", "Relu(q)")),
        "reads 'q', which nothing makes",
    ),
    "two functions of one name": (
        changed(CALL, lambda model: model.functions.append(model.functions[0])),
        "functions: two have the same name",
    ),
}
# What onnxruntime loads and ONNX's checker may not like.
KEPT: dict[str, ModelProto] = {
    "nodes out of order": net("y = Relu(z) z = Neg(x)"),
    "two imports of one domain": changed(RELU, lambda model: model.opset_import.add(version=11)),
    "an unused domain of version 0": changed(RELU, lambda model: model.opset_import.add(domain="other", version=0)),
    "an output without a type": changed(RELU, lambda model: model.graph.output[0].ClearField("type")),
    "a number left out": changed(
        RELU.replace("Relu(x)", "LeakyRelu <alpha = 0.5> (x)"), lambda model: first(model).attribute[0].ClearField("f")
    ),
    "one input of Max": net("y = Max(x)"),
    "a branch's output named as the If's": parse(BRANCHES),
    "optional inputs left out": net("y = Clip(x, , )"),
    "functions": parse(NESTED),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_breaks_the_rules_is_refused_by_every_function(what: str, tmp_path: Path) -> None:
    model, message = REFUSED[what]
    with pytest.raises(RunError):
        OrtRunner(model)  # onnxruntime refuses it too
    onnx.save(model, tmp_path / "model.onnx")
    for given, name in ((model, ""), (tmp_path / "model.onnx", f"{tmp_path / 'model.onnx'}: ")):
        for function in (
            find_activations,
            lambda bad: patch_model(bad, 0.5),
            revert_model,
            build_gradient_model,
            lambda bad: verify(bad, parse(RELU)),
        ):
            with pytest.raises(ModelFileError) as error:
                function(given)
            assert str(error.value).startswith(name)
            assert message in str(error.value)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("what", KEPT)
def test_what_onnxruntime_runs_is_accepted(what: str) -> None:
    OrtRunner(KEPT[what])
    check_wellformed(KEPT[what])


@pytest.mark.parametrize("text", ["op_type", "name", "tensor", "graph", "domain", "metadata", "attribute", "dimension"])
def test_text_that_is_not_utf8(text: str, tmp_path: Path) -> None:
    model = net("QQQ = LeakyRelu <alpha = 0.0> (x) y = Relu(QQQ)") if text == "tensor" else parse(RELU)
    if text in ("op_type", "name", "domain"):
        setattr(first(model), text, "QQQ")
    elif text == "graph":
        model.graph.name = "QQQ"
    elif text == "metadata":
        model.metadata_props.add(key="key", value="QQQ")
    elif text == "attribute":
        first(model).attribute.add(name="QQQ", type=AttributeProto.INT)
    elif text == "dimension":
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "QQQ"
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString().replace(b"QQQ", b"Q\xffQ"))
    with pytest.raises(ModelFileError, match="UTF-8"):
        load(path)


class TestCost:
    def doubling(self, levels: int) -> ModelProto:
        """Functions that call the next one twice."""
        body = '<domain: "my", opset_import: ["" : 17, "my" : 1]> F{} (u) => (w) {{ v = {}(u) w = {}(v) }}'
        names = [*(f"my.F{number}" for number in range(1, levels)), "Relu"]
        bodies = "".join(body.format(number, name, name) for number, name in enumerate(names))
        return parse(CALL.partition("<domain")[0].replace("my.F", "my.F0") + bodies)

    def test_functions_that_double(self) -> None:
        start = time.process_time()
        for levels in (16, 90):
            with pytest.raises(ModelFileError, match=f"calls of functions stand for more than {MOST_NODES:,} nodes"):
                check_wellformed(self.doubling(levels))
        check_wellformed(self.doubling(10))
        assert time.process_time() - start < 2

    def test_functions_in_a_long_row(self) -> None:
        row = [f"my.F{number}" for number in range(1, MOST_LEVELS + 1)]
        body = '<domain: "my", opset_import: ["" : 17, "my" : 1]> F{} (u) => (w) {{ w = {}(u) }}'
        bodies = "".join(body.format(number, name) for number, name in enumerate([*row, "Relu"]))
        with pytest.raises(ModelFileError, match="functions call each other more than 100 levels deep"):
            check_wellformed(parse(CALL.partition("<domain")[0].replace("my.F", "my.F0") + bodies))

    def test_graphs_in_graphs(self) -> None:
        model = parse(BRANCHES)
        for _ in range(1000):  # far deeper than a file can be
            outer = parse(BRANCHES)
            first(outer).attribute[0].g.node[0].CopyFrom(first(model))
            if len(model.SerializeToString()) > 40_000:
                break
            model = outer
        with pytest.raises(ModelFileError, match=f"more than {MOST_GRAPHS} graphs are nested in each other"):
            check_wellformed(outer)

    def test_a_long_name(self) -> None:
        with pytest.raises(ModelFileError, match="a name has 65,537 characters, more than 65,536") as error:
            check_wellformed(changed(RELU, lambda model: setattr(first(model), "name", "n" * (LONGEST_NAME + 1))))
        assert len(str(error.value)) < 300

    def test_many_nodes(self) -> None:
        seconds = []
        for count in (2_000, 20_000):
            model = parse(RELU)
            for number in range(count):
                model.graph.node.add(op_type="Relu", name="act", input=["x"], output=[f"y{number}"])
            start = time.process_time()
            names = [site.name for site in find_activations(model)]
            seconds.append(time.process_time() - start)
            assert len(set(names)) == len(names) == count + 1
        assert seconds[1] < 40 * seconds[0]  # ten times as many nodes; quadratic would be a hundred times


def test_weights_that_are_left_out_are_counted(tmp_path: Path) -> None:
    """Patching reads no large weights, and still refuses a file whose weights are cut short."""
    whole = numpy_helper.from_array(f32([[1.0] * 200] * 200), "w")
    model = net("a = MatMul(x, w) y = Relu(a)")
    model.graph.initializer.append(whole)
    onnx.save(model, tmp_path / "whole.onnx")
    assert load(tmp_path / "whole.onnx", weights=False).large_weights
    model.graph.initializer[0].raw_data = whole.raw_data[:-4]
    onnx.save(model, tmp_path / "short.onnx")
    for weights in (False, True):
        with pytest.raises(ModelFileError, match=r"'w': its shape \[200, 200\] needs 160000 bytes, and it has 159996"):
            load(tmp_path / "short.onnx", weights=weights)
