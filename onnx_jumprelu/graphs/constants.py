"""Constants: element types, tensors, values of Constant nodes and attributes."""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_jumprelu.arrays import Array


class NotConstantError(Exception):
    """The file does not fix the value of a tensor. The message says why, as part of a reason for refusing a site."""


class ExternalError(NotConstantError):
    """The value is in an external data file, which nothing reads to find rectifiers."""


def numpy_dtype(elem_type: int) -> np.dtype[np.generic]:
    """NumPy's dtype for an ONNX element type (bfloat16 comes from ml_dtypes)."""
    return np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))


def tensor(elem_type: int, values: float | Array, name: str = "") -> TensorProto:
    """A tensor that holds `values`, of any shape, rounded to the nearest numbers of the element type."""
    array = np.asarray(values, np.float64).astype(numpy_dtype(elem_type))
    return numpy_helper.from_array(array, name)


def decoded(tensor: TensorProto) -> Array:
    """Value of a tensor that the file itself stores. Raises NotConstantError for external data and damaged tensors."""
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ExternalError(f"'{tensor.name}' is stored in an external data file")
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (TypeError, ValueError) as error:
        raise NotConstantError(f"'{tensor.name}' cannot be decoded") from error


def converted(value: Array, elem_type: int) -> Array:
    """What a Cast makes of a constant. Raises NotConstantError where there is no such type, or no such number in it."""
    try:
        with np.errstate(all="ignore"):
            return value.astype(numpy_dtype(elem_type), copy=False)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise NotConstantError(f"it is cast to element type {elem_type}") from error


def constant_node_value(node: NodeProto) -> Array:
    """Value of a Constant node. Raises NotConstantError where it is not a fixed number."""
    for entry in node.attribute:
        if entry.ref_attr_name:
            break
        if entry.name == "value":
            return decoded(entry.t)
        if entry.name in ("value_float", "value_floats"):
            return np.asarray(helper.get_attribute_value(entry), np.float32)
        if entry.name in ("value_int", "value_ints"):
            return np.asarray(helper.get_attribute_value(entry), np.int64)
    raise NotConstantError(f"'{node.output[0]}' has no fixed numeric value")


def attribute(node: NodeProto, name: str, default: float) -> float:
    """A numeric attribute of a node, or its default.

    Raises:
        NotConstantError: the attribute is a reference to an attribute of the enclosing function.
    """
    entry = attribute_proto(node, name)
    if entry is None:
        return default
    if entry.ref_attr_name:
        raise NotConstantError(f"'{name}' is set by the caller of the function")
    return float(helper.get_attribute_value(entry))


def attribute_proto(node: NodeProto, name: str) -> AttributeProto | None:
    """An attribute of a node, None where it is left out."""
    return next((entry for entry in node.attribute if entry.name == name), None)
