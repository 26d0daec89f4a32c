"""`patch` with a softness."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_jumprelu.cli import main
from tests.models import RELU, parse

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    onnx.save(parse(RELU), "relu.onnx")
    return tmp_path


class TestSoft:
    def test_one_softness_for_all_sites(self, folder: Path, capsys: Captured) -> None:
        assert main(["patch", "relu.onnx", "--softness", "0.1"]) == 0
        assert "jump 0, softness 0.1" in capsys.readouterr().out
        assert main(["verify", "relu.onnx", "relu.jumprelu.onnx"]) == 0
        assert main(["revert", "relu.jumprelu.onnx"]) == 0
        assert (folder / "relu.reverted.onnx").read_bytes() == (folder / "relu.onnx").read_bytes()

    def test_measured_on_data(self, folder: Path, capsys: Captured) -> None:
        x = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
        np.savez(folder / "val.npz", x=x)
        arguments = ["patch", "relu.onnx", "--softness-share", "0.2", "--center", "--data", "val.npz", "--verify"]
        assert main([*arguments, "-o", "one.onnx"]) == 0
        assert f"softness {0.2 * x.std():.3g}, centered" in capsys.readouterr().out
        assert main([*arguments, "-o", "two.onnx", "--quiet"]) == 0
        assert (folder / "one.onnx").read_bytes() == (folder / "two.onnx").read_bytes()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--softness-share", "0.2"], "measures softness on --data FILE"),
            (["--jump", "1", "--center"], "--center needs --softness-share"),
            (["--softness-share", "0", "--data", "val.npz"], "the softness share must be above 0"),
        ],
    )
    def test_what_does_not_go_together(
        self, arguments: list[str], message: str, folder: Path, capsys: Captured
    ) -> None:
        np.savez(folder / "val.npz", x=np.ones((2, 4), np.float32))
        assert main(["patch", "relu.onnx", *arguments]) == 2
        assert message in capsys.readouterr().err
