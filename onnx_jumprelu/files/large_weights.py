"""Leaving out large weights while a model is patched, and putting them back unchanged.

Parsing and serializing a model copies its weights several times, which costs far more than copying the file. A patch
does not read them. So each large initializer of the main graph is reduced to its name, type and shape before parsing,
and its bytes are put back as they were when the model is written. This module reads only the framing of protobuf
messages (https://protobuf.dev/programming-guides/encoding/).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import BinaryIO, TypeVar, overload

from onnx import GraphProto, ModelProto, TensorProto

LARGE = 2**16  # bytes; slopes and bounds, which the recognisers read, are far smaller
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
GRAPH = ModelProto.GRAPH_FIELD_NUMBER
INITIALIZER = GraphProto.INITIALIZER_FIELD_NUMBER
PAYLOAD = {
    TensorProto.DESCRIPTOR.fields_by_name[name].number
    for name in ("float_data", "int32_data", "string_data", "int64_data", "raw_data", "double_data", "uint64_data")
}
WIRE_TYPES = {
    number: LENGTH if entry.type in (entry.TYPE_MESSAGE, entry.TYPE_STRING) else VARINT
    for number, entry in ModelProto.DESCRIPTOR.fields_by_number.items()
}


class FileBytes:
    """A stretch of an open file, where otherwise a memoryview would do: its bytes are read when they are needed."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        """Take the bytes of a file from `start` to `end`."""
        self.file, self.start, self.end = file, start, end

    def __len__(self) -> int:
        return self.end - self.start

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> FileBytes: ...
    def __getitem__(self, place: int | slice) -> int | FileBytes:
        if isinstance(place, slice):
            start, end, _ = place.indices(len(self))
            return FileBytes(self.file, self.start + start, self.start + end)
        return bytes(self[place : place + 1])[0]

    def __bytes__(self) -> bytes:
        self.file.seek(self.start)
        content = self.file.read(len(self))
        if len(content) < len(self):
            raise FramingError("cut short")
        return content


@dataclass(frozen=True)
class Stretch:
    """Bytes that stay in the file of a model: from `start` to `end`.

    `raw_size` is the number of bytes of raw data in them, None where the numbers are in a list.
    """

    start: int
    end: int
    raw_size: int | None = None

    def __len__(self) -> int:
        return self.end - self.start

    def pieces(self, file: BinaryIO, size: int) -> Iterator[bytes]:
        """The bytes, `size` at a time; fewer where the file has become shorter."""
        file.seek(self.start)
        left = len(self)
        while piece := file.read(min(size, left)):
            left -= len(piece)
            yield piece


Bytes = memoryview | FileBytes
View = TypeVar("View", memoryview, FileBytes)
Chunks = list[bytes | memoryview | Stretch]


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


def fields(message: Bytes) -> Iterator[Field]:
    """The fields of a serialized message, in order. Raises FramingError."""
    position = 0
    while position < len(message):
        field = _field(message, position)
        if field.end > len(message):
            raise FramingError("cut short")
        yield field
        position = field.end


def _field(message: Bytes, start: int) -> Field:
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


def is_model(message: Bytes) -> bool:
    """Whether bytes are a model, by the framing of the outermost fields: the graph is not read."""
    found = set()
    try:
        for field in fields(message):
            if field.wire_type != WIRE_TYPES.get(field.number, field.wire_type):  # a newer ONNX may have more fields
                return False
            found.add(field.number)
    except FramingError:
        return False
    return found >= {GRAPH, ModelProto.IR_VERSION_FIELD_NUMBER}


def _varint(message: Bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 64:  # noqa: PLR2004 - bits
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, position
        shift += 7
    raise FramingError("cut short")


def _head(number: int, chunks: Sequence[Sized]) -> bytes:
    """What stands before the content of a field of type LENGTH."""
    return _encoded(number << 3 | LENGTH) + _encoded(sum(len(chunk) for chunk in chunks))


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - the continuation bit
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def without_large_weights(file: BinaryIO, size: int) -> tuple[bytes, dict[bytes, Stretch]]:
    """A serialized model in which large initializers of the main graph have no data. These are not read.

    Args:
        file: A serialized ModelProto.
        size: Its size in bytes.

    Returns:
        The shorter serialization, and the whole field of each initializer that was reduced, by the initializer's name.

    Raises:
        FramingError: the bytes are not a message, or have two graphs, or two initializers of the same name.
    """
    whole = FileBytes(file, 0, size)
    graph = _graph(whole)
    large: dict[bytes, Stretch] = {}
    names: set[bytes] = set()
    chunks: list[bytes] = []
    for number, chunk, content in _parts(whole, graph):
        if number != INITIALIZER:
            chunks.append(bytes(chunk))
            continue
        name = _name(content)
        if name in names:
            raise FramingError("two initializers have the same name")
        names.add(name)
        if len(chunk) <= LARGE:
            chunks.append(bytes(chunk))
            continue
        large[name] = Stretch(chunk.start, chunk.end, _raw_size(content))
        fields_kept = [bytes(part) for part, kept in _tensor_parts(content) if kept]
        chunks += [_head(INITIALIZER, fields_kept), *fields_kept]
    return b"".join([bytes(whole[: graph.start]), _head(GRAPH, chunks), *chunks, bytes(whole[graph.end :])]), large


def _raw_size(tensor: View) -> int | None:
    """How many bytes of raw data a tensor has, None where its numbers are in a list."""
    found = [field for field in fields(tensor) if field.number == TensorProto.RAW_DATA_FIELD_NUMBER]
    return found[-1].end - found[-1].content if found else None


def with_large_weights(model: bytes, large: Mapping[bytes, Stretch]) -> Chunks:
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
    return [whole[: graph.start], _head(GRAPH, chunks), *chunks, whole[graph.end :]]


def _graph(model: Bytes) -> Field:
    graphs = [field for field in fields(model) if field.number == GRAPH]
    if len(graphs) != 1 or graphs[0].wire_type != LENGTH:
        raise FramingError("not one graph")
    return graphs[0]


def _parts(model: View, graph: Field) -> Iterator[tuple[int, View, View]]:
    """The fields of a graph: number, whole field, content."""
    inside = model[graph.content : graph.end]
    for field in fields(inside):
        yield field.number, inside[field.start : field.end], inside[field.content : field.end]


def _tensor_parts(tensor: View) -> Iterator[tuple[View, bool]]:
    """The fields of a tensor, and whether each is kept: all except its data."""
    for field in fields(tensor):
        yield tensor[field.start : field.end], field.number not in PAYLOAD


def _name(tensor: Bytes) -> bytes:
    names = [field for field in fields(tensor) if field.number == TensorProto.NAME_FIELD_NUMBER]
    return bytes(tensor[names[-1].content : names[-1].end]) if names else b""
