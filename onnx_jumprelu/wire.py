"""Large weights by reference: a serialized model without them, and the same weights back in its place.

Parsing and serializing a model copies its weights several times, which costs far more than copying the file. A patch
does not look at them, so files are patched without: each large initializer of the main graph is cut down to its name,
type and shape before parsing, and its bytes are put back, as they were, when the model is written. Only the framing of
protobuf messages is read here (https://protobuf.dev/programming-guides/encoding/).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, TensorProto

# Slopes and bounds, which the recognisers read, are far smaller.
LARGE = 2**16
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
GRAPH = ModelProto.GRAPH_FIELD_NUMBER
INITIALIZER = GraphProto.INITIALIZER_FIELD_NUMBER
PAYLOAD = {
    TensorProto.DESCRIPTOR.fields_by_name[name].number
    for name in ("float_data", "int32_data", "string_data", "int64_data", "raw_data", "double_data", "uint64_data")
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
    """Bytes that are not the serialization of a message, or one in an unusual form."""


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a serialized message, one after the other. Raises FramingError."""
    position = 0
    while position < len(message):
        start = position
        tag, position = _varint(message, position)
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
        if end > len(message):
            raise FramingError("cut short")
        yield Field(tag >> 3, wire_type, start, content, end)
        position = end


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


def without_large_weights(model: bytes) -> tuple[bytes, dict[int, memoryview]]:
    """A serialized model in which large initializers of the main graph have no data.

    Args:
        model: A serialized ModelProto.

    Returns:
        The shorter serialization, and the whole field of each initializer that was cut down, by its position among the
        initializers.

    Raises:
        FramingError: the bytes are no message, or one with more than one graph.
    """
    whole = memoryview(model)
    graph = _graph(whole)
    content = whole[graph.content : graph.end]
    large: dict[int, memoryview] = {}
    chunks: Chunks = []
    n_initializers = 0
    for field in fields(content):
        chunk = content[field.start : field.end]
        if field.number == INITIALIZER:
            if len(chunk) > LARGE:
                large[n_initializers] = chunk
                chunk = memoryview(b"".join(_stub(content[field.content : field.end])))
            n_initializers += 1
        chunks.append(chunk)
    return b"".join([whole[: graph.start], *_framed(GRAPH, chunks), whole[graph.end :]]), large


def _stub(tensor: memoryview) -> Chunks:
    kept: Chunks = [tensor[field.start : field.end] for field in fields(tensor) if field.number not in PAYLOAD]
    return _framed(INITIALIZER, kept)


def _graph(model: memoryview) -> Field:
    graphs = [field for field in fields(model) if field.number == GRAPH]
    if len(graphs) != 1 or graphs[0].wire_type != LENGTH:
        raise FramingError("not one graph")
    return graphs[0]


def with_large_weights(model: bytes, large: Mapping[int, memoryview]) -> Chunks:
    """The inverse of `without_large_weights`, after a patch: initializers may have been appended, but none removed.

    Args:
        model: A serialized ModelProto.
        large: The fields to put back, by position among the initializers.

    Returns:
        The serialization of the whole model, in pieces.
    """
    if not large:
        return [model]
    whole = memoryview(model)
    graph = _graph(whole)
    content = whole[graph.content : graph.end]
    chunks: Chunks = []
    n_initializers = 0
    for field in fields(content):
        chunk = content[field.start : field.end]
        if field.number == INITIALIZER:
            chunk = large.get(n_initializers, chunk)
            n_initializers += 1
        chunks.append(chunk)
    return [whole[: graph.start], *_framed(GRAPH, chunks), whole[graph.end :]]
