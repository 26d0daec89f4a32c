"""Whole networks for tests: in float64, with random weights, and their slopes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.gradient.core.build import build_gradient_model
from onnx_jumprelu.graphs.scopes import required_inputs
from onnx_jumprelu.runtime import OrtRunner, Runner
from tests.gradient.harness import normal

# Two of everything that matters: a convolution, a normalization, a rectifier, a pool, a product. Valid at every opset.
SMALL = """
<ir_version: 8, opset_import: ["" : {opset}]>
net (float[N, 2, 6, 6] x) => (float[N, 5] {output}) {{
    c = Conv <pads=[1,1,1,1]> (x, w)
    n = BatchNormalization (c, scale, bias, mean, var)
    r = Relu(n)
    p = MaxPool <kernel_shape=[3,3], strides=[2,2]> (r)
    f = Flatten(p)
    logits = Gemm(f, v, b)
    {tail}
}}
"""


def small(
    opset: int, tail: str = "y = Identity(logits)", output: str = "y", elem_type: int = TensorProto.FLOAT
) -> ModelProto:
    """A small classifier of 5 classes, with nodes behind its logits."""
    text = SMALL.format(opset=opset, tail=tail, output=output)
    model = onnx.parser.parse_model(text)
    weights = {
        "w": normal(3, 2, 3, 3),
        "scale": normal(3),
        "bias": normal(3),
        "mean": normal(3),
        "var": np.full(3, 0.7),
    }
    weights |= {"v": normal(12, 5), "b": normal(5)}
    for name, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    return model if elem_type == TensorProto.FLOAT else in_type(model, elem_type)


def in_type(model: ModelProto, elem_type: int) -> ModelProto:
    """A copy of a float32 model that computes in another type; constants of shape () and the weights go along."""
    copied = copy.deepcopy(model)
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    values = [*copied.graph.input, *copied.graph.output, *copied.graph.value_info]
    for value in values:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = elem_type
    tensors = [*copied.graph.initializer]
    tensors += [entry.t for node in copied.graph.node for entry in node.attribute if entry.name == "value"]
    for tensor in tensors:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), tensor.name))
    return copied


def with_random_weights(model: ModelProto, rng: np.random.Generator) -> ModelProto:
    """A copy of one of the light models of the onnx package with other weights (theirs are all one number)."""
    copied = copy.deepcopy(model)
    graph = copied.graph
    given = {value.name for value in required_inputs(copied)}
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    factors = _factors(copied)
    kept = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        value = _weight(shapes[node.input[0]].tolist(), node.output[0] in factors, rng)
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), node.output[0]))
    inputs = [value for value in graph.input if value.name in given]
    for field, items in ((graph.node, kept), (graph.input, inputs)):
        del field[:]
        field.extend(items)  # type: ignore[arg-type]
    copied.ir_version = 8
    return copied


def _factors(model: ModelProto) -> set[str]:
    """Names of the weights that multiply or divide channel by channel."""
    behind = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Unsqueeze"}
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            found.update((node.input[1], node.input[4]))
        elif node.op_type == "Mul":
            found.update(behind.get(name, name) for name in node.input)
    return found


def _weight(shape: list[int], is_factor: bool, rng: np.random.Generator) -> Array:  # noqa: FBT001
    if len(shape) > 1:
        return np.asarray(rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:])))
    return rng.uniform(0.8, 1.2, shape) if is_factor else 0.1 * rng.normal(size=shape)


def slope(loss: Callable[[Array], Array], x: Array, direction: Array, step: float) -> float:
    """Slope of a loss, summed over the batch, along a direction, by central differences."""
    ahead, behind = (loss((x + side * step * direction).astype(x.dtype)) for side in (1, -1))
    return float((ahead.astype(np.float64) - behind).sum()) / (2 * step)


def run_gradient(
    model: ModelProto, runner: Runner, x: Array, labels: Array, targets: Array | None = None
) -> list[Array]:
    """Logits, loss and gradient."""
    names = [value.name for value in required_inputs(model)]
    feeds = dict(zip(names, (x, labels) if targets is None else (x, labels, targets), strict=True))
    return runner.run(None, feeds)


def built(model: ModelProto, loss: str = "ce", surrogate: str = "exact") -> tuple[ModelProto, OrtRunner]:
    """A gradient model that has been checked, in a session; the model given stays as it was."""
    before = model.SerializeToString(deterministic=True)
    whole = build_gradient_model(model, loss, surrogate)
    assert model.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(whole, full_check=True)
    assert {node.domain for node in whole.graph.node} == {""}
    assert not whole.functions
    return whole, OrtRunner(whole, optimize=True)


def digits(samples: Path, count: int) -> tuple[Array, Array]:
    with np.load(samples / "digits.npz") as data:
        return data["x"][:count].astype(np.float32) / 255, data["y"][:count]
