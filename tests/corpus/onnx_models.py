"""The models that the installed onnx package ships for its own tests."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case import model as model_cases
from onnx.backend.test.case import node as node_cases
from onnx.backend.test.case.test_case import TestCase

from onnx_jumprelu.arrays import Array
from tests.corpus.subjects import MissingError, Source, Subject, written

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


def _folders() -> list[str]:
    """Models that lie in folders: small ones, exports of an early PyTorch, and networks with constant weights."""
    return [str(path.relative_to(DATA)) for path in sorted(DATA.rglob("*.onnx"))]


def _from_folder(name: str, folder: Path) -> Subject:
    """One of `_folders`, with the inputs that lie beside it."""
    path = DATA / name
    stored = sorted((path.parent / "test_data_set_0").glob("input_*.pb"), key=lambda file: int(file.stem[6:]))
    subject = written(path.read_bytes(), folder, _feeds(path.read_bytes(), [file.read_bytes() for file in stored]))
    return replace(subject, is_large=name.startswith("light"))


def _feeds(model: bytes, stored: list[bytes]) -> dict[str, Array] | None:
    inputs = onnx.load_from_string(model).graph.input
    if not stored or not all(value.type.HasField("tensor_type") for value in inputs):
        return None
    arrays = [numpy_helper.to_array(TensorProto.FromString(content)) for content in stored]
    return {value.name: array for value, array in zip(inputs, arrays, strict=False)}


@cache
def _cases() -> dict[str, TestCase]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # onnx's reference implementations overflow on purpose
        return _in_memory([*node_cases.collect_testcases(None), *model_cases.collect_testcases()])


def of_operators(*operators: str) -> dict[str, TestCase]:
    """The test cases of some operators only, which takes less than a second."""
    for operator in operators:
        importlib.import_module(f"{node_cases.__name__}.{operator}")
    return _in_memory(node_cases._NodeTestCases)  # noqa: SLF001 - its public function makes all of them


def _in_memory(cases: Iterable[TestCase]) -> dict[str, TestCase]:
    return {case.name: case for case in cases if case.model is not None}


def _case_names() -> list[str]:
    """The test cases of onnx's operators and of small models, which the package makes when it is asked."""
    return sorted(_cases())


def _from_case(name: str, folder: Path) -> Subject:
    """One of `_case_names`, with the case's inputs."""
    if name not in _cases():
        raise MissingError(f"the installed onnx has no test case {name}")
    return subject_of(_cases()[name], folder)


def subject_of(case: TestCase, folder: Path) -> Subject:
    """A test case of onnx, with its inputs."""
    assert case.model is not None
    assert case.data_sets is not None
    names = [value.name for value in case.model.graph.input]
    return written(case.model, folder, dict(zip(names, case.data_sets[0][0], strict=False)))


FOLDERS = Source(_folders, _from_folder)
CASES = Source(_case_names, _from_case)
