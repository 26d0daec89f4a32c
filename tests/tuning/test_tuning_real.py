"""Tuning on a real network: what it finds holds on images, and under attacks, that it never saw."""

from pathlib import Path

import numpy as np
import pytest

from onnx_jumprelu import patch_file
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import Data
from onnx_jumprelu.tuning import run as tuning
from onnx_jumprelu.tuning.run import tune
from onnx_jumprelu.verdict.experiment import Experiment, pair
from onnx_jumprelu.verdict.run import judge

EPS, MEAN, STD = 0.1, [0.1307], [0.3081]


@pytest.mark.slow
def test_lenet(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A jump in the first site gains a little, where the same jump at every site loses much."""
    # The other tests here make do with fewer; on a real network smooth gradients need them to show what a jump hides.
    monkeypatch.setattr(tuning, "QUICK_STEPS", 10)
    monkeypatch.setattr(tuning, "THOROUGH_STEPS", 40)
    model = shared / "models" / "mnist_lenet.onnx"
    original = Target(model, mean=MEAN, std=STD)
    with np.load(shared / "data" / "mnist_test.npz") as file:
        x, labels = file["x"].astype(np.float32) / 255, file["y"].astype(np.int64)
    validation = Data(x[5000:6000], labels[5000:6000], shared / "data")
    found = tune(original, validation, eps=EPS, max_drop=0.003, n_trials=36, families=["sites"])
    assert found.gain_shown
    assert found.chosen.clean_accuracy >= found.original.clean_accuracy - 0.003
    first, *others = (parameters.size for parameters in found.parameters.values())
    assert first > 1.2  # where nearly all of the gain comes from
    assert max(others) < first

    patch_file(model, tmp_path / "tuned.onnx", recipe=found.recipe)
    patch_file(model, tmp_path / "uniform.onnx", jump=first)
    tuned, uniform = (Target(tmp_path / name, mean=MEAN, std=STD) for name in ("tuned.onnx", "uniform.onnx"))
    test = Data(x[:300], labels[:300], shared / "data")
    attacks = "apgd-ce,apgd-ce:smooth,apgd-dlr:smooth"
    verdict = judge(Experiment(pair(original, tuned), test, eps=EPS, attacks=attacks, latency=False))
    assert verdict.worst_case("original").value < 0.7
    assert verdict.gain is not None
    assert verdict.gain.low > 0
    verdict = judge(Experiment(pair(tuned, uniform), test, eps=EPS, attacks="apgd-ce:smooth", latency=False))
    assert verdict.gain is not None
    assert verdict.gain.high < 0
