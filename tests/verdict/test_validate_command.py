"""`onnx-jumprelu validate` as a user meets it."""

import json
import re
import xml.etree.ElementTree as ET  # the file is our own
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_jumprelu import Recipe, find_activations, patch_file
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.arrays import Bools, Floats, Labels
from onnx_jumprelu.attacks.probe import is_wrong
from onnx_jumprelu.cli import main
from onnx_jumprelu.report import phrases
from onnx_jumprelu.rewrite.batch import parameters_in_file
from onnx_jumprelu.verdict import run
from onnx_jumprelu.verdict.gates import Policy
from tests.report.tunings import tuning

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(models: Path, quick_sets: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Models and data in the current folder; the sets of attacks are quick ones."""
    del quick_sets
    for path in models.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def validate(*options: str) -> int:
    return main(["validate", "original.onnx", "patched.onnx", "--data", "data.npz", "--attacks", "test", *options])


@pytest.mark.usefixtures("folder")
def test_verdict_first_and_everything_in_the_json(capsys: Captured) -> None:
    assert validate("--eps", "0.1", "--json", "v.json", "--per-example") == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(tuple(phrases.TITLES.values()))
    assert "apgd-ce (relu)" in captured.out
    assert re.fullmatch(r"validating: 8 attacks on 24 examples, at most about 0:\d\d\n", captured.err)
    assert not Path("patched.partial.json").exists()
    content = json.loads(Path("v.json").read_text())
    assert set(content) >= {"clean_accuracy", "worst_case", "naive", "attacks", "flags", "gates", "complete"}
    assert set(content["worst_case"]) >= {"original", "patched", "gain", "ci95"}
    assert content["complete"] is True
    for model in ("original", "patched"):
        robust = content["per_example"]["robust"][model]
        assert len(robust) == 24
        assert robust.count("1") / 24 == pytest.approx(content["worst_case"][model])
    assert all(len(row["success"]) == 24 for row in content["attacks"])
    assert validate("--eps", "0.1", "--per-example") == 2
    assert "--per-example adds to the JSON result; give --json FILE too" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_every_gate_is_an_option_and_decides_the_exit_code(capsys: Captured) -> None:
    """What each gate compares is tested on one verdict, without runs."""
    holds = {"min-clean": "0.1", "max-drop": "1", "min-robust": "0", "min-gain": "-1", "max-latency-ratio": "1000"}
    fails = {"min-clean": "1", "max-drop": "-1", "min-robust": "1", "min-gain": "0.99", "max-latency-ratio": "1/1000"}
    assert set(holds) == set(fails) == {each.name.replace("_", "-") for each in fields(Policy)}
    for gates, code in ((holds, 0), (fails, 1)):
        options = [word for name, limit in gates.items() for word in (f"--{name}", limit)]
        assert validate("--eps", "0.1", *options, "--json", "v.json") == code
        assert {gate["name"]: gate["ok"] for gate in json.loads(Path("v.json").read_text())["gates"]} == dict.fromkeys(
            gates, code == 0
        )
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"(Undecided|Loss shown); gates failed: min-clean: ", said)
    assert all(f"{name}: " in said for name in fails)


@pytest.mark.usefixtures("folder")
def test_reports_and_policy(capsys: Captured) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    Path("policy.toml").write_text("[gates]\nmin_clean = 1.0\nmax_drop = 1.0\n")
    options = ["--policy", "policy.toml", "--junit", "v.xml", "--markdown", "v.md", "--html", "v.html"]
    assert validate("--eps", "0.1", *options, "--eps-grid", "0.05,0.2") == 1
    assert "min-clean" in capsys.readouterr().err
    cases = {case.get("name"): case for case in ET.parse("v.xml").iter("testcase")}  # noqa: S314 - our own file
    assert any("min-clean" in str(name) and case.find("failure") is not None for name, case in cases.items())
    assert Path("v.md").read_text().startswith("#")
    page = Path("v.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert page.count("<svg") >= 2
    assert validate("--eps", "0.1", *options, "--min-clean", "0.1") == 0  # an option goes before the policy


@pytest.fixture
def tuned(folder: Path) -> Path:
    """What `tune --json` wrote about the original."""
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    path = folder / "tuning.json"
    path.write_text(json.dumps(tuning(Path("original.onnx")).to_dict()))
    return path


@pytest.mark.usefixtures("tuned")
def test_the_report_shows_what_tuning_tried() -> None:
    assert validate("--eps", "0.1", "--html", "v.html") == 0
    without = Path("v.html").read_text()
    assert validate("--eps", "0.1", "--html", "v.html", "--tuning", "tuning.json") == 0
    shown = Path("v.html").read_text()
    assert "What tuning tried" not in without
    assert "of original.onnx on validation examples of val.npz" in shown
    assert shown.count("<svg") == without.count("<svg") + 2


@pytest.mark.usefixtures("tuned")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tuning", "tuning.json"], "give --html FILE too"),
        (["--tuning", "none.json", "--html", "v.html"], "none.json: cannot be read"),
        (["--tuning", "data.npz", "--html", "v.html"], "data.npz: is not what `tune --json` writes: it is not JSON"),
        (["--tuning", "recipe.json", "--html", "v.html"], "recipe.json: is not what `tune --json` writes: it has no"),
        (["--tuning", "other.json", "--html", "v.html"], "other.json: is about another model (patched.onnx)"),
        (["--tuning", "tuning.json", "--html", "v.html", "--json", "tuning.json"], "is an input or an output"),
        (["--tuning", "tuning.json", "--attacks", "paper"], "it takes no gates, reports"),
    ],
)
def test_mistakes_with_tuning(options: list[str], message: str, folder: Path, capsys: Captured) -> None:
    Path("recipe.json").write_text('{"default": 0.5}')
    Path("other.json").write_text(json.dumps(tuning(Path("patched.onnx")).to_dict()))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert validate("--eps", "0.1", *options) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.usefixtures("folder")
def test_the_jumps_of_a_model_are_those_of_all_sites_that_could_have_one() -> None:
    sites = [site.name for site in find_activations(onnx.load("original.onnx"))]
    patch_file("original.onnx", "one.onnx", recipe=Recipe(0.0, {sites[1]: 0.5}))
    patch_file("original.onnx", "only.onnx", recipe=Recipe(None, {sites[1]: 0.5}))
    expected = {site: Parameters(0.5 if site == sites[1] else 0.0) for site in sites}
    assert parameters_in_file(Path("one.onnx")) == parameters_in_file(Path("only.onnx")) == expected
    assert parameters_in_file(Path("original.onnx")) is None


@pytest.mark.usefixtures("folder")
def test_interrupted_and_resumed(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    assert validate("--eps", "0.1", "--json", "whole.json") == 0
    whole = json.loads(Path("whole.json").read_text())
    asked: list[int] = []

    def interrupted(logits: Floats, labels: Labels) -> Bools:
        asked.append(len(labels))
        if len(asked) == 6:  # twice for the clean accuracies, then once per replay
            raise KeyboardInterrupt
        return is_wrong(logits, labels)

    with monkeypatch.context() as patch:
        patch.setattr(run, "is_wrong", interrupted)
        assert validate("--eps", "0.1", "--json", "cut.json") == 130
    captured = capsys.readouterr()
    assert "continue with the same command and --resume" in captured.err
    cut = json.loads(Path("cut.json").read_text())
    assert cut["complete"] is False
    assert 0 < len(cut["attacks"]) < len(whole["attacks"])
    assert Path("patched.partial.json").exists()
    assert validate("--eps", "0.2", "--resume") == 2
    assert "belongs to another experiment (eps differs)" in capsys.readouterr().err
    assert validate("--eps", "0.1", "--resume", "--json", "resumed.json") == 0
    resumed = json.loads(Path("resumed.json").read_text())
    for key in ("worst_case", "clean_accuracy", "naive", "flags", "complete"):
        assert resumed[key] == whole[key]
    assert not Path("patched.partial.json").exists()


@pytest.mark.usefixtures("folder")
def test_the_papers_table(capsys: Captured) -> None:
    np.savez("data.npz", **{name: array[:12] for name, array in np.load("data.npz").items()})
    options = ["--eps", "0.1", "--attacks", "paper", "--mean", "0.3", "--std", "0.4"]
    assert validate(*options, "--json", "-") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["jump"] for row in rows] == [0, 0.5, 1.0, 1.5]
    assert [cell["name"] for cell in rows[0]["attacks"]] == ["ifgsm", "deepfool-inf", "deepfool-2", "tr"]
    assert all(cell["white"] == cell["gray"] for cell in rows[0]["attacks"])
    assert validate(*options) == 0
    assert "white-box / gray-box" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--eps", "0"], "eps must be a number above 0"),
        (["--eps", "0.1", "--attacks", "magic"], "'magic' is neither a set"),
        (["--eps", "0.1", "--eps-grid", "0.1,x"], "give numbers with commas"),
        (["--eps", "0.1", "--eps-grid", "0"], "every eps of the grid must be above 0"),
        (["--eps", "0.1", "--eps-grid", "0.2,0.1,0.20"], "eps 0.2 is in the grid more than once"),
        (["--eps", "0.1", "--attacks", "pgd:exact,pgd"], "'pgd' (or 'pgd:exact') is given more than once"),
        (["--eps", "0.1", "--html", "original.onnx"], "is an input or an output of this command"),
        (["--eps", "0.1", "--junit", "data.npz"], "is an input or an output of this command"),
        (["--eps", "0.1", "--markdown", "other.txt"], "already exists and is not a Markdown file"),
        (["--eps", "0.1", "--resume"], "there is nothing to resume"),
        (["--eps", "0.1", "--attacks", "paper", "--min-clean", "1"], "it takes no gates"),
        (["--eps", "0.1", "--attacks", "paper", "--junit", "v.xml"], "it takes no gates, reports"),
        (["--eps", "0.1", "--policy", "none.toml"], "none.toml: cannot be read"),
        (["--eps", "0.1", "--min-clean", "nan"], "must be a finite number"),
        (["--eps", "8", "--bounds", "0", "255"], "uint8 pixels are divided by 255"),
    ],
)
def test_mistakes(options: list[str], message: str, folder: Path, capsys: Captured) -> None:
    if "--html" in options:
        pytest.importorskip("jinja2")
        pytest.importorskip("matplotlib")
    (folder / "other.txt").write_text("precious")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert validate(*options) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("missing", ["original.onnx", "patched.onnx"])
def test_a_model_that_is_not_there_is_named(missing: str, capsys: Captured) -> None:
    Path(missing).unlink()
    assert validate("--eps", "0.1") == 2
    captured = capsys.readouterr()
    assert f"{missing}: cannot be read (No such file or directory)" in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.usefixtures("folder")
def test_one_number_for_one_eps(capsys: Captured) -> None:
    """The curve at the verdict's eps is the verdict; the table lists the attacks that had the whole budget."""
    options = ["--eps", "0.1", "--attacks", "fgsm", "--eps-grid", "0.098,0.1"]
    assert validate(*options, "--json", "v.json", "--markdown", "v.md") == 0
    content, shown = json.loads(Path("v.json").read_text()), capsys.readouterr().out
    assert [content["worst_case"][model] for model in ("original", "patched")] == [
        content["curve"][1]["worst_case"][model] for model in ("original", "patched")
    ]
    assert {(entry["name"], entry["eps"]) for entry in content["attacks"]} >= {("fgsm", 0.1), ("pgd", 0.098)}
    for text in (shown, Path("v.md").read_text()):
        assert "fgsm from the original" in text
        assert "pgd from the original" not in text
    assert "Examples that an attack fooled within a smaller eps of the curve count too." in " ".join(shown.split())
