"""What deployment tools leave of a patch: `python -m tests.rewrite.deployment` prints the tables of the manual's page.

Each tool is run on a small network, on its four patched versions (one per lowering), and before the network is patched.
"""

from __future__ import annotations

import copy
import importlib
import logging
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, helper, numpy_helper

from onnx_jumprelu import OnnxClassifier, PatchError, ProvenanceError, find_activations, patch_model, revert_model
from onnx_jumprelu.activation.lowerings import LOWERINGS
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import GradientError, RunError
from onnx_jumprelu.names import LoweringName
from onnx_jumprelu.runtime import OrtRunner

Tool = Callable[[ModelProto], ModelProto]
HARD = [name for name, lowering in LOWERINGS.items() if lowering.form != "soft"]
JUMP = 0.5
N_SITES = 4
# Largest difference of two outputs, which are about 1 to 10, and what it is called.
DISTANCES = {0.0: "equal", 1e-4: "within 1e-4", 1e-2: "within 0.01", 1.0: "within 1"}


@dataclass(frozen=True)
class Row:
    """What one tool leaves of a patch, in the words of the table.

    Attributes:
        outputs: How far its outputs are from those of the patched model that it was given.
        left: By lowering, whether the record still fits (`record`), or how many sites are recognised without it.
        attacked: Whether surrogate gradients act on all sites, or the operator that has no gradient.
        patched: How many sites can be patched after the tool.
        after: How far the outputs are from those of the patched model where the patch came last.
    """

    outputs: str
    left: dict[str, str]
    attacked: str
    patched: str
    after: str


@cache
def network() -> ModelProto:
    """A classifier with all that the tools rewrite: Conv with BatchNormalization, a cap, a skip connection, Gemm."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (8, 8, 3, 3), "w4": (16, 128), "w5": (10, 16)}
    shapes |= {"b1": (8,), "b2": (8,), "b3": (8,), "b4": (16,), "b5": (10,), "shift": (8,), "mean": (8,)}
    weights: dict[str, Array] = {}
    for name, shape in shapes.items():
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        weights[name] = (rng.standard_normal(shape) * scale).astype(np.float32)
    weights |= {"scale": 1 + weights["shift"], "var": np.full(8, 1.3, np.float32)}
    weights |= {"lo": np.zeros((), np.float32), "hi": np.full((), 6, np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", pads=[1] * 4),
        helper.make_node("BatchNormalization", ["c1", "scale", "shift", "mean", "var"], ["n1"], "norm1"),
        helper.make_node("Relu", ["n1"], ["a1"], "relu1"),
        helper.make_node("Conv", ["a1", "w2", "b2"], ["c2"], "conv2", pads=[1] * 4),
        helper.make_node("Clip", ["c2", "lo", "hi"], ["a2"], "relu6"),
        helper.make_node("Conv", ["a2", "w3", "b3"], ["c3"], "conv3", pads=[1] * 4),
        helper.make_node("Add", ["c3", "a1"], ["s3"], "add3"),
        helper.make_node("Relu", ["s3"], ["a3"], "relu3"),
        helper.make_node("MaxPool", ["a3"], ["p3"], "pool3", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p3"], ["f3"], "flatten3"),
        helper.make_node("Gemm", ["f3", "w4", "b4"], ["g4"], "dense4", transB=1),
        helper.make_node("Relu", ["g4"], ["a4"], "relu4"),
        helper.make_node("Gemm", ["a4", "w5", "b5"], ["y"], "dense5", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def examples(seed: int) -> Array:
    """Inputs for the network."""
    return np.random.default_rng(seed).standard_normal((4, 3, 8, 8)).astype(np.float32)


def _module(name: str) -> Any:  # noqa: ANN401 - tools have no types
    return importlib.import_module(name)


def _on_files(convert: Callable[[str, str], object]) -> Tool:
    """A tool that reads and writes files."""

    def tool(model: ModelProto) -> ModelProto:
        with tempfile.TemporaryDirectory() as folder:
            source, target = f"{folder}/source.onnx", f"{folder}/target.onnx"
            onnx.save(model, source)
            convert(source, target)
            return onnx.load(target)

    return tool


def _saved_by_onnxruntime(level: str) -> Tool:
    def convert(source: str, target: str) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        options.optimized_model_filepath = target
        options.log_severity_level = 4
        ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])

    return _on_files(convert)


def _simplified(model: ModelProto) -> ModelProto:
    simplified, _ = _module("onnxsim").simplify(model)
    return cast("ModelProto", simplified)


def _float16(module: str, **options: object) -> Tool:
    return lambda model: _module(module).convert_float_to_float16(copy.deepcopy(model), **options)


class _Calibration:
    def __init__(self) -> None:
        self._batches = iter([{"x": examples(seed)} for seed in (5, 6, 7)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)


def _statically_quantized(form: str) -> Tool:
    def convert(source: str, target: str) -> None:
        quantization = _module("onnxruntime.quantization")
        chosen = getattr(quantization.QuantFormat, form)
        quantization.quantize_static(source, target, _Calibration(), quant_format=chosen)

    return _on_files(convert)


def _folded(model: ModelProto) -> ModelProto:
    surgeon = _module("onnx_graphsurgeon")
    graph = surgeon.import_onnx(copy.deepcopy(model))
    graph.fold_constants().cleanup().toposort()
    return cast("ModelProto", surgeon.export_onnx(graph))


FLOAT16, CONVERTER = "onnxruntime.transformers.float16", "onnxconverter_common.float16"
# By the name in the table: the module without which the tool cannot run, and the tool.
TOOLS: dict[str, tuple[str, Tool]] = {
    "onnxslim": ("onnxslim", lambda model: _module("onnxslim").slim(copy.deepcopy(model))),
    "onnxsim": ("onnxsim", _simplified),
    "onnxscript's optimizer": (
        "onnxscript.optimizer",
        lambda model: _module("onnxscript.optimizer").optimize(copy.deepcopy(model)),
    ),
    "onnxruntime, saved without optimizations": ("onnxruntime", _saved_by_onnxruntime("ORT_DISABLE_ALL")),
    "onnxruntime, saved at level basic": ("onnxruntime", _saved_by_onnxruntime("ORT_ENABLE_BASIC")),
    "onnxruntime, saved at level extended": ("onnxruntime", _saved_by_onnxruntime("ORT_ENABLE_EXTENDED")),
    "onnxruntime, saved at level all": ("onnxruntime", _saved_by_onnxruntime("ORT_ENABLE_ALL")),
    "onnxruntime's float16": (FLOAT16, _float16(FLOAT16)),
    "onnxruntime's float16, float32 inputs": (FLOAT16, _float16(FLOAT16, keep_io_types=True)),
    "onnxconverter-common's float16": (CONVERTER, _float16(CONVERTER)),
    "onnxruntime's quantization, preprocessing": (
        "sympy",
        _on_files(lambda a, b: _module("onnxruntime.quantization.shape_inference").quant_pre_process(a, b)),
    ),
    "onnxruntime's quantization, dynamic": (
        "onnxruntime.quantization",
        _on_files(lambda a, b: _module("onnxruntime.quantization").quantize_dynamic(a, b)),
    ),
    "onnxruntime's quantization, QDQ": ("onnxruntime.quantization", _statically_quantized("QDQ")),
    "onnxruntime's quantization, QOperator": ("onnxruntime.quantization", _statically_quantized("QOperator")),
    "onnx, version converter": (
        "onnx.version_converter",
        lambda model: _module("onnx.version_converter").convert_version(model, 21),
    ),
    "onnx, shape inference": ("onnx", onnx.shape_inference.infer_shapes),
    "onnx, functions inlined": ("onnx", lambda model: _module("onnx.inliner").inline_local_functions(model)),
    "onnx, `extract_model`": ("onnx", _on_files(lambda a, b: onnx.utils.extract_model(a, b, ["x"], ["y"]))),
    "onnx, names with a prefix": ("onnx", lambda model: _module("onnx.compose").add_prefix(model, "p/")),
    "onnx-graphsurgeon, folded and cleaned": ("onnx_graphsurgeon", _folded),
}


def quietly(name: str) -> Tool:
    """A tool of the table without what it logs, prints and warns of."""
    _, tool = TOOLS[name]

    def run(model: ModelProto) -> ModelProto:
        logging.disable(logging.CRITICAL)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return tool(model)
        finally:
            logging.disable(logging.NOTSET)

    return run


def outputs(model: ModelProto) -> Array:
    """The network's logits, optimizations off. Raises RunError."""
    given, elem_type = model.graph.input[0].name, model.graph.input[0].type.tensor_type.elem_type
    x = examples(1).astype(np.float16 if elem_type == onnx.TensorProto.FLOAT16 else np.float32)
    return OrtRunner(model).run(None, {given: x})[0].astype(np.float32)


def distance(one: Array, other: Array) -> str:
    """How far two outputs are apart, in words."""
    largest = float(np.abs(one - other).max())
    return next((name for limit, name in DISTANCES.items() if largest <= limit), "far apart")


def row(name: str) -> Row:
    """Measure one tool."""
    tool = quietly(name)
    patched = {lowering: _patched(network(), lowering) for lowering in HARD}
    after_tool = tool(network())
    rewritten = tool(patched["where"])
    n_patched, last = _patched_last(after_tool)
    return Row(
        outputs=distance(outputs(rewritten), outputs(patched["where"])),
        left={lowering: left(tool(model), after_tool) for lowering, model in patched.items()},
        attacked=_attacked(rewritten),
        patched=f"{n_patched} of {N_SITES}",
        after="-" if last is None else distance(outputs(last), outputs(patched["where"])),
    )


def _patched(model: ModelProto, lowering: str) -> ModelProto:
    return patch_model(model, JUMP, lowering=cast("LoweringName", lowering)).model


def left(rewritten: ModelProto, after_tool: ModelProto) -> str:
    """What is left of the patch in a model that a tool has rewritten; `after_tool` is the tool's original."""
    try:
        outputs(rewritten)
    except RunError:
        return "does not load"
    sites = find_activations(rewritten)
    try:
        reverted = revert_model(rewritten)
    except ProvenanceError:
        found = sum("is already a JumpReLU (jump 0.5)" in str(site.reason) for site in sites)
        return f"structure, {found} of {N_SITES}"
    if [site.jump for site in sites] != [JUMP] * N_SITES:
        return "record, wrong jumps"
    return "record" if distance(outputs(reverted), outputs(after_tool)) != "far apart" else "record, wrong revert"


def _attacked(model: ModelProto) -> str:
    try:
        classifier = OnnxClassifier(model, surrogate="smooth", bounds=(-9.0, 9.0))
        classifier.evaluate(examples(1), np.zeros(4, np.int64), "ce")
    except GradientError as error:
        if "float16" in str(error):
            return "no: float16"
        found = re.search(r"(?:operator |\()((?:[\w.]+\.)?[A-Z]\w+)", str(error))
        return f"no: {found.group(1) if found else error}"
    except RunError:
        return "no: it cannot run"
    return f"yes, {classifier.n_jumps} sites"


def _patched_last(after_tool: ModelProto) -> tuple[int, ModelProto | None]:
    try:
        result = patch_model(after_tool, JUMP)
    except PatchError:
        return 0, None
    if revert_model(result.model).SerializeToString() != after_tool.SerializeToString():
        raise AssertionError("the patch cannot be reverted")
    return len(result.sites), result.model


def cells(name: str, measured: Row) -> list[str]:
    """One row of the table."""
    return [name, measured.outputs, *measured.left.values(), measured.attacked, measured.patched, measured.after]


HEADINGS = [
    "tool",
    "outputs",
    *(f"`{lowering}`" for lowering in HARD),
    "attacks",
    "sites, tool first",
    "outputs, tool first",
]


def table() -> Iterator[str]:
    """The lines of the table."""
    yield f"| {' | '.join(HEADINGS)} |"
    yield "|---" * len(HEADINGS) + "|"
    for name in TOOLS:
        yield f"| {' | '.join(cells(name, row(name)))} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join(table()) + "\n")
