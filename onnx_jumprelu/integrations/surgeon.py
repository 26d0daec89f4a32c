"""For users of ONNX GraphSurgeon: `graph.jumprelu(x, jump)` and `retrofit(graph, jump)`.

Importing this module registers `jumprelu` on `onnx_graphsurgeon.Graph`. GraphSurgeon drops parts of a model (metadata,
doc strings, sparse initializers, quantization annotations); to lose nothing, patch the file or the ModelProto instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import helper, numpy_helper

from onnx_jumprelu.activation.lowering import LoweringSite
from onnx_jumprelu.activation.lowerings import LOWERINGS, choose
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.values import checked_number
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.graphs.builder import GraphBuilder
from onnx_jumprelu.graphs.tensor_types import FLOAT_TYPES
from onnx_jumprelu.rewrite.patch import patch_model

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from onnx_jumprelu.rewrite.options import PatchKeywords


@gs.Graph.register()  # type: ignore[untyped-decorator]
def jumprelu(self: Any, x: Any, jump: float) -> Any:  # noqa: ANN401 - GraphSurgeon ships no types
    """Append JumpReLU (`x if x > jump else 0`) to a graph of opset 9 or later.

    Args:
        self: The graph.
        x: A `gs.Tensor` whose element type is known.
        jump: At least 0, in units of x.

    Returns:
        The output, a `gs.Variable` of x's element type and shape.

    Raises:
        OptionError: the jump is out of range, x is not a floating-point tensor, or the graph's opset is below 9.
    """
    parameters = Parameters(checked_number(jump, "the jump"))
    if x.dtype is None:
        raise OptionError(f"tensor '{x.name}' has no dtype; set it, so that the jump can be rounded to it")
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(x.dtype))
    if elem_type not in FLOAT_TYPES:
        raise OptionError(f"tensor '{x.name}' is {x.dtype}; JumpReLU needs a floating-point tensor")
    site = LoweringSite(
        x=x.name,
        parameters=parameters.held_in(elem_type, f"tensor '{x.name}'"),
        rank=None,
        inputs={},
        elem_type=elem_type,
        opset=self.opset,
        ir_version=0,
        keep_nan=False,
        base="jumprelu",
    )
    lowering, reason = choose("where", site)
    if reason is not None:
        raise OptionError(f"the graph has opset {self.opset}; {reason}")
    nodes = GraphBuilder(lambda base: base)  # layer() below makes the names fresh
    output = LOWERINGS[lowering].emit(site, nodes)
    tensors = {x.name: x}
    for node in nodes.take():
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if node.op_type == "Constant":
            tensors[node.output[0]] = numpy_helper.to_array(attributes["value"])
            continue
        inputs = [tensors[name] for name in node.input]
        (tensors[node.output[0]],) = self.layer(op=node.op_type, inputs=inputs, outputs=[output], attrs=attributes)
        tensors[node.output[0]].shape = x.shape
        tensors[node.output[0]].dtype = np.dtype(bool)
    tensors[output].dtype = x.dtype
    return tensors[output]


def retrofit(graph: Any, jump: float | None = None, **options: Unpack[PatchKeywords]) -> Any:  # noqa: ANN401
    """A new graph in which each ReLU is a JumpReLU; the given graph is not changed.

    Args:
        graph: A `gs.Graph`.
        jump: One jump for all sites, at least 0.
        **options: See `PatchOptions`.

    Raises:
        OptionError, PatchError: see `patch_model`.
    """
    return gs.import_onnx(patch_model(gs.export_onnx(graph), jump, **options).model)
