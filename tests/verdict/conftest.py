"""A model, its patched form, and data, on disk; one experiment on them, and its verdict."""

from pathlib import Path

import numpy as np
import pytest

from onnx_jumprelu import patch_file
from onnx_jumprelu.attacks import APGDCE, FGSM, PGD, Square
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import load_data
from onnx_jumprelu.verdict import suite
from onnx_jumprelu.verdict.experiment import Experiment, pair
from onnx_jumprelu.verdict.result import Verdict
from onnx_jumprelu.verdict.run import judge

N_EXAMPLES = 24
EPS = 0.1
# As the real sets, but faster.
QUICK = (
    suite.entry("fgsm"),
    suite.entry("pgd", n_iter=15),
    suite.entry("apgd-ce", "relu", n_iter=15),
    suite.entry("square", n_queries=300),
)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """A folder with `original.onnx`, `patched.onnx` and `data.npz`."""
    folder = tmp_path_factory.mktemp("verdict")
    (folder / "original.onnx").write_bytes((samples / "digits_cnn.onnx").read_bytes())
    patch_file(folder / "original.onnx", folder / "patched.onnx", 0.75)
    with np.load(samples / "digits.npz") as arrays:
        np.savez(folder / "data.npz", x=arrays["x"][:N_EXAMPLES], y=arrays["y"][:N_EXAMPLES])
    return folder


@pytest.fixture(scope="session")
def experiment(models: Path) -> Experiment:
    """Cheap attacks on both models."""
    return Experiment(
        pair(Target(models / "original.onnx"), Target(models / "patched.onnx")),
        load_data(models / "data.npz"),
        eps=EPS,
        attacks=(
            FGSM(eps=EPS),
            PGD(eps=EPS, n_iter=15),
            (APGDCE(eps=EPS, n_iter=15), "relu"),
            Square(eps=EPS, n_queries=300),
        ),
        latency=False,
    )


@pytest.fixture(scope="session")
def verdict(experiment: Experiment) -> Verdict:
    """What came of it."""
    return judge(experiment)


@pytest.fixture
def quick_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cheap attacks for the curve, and as the set `test`."""
    monkeypatch.setitem(suite.SETS, "test", QUICK)
    monkeypatch.setitem(suite.SETS, "quick", QUICK)
