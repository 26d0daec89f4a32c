"""Running models without the package: onnxruntime with optimizations off, and onnx's reference evaluator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, ValueInfoProto
from onnx.reference import ReferenceEvaluator

from onnx_jumprelu.arrays import Array
from tests.corpus.subjects import Feeds


class RefusedError(Exception):
    """onnxruntime or the reference evaluator does not load or run a model."""


def session(path: Path) -> ort.InferenceSession:
    """A session of a model file. Raises RefusedError."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base of their own
        raise RefusedError(str(error)) from error


def outputs(running: ort.InferenceSession, feeds: Feeds) -> list[Any]:
    """All outputs of a session. Raises RefusedError."""
    try:
        values: list[Any] = running.run(None, dict(feeds))
    except Exception as error:
        raise RefusedError(str(error)) from error
    return values


def tensors(path: Path, feeds: Feeds) -> dict[str, Array]:
    """The value of every tensor of the main graph that a node outputs, by name. Raises RefusedError."""
    model = onnx.load(path, load_external_data=False)
    names = [output for node in model.graph.node for output in node.output if output]
    given = {value.name for value in model.graph.output}
    model.graph.output.extend(ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in given)
    tapped = path.with_name("tapped.onnx")  # beside its weights
    tapped.write_bytes(model.SerializeToString())
    running = session(tapped)
    values = dict(zip((value.name for value in running.get_outputs()), outputs(running, feeds), strict=True))
    return {name: value for name, value in {**feeds, **values}.items() if isinstance(value, np.ndarray)}


def reference_outputs(model: ModelProto, feeds: Feeds) -> list[Any]:
    """All outputs in onnx's reference evaluator. Raises RefusedError."""
    try:
        with np.errstate(all="ignore"):
            return list(ReferenceEvaluator(model).run(None, dict(feeds)))
    except Exception as error:
        raise RefusedError(str(error)) from error


def same(one: Any, other: Any) -> bool:  # noqa: ANN401 - tensors, sequences, maps, None
    """Whether two outputs are equal: bit for bit, but for the sign of zero and which NaN a NaN is."""
    if isinstance(one, np.ndarray):
        if not isinstance(other, np.ndarray) or one.shape != other.shape or one.dtype != other.dtype:
            return False
        return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and same(list(one.items()), list(other.items()))
    if isinstance(one, Sequence) and not isinstance(one, str):
        if not isinstance(other, Sequence) or len(one) != len(other):
            return False
        return all(same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)
