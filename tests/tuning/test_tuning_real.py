"""Tuning on a real network: what it finds holds on images, and under attacks, that it never saw."""

from pathlib import Path

import numpy as np
import pytest

from onnx_jumprelu import OnnxClassifier, Recipe, patch_file
from onnx_jumprelu.arrays import Bools, Floats, Labels
from onnx_jumprelu.attacks import TargetedAPGD
from onnx_jumprelu.evaluation import tuning
from onnx_jumprelu.evaluation.attacking import Target
from onnx_jumprelu.evaluation.data import Data
from onnx_jumprelu.evaluation.statistics import paired_difference
from onnx_jumprelu.evaluation.tuning import tune
from onnx_jumprelu.rewrite.jump import mean

EPS, MEAN, STD = 0.1, [0.1307], [0.3081]


def standing(model: Path, x: Floats, labels: Labels) -> Bools:
    """What withstands an attack that tuning does not use."""
    classifier, left = OnnxClassifier(model, mean=MEAN, std=STD), np.ones(len(x), np.bool_)
    for surrogate in ("exact", "relu", "smooth"):
        attack = TargetedAPGD(eps=EPS, n_iter=20, n_target_classes=3)
        left &= ~attack(classifier.with_surrogate(surrogate), x, labels, rng=np.random.default_rng(7)).success
    return left


@pytest.mark.slow
def test_lenet(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A jump in the first site gains; any single jump for all sites loses, which fewer attacks would not tell."""
    # The other tests here make do with fewer; on a real network smooth gradients need them to show what a jump hides.
    monkeypatch.setattr(tuning, "QUICK_STEPS", 10)
    monkeypatch.setattr(tuning, "THOROUGH_STEPS", 40)
    model = shared / "models" / "mnist_lenet.onnx"
    with np.load(shared / "data" / "mnist_test.npz") as file:
        x, labels = file["x"].astype(np.float32) / 255, file["y"].astype(np.int64)
    validation = Data(x[5000:6000], labels[5000:6000], shared / "data")
    found = tune(
        Target(model, mean=MEAN, std=STD),
        validation,
        eps=EPS,
        max_drop=0.003,
        n_trials=60,
        families=["uniform", "sites"],
    )
    assert found.gain_shown
    assert found.chosen.clean >= found.original.clean - 0.003
    first, *others = (mean(jump) for jump in found.jumps.values())
    assert first > 1.2  # where nearly all of the gain comes from
    assert max(others) < first
    assert found.over_uniform is not None
    assert found.over_uniform.low > 0
    # On images that tuning never saw, under an attack that it does not use.
    assert found.uniform is not None
    patch_file(model, tmp_path / "tuned.onnx", recipe=found.recipe)
    patch_file(model, tmp_path / "uniform.onnx", recipe=Recipe(None, found.uniform.jumps))
    paths = (model, tmp_path / "tuned.onnx", tmp_path / "uniform.onnx")
    before, tuned, uniform = (standing(path, x[:300], labels[:300]) for path in paths)
    assert before.mean() < 0.75
    assert paired_difference(tuned, before).low > 0
    assert paired_difference(tuned, uniform).low > 0
