"""Leaving out large weights while a model is patched, and putting them back unchanged.

Parsing and serializing a model copies its weights several times, which costs far more than copying the file. A patch
does not read them. So each large initializer of the main graph is reduced to its name, type and shape before parsing,
and its bytes are put back as they were when the model is written. This module reads only the framing of protobuf
messages (https://protobuf.dev/programming-guides/encoding/).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from onnx import GraphProto, ModelProto, TensorProto

LARGE = 2**16  # bytes; slopes and bounds, which the recognisers read, are far smaller
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
GRAPH = ModelProto.GRAPH_FIELD_NUMBER
INITIALIZER = GraphProto.INITIALIZER_FIELD_NUMBER
PAYLOAD = {
    TensorProto.DESCRIPTOR.fields_by_name[name].number
    for name in ("float_data", "int32_data", "string_data", "int64_data", "raw_data", "double_data", "uint64_data")
}
LONGEST_HEAD = 20  # bytes: a tag and a length, or a tag and a number
WIRE_TYPES = {
    number: LENGTH if entry.type in (entry.TYPE_MESSAGE, entry.TYPE_STRING) else VARINT
    for number, entry in ModelProto.DESCRIPTOR.fields_by_number.items()
}
Chunks = list[bytes | memoryview]


@dataclass(frozen=True)
class Field:
    """One field of a serialized message: its number, where its tag and its content start, and where it ends."""

    number: int
    wire_type: int
    start: int
    content: int
    end: int


class FramingError(ValueError):
    """The bytes are not a serialized message, or are one in an unusual form."""


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a serialized message, in order. Raises FramingError."""
    position = 0
    while position < len(message):
        field = _field(message, position)
        if field.end > len(message):
            raise FramingError("cut short")
        yield field
        position = field.end


def _field(message: memoryview, start: int) -> Field:
    """The field that starts at a position; its content may reach beyond the end of what is given."""
    tag, position = _varint(message, start)
    content = end = position
    wire_type = tag & 7
    if wire_type == VARINT:
        _, end = _varint(message, position)
    elif wire_type == LENGTH:
        length, content = _varint(message, position)
        end = content + length
    elif wire_type in (FIXED64, FIXED32):
        end = position + (8 if wire_type == FIXED64 else 4)
    else:
        raise FramingError(f"wire type {wire_type}")
    return Field(tag >> 3, wire_type, start, content, end)


def is_model(file: BinaryIO, size: int) -> bool:
    """Whether a file of a size in bytes is a model, by the framing of its outermost fields: its graph is not read."""
    found, position = set(), 0
    while position < size:
        file.seek(position)
        try:
            field = _field(memoryview(file.read(LONGEST_HEAD)), 0)
        except FramingError:
            return False
        if field.wire_type != WIRE_TYPES.get(field.number, field.wire_type):  # a newer ONNX may have more fields
            return False
        found.add(field.number)
        position += field.end
    return position == size and {GRAPH, ModelProto.IR_VERSION_FIELD_NUMBER} <= found


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 64:  # noqa: PLR2004 - bits
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, position
        shift += 7
    raise FramingError("cut short")


def _framed(number: int, chunks: Chunks) -> Chunks:
    """A field of type LENGTH with this content."""
    return [_encoded(number << 3 | LENGTH) + _encoded(sum(len(chunk) for chunk in chunks)), *chunks]


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - the continuation bit
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def without_large_weights(model: bytes | memoryview) -> tuple[bytes, dict[bytes, memoryview]]:
    """A serialized model in which large initializers of the main graph have no data.

    Args:
        model: A serialized ModelProto.

    Returns:
        The shorter serialization, and the whole field of each initializer that was reduced, by the initializer's name.

    Raises:
        FramingError: the bytes are not a message, or have two graphs, or two initializers of the same name.
    """
    whole = memoryview(model)
    graph = _graph(whole)
    large: dict[bytes, memoryview] = {}
    names: set[bytes] = set()
    chunks: Chunks = []
    for number, chunk, content in _parts(whole, graph):
        if number != INITIALIZER:
            chunks.append(chunk)
            continue
        name = _name(content)
        if name in names:
            raise FramingError("two initializers have the same name")
        names.add(name)
        if len(chunk) <= LARGE:
            chunks.append(chunk)
            continue
        large[name] = chunk
        chunks += _framed(INITIALIZER, [part for part, kept in _tensor_parts(content) if kept])
    return b"".join([whole[: graph.start], *_framed(GRAPH, chunks), whole[graph.end :]]), large


def with_large_weights(model: bytes, large: Mapping[bytes, memoryview]) -> Chunks:
    """The inverse of `without_large_weights`, after a patch.

    Args:
        model: A serialized ModelProto.
        large: The fields to put back, by the initializer's name.

    Returns:
        The serialization of the whole model, in pieces.

    Raises:
        FramingError: the model lacks one of these initializers, or has it twice.
    """
    if not large:
        return [model]
    whole = memoryview(model)
    graph = _graph(whole)
    missing = set(large)
    chunks: Chunks = []
    for number, chunk, content in _parts(whole, graph):
        name = _name(content) if number == INITIALIZER else None
        if name is None or name not in large:
            chunks.append(chunk)
            continue
        missing.remove(name)
        chunks.append(large[name])
    if missing:
        raise FramingError(f"the initializer {missing.pop()!r} is missing")
    return [whole[: graph.start], *_framed(GRAPH, chunks), whole[graph.end :]]


def _graph(model: memoryview) -> Field:
    graphs = [field for field in fields(model) if field.number == GRAPH]
    if len(graphs) != 1 or graphs[0].wire_type != LENGTH:
        raise FramingError("not one graph")
    return graphs[0]


def _parts(model: memoryview, graph: Field) -> Iterator[tuple[int, memoryview, memoryview]]:
    """The fields of a graph: number, whole field, content."""
    inside = model[graph.content : graph.end]
    for field in fields(inside):
        yield field.number, inside[field.start : field.end], inside[field.content : field.end]


def _tensor_parts(tensor: memoryview) -> Iterator[tuple[memoryview, bool]]:
    """The fields of a tensor, and whether each is kept: all except its data."""
    for field in fields(tensor):
        yield tensor[field.start : field.end], field.number not in PAYLOAD


def _name(tensor: memoryview) -> bytes:
    names = [field for field in fields(tensor) if field.number == TensorProto.NAME_FIELD_NUMBER]
    return bytes(tensor[names[-1].content : names[-1].end]) if names else b""
