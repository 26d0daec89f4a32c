"""Makes a malformed input from a random generator: of bytes, of protobuf fields, of text."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import ModelProto

from tests.fuzz.models import base_models

NUMBERS = (0, 1, -1, 2, 3, 7, 8, 16, 100, 127, 128, 255, 2**16, 2**31 - 1, -(2**31), 2**31, 2**62, -(2**63), 2**63 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e300, -1e300, float("inf"), float("nan"), 6.0)
TEXTS = (
    "",
    "x",
    "y",
    "a",
    "Relu",
    "Clip",
    "If",
    "Max",
    "my",
    "ai.onnx",
    "main",
    "\n",
    "\x00",
    "é" * 40,
    "n" * 70_000,
    "*",
)
JSON_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0.5,
    1e308,
    10**400,
    "",
    "a",
    [],
    {},
    [[]],
    [1.0, "a"],
    {"jump": 1},
    -0.0,
)
RECIPE = {"schema": "onnx-jumprelu/recipe/1", "version": "1", "default": 0.5, "sites": {"act": [1.0, 0.5], "r*": 0.25}}
POLICY = b"# conditions\n[gates]\nmin_clean = 0.97\nmax_drop = 0.01\nmin_gain = -1\nmax_latency_ratio = 1.5\n"
POINT = {"jumps": {"r": 0.5}, "clean_accuracy": 0.9, "worst_case": 0.5, "chosen": True, "family": "one jump"}
TUNING = {
    "schema": "onnx-jumprelu/tuning/1",
    "version": "1",
    "model": "m.onnx",
    "model_sha256": "0" * 64,
    "data": "d.npz",
    "eps": 0.1,
    "norm": "linf",
    "max_drop": 0.01,
    "clean_accuracy": {"original": 0.9},
    "n_search": 8,
    "n_held_out": 8,
    "trials": [POINT],
    "finalists": [POINT],
}
ATTACK = {"success": "0101", "replayed": "0101", "zero_gradients": 0.0, "seconds": 1.5}
CHECKPOINT = {
    "schema": "onnx-jumprelu/checkpoint/1",
    "version": "1",
    "about": {"examples": "4"},
    "attacks": {"0/0/0/original": ATTACK, "0/0/0/patched": ATTACK},
}


def mutated_bytes(content: bytes, rng: Random) -> bytes:
    """Some bytes changed, moved, cut out or put in."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 8, 64))
        piece = data[at : at + length]
        data[at : at + length] = rng.choice(
            (
                bytes(rng.randrange(256) for _ in piece),
                bytes(byte ^ 1 << rng.randrange(8) for byte in piece),
                b"",
                piece * 2,
                bytes([rng.choice((0, 0x7F, 0x80, 0xFF))]) * rng.randrange(9),
                data[(other := rng.randrange(len(data) + 1)) : other + length],
            )
        )
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data)


def model_of_bytes(rng: Random) -> bytes:
    """A serialized model with other bytes."""
    return mutated_bytes(rng.choice(base_models()), rng)


def model_of_fields(rng: Random) -> bytes:
    """A model in which some fields have other values, or are missing, repeated or swapped."""
    model = ModelProto.FromString(rng.choice(base_models()))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        messages = list(_messages(model))
        _mutate(rng.choice(messages), messages, rng)
    content = model.SerializeToString()
    return content.replace(b"Relu", b"Re\xffu") if rng.random() < 0.01 else content


def _messages(message: Message) -> list[Message]:
    """A message and all within it."""
    found, todo = [], [message]
    while todo:
        found.append(each := todo.pop())
        for field, value in each.ListFields():
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                todo.extend(value if _is_list(field) else [value])
    return found


def _is_list(field: Any) -> bool:  # noqa: ANN401 - protobuf names its types differently in each version
    return bool(field.is_repeated) if hasattr(field, "is_repeated") else field.label == FieldDescriptor.LABEL_REPEATED


def _mutate(message: Message, messages: list[Message], rng: Random) -> None:
    used: list[Any] = [field for field, _ in message.ListFields()]
    field: Any = rng.choice(used if used and rng.random() < 0.8 else message.DESCRIPTOR.fields)
    if rng.random() < 0.15:
        message.ClearField(field.name)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        _mutate_message(getattr(message, field.name), field, messages, rng)
    elif _is_list(field):
        values = getattr(message, field.name)
        action = rng.randrange(4)
        if not values or action == 0:
            values.append(_value(field, rng))
        elif action == 1:
            del values[rng.randrange(len(values))]
        elif action == 2:
            values[rng.randrange(len(values))] = _value(field, rng)
        else:
            values.extend(values[: rng.randrange(9)])
    else:
        setattr(message, field.name, _value(field, rng))


def _mutate_message(value: Any, field: Any, messages: list[Message], rng: Random) -> None:  # noqa: ANN401
    others = [each for each in messages if each.DESCRIPTOR is field.message_type]
    donor = rng.choice(others).__class__.FromString(rng.choice(others).SerializeToString()) if others else None
    if donor is not None and donor.ByteSize() > 50_000:
        donor = None
    if not _is_list(field):
        value.SetInParent() if donor is None else value.CopyFrom(donor)
        return
    action = rng.randrange(4)
    if not value or action == 0:
        value.append(donor) if donor is not None else value.add()
    elif action == 1:
        del value[rng.randrange(len(value))]
    elif action == 2 and donor is not None:
        value[rng.randrange(len(value))].CopyFrom(donor)
    else:
        moved = [each.__class__.FromString(each.SerializeToString()) for each in value]
        rng.shuffle(moved)
        del value[:]
        value.extend(moved)


def _value(field: Any, rng: Random) -> Any:  # noqa: ANN401 - of the field's type
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice(TEXTS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.choice((b"", b"\xff", b"Relu", bytes(4), bytes(1000)))
    if field.type == FieldDescriptor.TYPE_ENUM:
        return rng.choice(list(field.enum_type.values_by_number))
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice(FLOATS)
    bits = 31 if field.type == FieldDescriptor.TYPE_INT32 else 63
    low = 0 if field.type == FieldDescriptor.TYPE_UINT64 else -(2**bits)
    return min(max(rng.choice(NUMBERS), low), 2**bits - 1)


def npz(rng: Random) -> bytes:
    """An `.npz` file with other bytes: of the archive, or of a member before it is packed."""
    x = np.zeros((3, 1, 4, 4), rng.choice((np.float32, np.uint8, np.float64, np.int64)))
    members = {name: _npy(array) for name, array in (("x", x), ("y", np.arange(3)), ("x_val", x), ("flag", x[0] > 0))}
    if rng.random() < 0.5:
        name = rng.choice(list(members))
        members[name] = _npy_of_header(rng) if rng.random() < 0.3 else mutated_bytes(members[name][:300], rng)
    whole = io.BytesIO()
    how = rng.choice(
        (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    with zipfile.ZipFile(whole, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    content = whole.getvalue()
    return content if rng.random() < 0.2 else mutated_bytes(content, rng)


def _npy(array: Any) -> bytes:  # noqa: ANN401 - an array of any type
    whole = io.BytesIO()
    np.save(whole, array)
    return whole.getvalue()


def _npy_of_header(rng: Random) -> bytes:
    descr = rng.choice(
        ("'<f4'", "'|O'", "'V0'", "[('a', '<f4')]", "'<U9'", "'f4,f4'", "'M8[s]'", "1", "'<f4' * 9", "'zz'")
    )
    shape = rng.choice(
        ("(3, 1, 4, 4)", "(-1,)", "(10**9, 10**9)", "(2L,)", "()", "(0, 9)", "(1.5,)", "((" * 300, "[3]", "x")
    )
    fortran = rng.choice(("False", "True", "2", "None"))
    header = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    version = rng.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x09"))
    length = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + length + header + bytes(192)


def recipe(rng: Random) -> bytes:
    """A recipe with other entries or bytes."""
    return _json(RECIPE, rng)


def record(rng: Random) -> bytes:
    """A record of tuning or a checkpoint with other entries or bytes."""
    return _json(rng.choice((TUNING, CHECKPOINT)), rng)


def policy(rng: Random) -> bytes:
    """A policy with other bytes or values."""
    if rng.random() < 0.5:
        return mutated_bytes(POLICY, rng)
    odd = (
        "nan",
        "inf",
        "9" * 400,
        "9" * 5000,
        "true",
        '"a"',
        "[" * 5000,
        "{a = 1}",
        "1979-05-27",
        "1e999",
        "0x10",
        "-0.0",
    )
    return POLICY.replace(rng.choice((b"0.97", b"0.01", b"-1", b"1.5")), rng.choice(odd).encode())


def _json(content: Any, rng: Random) -> bytes:  # noqa: ANN401 - any JSON value
    copied = json.loads(json.dumps(content))
    if rng.random() < 0.7:
        holders = list(_holders(copied))
        for _ in range(rng.choice((1, 1, 2))):
            holder = rng.choice(holders)
            keys = list(range(len(holder))) if isinstance(holder, list) else list(holder)
            if keys and rng.random() < 0.2:
                del holder[rng.choice(keys)]
            elif keys:
                holder[rng.choice(keys)] = rng.choice(JSON_VALUES)
    text = json.dumps(copied)
    if rng.random() < 0.02:
        text = text.replace("0.5", "[" * 100_000)
    return text.encode() if rng.random() < 0.6 else mutated_bytes(text.encode(), rng)


def _holders(content: Any) -> list[Any]:  # noqa: ANN401 - any JSON value
    """All objects and lists within a JSON value."""
    inside = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    found = [content] if isinstance(content, dict | list) else []
    return [*found, *(holder for value in inside for holder in _holders(value))]


# By kind: what makes an input, and the name of its file.
KINDS: dict[str, tuple[Callable[[Random], bytes], str]] = {
    "bytes": (model_of_bytes, "input.onnx"),
    "fields": (model_of_fields, "input.onnx"),
    "npz": (npz, "input.npz"),
    "recipe": (recipe, "input.json"),
    "policy": (policy, "input.toml"),
    "record": (record, "input.json"),
}
# How often each kind is drawn: models are read by the most code.
WEIGHTS = {"bytes": 4, "fields": 8, "npz": 3, "recipe": 1, "policy": 1, "record": 1}


def drawn(seed: int, index: int, kinds: tuple[str, ...]) -> tuple[str, bytes]:
    """The kind and the content of an input; each seed and index gives the same."""
    rng = Random(f"{seed}/{index}")  # noqa: S311 - not for secrets
    kind = rng.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
    return kind, KINDS[kind][0](rng)
