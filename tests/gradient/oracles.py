"""Whom the gradient models are held against: slopes of the model itself, measured in float64 wherever that can be.

onnx's reference evaluator computes in float64, but gets some operators wrong or not at all. Those are listed here; for
them onnxruntime takes its place, in float32, with a wider step and a wider tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import onnx.parser
from onnx import ModelProto, NodeProto, TensorProto, helper

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import RunError
from onnx_jumprelu.graphs.constants import numpy_dtype
from onnx_jumprelu.graphs.scopes import main_opset
from onnx_jumprelu.runtime import OrtRunner, ReferenceRunner, Runner
from tests.gradient.harness import NEWEST, Case, with_gradient


def _always(_: dict[str, Any], __: int) -> bool:
    return True


# Whether the reference evaluator fails at a node with these attributes, at this opset.
DEFECTS: dict[str, Callable[[dict[str, Any], int], bool]] = {
    "BatchNormalization": lambda _, opset: opset < 14,  # uses epsilon and momentum in other ways
    "Softmax": lambda _, opset: opset < 13,  # over one axis, as from opset 13 on
    "LogSoftmax": lambda _, opset: opset < 13,
    "ConvTranspose": lambda given, _: given.get("group", 1) > 1 or "output_shape" in given,
    "MaxPool": lambda given, _: given.get("auto_pad") == b"SAME_LOWER",
    "MaxUnpool": _always,
    "Resize": lambda _, opset: opset < 11,
    "Upsample": lambda given, opset: opset < 9 or given.get("mode") == b"linear",
    "Erf": _always,  # in float32
    "Gelu": _always,
    "GroupNormalization": lambda _, opset: opset >= 21,
    "GlobalLpPool": _always,
}


def is_computed_by_reference(model: ModelProto) -> bool:
    """Whether the reference evaluator computes all nodes right."""
    opset = main_opset(model) or 0
    return not any(
        node.op_type in DEFECTS and DEFECTS[node.op_type](_attributes(node), opset) for node in model.graph.node
    )


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


@cache
def runtime_opset() -> int:
    """Newest opset that the installed onnxruntime loads."""
    for opset in range(NEWEST, 0, -1):
        text = f'<ir_version: 8, opset_import: ["" : {opset}]> net (float[2] x) => (float[2] y) {{ y = Relu(x) }}'
        try:
            OrtRunner(onnx.parser.parse_model(text))
        except RunError:
            continue
        return opset
    return 0


@dataclass(frozen=True)
class Trial:
    """One case at one opset: its numbers, on both engines."""

    case: Case
    opset: int

    @property
    def on_reference(self) -> bool:
        """Whether the reference evaluator computes the model itself."""
        return self.case.reference and is_computed_by_reference(self.exact)

    @property
    def on_runtime(self) -> bool:
        """Whether onnxruntime computes it."""
        return self.opset <= min(self.case.runtime, runtime_opset())

    @cached_property
    def exact(self) -> ModelProto:
        """The model in float64."""
        return self.case.model(self.opset, TensorProto.DOUBLE)

    @cached_property
    def single(self) -> ModelProto:
        """The model in float32."""
        return self.case.model(self.opset)

    @cached_property
    def x(self) -> Array:
        """The input, in float64."""
        return self.case.input()

    @cached_property
    def forward(self) -> Runner:
        """Who computes the model itself."""
        return ReferenceRunner(self.exact) if self.on_reference else OrtRunner(self.single)

    @cached_property
    def ws(self) -> dict[str, Array]:
        """A random cotangent for each output."""
        dtype = np.float64 if self.on_reference else np.float32
        outputs = self.forward.run(None, {"x": self.x.astype(dtype)})
        rng = np.random.default_rng(5)
        return {f"w_{name}": rng.normal(size=y.shape) for name, y in zip(self.case.outputs, outputs, strict=True)}

    def slope(self, direction: Array) -> float:
        """Slope of `sum(w * y)` along a direction, by central differences."""
        step, dtype = (1e-5, np.float64) if self.on_reference else (2e-3, np.float32)
        # What float32 makes of the two points, so that rounding does not count as slope.
        behind, ahead = (np.asarray(self.x + side * step * direction, dtype) for side in (-1, 1))
        return (self._loss(ahead) - self._loss(behind)) / (2 * step)

    def _loss(self, x: Array) -> float:
        outputs = self.forward.run(None, {"x": x})
        return float(sum((w * y.astype(np.float64)).sum() for w, y in zip(self.ws.values(), outputs, strict=True)))

    def exact_gradient(self) -> Array | None:
        """The gradient by the reference evaluator in float64, None where it cannot compute it."""
        model = with_gradient(self.exact)
        if not self.on_reference or not is_computed_by_reference(model):
            return None
        return self._run(model, ReferenceRunner(model))

    def single_gradient(self) -> Array | None:
        """The gradient by onnxruntime in float32, None where it has no kernel."""
        if not self.on_runtime:
            return None
        model = with_gradient(self.single)
        return self._run(model, OrtRunner(model))

    def _run(self, model: ModelProto, runner: Runner) -> Array:
        return gradient(model, runner, self.x, self.ws)

    def assert_slopes_are_of(self, found: Array, tolerance: float) -> None:
        """A gradient gives the slopes that are measured, along random directions."""
        assert found.shape == self.x.shape
        assert np.isfinite(found).all()
        size = float(np.sqrt((found**2).sum()))
        assert size > 0
        rng = np.random.default_rng(11)
        for _ in range(3):
            direction = rng.normal(size=self.x.shape)
            expected = self.slope(direction)
            np.testing.assert_allclose((found * direction).sum(), expected, rtol=tolerance, atol=tolerance * size)


def gradient(model: ModelProto, runner: Runner, x: Array, ws: Mapping[str, Array]) -> Array:
    """The last output of a gradient model."""
    dtype = numpy_dtype(model.graph.input[0].type.tensor_type.elem_type)
    feeds = {model.graph.input[0].name: x, **ws}
    return runner.run(None, {name: np.asarray(value, dtype) for name, value in feeds.items()})[-1]
