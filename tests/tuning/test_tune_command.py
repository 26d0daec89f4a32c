"""`onnx-jumprelu tune` and `inspect --data` as a user meets them."""

import builtins
import csv
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest

from onnx_jumprelu import Recipe, patch_file
from onnx_jumprelu.cli import main
from onnx_jumprelu.report.schemas import json_schema
from tests.tuning.networks import GAINING, INDIFFERENT, SCALED, examples, near_and_far, often_noisy, saved

Captured = pytest.CaptureFixture[str]
COMMAND = ["tune", "model.onnx", "--data", "data.npz", "--eps", "0.1", "--trials", "40"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and data, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, GAINING)
    x, y = examples(80)
    np.savez("data.npz", x=x, y=y)
    return tmp_path


def ran(capsys: Captured, *options: str) -> Any:  # noqa: ANN401 - JSON
    code = main([*COMMAND, "--json", "-", *options])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


@pytest.mark.usefixtures("folder")
class TestResult:
    def test_json(self, capsys: Captured) -> None:
        result = ran(capsys)
        assert {"recipe", "clean_accuracy", "worst_case", "front", "jumps", "gain_shown"} <= set(result)
        assert result["clean_accuracy"] == {"original": 1.0, "patched": 1.0}
        assert result["worst_case"]["original"] < 0.2
        assert result["worst_case"]["patched"] > 0.9
        low, high = result["worst_case"]["ci95"]
        assert 0 < low < result["worst_case"]["gain"] <= high
        assert result["n_search"] + result["n_held_out"] == 80
        assert sum(point["chosen"] for point in result["finalists"]) == 1
        assert result["uniform"]["jump"] > 0.1

    def test_the_recipe_is_one_that_patch_takes(self, capsys: Captured) -> None:
        result = ran(capsys)
        recipe = json.loads(Path("model.recipe.json").read_text(encoding="utf-8"))
        jsonschema.validate(recipe, json_schema("recipe"), jsonschema.Draft202012Validator)
        assert {key: value for key, value in recipe.items() if key not in {"schema", "version"}} == result["recipe"]
        assert main(["patch", "model.onnx", "--recipe", "model.recipe.json", "-o", "out.onnx", "--quiet"]) == 0
        recipe = Recipe.read("model.recipe.json")
        patched = patch_file("model.onnx", "again.onnx", recipe=recipe)
        assert {site.name: site.jump for site in patched.sites} == {
            name: jump for name, jump in result["jumps"].items() if jump
        }

    def test_per_channel(self, capsys: Captured) -> None:
        """From the search to a patched file that is proved, with a list of jumps on the way."""
        saved(Path(), SCALED)
        given = often_noisy()
        np.savez("data.npz", x=given.x, y=given.required_labels())
        result = ran(capsys, "--per-channel", "--max-drop", "0", "--csv", "trials.csv")
        assert len(result["jumps"]["first"]) == 4
        assert main([*COMMAND, "--per-channel", "--max-drop", "0"]) == 0
        assert ", per channel" in capsys.readouterr().out
        with Path("trials.csv").open(encoding="utf-8", newline="") as file:
            chosen = [row for row in csv.DictReader(file) if row["chosen"] == "1"]
        assert [float(jump) for jump in chosen[0]["first"].split()] == result["jumps"]["first"]
        assert main(["patch", "model.onnx", "--recipe", "model.recipe.json", "-o", "out.onnx", "--verify", "-q"]) == 0

    def test_same_seed_same_files(self, capsys: Captured) -> None:
        options = ("--csv", "a.csv", "-o", "a.json", "--seed", "3", "--trials", "12")
        ran(capsys, *options)
        first = Path("a.csv").read_bytes(), Path("a.json").read_bytes()
        ran(capsys, *options)  # over its own older results
        assert (Path("a.csv").read_bytes(), Path("a.json").read_bytes()) == first

    def test_table(self, capsys: Captured) -> None:
        assert main(COMMAND) == 0
        captured = capsys.readouterr()
        assert captured.err == "tuning: at most 51 steps\n"
        text = captured.out
        assert text.startswith("Gain shown on 40 examples that the search never attacked")
        assert "No jump gains anything" not in text
        assert "model.recipe.json" in text
        assert "first" in text
        assert "chosen here" not in text

    def test_csv(self, capsys: Captured) -> None:
        result = ran(capsys, "--csv", "t.csv", "--trials", "10")
        with Path("t.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        thorough = [row for row in rows if row["stage"] == "thorough"]
        assert len(rows) - len(thorough) == result["n_trials"]
        assert [float(row["worst_case"]) for row in thorough] == [
            pytest.approx(point["worst_case"]) for point in result["finalists"]
        ]
        assert [{"first": float(row["first"]), "logits": float(row["logits"])} for row in thorough] == [
            point["jumps"] for point in result["finalists"]
        ]
        assert sum(int(row["front"]) for row in thorough) == len(result["front"])

    def test_picture(self, capsys: Captured) -> None:
        pytest.importorskip("matplotlib")
        pytest.importorskip("jinja2")
        ran(capsys, "--picture", "t.svg", "--trials", "10")
        picture = Path("t.svg").read_text(encoding="utf-8")
        assert ET.fromstring(picture).tag.endswith("svg")  # noqa: S314 - written here
        for word in ("clean accuracy", "worst case", "uniform", "sites", "front", "chosen", "clean budget"):
            assert word in picture

    def test_default_eps_is_told(self, capsys: Captured) -> None:
        code = main(["tune", "model.onnx", "--data", "data.npz", "--trials", "3"])
        assert code == 0
        assert "chosen here: the median of the smallest perturbations" in capsys.readouterr().out

    def test_validation_split_of_its_own(self, capsys: Captured) -> None:
        x, y = examples(30)
        np.savez("data.npz", x=np.full((5, 4), 9.0), y=np.full(5, 9), x_val=x, y_val=y)
        result = ran(capsys, "--trials", "3")
        assert result["n_search"] + result["n_held_out"] == 30

    def test_family_and_n_examples(self, capsys: Captured) -> None:
        result = ran(capsys, "--family", "quantile", "--family", "uniform", "--n-examples", "40", "--trials", "8")
        assert {point["family"] for point in result["finalists"]} == {"original", "quantile", "uniform"}
        assert result["n_search"] + result["n_held_out"] == 40

    def test_no_gain_is_a_normal_result(self, capsys: Captured) -> None:
        onnx.save(onnx.parser.parse_model(INDIFFERENT), "model.onnx")
        data = near_and_far()
        np.savez("data.npz", x=data.x, y=data.required_labels())
        assert main(COMMAND) == 0
        text = capsys.readouterr().out
        assert text.startswith("No jump gains anything on these data")
        assert "Gain shown" not in text
        assert Recipe.read("model.recipe.json") == Recipe(0.0)
        assert main(["patch", "model.onnx", "--recipe", "model.recipe.json", "--quiet"]) == 0


@pytest.mark.usefixtures("folder")
class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--data", "missing.npz"], "missing.npz"),
            (["--max-drop", "2"], "max_drop must be between 0 and 1, not 2"),
            (["--eps", "0"], "eps"),
            (["--family", "best"], "best"),
            (["--mean", "a"], "--mean"),
            (["--n-examples", "5"], "at least 20"),
            (["-o", "model.onnx"], "model.onnx"),
            (["-o", "data.npz"], "data.npz"),
            (["--csv", "data.npz"], "data.npz"),
            (["--csv", "other.bin"], "not a CSV file"),
            (["--picture", "other.bin"], "not a SVG file"),
            (["--csv", "a.out", "--picture", "a.out"], "a.out"),
            (["--csv", "no/where.csv"], "where.csv"),
        ],
    )
    def test_one_line(self, capsys: Captured, options: list[str], words: str) -> None:
        Path("other.bin").write_bytes(b"\x08weights")
        before = sorted(path.name for path in Path().iterdir())
        assert main([*COMMAND, *options]) == 2
        error = capsys.readouterr().err.strip()
        assert words in error
        assert "\n" not in error
        assert sorted(path.name for path in Path().iterdir()) == before

    def test_patched_model(self, capsys: Captured) -> None:
        patch_file("model.onnx", "patched.onnx", 0.1)
        assert main(["tune", "patched.onnx", "--data", "data.npz"]) == 2
        assert "patched.onnx: is patched already; tune the original" in capsys.readouterr().err

    def test_picture_without_the_extra(self, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
        def importing(name: str, *rest: Any) -> Any:  # noqa: ANN401 - as Python calls it
            if name.split(".", maxsplit=1)[0] == "matplotlib":
                raise ImportError(name)
            return real(name, *rest)

        real = builtins.__import__
        monkeypatch.setattr(builtins, "__import__", importing)
        monkeypatch.setattr("importlib.import_module", importing)
        assert main([*COMMAND, "--picture", "t.svg"]) == 2
        assert "onnx-jumprelu[report]" in capsys.readouterr().err
        assert not Path("model.recipe.json").exists()


@pytest.mark.usefixtures("folder")
class TestInspect:
    def test_quantiles(self, capsys: Captured) -> None:
        assert main(["inspect", "model.onnx", "--data", "data.npz", "--json", "-"]) == 0
        seen = json.loads(capsys.readouterr().out)["preactivations"]
        x = np.load("data.npz")["x"]
        assert [site["name"] for site in seen] == ["first", "logits"]
        assert seen[0]["quantiles"]["0.5"] == pytest.approx(np.median(x[x > 0]), rel=0.01)
        assert seen[0]["positive"] == pytest.approx((x > 0).mean())

    def test_table(self, capsys: Captured) -> None:
        assert main(["inspect", "model.onnx", "--data", "data.npz", "--mean", "0.5", "--std", "2"]) == 0
        assert "Positive pre-activations" in capsys.readouterr().out

    def test_without_data(self, capsys: Captured) -> None:
        assert main(["inspect", "model.onnx"]) == 0
        assert "Positive" not in capsys.readouterr().out
        assert main(["inspect", "model.onnx", "--mean", "0.5"]) == 2

    def test_data_that_do_not_fit(self, capsys: Captured) -> None:
        np.savez("data.npz", x=np.zeros((3, 7)))
        assert main(["inspect", "model.onnx", "--data", "data.npz"]) == 2
        assert capsys.readouterr().err.startswith("onnx-jumprelu: model.onnx: ")
