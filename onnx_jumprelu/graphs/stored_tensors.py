"""Whether a tensor that a file stores holds what its type and shape say."""

from __future__ import annotations

import math

from onnx import SparseTensorProto, TensorProto, helper

ELEM_TYPES = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}
# Bits of one value in `raw_data`. Types that are not listed are newer than this table, and are not counted.
BITS = {
    **dict.fromkeys(("COMPLEX128",), 128),
    **dict.fromkeys(("DOUBLE", "INT64", "UINT64", "COMPLEX64"), 64),
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 32),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 16),
    **dict.fromkeys(("BOOL", "INT8", "UINT8"), 8),
    **dict.fromkeys(("INT4", "UINT4"), 4),
}
BITS_OF_A_BYTE = 8
NUMBERS_PER_COMPLEX = 2


def elem_type_problem(elem_type: int) -> str | None:
    """What is wrong with an element type, None where it exists."""
    return None if elem_type in ELEM_TYPES else f"the element type {elem_type} does not exist"


def tensor_problem(tensor: TensorProto) -> str | None:
    """What is wrong with a stored tensor, None for one that can be read."""
    problem = _type_problem(tensor)
    if problem or tensor.data_location == TensorProto.EXTERNAL:
        return problem
    if tensor.HasField("raw_data"):
        return raw_data_problem(tensor, len(tensor.raw_data))
    name = TensorProto.DataType.Name(tensor.data_type)
    if name != "STRING" and BITS.get(name, 0) < BITS_OF_A_BYTE:
        return None  # several values in one entry
    wanted = math.prod(tensor.dims) * (NUMBERS_PER_COMPLEX if name.startswith("COMPLEX") else 1)
    return _size_problem(
        tensor, wanted, len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type))), "numbers"
    )


def raw_data_problem(tensor: TensorProto, size: int | None) -> str | None:
    """What is wrong with a tensor whose raw data are or were `size` bytes, None for one that can be read.

    Args:
        tensor: The tensor, of which only the type and the shape are looked at.
        size: Number of bytes, None where it is not known.
    """
    bits = BITS.get(TensorProto.DataType.Name(tensor.data_type)) if tensor.data_type in ELEM_TYPES else None
    problem = _type_problem(tensor)
    if problem or bits is None or size is None:
        return problem
    return _size_problem(tensor, -(-math.prod(tensor.dims) * bits // BITS_OF_A_BYTE), size, "bytes")


def _type_problem(tensor: TensorProto) -> str | None:
    if any(size < 0 for size in tensor.dims):
        return f"its shape {list(tensor.dims)} has a negative size"
    return elem_type_problem(tensor.data_type)


def _size_problem(tensor: TensorProto, wanted: int, stored: int, unit: str) -> str | None:
    if wanted == stored:
        return None
    return f"its shape {list(tensor.dims)} needs {wanted} {unit}, and it has {stored}"


def sparse_problem(sparse: SparseTensorProto) -> str | None:
    """What is wrong with a stored sparse tensor, None for one that can be read."""
    problem = tensor_problem(sparse.values) or tensor_problem(sparse.indices)
    if problem:
        return problem
    shape, values, indices = (list(dims) for dims in (sparse.dims, sparse.values.dims, sparse.indices.dims))
    if any(size < 0 for size in shape):
        return f"its shape {shape} has a negative size"
    if len(values) != 1 or indices not in (values, [*values, len(shape)]):
        return f"values of shape {values} and indices of shape {indices} do not make a sparse tensor of shape {shape}"
    return None
