"""Running models: in onnxruntime, or in onnx's reference evaluator where onnxruntime lacks a kernel."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from onnx import ModelProto

from onnx_jumprelu.arrays import Array
from onnx_jumprelu.errors import RunError

QUIET = 4  # onnxruntime's severity "fatal": errors are reported as exceptions instead
CPU = ("CPUExecutionProvider",)
Feeds = Mapping[str, Any]  # by input name: an array, or a list of arrays for a sequence


class Runner(Protocol):
    """A loaded model."""

    def run(self, outputs: Sequence[str] | None, feeds: Feeds) -> list[Array]:
        """Values of the named outputs, all of them by default.

        Raises:
            RunError: the model cannot be run on these inputs.
        """
        ...


class OrtRunner:
    """A model in an onnxruntime session."""

    def __init__(
        self,
        model: ModelProto,
        folder: Path | None = None,
        *,
        optimize: bool = False,
        providers: Sequence[str] = CPU,
        threads: int | None = None,
    ) -> None:
        """Load a model.

        Args:
            model: The model.
            folder: The folder that holds its external weights.
            optimize: Whether onnxruntime may rewrite the graph, which is faster and can change last bits.
            providers: Execution providers, the preferred one first.
            threads: Number of threads within an operator, onnxruntime's choice by default.

        Raises:
            RunError: onnxruntime cannot load it.
        """
        import onnxruntime as ort  # noqa: PLC0415 - slow to import, needed only here

        options = ort.SessionOptions()
        options.log_severity_level = QUIET
        level = ort.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
        # Threads that keep spinning after a run slow down the next session, and NumPy.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if threads is not None:
            options.intra_op_num_threads = threads
        if folder is not None:
            key = "session.model_external_initializers_file_folder_path"
            options.add_session_config_entry(key, os.fsencode(folder))  # bytes: any name, in UTF-8 or not
        try:
            self._session = ort.InferenceSession(model.SerializeToString(), options, providers=list(providers))
        except Exception as error:  # onnxruntime's exceptions have no common base of their own
            raise RunError(one_line(error)) from error

    def run(self, outputs: Sequence[str] | None, feeds: Feeds) -> list[Array]:
        """See `Runner.run`."""
        try:
            values: list[Any] = self._session.run(None if outputs is None else list(outputs), dict(feeds))
        except Exception as error:
            raise RunError(one_line(error)) from error
        return values


class ReferenceRunner:
    """A model in onnx's reference evaluator: in NumPy, slow, for every element type."""

    def __init__(self, model: ModelProto) -> None:
        """Load a model that holds its weights. Raises RunError if the evaluator cannot."""
        from onnx.reference import ReferenceEvaluator  # noqa: PLC0415 - slow to import, rarely needed

        try:
            self._evaluator = ReferenceEvaluator(copy.deepcopy(model))
        except Exception as error:
            raise RunError(one_line(error)) from error

    def run(self, outputs: Sequence[str] | None, feeds: Feeds) -> list[Array]:
        """See `Runner.run`."""
        try:
            with np.errstate(all="ignore"):
                values: Any = self._evaluator.run(None if outputs is None else list(outputs), dict(feeds))
        except Exception as error:
            raise RunError(one_line(error)) from error
        return [np.asarray(value) for value in values]


def available_providers() -> list[str]:
    """Execution providers of the installed onnxruntime."""
    import onnxruntime as ort  # noqa: PLC0415 - slow to import

    return list(ort.get_available_providers())


def one_line(error: BaseException) -> str:
    """An exception's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__
