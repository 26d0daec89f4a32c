"""`onnx-jumprelu attack` as a user meets it."""

import json
import os
import re
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from onnx_jumprelu import OnnxClassifier, patch_file
from onnx_jumprelu.activation.derivatives import SURROGATES
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.attacks import ATTACKS
from onnx_jumprelu.attacks.norms import NORMS
from onnx_jumprelu.cli import main
from onnx_jumprelu.data.reading import load_data
from onnx_jumprelu.names import NormName, SurrogateName
from onnx_jumprelu.paper.attacks import PAPER_ATTACKS
from tests.models import parse

Captured = pytest.CaptureFixture[str]
KEYS = {
    "attack",
    "norm",
    "eps",
    "n_examples",
    "clean_accuracy",
    "robust_accuracy",
    "mean_perturbation",
    "max_perturbation",
    "zero_gradients",
    "seconds",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: Path) -> Path:
    """A folder with a model and data, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes((samples / "digits_cnn.onnx").read_bytes())
    Path("data.npz").write_bytes((samples / "digits.npz").read_bytes())
    Path("other.onnx").write_bytes((samples / "digits_relu6.onnx").read_bytes())
    os.mkfifo("pipe")
    return tmp_path


def attacked(capsys: Captured, *options: str) -> dict[str, object]:
    """The command's JSON for 60 examples."""
    code = main(["attack", "model.onnx", "--data", "data.npz", "--n-examples", "60", "--json", "-", *options])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    result = json.loads(captured.out)
    assert isinstance(result, dict)
    return result


@pytest.mark.usefixtures("folder")
class TestResult:
    def test_table(self, capsys: Captured) -> None:
        assert main(["attack", "model.onnx", "--data", "data.npz", "--eps", "0.1", "--n-examples", "60"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("model.onnx: pgd, Linf, eps 0.1 (data space), gradient exact, 60 examples\n")
        assert re.search(r"robust accuracy +\d+\.\d+%", out)
        assert "One attack gives an upper bound" in out

    def test_json(self, capsys: Captured) -> None:
        result = attacked(capsys, "--eps", "0.1")
        assert set(result) >= KEYS
        assert result["n_examples"] == 60
        assert result["robust_accuracy"] < result["clean_accuracy"]  # type: ignore[operator]
        assert result["max_perturbation"] <= 0.1 + 1e-6  # type: ignore[operator]

    def test_examples_are_what_the_result_says(self, capsys: Captured) -> None:
        result = attacked(capsys, "--eps", "0.1", "-o", "adv.npz")
        adversarial, clean = load_data("adv.npz"), load_data("data.npz").first(60)
        classifier = OnnxClassifier("model.onnx")
        assert np.abs(adversarial.x.astype(np.float64) - clean.x).max() <= 0.1 + 1e-6
        assert np.array_equal(adversarial.required_labels(), clean.required_labels())
        right = classifier.predict(adversarial.x) == clean.required_labels()
        assert right.mean() == pytest.approx(result["robust_accuracy"])
        with np.load("adv.npz") as arrays:
            assert np.array_equal(arrays["success"], ~right)

    def test_seeded(self, capsys: Captured) -> None:
        runs = [
            attacked(capsys, "--eps", "0.05", "--seed", seed, "-o", f"{name}.npz") for seed, name in ("1a", "1b", "2c")
        ]
        assert [{**run, "seconds": 0} for run in runs[:1]] == [{**run, "seconds": 0} for run in runs[1:2]]
        same, again, other = (load_data(f"{name}.npz").x for name in "abc")
        assert np.array_equal(same, again)
        assert not np.array_equal(same, other)

    def test_steps_and_norm(self, capsys: Captured) -> None:
        one = attacked(capsys, "--eps", "1", "--norm", "L2", "--steps", "1")
        many = attacked(capsys, "--eps", "1", "--norm", "L2", "--steps", "30", "--restarts", "2")
        assert one["norm"] == "L2"
        assert many["robust_accuracy"] <= one["robust_accuracy"]  # type: ignore[operator]
        assert many["n_gradients"] > one["n_gradients"]  # type: ignore[operator]

    def test_surrogate_and_the_warning_of_zero_gradients(self, capsys: Captured) -> None:
        patch_file("model.onnx", "patched.onnx", 2.0)  # kills nearly everything
        common = ["attack", "patched.onnx", "--data", "data.npz", "--eps", "0.1", "--n-examples", "60"]
        assert main(common) == 0
        blind = capsys.readouterr().out
        assert re.search(r"Warning: \d+% of the gradients were 0 .* try other gradients", blind)
        assert main([*common, "--surrogate", "relu"]) == 0
        assert "Warning" not in capsys.readouterr().out

    @pytest.mark.parametrize("attack", ["deepfool", "fab-t"])
    def test_a_surrogate_does_not_stall_at_the_boundary(self, attack: str, capsys: Captured) -> None:
        """Its gradients lead to where the model already is wrong or right by less than float32 can tell."""
        patch_file("model.onnx", "patched.onnx", 0.5)
        command = f"attack patched.onnx --data data.npz --n-examples 60 --json - --surrogate relu --attack {attack}"
        code = main([*command.split(), "--steps", "40"])
        assert code == 0
        assert json.loads(capsys.readouterr().out)["robust_accuracy"] == 0

    def test_normalization_counts(self, capsys: Captured) -> None:
        plain = attacked(capsys, "--eps", "0.1")
        shifted = attacked(capsys, "--eps", "0.1", "--mean", "0.5", "--std", "2")
        assert plain["clean_accuracy"] != shifted["clean_accuracy"]

    def test_restarts_and_queries_count(self, capsys: Captured) -> None:
        runs = [attacked(capsys, "--eps", "0.05", "--restarts", number) for number in ("1", "3")]
        assert runs[1]["n_gradients"] > 2 * runs[0]["n_gradients"]  # type: ignore[operator]
        few, many = (attacked(capsys, "--attack", "square", "--eps", "0.02", "--queries", n) for n in ("10", "100"))
        assert many["n_queries"] > 3 * few["n_queries"]  # type: ignore[operator]

    def test_the_file_holds_what_the_result_says(self, capsys: Captured) -> None:
        result = attacked(capsys, "--eps", "0.05", "-o", "adv.npz")
        clean = load_data("data.npz").first(60)
        with np.load("adv.npz") as arrays:
            assert arrays["correct"].mean() == pytest.approx(result["clean_accuracy"])
            assert 1 - arrays["success"].mean() == pytest.approx(result["robust_accuracy"])
            fooled = arrays["correct"] & arrays["success"]
            lengths = np.abs(arrays["x"].astype(np.float64) - clean.x).max(axis=(1, 2, 3))
            assert 0 < fooled.sum() < 60
            assert result["mean_perturbation"] == pytest.approx(lengths[fooled].mean())
            assert result["max_perturbation"] == pytest.approx(lengths.max())
            assert result["max_perturbation"] <= 0.05  # type: ignore[operator]

    def test_nan_gradients_are_told(self, capsys: Captured) -> None:
        model = parse(
            """<ir_version: 8, opset_import: ["" : 18]>
            net (float[N, 1, 8, 8] x) => (float[N, 64] y) { a = Flatten(x)  b = Log(a)  y = Neg(b) }"""
        )
        onnx.save(model, "model.onnx")
        np.savez("data.npz", x=np.zeros((4, 1, 8, 8), np.float32), y=np.zeros(4, int))
        result = attacked(capsys, "--eps", "0.1", "--attack", "fgsm")
        assert result["nan_gradients"] == result["n_gradients"] == 4
        assert main(["attack", "model.onnx", "--data", "data.npz", "--eps", "0.1", "--attack", "fgsm"]) == 0
        assert "Warning: 100% of the gradients were NaN or infinite" in capsys.readouterr().out

    def test_no_budget(self, capsys: Captured) -> None:
        result = attacked(capsys, "--attack", "deepfool", "--norm", "L2")
        assert result["eps"] is None
        assert result["robust_accuracy"] == 0

    @pytest.mark.parametrize("name", PAPER_ATTACKS)
    def test_paper(self, name: str, capsys: Captured) -> None:
        result = attacked(
            capsys, "--protocol", "paper", "--attack", name, "--mean", "0.3", "--std", "0.4", "-o", "adv.npz"
        )
        assert result["protocol"] == "paper"
        assert np.isfinite(load_data("adv.npz").x).all()
        moved = np.abs(load_data("adv.npz").x - load_data("data.npz").first(60).x).max()
        assert 0 < moved <= 1 + 1e-5
        normalized = result["max_perturbation"]
        if result["norm"] == "Linf":
            assert normalized == pytest.approx(moved / 0.4, rel=1e-3)


@pytest.mark.usefixtures("folder")
class TestMistakes:
    """One line on stderr, exit code 2, nothing written."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ([], "pgd needs eps"),
            (["--eps", "0"], "eps must be a number above 0"),
            (["--eps", "-1"], "eps must be a number above 0"),
            (["--eps", "nan"], "eps must be a number above 0"),
            (["--eps", "0.1", "--attack", "magic"], "attack 'magic' is unknown; choose fgsm, pgd"),
            (["--eps", "0.1", "--attack", "fgsm", "--steps", "3"], "attack fgsm has no --steps"),
            (["--eps", "0.1", "--norm", "L7"], "Invalid value for '--norm'"),
            (["--eps", "0.1", "--surrogate", "x"], "Invalid value for '--surrogate'"),
            (["--eps", "0.1", "--bounds", "0", "0.5"], "x lies outside the bounds 0 to 0.5"),
            (["--eps", "0.1", "--bounds", "1", "0"], "the first must be below the second"),
            (["--eps", "0.1", "--mean", "a"], "give numbers with commas"),
            (["--eps", "0.1", "--std", "0"], "std: every value must be above 0"),
            (["--eps", "0.1", "--mean", "1,2"], "mean: give 1 value, not 2"),
            (["--eps", "0.1", "--input-name", "nope"], "model.onnx: the model has no input 'nope'; it has input"),
            (["--eps", "0.1", "--output-name", "nope"], "model.onnx: the model has no output 'nope'; it has logits"),
            (["--eps", "0.1", "--providers", "Nope"], "onnxruntime has no provider 'Nope' here"),
            (["--eps", "0.1", "-o", "model.onnx"], "model.onnx: is an input or an output of this command"),
            (["--eps", "0.1", "-o", "no/adv.npz"], "cannot be written"),
            (["--eps", "0.1", "-o", "other.onnx"], "other.onnx: already exists and is not a .npz file"),
            (["--eps", "0.1", "-o", "pipe"], "pipe: is not a regular file"),
            (["--eps", "0.1", "--queries", "5"], "attack pgd has no --queries"),
            (["--eps", "8", "--bounds", "0", "255"], "uint8 pixels are divided by 255"),
            (["--eps", "0.1", "--json", "data.npz"], "data.npz: is an input or an output of this command"),
            (["--protocol", "paper"], "the paper's protocol has no attack 'pgd'; choose ifgsm"),
            (["--protocol", "paper", "--attack", "tr", "--eps", "1"], "fixes every setting; leave out eps"),
        ],
    )
    def test_options(self, options: list[str], message: str, folder: Path, capsys: Captured) -> None:
        before = sorted(path.name for path in folder.iterdir())
        assert main(["attack", "model.onnx", "--data", "data.npz", *options]) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1
        assert captured.out == ""
        assert sorted(path.name for path in folder.iterdir()) == before

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            (
                {"y": np.asarray([0, 10])},
                "data.npz: label 10 of example 1 is out of range; the model has classes",
            ),
            ({"y": np.asarray([-1, 0])}, "label -1 of example 0 is out of range"),
            ({}, "has no labels"),
            ({"x": np.full((2, 1, 8, 8), 1.5, np.float32), "y": np.zeros(2, int)}, "x lies outside the bounds 0 to 1"),
            (
                {"x": np.full((2, 1, 8, 8), 1.5, np.float32), "y": np.zeros(2, int)},
                "give the data before normalization",
            ),
            ({"x": np.full((2, 1, 8, 8), 200, np.float32), "y": np.zeros(2, int)}, "200; divide x by 255 or store it"),
            ({"x": np.full((2, 1, 8, 8), np.nan, np.float32), "y": np.zeros(2, int)}, "x is not finite in 2 examples"),
            ({"x": np.zeros((2, 3, 8, 8), np.float32), "y": np.zeros(2, int)}, "the model takes (N, 1, 8, 8)"),
        ],
    )
    def test_data(self, arrays: dict[str, Array], message: str, capsys: Captured) -> None:
        np.savez("data.npz", **{"x": np.zeros((2, 1, 8, 8), np.float32), **arrays})  # type: ignore[arg-type]
        assert main(["attack", "model.onnx", "--data", "data.npz", "--eps", "0.1"]) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("(float16[N, 1, 8, 8] x) => (float16[N, 64] y) { y = Flatten(x) }", "model.onnx: input 'x' is float16"),
            (
                "(float[N, 1, 8, 8] x) => (float[N, 1, 8, 8] y) { y = Relu(x) }",
                "logits of shape (N, classes) are needed",
            ),
            ("(float[N, 1, 8, 8] x) => (float[N, 64] y) { a = Flatten(x)  y = Sinh(a) }", "no gradient rule for Sinh"),
        ],
    )
    def test_models(self, body: str, message: str, capsys: Captured) -> None:
        onnx.save(parse(f'<ir_version: 8, opset_import: ["" : 18]> net {body}'), "model.onnx")
        assert main(["attack", "model.onnx", "--data", "data.npz", "--eps", "0.1"]) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1

    def test_a_model_that_computes_in_float16(self, capsys: Captured) -> None:
        model = parse(
            """<ir_version: 8, opset_import: ["" : 18]>
            net (float[N, 1, 8, 8] x) => (float[N, 64] y)
            { a = Cast <to = 10> (x)  b = Relu(a)  c = Cast <to = 1> (b)  y = Flatten(c) }"""
        )
        assert model.graph.node[0].attribute[0].i == TensorProto.FLOAT16
        onnx.save(model, "model.onnx")
        assert main(["attack", "model.onnx", "--data", "data.npz", "--eps", "0.1"]) == 2
        assert "computes in float16; gradients need float32" in capsys.readouterr().err


def test_choices_and_registries_agree() -> None:
    assert set(get_args(NormName)) == set(NORMS)
    assert set(get_args(SurrogateName)) == set(SURROGATES)


@pytest.mark.usefixtures("folder")
def test_help_names_every_attack(capsys: Captured) -> None:
    assert main(["attack", "--help"]) == 0
    out = re.sub(r"[\s│]+", "", capsys.readouterr().out)
    assert all(name in out for name in (*ATTACKS, *PAPER_ATTACKS))


def test_a_model_with_several_outputs(tmp_path: Path, capsys: Captured) -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 18]>
        net (float[N, 3] x) => (float[N] total, float[N, 3] scores)
        { axes = Constant<value_ints=[1]>()  total = ReduceSum<keepdims=0>(x, axes)  scores = Neg(x) }"""
    )
    onnx.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=np.asarray([[0.5, 0.4, 0.6]], np.float32), y=np.asarray([1]))
    options = ["attack", str(tmp_path / "model.onnx"), "--data", str(tmp_path / "data.npz"), "--eps", "0.2"]
    assert main(options) == 2
    assert "output 'total' has shape" in capsys.readouterr().err
    assert main([*options, "--output-name", "scores", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["robust_accuracy"] == 0
