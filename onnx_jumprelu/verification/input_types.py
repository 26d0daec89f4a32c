"""Inputs of a model as they are fed: a tensor, or a sequence of tensors, either of which may be optional."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ValueInfoProto

from onnx_jumprelu.graphs.constants import numpy_dtype
from onnx_jumprelu.graphs.tensor_types import Dimension, declared_type
from onnx_jumprelu.verification.comparison import UndecidedError


@dataclass(frozen=True)
class FedInput:
    """One input.

    Attributes:
        name: Its name.
        dtype: Type of its values; `object` for texts.
        shape: Shape of the tensor, or of each tensor of a sequence, None where the file declares none.
        is_sequence: Whether it is a sequence of tensors.
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[Dimension, ...] | None
    is_sequence: bool


def fed_input(value: ValueInfoProto) -> FedInput:
    """How a graph input is fed. Raises UndecidedError where it is neither a tensor nor a sequence of tensors."""
    proto = value.type
    if proto.HasField("optional_type"):
        proto = proto.optional_type.elem_type
    is_sequence = proto.HasField("sequence_type")
    if is_sequence:
        proto = proto.sequence_type.elem_type
    if not proto.HasField("tensor_type"):
        raise UndecidedError(f"the input '{value.name}' cannot be fed: it is neither a tensor nor a sequence")
    held = declared_type(proto)
    return FedInput(value.name, numpy_dtype(held.elem_type or 0), held.shape, is_sequence)
