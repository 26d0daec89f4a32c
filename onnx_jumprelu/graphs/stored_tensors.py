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
NUMBERS_PER_COMPLEX = 2


def elem_type_problem(elem_type: int) -> str | None:
    """What is wrong with an element type, None where it exists."""
    return None if elem_type in ELEM_TYPES else f"the element type {elem_type} does not exist"


def tensor_problem(tensor: TensorProto, *, has_data: bool = True) -> str | None:
    """What is wrong with a stored tensor, None for one that can be read.

    Args:
        tensor: The tensor.
        has_data: False for a tensor whose data are elsewhere and are not looked at.
    """
    if tensor.data_type not in ELEM_TYPES:
        return elem_type_problem(tensor.data_type)
    if any(size < 0 for size in tensor.dims):
        return f"its shape {list(tensor.dims)} has a negative size"
    if not has_data or tensor.data_location == TensorProto.EXTERNAL:
        return None
    wanted, stored = _wanted_and_stored(tensor)
    if wanted is None or wanted == stored:
        return None
    unit = "bytes" if tensor.HasField("raw_data") else "numbers"
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


def _wanted_and_stored(tensor: TensorProto) -> tuple[int | None, int]:
    """How many bytes, or entries of a list, a tensor's shape needs (None for an unlisted type), and how many it has."""
    count, name = math.prod(tensor.dims), TensorProto.DataType.Name(tensor.data_type)
    bits = BITS.get(name)
    if tensor.HasField("raw_data"):
        return None if bits is None else -(-count * bits // 8), len(tensor.raw_data)
    stored = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))
    if name.startswith("COMPLEX"):
        return NUMBERS_PER_COMPLEX * count, stored
    return count if name == "STRING" or (bits is not None and bits % 8 == 0) else None, stored
