"""Weights carried over as bytes: the same result as parsing and serializing the whole model."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu import ModelFileError, patch_file, patch_model, revert_file
from onnx_jumprelu.files.large_weights import (
    LARGE,
    FramingError,
    Stretch,
    fields,
    with_large_weights,
    without_large_weights,
)
from onnx_jumprelu.files.models import load, staged
from tests.models import RELU, f32, parse

SIDE = 200  # 200 x 200 float32 are larger than LARGE


def model_with_weights() -> ModelProto:
    """Large and small initializers in turn, their data in the different fields that tensors have."""
    values = np.random.default_rng(0).standard_normal((SIDE, SIDE))
    in_fields = [
        helper.make_tensor("floats", TensorProto.FLOAT, [SIDE, SIDE], values.astype(np.float32).ravel().tolist()),
        helper.make_tensor("doubles", TensorProto.DOUBLE, [SIDE, SIDE], values.ravel().tolist()),
        helper.make_tensor("ints", TensorProto.INT64, [SIDE, SIDE], (values * 1e9).astype(int).ravel().tolist()),
        helper.make_tensor("texts", TensorProto.STRING, [9000], ["weights!"] * 9000),  # type: ignore[list-item]
    ]
    small = numpy_helper.from_array(f32([1, 2]), "small")
    raw = numpy_helper.from_array(values.astype(np.float32), "raw")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "raw"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("MatMul", ["b", "floats"], ["c"]),
            helper.make_node("Relu", ["c"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", SIDE])],
        [small, raw, *in_fields],
        doc_string="behind the initializers",
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="tests")


def light(content: bytes) -> tuple[bytes, dict[bytes, Stretch]]:
    return without_large_weights(io.BytesIO(content), len(content))


def whole(model: bytes, large: dict[bytes, Stretch], content: bytes) -> bytes:
    """The model with its large weights, which are read from `content`."""
    chunks = with_large_weights(model, large)
    return b"".join(content[chunk.start : chunk.end] if isinstance(chunk, Stretch) else chunk for chunk in chunks)


def test_cut_down_and_put_back() -> None:
    model = model_with_weights()
    content = model.SerializeToString()
    short, large = light(content)
    assert len(short) < 1500 < LARGE < len(content)
    assert list(large) == [b"raw", b"floats", b"doubles", b"ints", b"texts"]
    stubs = ModelProto.FromString(short)
    assert [tensor.name for tensor in stubs.graph.initializer] == [tensor.name for tensor in model.graph.initializer]
    for stub, tensor in zip(stubs.graph.initializer, model.graph.initializer, strict=True):
        assert (stub.data_type, list(stub.dims)) == (tensor.data_type, list(tensor.dims))
    assert whole(stubs.SerializeToString(), large, content) == content


def test_small_models_are_left_alone() -> None:
    content = parse(RELU).SerializeToString()
    assert light(content) == (content, {})
    assert with_large_weights(content, {}) == [content]


@pytest.mark.parametrize("jump_input", [False, True])
def test_a_patched_file_has_the_bytes_of_a_patched_model(tmp_path: Path, *, jump_input: bool) -> None:
    model = model_with_weights()
    onnx.save(model, tmp_path / "model.onnx")
    patched = patch_file(tmp_path / "model.onnx", jump=0.5, jump_input=jump_input).output
    assert patched is not None
    assert patched.read_bytes() == patch_model(model, 0.5, jump_input=jump_input).model.SerializeToString()
    assert revert_file(patched).identical
    assert (tmp_path / "model.reverted.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


def test_weights_keep_an_unusual_encoding(tmp_path: Path) -> None:
    """A writer may leave floats unpacked, one tag each; protobuf itself would pack them."""
    values = np.random.default_rng(0).standard_normal(LARGE // 4).astype(np.float32)
    tag = bytes([TensorProto.FLOAT_DATA_FIELD_NUMBER << 3 | 5])
    unpacked = b"".join(tag + value.tobytes() for value in values)
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[len(values)])
    model = parse(RELU)
    model.graph.initializer.append(tensor)
    content, stub = model.SerializeToString(), tensor.SerializeToString()
    (path := tmp_path / "model.onnx").write_bytes(_replaced(content, stub, stub + unpacked))
    assert np.array_equal(numpy_helper.to_array(onnx.load(path).graph.initializer[0]), values)
    patched = patch_file(path, jump=0.5).output
    assert patched is not None
    assert unpacked in patched.read_bytes()
    assert revert_file(patched).identical


def _replaced(model: bytes, tensor: bytes, by: bytes) -> bytes:
    """A serialized model with another serialized initializer, all lengths around it put right."""
    whole = memoryview(model)
    graph = next(field for field in fields(whole) if field.number == ModelProto.GRAPH_FIELD_NUMBER)
    inside = bytes(whole[graph.content : graph.end])
    old = b"\x2a" + bytes([len(tensor)]) + tensor
    new = b"\x2a" + _varint(len(by)) + by
    inside = inside.replace(old, new)
    return bytes(whole[: graph.start]) + b"\x3a" + _varint(len(inside)) + inside + bytes(whole[graph.end :])


def _varint(value: int) -> bytes:
    out = []
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def test_weights_go_where_their_names_are_even_if_the_order_changed() -> None:
    model = model_with_weights()
    content = model.SerializeToString()
    short, large = light(content)
    stubs = ModelProto.FromString(short)
    for graph in (stubs.graph, model.graph):
        copies = [TensorProto.FromString(tensor.SerializeToString()) for tensor in reversed(graph.initializer)]
        del graph.initializer[:]
        graph.initializer.extend(copies)
    assert whole(stubs.SerializeToString(), large, content) == model.SerializeToString()
    del stubs.graph.initializer[:]
    with pytest.raises(FramingError, match=r"the initializer .* is missing"):
        with_large_weights(stubs.SerializeToString(), large)


def test_two_weights_of_one_name_are_parsed_whole(tmp_path: Path) -> None:
    model = model_with_weights()
    model.graph.initializer.append(model.graph.initializer[1])
    with pytest.raises(FramingError, match="have the same name"):
        light(model.SerializeToString())
    onnx.save(model, tmp_path / "model.onnx")
    patched = patch_file(tmp_path / "model.onnx", jump=0.5).output
    assert patched is not None
    assert patched.read_bytes() == patch_model(model, 0.5).model.SerializeToString()


@pytest.mark.parametrize("change", ["cut short", "rewritten", "replaced", "removed"])
def test_a_file_that_changes_before_its_weights_are_copied(change: str, tmp_path: Path) -> None:
    """One line, nothing written; a mapped file that is cut short would end the process."""
    path, target = tmp_path / "model.onnx", tmp_path / "out.onnx"
    onnx.save(model_with_weights(), path)
    source = load(path, weights=False)
    assert source.large_weights
    if change == "cut short":
        os.truncate(path, 100_000)
    elif change == "rewritten":
        path.write_bytes(bytes(path.stat().st_size))
    elif change == "replaced":
        onnx.save(model_with_weights(), tmp_path / "new.onnx")
        (tmp_path / "new.onnx").replace(path)
    else:
        path.unlink()
    message = "cannot be read" if change == "removed" else "was changed by another program in the meantime"
    with pytest.raises(ModelFileError, match=rf"model\.onnx: {message}"), staged(source.model, target, source):
        pass
    assert not target.exists()


def test_the_weights_are_not_in_memory(tmp_path: Path) -> None:
    onnx.save(model_with_weights(), tmp_path / "model.onnx")
    source = load(tmp_path / "model.onnx", weights=False)
    assert source.model.ByteSize() < LARGE < (tmp_path / "model.onnx").stat().st_size
    assert source.sha256 == hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()
    assert source.sha256 == load(tmp_path / "model.onnx").sha256


BAD_FRAMING = [b"\x07", b"\x0b", b"\x0a\x05ab", b"\x80", b"\x08" + b"\x80" * 11, b"\x3a\x00\x3a\x00"]


@pytest.mark.parametrize("content", BAD_FRAMING)
def test_bad_framing_is_refused(content: bytes) -> None:
    with pytest.raises(FramingError):
        light(content)
