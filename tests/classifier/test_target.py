"""A model in any form in which a user may have it, and the hash that says which one was opened."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from onnx_jumprelu import ModelFileError, OnnxClassifier, OptionError, Target
from onnx_jumprelu.classifier.target import target_of
from onnx_jumprelu.files.hashes import model_sha256
from tests.models import f32, parse, with_external_weights

NET = """<ir_version: 8, opset_import: ["" : 18]>
net (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(parse(NET), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_every_form_of_a_model_is_the_same_target(path: Path) -> None:
    target = Target(path, mean=[0.5])
    assert target_of(target) is target
    assert target_of(str(path)) == target_of(path) == Target(path) == Target(str(path))
    assert target_of(path).name == str(path)
    assert target_of(path).folder == path.parent.resolve()
    in_memory = target_of(parse(NET))
    assert (in_memory.path, in_memory.folder, in_memory.name) == (None, None, "model 'net'")
    for each in (target_of(path), in_memory):
        assert np.array_equal(each.classifier().logits(f32([[-1, 0, 1, 2]])), f32([[0, 0, 1, 2]]))


@pytest.mark.parametrize("model", [None, 3, b"model.onnx", ["model.onnx"]])
def test_anything_else_is_refused(model: Any) -> None:  # noqa: ANN401
    for take in (target_of, Target, OnnxClassifier):
        with pytest.raises(OptionError, match=r"a model is a path or an onnx\.ModelProto, not"):
            take(model)


def changed(model: ModelProto) -> ModelProto:
    model.graph.doc_string = "another model"
    return model


def test_the_hash_is_that_of_the_model_that_was_opened(path: Path) -> None:
    opened = hashlib.sha256(path.read_bytes()).hexdigest()
    classifier = Target(path).classifier()
    onnx.save(changed(parse(NET)), path)
    assert classifier.sha256 == opened
    assert classifier.with_surrogate("relu").sha256 == opened
    assert Target(path).sha256() == Target(path).classifier().sha256 != opened


def test_the_hash_of_a_model_in_memory_is_that_of_its_serialization() -> None:
    model = parse(NET)
    assert Target(model).classifier().sha256 == hashlib.sha256(model.SerializeToString()).hexdigest()
    assert model_sha256(changed(parse(NET))) != model_sha256(model)


def test_the_hash_counts_external_weights(tmp_path: Path) -> None:
    path = with_external_weights(tmp_path)
    before = OnnxClassifier(path).sha256
    assert before == model_sha256(path)
    weights = tmp_path / "weights.bin"
    weights.write_bytes(weights.read_bytes()[::-1])
    assert OnnxClassifier(path).sha256 != before


def test_external_weights_that_change_after_the_hash_was_taken_are_not_run(tmp_path: Path) -> None:
    path = with_external_weights(tmp_path)
    classifier, weights = OnnxClassifier(path), tmp_path / "weights.bin"
    x = np.ones((1, 8), np.float32)
    before, content = classifier.logits(x), weights.read_bytes()
    weights.unlink()  # onnxruntime may have mapped the old file
    weights.write_bytes(content[::-1])
    assert np.array_equal(classifier.logits(x), before)  # this session holds the weights that were hashed
    with pytest.raises(ModelFileError, match=r"weights\.bin: was changed after .*model\.onnx had been opened"):
        classifier.loss_and_grad(x, np.asarray([0]))
    assert not np.array_equal(OnnxClassifier(path).logits(x), before)
