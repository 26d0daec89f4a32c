"""Prepares a model for the gradient builder: functions and constant Ifs inlined, shapes folded, opset 9 or later."""

from __future__ import annotations

import copy

from onnx import ModelProto, inliner

from onnx_jumprelu.errors import GradientError
from onnx_jumprelu.gradient.prepare.control_flow import inline_ifs
from onnx_jumprelu.gradient.prepare.declared_shapes import forget_doubtful_shapes
from onnx_jumprelu.gradient.prepare.fold import fold_shapes
from onnx_jumprelu.gradient.prepare.opset import raise_opset
from onnx_jumprelu.graphs.order import sort_nodes
from onnx_jumprelu.graphs.scopes import OLDEST_OPSET, main_opset, newest_opset
from onnx_jumprelu.graphs.tensor_types import conflict

# The first opset with Where, OneHot, Sign and MaxUnpool, which the rules use.
LOWEST_WORKING_OPSET = 9


def prepared(model: ModelProto) -> ModelProto:
    """A copy with functions and constant Ifs inlined and arithmetic on shapes done, at opset 9 or later.

    Raises:
        GradientError: the opset is out of range, or cannot be raised without changing what a node means; or shapes or
            attributes contradict each other.
    """
    opset = main_opset(model)
    if opset is None or not OLDEST_OPSET <= opset <= newest_opset():
        raise GradientError(f"the model has opset {opset}; opsets {OLDEST_OPSET} to {newest_opset()} are supported")
    result = inliner.inline_local_functions(model) if model.functions else copy.deepcopy(model)
    sort_nodes(result)
    forget_doubtful_shapes(result)
    inline_ifs(result)
    while fold_shapes(result):  # folding may fix the condition of an If, whose branch may hold more to fold
        inline_ifs(result)
    problem = conflict(result)
    if problem:
        raise GradientError(f"its shapes or attributes do not fit each other: {problem}; export the model again")
    if opset < LOWEST_WORKING_OPSET:
        raise_opset(result, opset, LOWEST_WORKING_OPSET)
    return result
