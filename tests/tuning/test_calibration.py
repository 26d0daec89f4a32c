"""Softness and centers from data, against NumPy."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_jumprelu import DataError, OptionError, PatchError, Recipe, calibrate, patch_model
from onnx_jumprelu.activation.definition import activate
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.arrays import Floats
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import Data
from tests.models import parse, run
from tests.tuning.networks import INSIDE_A_FUNCTION

NETWORK = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 2] x) => (float[N, 2] y)
<float[2] scale = {1.0, 10.0}> { first = Relu(x) scaled = Mul(first, scale) y = Relu(scaled) }
"""


def inputs() -> Floats:
    return np.random.default_rng(0).standard_normal((100, 2)).astype(np.float32)


def calibrated(**options: object) -> dict[str, Parameters]:
    recipe = calibrate(parse(NETWORK), Data(inputs()), **options)  # type: ignore[arg-type]
    return {name: Parameters.checked(entry, name) for name, entry in recipe.sites.items()}


def test_softness_is_a_share_of_each_sites_standard_deviation() -> None:
    x, found = inputs(), calibrated(softness_share=0.2, jump=0.5)
    second = np.maximum(x, 0) * [1, 10]
    assert found["first"].softness == pytest.approx(0.2 * x.std(), rel=5e-3)
    assert found["y"].softness == pytest.approx(0.2 * second.std(), rel=5e-3)
    assert {parameters.jump for parameters in found.values()} == {0.5}
    assert {parameters.center for parameters in found.values()} == {0.0}


def test_centers_keep_each_channels_mean() -> None:
    x = inputs()
    for jump in (0.0, 0.5):
        first = calibrated(softness_share=0.3, jump=jump, center=True)["first"]
        assert isinstance(first.center, tuple)
        soft, hard = activate(x.astype(np.float64), first), activate(x.astype(np.float64), Parameters(jump))
        np.testing.assert_allclose(soft.mean(axis=0), hard.mean(axis=0), atol=1e-3)


def test_the_recipe_patches_the_model() -> None:
    recipe = calibrate(parse(NETWORK), Data(inputs()), 0.2, center=True)
    patched = patch_model(parse(NETWORK), recipe=recipe).model
    onnx.checker.check_model(patched)
    assert run(patched, {"x": inputs()})[0].shape == (100, 2)
    assert calibrate(parse(NETWORK), Data(inputs()), 0.2, center=True) == recipe
    assert Recipe(recipe.default, recipe.sites).to_json() == recipe.to_json()


def test_normalization_comes_first() -> None:
    target = Target(parse(NETWORK), std=[0.1])
    first = Parameters.checked(calibrate(target, Data(inputs()), 0.2).sites["first"], "it")
    assert first.softness == pytest.approx(2 * inputs().std(), rel=5e-3)


@pytest.mark.parametrize(("share", "jump"), [(0.0, 0.0), (-1.0, 0.0), (0.2, -1.0)])
def test_numbers_that_are_refused(share: float, jump: float) -> None:
    with pytest.raises(OptionError):
        calibrate(parse(NETWORK), Data(inputs()), share, jump=jump)


def test_what_cannot_be_calibrated() -> None:
    with pytest.raises(DataError, match="'first' has the same pre-activation for all examples"):
        calibrate(parse(NETWORK), Data(np.zeros((4, 2), np.float32)), 0.2)
    with pytest.raises(DataError, match="no activation site whose pre-activations can be seen"):
        calibrate(parse(INSIDE_A_FUNCTION), Data(np.zeros((4, 4), np.float32)), 0.2)


def test_a_patched_model_is_refused() -> None:
    with pytest.raises(PatchError, match="is patched already"):
        calibrate(patch_model(parse(NETWORK), 0.5).model, Data(inputs()), 0.2)
