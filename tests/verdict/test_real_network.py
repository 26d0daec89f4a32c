"""The verdict on a real network, whose jump hides gradients: what is claimed for it, and what it is worth."""

from pathlib import Path

import numpy as np
import pytest

import onnx_jumprelu as oj
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import Data
from onnx_jumprelu.verdict.experiment import Experiment, pair
from onnx_jumprelu.verdict.result import Verdict
from onnx_jumprelu.verdict.run import judge

MEAN, STD = [0.1307], [0.3081]
ATTACKS = "pgd,apgd-ce,apgd-ce:relu,apgd-ce:smooth,square"


def verdict_at(eps: float, shared: Path, tmp_path: Path) -> Verdict:
    """The first 200 test images, jump 1.0 everywhere, as in the paper."""
    model, patched = shared / "models" / "mnist_lenet.onnx", tmp_path / "patched.onnx"
    oj.patch_file(model, patched, jump=1.0)
    with np.load(shared / "data" / "mnist_test.npz") as file:
        x: Array = file["x"][:200].astype(np.float32) / 255
        labels = file["y"][:200].astype(np.int64)
    original = Target(model, mean=MEAN, std=STD)
    data = Data(x, labels, shared / "data")
    models = pair(original, Target(patched, mean=MEAN, std=STD))
    return judge(Experiment(models, data, eps=eps, attacks=ATTACKS, latency=False))


@pytest.mark.slow
def test_nothing_is_left_at_a_large_eps(shared: Path, tmp_path: Path) -> None:
    """Exact gradients alone would report a quarter to a third; nothing withstands the others."""
    found = verdict_at(0.2, shared, tmp_path)
    assert found.worst_case("original").value <= 0.01
    assert found.worst_case("patched").value <= 0.01
    naive = found.naive("patched")
    assert naive is not None
    assert naive > 0.3
    assert found.outcome == "undecided"
    assert "exact-gradients-mislead" in {flag.name for flag in found.flags if flag.model == "patched"}


@pytest.mark.slow
def test_the_gain_that_exact_and_relu_gradients_show_is_none(shared: Path, tmp_path: Path) -> None:
    """Smooth gradients find what both miss: with the jump everywhere, this network is easier to attack."""
    found = verdict_at(0.1, shared, tmp_path)
    standing = {row.label: row.robust_accuracy for row in found.rows if row.model == row.source == "patched"}
    assert found.worst_case("original").value <= 0.7
    assert min(standing["apgd-ce"], standing["apgd-ce (relu)"]) > 0.78
    assert standing["apgd-ce (smooth)"] < 0.63
    assert found.outcome == "loss"
    assert {"exact-gradients-mislead"} <= {flag.name for flag in found.flags if flag.model == "patched"}
    assert not [flag for flag in found.flags if flag.model == "original"]
