"""External weights: the file that onnxruntime reads is the one that is hashed, run and verified."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import GraphProto, ModelProto, TensorProto, helper

from onnx_jumprelu import (
    ModelFileError,
    OnnxClassifier,
    patch_file,
    verify,
)
from onnx_jumprelu.cli import main
from onnx_jumprelu.files import external_data
from onnx_jumprelu.files.hashes import model_sha256
from onnx_jumprelu.files.models import load
from tests.files.layouts import (
    LAYOUTS,
    NAME,
    X,
    cache,
    hard_link,
    in_onnx,
    in_onnxruntime,
    link_in_the_folder,
    linked_model_folder,
    refers_to,
    write_model,
    write_weights,
)
from tests.models import parse


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "from its folder"])
def test_as_onnxruntime_reads_them(
    layout: Callable[[Path], Path], *, relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it loads gives the same numbers here, by path and in a session of a derived graph; the rest is refused."""
    model = layout(tmp_path)
    if relative:
        monkeypatch.chdir(model.parent)
        model = Path(model.name)
    expected = in_onnxruntime(model)
    if expected is None:
        with pytest.raises(ModelFileError, match=f"^{model}: ") as error:
            load(model)
        assert "\n" not in str(error.value)
        assert main(["inspect", str(model)]) == 2
        return
    file = load(model)
    assert external_data.with_weights(file.model, file.weights).graph.initializer[0].raw_data
    assert OnnxClassifier(model).logits(X).tobytes() == expected
    (weights,) = file.weights
    lines = f"{file.sha256}\n{hashlib.sha256(weights.path.read_bytes()).hexdigest()}  {weights.location}"
    assert model_sha256(model) == hashlib.sha256(lines.encode()).hexdigest()


ENTRIES: list[dict[str, Any]] = [
    {},
    {"offset": 0},
    {"length": 16},
    {"length": 0},
    {"offset": 4, "length": 16},
    {"offset": 16, "length": 16},
    {"checksum": "abc"},
    {"offset": "00"},
    {"offset": -4},
    {"offset": -4, "length": 16},
    {"length": -16},
    {"length": 12},
    {"length": 20},
    {"length": 2**63},
    {"length": 2**70},
    {"offset": 17, "length": 16},
    {"offset": 33},
    {"offset": 2**62},
    {"offset": 2**63},
    {"offset": 2**70},
    {"offset": ""},
    {"offset": " 0"},
    {"offset": "+0"},
    {"offset": "0x0"},
    {"offset": "1_0"},
    {"offset": "\u0660"},
    {"offset": "0.0"},
    {"basepath": "/etc"},
    {"key": "value"},
]


@pytest.mark.parametrize("entries", ENTRIES, ids=str)
def test_where_in_the_file(entries: dict[str, Any], tmp_path: Path) -> None:
    """A file of 32 bytes, of which a tensor needs 16."""
    write_weights(tmp_path / "w.bin", count=8)
    model = write_model(tmp_path / NAME, **entries)
    expected = in_onnxruntime(model)
    if expected is not None:
        assert OnnxClassifier(model).logits(X).tobytes() == expected
        whole = load(model).with_external_weights()
        assert len(whole.graph.initializer[0].raw_data) == 16
        return
    for command in (["inspect", str(model)], ["patch", str(model), "--jump", "1"]):
        assert main(command) == 2
    with pytest.raises(ModelFileError, match=r"^[^\n]*(tensor 'w'|is cut short)[^\n]*$"):
        load(model)
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, "w.bin"]


def test_a_second_location(tmp_path: Path) -> None:
    model = refers_to("w.bin")
    model.graph.initializer[0].external_data.add(key="location", value="v.bin")
    write_weights(tmp_path / "w.bin")
    write_weights(tmp_path / "v.bin")
    (tmp_path / NAME).write_bytes(model.SerializeToString())
    assert in_onnxruntime(tmp_path / NAME) is None
    with pytest.raises(ModelFileError, match="a second entry 'location'"):
        load(tmp_path / NAME)


@pytest.mark.parametrize(
    ("elem_type", "dims", "needed"),
    [
        (TensorProto.FLOAT, [2, 3], 24),
        (TensorProto.FLOAT, [], 4),
        (TensorProto.FLOAT, [0, 5], 0),
        (TensorProto.BFLOAT16, [3], 6),
        (TensorProto.FLOAT8E4M3FN, [3], 3),
        (TensorProto.INT4, [3], 2),
        (TensorProto.UINT4, [4], 2),
        (TensorProto.COMPLEX64, [2], 16),
        (TensorProto.STRING, [2], None),
        (TensorProto.UNDEFINED, [2], None),
        (TensorProto.FLOAT, [-2], None),
    ],
)
def test_the_size_of_a_tensor(elem_type: int, dims: list[int], needed: int | None) -> None:
    assert external_data.n_bytes(TensorProto(data_type=elem_type, dims=dims)) == needed


NOT_A_NAME = {
    "long": b"a" * 5000,
    "not UTF-8": b"\xff\xfe.bi",
    "zero byte": b"w\0.bi",
    "control characters": b"\x1b[31m",
    "line breaks": b"\n\r\x0b\x0c\t",
    "right to left": "a\u202eb".encode(),
}


@pytest.mark.parametrize("name", NOT_A_NAME.values(), ids=NOT_A_NAME.keys())
def test_any_location_makes_a_readable_line(name: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / NAME
    if len(name) == len("w.bin"):
        model.write_bytes(refers_to("w.bin").SerializeToString().replace(b"w.bin", name))
    else:
        write_model(model, name.decode())
    assert main(["inspect", str(model)]) == 2
    (line,) = capsys.readouterr().err.split("\n")[:-1]
    assert line.isprintable()
    assert str(model) in line
    assert len(line) < 1000


def test_unusual_locations_that_exist(tmp_path: Path) -> None:
    location = "\x1b[31m\n\u202e '\\ w.bin"
    write_weights(tmp_path / "in" / location)
    model = write_model(tmp_path / "in" / NAME, location)
    expected = in_onnxruntime(model)
    assert OnnxClassifier(model).logits(X).tobytes() == expected
    (tmp_path / "out").mkdir()
    patch_file(model, tmp_path / "out" / NAME, 0.0)
    assert in_onnxruntime(tmp_path / "out" / NAME) == expected
    in_onnx(tmp_path / "out" / NAME)


def test_weights_of_a_branch_are_never_a_link(tmp_path: Path) -> None:
    """There onnxruntime applies the rules of onnx's checker."""
    for layout, accepted in ((link_in_the_folder, False), (hard_link, False), (linked_model_folder, True)):
        folder = tmp_path / layout.__name__
        folder.mkdir()
        path = layout(folder)
        path.write_bytes(in_a_branch(refers_to("w.bin")).SerializeToString())
        assert (in_onnxruntime(path) is not None) is accepted
        if accepted:
            assert load(path).weights
        else:
            with pytest.raises(ModelFileError, match="of a subgraph"):
                load(path)


def in_a_branch(model: ModelProto) -> ModelProto:
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])
    branch = GraphProto(name="branch", node=model.graph.node, initializer=model.graph.initializer, output=[y])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["z"])], "other", [], [_renamed(y, "z")])
    nodes = [
        helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("", TensorProto.BOOL, [], [True])),
        helper.make_node("If", ["yes"], ["out"], then_branch=branch, else_branch=other),
    ]
    graph = helper.make_graph(nodes, "net", model.graph.input, [_renamed(y, "out")])
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=8)


def _renamed(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    renamed = onnx.ValueInfoProto()
    renamed.CopyFrom(value)
    renamed.name = name
    return renamed


def test_weights_in_a_constant_in_a_function_and_sparse(tmp_path: Path) -> None:
    """Sessions of derived graphs find all of them behind links."""
    model = refers_to("w.bin")
    constant = helper.make_node("Constant", [], ["w"], value=model.graph.initializer[0])
    body = [constant, *model.graph.node]
    function = helper.make_function("my", "F", ["x"], ["y"], body, model.opset_import)
    in_function = parse(
        """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
        net (float[N, 4] x) => (float[N, 4] y) { y = my.F(x) }"""
    )
    in_function.functions.append(function)
    in_constant = refers_to("w.bin")
    del in_constant.graph.initializer[:]
    in_constant.graph.node.insert(0, constant)
    path = cache(tmp_path)
    for each in (in_function, in_constant):
        (tmp_path / "blobs" / "g1").write_bytes(each.SerializeToString())
        assert OnnxClassifier(path).logits(X).tobytes() == in_onnxruntime(path)
        (tmp_path / "out").mkdir(exist_ok=True)
        patch_file(path, tmp_path / "out" / NAME, 0.0)
        assert verify(path, tmp_path / "out" / NAME).ok
