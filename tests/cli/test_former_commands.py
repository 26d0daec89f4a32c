"""Commands in the form that they had before options were renamed still work, or say what they are called now."""

import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_jumprelu.cli import main
from tests.models import parse
from tests.tuning.networks import GAINING, examples, saved

Captured = pytest.CaptureFixture[str]

# The commands of the former README, in its order, made cheap where that changes nothing about the options; each uses
# what the ones before it wrote.
COMMANDS = """
inspect model.onnx
patch model.onnx --jump 0.1
verify model.onnx model.jumprelu.onnx
revert model.jumprelu.onnx
tune model.onnx --data val.npz --eps 0.03 --max-drop 0.01 --trials 2
validate model.onnx model.jumprelu.onnx --data test.npz --eps 0.03 --attacks fgsm,pgd:relu
attack model.jumprelu.onnx --data test.npz --attack apgd-ce --eps 0.03 --surrogate relu --steps 3
patch model.onnx --recipe model.recipe.json -o OUT.onnx --lowering where --keep-nan --verify --external-data link
patch model.onnx --jump 0.1 --out-dir DIR --include f* --exclude logits --jobs 2 --jump-input --dry-run
verify model.onnx model.jumprelu.onnx --data test.npz --mean 0.5 --std 0.5
attack model.onnx --data test.npz --eps 0.1 --steps 2 -o adv.npz
attack model.onnx --data test.npz --attack deepfool --steps 2 --norm L2 --n-examples 20 --seed 1
attack model.onnx --data test.npz --attack square --eps 0.1 --queries 5 --bounds 0 1 --mean 0 --std 1
attack model.onnx --data test.npz --eps 0.1 --steps 2 --input x --output-file adv2.npz
attack model.onnx --data test.npz --protocol paper --attack ifgsm --n-examples 20
tune model.onnx --data val.npz --max-drop 0.01 --eps 0.1 --family uniform --trials 2 --csv t.csv --output-file r.json
tune model.onnx --data val.npz --eps 0.1 --trials 2 --per-channel --json tuning.json -o r.json --input x
inspect model.onnx --data val.npz
validate model.onnx OUT.onnx --data test.npz --eps 0.1 --attacks fgsm --n-examples 20 --eps-grid 0.05 --min-clean 0.1
validate model.onnx OUT.onnx --data test.npz --eps 0.1 --attacks fgsm --max-drop 1 --junit v.xml --markdown v.md
validate model.onnx OUT.onnx --data test.npz --eps 0.1 --attacks fgsm --policy gates.toml --json v.json --input x
""".strip().splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("former")
    saved(folder, GAINING)
    for name in ("val", "test"):
        x, labels = examples(40)
        np.savez(folder / f"{name}.npz", x=x, y=labels)
    (folder / "gates.toml").write_text("[gates]\nmin_clean = 0.5\n")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_it_still_works(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.chdir(folder)
    assert main([*shlex.split(command), "--quiet"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("attack two.onnx --data two.npz --eps 0.1 --output scores", "'scores' is an output tensor of two.onnx"),
        ("tune two.onnx --data two.npz --output scores", "--output-name names the tensor, --output the file to write"),
        ("validate two.onnx two.onnx --data two.npz --eps 0.1 --output scores", "--output is now called --output-name"),
    ],
)
def test_an_output_tensor_is_named_in_another_way(
    command: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(folder)
    onnx.save(
        parse(
            """<ir_version: 8, opset_import: ["" : 18]>
            net (float[N, 3] x) => (float[N] total, float[N, 3] scores)
            { axes = Constant<value_ints=[1]>()  total = ReduceSum<keepdims=0>(x, axes)  scores = Relu(x) }"""
        ),
        "two.onnx",
    )
    np.savez("two.npz", x=np.full((30, 3), 0.5, np.float32), y=np.zeros(30, int))
    before = sorted(Path().iterdir())
    assert main(shlex.split(command)) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert sorted(Path().iterdir()) == before
