"""For users of ONNX GraphSurgeon: `graph.jumprelu(x, jump)` and `retrofit(graph, jump)`.

Importing this module registers `jumprelu` on `onnx_graphsurgeon.Graph`. GraphSurgeon itself drops parts of a model
(metadata, doc strings, sparse initializers, quantization annotations); to lose nothing, patch the file or the
ModelProto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import helper

from onnx_jumprelu.activation.parameters import checked_number, rounded
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.graphs.tensor_types import FLOAT_TYPES
from onnx_jumprelu.rewrite.patch import patch_model

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from onnx_jumprelu.rewrite.options import PatchKeywords


AGE = 9  # the opset with Where


@gs.Graph.register()  # type: ignore[untyped-decorator]
def jumprelu(self: Any, x: Any, jump: float) -> Any:  # noqa: ANN401 - GraphSurgeon ships no types
    """Append `x if x > jump else 0` to a graph of opset 9 or later.

    Args:
        self: The graph.
        x: A `gs.Tensor` whose element type is known.
        jump: At least 0, in units of x.

    Returns:
        The output, a `gs.Variable` of x's element type and shape.

    Raises:
        OptionError: the jump is out of range, x is not a floating-point tensor, or the graph's opset is below 9.
    """
    checked = checked_number(jump, "the jump")
    if x.dtype is None:
        raise OptionError(f"tensor '{x.name}' has no dtype; set it, so that the jump can be rounded to it")
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(x.dtype))
    if elem_type not in FLOAT_TYPES:
        raise OptionError(f"tensor '{x.name}' is {x.dtype}; JumpReLU serves floating-point tensors")
    in_type = rounded(checked, elem_type)
    if np.isinf(in_type) or (checked and not in_type):
        raise OptionError(f"tensor '{x.name}': jump {checked!r} is out of range for {x.dtype}")
    if self.opset < AGE:
        raise OptionError(f"the graph has opset {self.opset}; Greater and Where need {AGE}")
    # Explicit arrays: GraphSurgeon makes float32 of Python's numbers, whatever the graph computes in.
    threshold, zero = np.asarray(jump, x.dtype), np.asarray(0, x.dtype)
    above = self.layer(op="Greater", inputs=[x, threshold], outputs=["jumprelu_above"])[0]
    above.dtype = np.dtype(bool)
    output = self.layer(op="Where", inputs=[above, x, zero], outputs=["jumprelu"])[0]
    output.dtype, output.shape = x.dtype, x.shape
    return output


def retrofit(graph: Any, jump: float | None = None, **options: Unpack[PatchKeywords]) -> Any:  # noqa: ANN401
    """A new GraphSurgeon graph in which each ReLU is a JumpReLU; the given one is not changed.

    Args:
        graph: A `gs.Graph`.
        jump: One jump for all sites, at least 0.
        **options: See `PatchOptions`.

    Raises:
        OptionError, PatchError: as `patch_model`.
    """
    return gs.import_onnx(patch_model(gs.export_onnx(graph), jump, **options).model)
