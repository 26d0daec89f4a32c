"""Integer inputs: uint8 is divided by 255 as in a data file, or refused; nothing is silently on another scale."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_jumprelu import DataError, OnnxClassifier
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.attacks import PGD, Square
from onnx_jumprelu.data.reading import load_data
from tests.models import parse

NET = """<ir_version: 8, opset_import: ["" : 18]>
net (float[N, 4] x) => (float[N, 4] y) { s = Mul(x, x)  y = Relu(s) }"""
PIXELS = np.asarray([[0, 51, 102, 255], [255, 0, 10, 3]], np.uint8)
LABELS = np.asarray([3, 0])
CALLS: dict[str, Callable[[OnnxClassifier, Array], Any]] = {
    "logits": lambda model, x: model.logits(x),
    "predict": lambda model, x: model.predict(x),
    "loss_and_grad": lambda model, x: model.loss_and_grad(x, LABELS),
    "evaluate": lambda model, x: model.evaluate(x, LABELS),
    "jacobian": lambda model, x: model.jacobian(x),
    "pgd": lambda model, x: PGD(eps=0.3)(model, x, LABELS, rng=np.random.default_rng(0)).x_adv,
    "square": lambda model, x: Square(eps=0.3, n_queries=9)(model, x, LABELS, rng=np.random.default_rng(0)).x_adv,
}


@pytest.mark.parametrize("name", CALLS)
def test_uint8_is_divided_by_255(name: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=PIXELS, y=LABELS)
    model, as_read = OnnxClassifier(parse(NET)), load_data(tmp_path / "d.npz").x
    given, wanted = CALLS[name](model, PIXELS), CALLS[name](model, as_read)
    for one, other in zip(*(part if isinstance(part, tuple) else (part,) for part in (given, wanted)), strict=True):
        assert np.array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("name", CALLS)
def test_uint8_is_refused_where_the_bounds_are_0_to_255(name: str) -> None:
    model = OnnxClassifier(parse(NET), bounds=(0, 255))
    with pytest.raises(DataError, match=r"x is uint8, which is divided by 255 .* not 0 and 255; give bounds") as error:
        CALLS[name](model, PIXELS)
    assert "\n" not in str(error.value)
    CALLS[name](model, PIXELS.astype(np.float32))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint16])
def test_other_integers_are_taken_as_they_are_within_the_bounds_only(name: str, dtype: type) -> None:
    whole: Array = (PIXELS // 255).astype(dtype)
    model = OnnxClassifier(parse(NET))
    given, wanted = CALLS[name](model, whole), CALLS[name](model, whole.astype(np.float32))
    for one, other in zip(*(part if isinstance(part, tuple) else (part,) for part in (given, wanted)), strict=True):
        assert np.array_equal(one, other)
    with pytest.raises(DataError, match="outside the bounds 0 to 1"):
        CALLS[name](model, (PIXELS // 2).astype(dtype))
