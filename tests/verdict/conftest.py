"""A model, its patched form, and data, on disk."""

from pathlib import Path

import numpy as np
import pytest

from onnx_jumprelu import patch_file
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import load_data
from onnx_jumprelu.verdict import suite as matrix
from onnx_jumprelu.verdict.run import Question

N_EXAMPLES = 24
# As the real sets, and quicker.
QUICK: tuple[matrix.Row, ...] = (
    ("fgsm", "exact", {}),
    ("pgd", "exact", {"n_iter": 15}),
    ("apgd-ce", "relu", {"n_iter": 15}),
    ("square", "exact", {"n_queries": 300}),
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


@pytest.fixture
def question(models: Path, monkeypatch: pytest.MonkeyPatch) -> Question:
    """Cheap attacks on both."""
    monkeypatch.setitem(matrix.SETS, "test", QUICK)
    monkeypatch.setitem(matrix.SETS, "quick", QUICK)
    return Question(
        Target(models / "original.onnx"),
        Target(models / "patched.onnx"),
        load_data(models / "data.npz"),
        eps=0.1,
        attacks="test",
        latency=False,
    )
