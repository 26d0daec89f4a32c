"""What the tests of gradient rules share: models of one operator, their backward pass, and numbers to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.gradient.core.backward import pull_back
from onnx_jumprelu.gradient.core.values import Emitter, Value
from onnx_jumprelu.gradient.prepare.pipeline import prepared
from onnx_jumprelu.graphs.builder import FreshNames
from onnx_jumprelu.graphs.constants import numpy_dtype
from onnx_jumprelu.graphs.scopes import main_opset, walk_scopes
from onnx_jumprelu.graphs.tensor_types import infer_types

NAMES: dict[int, str] = {TensorProto.FLOAT: "float", TensorProto.DOUBLE: "double"}
NEWEST = 28  # the audited opset; an older onnx stops before it
Torch = Callable[[Any, Any, dict[str, Any]], Any]


@dataclass(frozen=True)
class Case:
    """A model with one operator between `x` and its outputs.

    Attributes:
        name: The operator, and behind a dash what is special about the case.
        nodes: The nodes as ONNX text; `$T` is replaced by the number of the element type.
        x: Shape of the input, or the input itself.
        constants: Initializers. Those in float64 take the model's element type, the others keep their own.
        since: First opset at which the nodes are valid.
        until: Last one.
        between: Bounds of the input's numbers.
        outputs: Names of the outputs that get a cotangent.
        torch: The same in PyTorch: takes the module, the input and the constants, returns the output.
        reference: Whether onnx's reference evaluator computes it right (see `oracles.py` for what it cannot).
        runtime: Last opset at which onnxruntime has a kernel for it.
    """

    name: str
    nodes: str
    x: tuple[int, ...] | Array = (2, 3, 4)
    constants: Mapping[str, Array] = field(default_factory=dict)
    since: int = 9
    until: int = NEWEST
    between: tuple[float, float] = (-2, 2)
    outputs: Sequence[str] = ("y",)
    torch: Torch | None = None
    reference: bool = True
    runtime: int = NEWEST

    @property
    def op(self) -> str:
        """The operator that the case is about."""
        return self.name.partition("-")[0]

    def model(
        self, opset: int, elem_type: int = TensorProto.FLOAT, shape: Sequence[int | str] | None = None
    ) -> ModelProto:
        """The model at an opset, with numbers of an element type; `shape` declares the input otherwise."""
        name = NAMES[elem_type]
        declared = ",".join(map(str, self.input().shape if shape is None else shape))
        outputs = ", ".join(f"{name}[] {output}" for output in self.outputs)
        body = self.nodes.replace("$T", str(elem_type))
        # Without brackets a tensor is a scalar, with empty ones its rank is unknown.
        source = f"{name}[{declared}] x" if declared else f"{name} x"
        text = f'<ir_version: 10, opset_import: ["" : {opset}]> net ({source}) => ({outputs}) {{ {body} }}'
        model = onnx.parser.parse_model(text)
        for key, value in self.constants.items():
            array = value.astype(numpy_dtype(elem_type)) if value.dtype == np.float64 else value
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), key))
        return model

    def input(self) -> Array:
        """The input: numbers that lie apart from each other and from 0, in random order."""
        if isinstance(self.x, np.ndarray):
            return self.x
        return apart(self.x, self.between)


def apart(shape: Sequence[int], between: tuple[float, float] = (-2, 2), seed: int = 7) -> Array:
    """Distinct numbers, evenly spaced, none of them 0, shuffled."""
    count = int(np.prod(shape))
    numbers = np.linspace(*between, 2 * count + 1)[1::2] + 1e-3 * (between[1] - between[0]) / count
    return np.random.default_rng(seed).permutation(numbers).reshape(shape)


def normal(*shape: int, seed: int = 3) -> Array:
    """Weights."""
    return np.random.default_rng(seed).normal(size=shape)


def ints(*numbers: int) -> Array:
    """A constant of int64."""
    return np.asarray(numbers, np.int64)


def with_gradient(model: ModelProto, surrogate: str = "exact") -> ModelProto:
    """The model with a cotangent `w_y` for each output `y` as a new input, and the input's gradient as last output."""
    whole = prepared(model)
    source = whole.graph.input[0]
    types = infer_types(whole)["main"]
    opset = main_opset(whole)
    assert opset is not None
    to = Emitter(FreshNames(whole), opset)
    elem_type = source.type.tensor_type.elem_type
    cotangents = {value.name: Value(f"w_{value.name}", elem_type, to) for value in whole.graph.output}
    gradient = pull_back(next(iter(walk_scopes(whole))), types, cotangents, source.name, surrogate, to)
    assert gradient is not None
    whole.graph.node.extend(to.builder.take())
    whole.graph.input.extend(helper.make_tensor_value_info(w.name, elem_type, None) for w in cotangents.values())
    whole.graph.output.append(helper.make_tensor_value_info(gradient.name, elem_type, None))
    return whole
