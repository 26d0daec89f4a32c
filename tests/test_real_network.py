"""The authors' own MNIST network on the MNIST test set; skipped where they are not at hand."""

from pathlib import Path

import onnx
import pytest

from onnx_jumprelu import patch_model, revert_model, verify
from onnx_jumprelu.arrays import Floats
from onnx_jumprelu.classifier.normalization import normalized
from onnx_jumprelu.data.reading import Data, load_data
from tests.models import clean_accuracy

# Measured with the authors' own code on all 10,000 images.
CLEAN_ACCURACY = {0.0: 0.9955, 0.5: 0.9954, 1.0: 0.9953, 1.5: 0.9934}


@pytest.fixture(scope="module")
def model(shared: Path) -> onnx.ModelProto:
    return onnx.load(shared / "models" / "mnist_lenet.onnx")


@pytest.fixture(scope="module")
def data(shared: Path) -> Data:
    return load_data(shared / "data" / "mnist_test.npz")


@pytest.fixture(scope="module")
def x(data: Data) -> Floats:
    return normalized(data.x, [0.1307], [0.3081])


@pytest.mark.parametrize("jump", CLEAN_ACCURACY)
def test_clean_accuracy_is_the_authors(model: onnx.ModelProto, data: Data, x: Floats, jump: float) -> None:
    patched = patch_model(model, jump).model
    assert clean_accuracy(patched, x, data.required_labels()) == pytest.approx(CLEAN_ACCURACY[jump], abs=1e-4)


@pytest.mark.parametrize("lowering", ["where", "thresholded-relu", "function", "cast-mul"])
def test_proved_on_real_images(model: onnx.ModelProto, x: Floats, lowering: str) -> None:
    patched = patch_model(model, 1.0, lowering=lowering).model  # type: ignore[arg-type]
    report = verify(model, patched, x[:64])
    assert report.ok, report
    assert revert_model(patched).SerializeToString() == model.SerializeToString()
