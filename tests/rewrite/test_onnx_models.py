"""Every model that the onnx package ships: patched, checked, run, proved and reverted to the same bytes."""

import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase

from onnx_jumprelu import PatchError, find_activations, patch_model, revert_model, verify
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.scopes import walk_scopes
from onnx_jumprelu.runtime import OrtRunner
from onnx_jumprelu.verification.random_inputs import random_feeds

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
LIGHT = sorted((DATA / "light").glob("*.onnx"))
LOWERINGS = ["where", "thresholded-relu", "function", "cast-mul"]
N_NODE_MODELS = 1500  # at least; the package generates them


Feeds = dict[str, Array]


@cache
def node_models() -> dict[str, tuple[ModelProto, Feeds]]:
    """Model and inputs of each of onnx's own test cases of operators, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reference implementations overflow on purpose
        cases = collect_testcases(None)
    return {case.name: _content(case) for case in cases}


def _content(case: TestCase) -> tuple[ModelProto, Feeds]:
    assert case.model is not None
    assert case.data_sets is not None
    names = [value.name for value in case.model.graph.input]
    return case.model, dict(zip(names, case.data_sets[0][0], strict=False))


def patched_every_way(model: ModelProto) -> Iterator[ModelProto]:
    """The model under each lowering that fits a site of it, each reverted to the same bytes."""
    before = model.SerializeToString()
    for lowering in LOWERINGS:
        try:
            patched = patch_model(model, 0.25, lowering=lowering).model  # type: ignore[arg-type]
        except PatchError:
            continue
        assert model.SerializeToString() == before
        assert revert_model(patched).SerializeToString() == before
        onnx.checker.check_model(patched)
        yield patched


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_light_models(path: Path) -> None:
    model = onnx.load(path)
    patched = list(patched_every_way(model))
    assert len(patched) == 2  # opset 9, IR 3: where and cast-mul
    (feeds, *_) = random_feeds(model, seed=0)
    expected = OrtRunner(model).run(None, feeds)
    at_zero = OrtRunner(patch_model(model, 0.0).model).run(None, feeds)
    assert all(np.array_equal(one, other) for one, other in zip(at_zero, expected, strict=True))
    assert [value.shape for value in OrtRunner(patched[0]).run(None, feeds)] == [value.shape for value in expected]


@pytest.mark.parametrize("name", ["squeezenet", "resnet50", "shufflenet"])
def test_light_models_are_proved(name: str) -> None:
    model = onnx.load(DATA / "light" / f"light_{name}.onnx")
    report = verify(model, patch_model(model, 0.25).model)
    assert report.ok, report


@pytest.mark.parametrize("folder", ["simple", "pytorch-operator", "pytorch-converted"])
def test_model_folders(folder: str) -> None:
    paths = sorted((DATA / folder).glob("*/model.onnx"))
    assert paths
    n_sites = 0
    for path in paths:
        content = path.read_bytes()
        model = ModelProto.FromString(content)
        n_sites += len(find_activations(model))
        for patched in patched_every_way(model):
            assert revert_model(patched).SerializeToString() == content
            report = verify(model, patched)
            assert report.ok, (path, report)
    assert n_sites or folder != "pytorch-converted"


def test_node_models_are_patched_and_reverted() -> None:
    models = node_models()
    assert len(models) >= N_NODE_MODELS
    n_patched = 0
    for name, (model, feeds) in models.items():
        for patched in patched_every_way(model):
            n_patched += 1
            report = verify(model, patched, feeds)
            assert report.ok, (name, report)
    assert n_patched >= 10


def test_node_models_that_have_no_rectifier_say_so() -> None:
    for name, (model, _) in node_models().items():
        ops = {node.op_type for scope in walk_scopes(model) for node in scope.nodes}
        if not ops & {"Relu", "Clip", "Max", "LeakyRelu", "PRelu", "ThresholdedRelu", "Where", "RNN", "GRU", "LSTM"}:
            assert find_activations(model) == [], name
