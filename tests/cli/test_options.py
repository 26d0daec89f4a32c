"""Options that several commands share: declared once, read in one way, listed in panels; what is printed where."""

import inspect
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import pytest
import typer

from onnx_jumprelu import find_activations, patch_file
from onnx_jumprelu.attacks import ATTACKS
from onnx_jumprelu.cli import app, attack, main
from onnx_jumprelu.cli.options import NUMBER, OptionGroup, TargetOptions, command, number, numbers
from onnx_jumprelu.cli.output import ResultOptions
from onnx_jumprelu.paper.attacks import PAPER_ATTACKS
from tests.tuning.networks import GAINING, examples, saved

Captured = pytest.CaptureFixture[str]
ATTACK = ["attack", "model.onnx", "--data", "data.npz", "--attack", "fgsm"]
VALIDATE = ["validate", "model.onnx", "patched.onnx", "--data", "data.npz", "--attacks", "fgsm", "--eps", "0.05"]
TUNE = ["tune", "model.onnx", "--data", "data.npz", "--eps", "0.05", "--trials", "2"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models and data, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, GAINING)
    patch_file("model.onnx", "patched.onnx", 0.1)
    x, y = examples(40)
    np.savez("data.npz", x=x, y=y)
    return tmp_path


def options_of(name: str) -> dict[str, Any]:
    """The options of a command as the parser has them, by name."""
    group: Any = typer.main.get_command(app)
    return {parameter.name: parameter for parameter in group.commands[name].params}


class TestNumbers:
    @pytest.mark.parametrize(("text", "value"), [("0.5", 0.5), ("8/255", 8 / 255), ("1e-2", 0.01), (" 1 / 4 ", 0.25)])
    def test_one(self, text: str, value: float) -> None:
        assert number(text) == value

    @pytest.mark.parametrize("text", ["", "a", "8/", "/255", "1/0", "1/2/3", "8:255"])
    def test_not_one(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"is not a number; give one such as 0\.03 or 8/255"):
            number(text)

    def test_several(self) -> None:
        assert numbers("0.5,1/4, 2") == (0.5, 0.25, 2)
        with pytest.raises(ValueError, match="'1,,2': give numbers with commas between them"):
            numbers("1,,2")

    @pytest.mark.usefixtures("folder")
    def test_fractions_work_wherever_numbers_do(self, capsys: Captured) -> None:
        def result(*arguments: str) -> Any:  # noqa: ANN401 - JSON
            assert main([*arguments, "--json", "-"]) == 0, capsys.readouterr().err
            return json.loads(capsys.readouterr().out)

        assert result(*ATTACK, "--eps", "8/255")["eps"] == 8 / 255
        assert result(*TUNE, "--eps", "2/255")["eps"] == 2 / 255
        found = result(*VALIDATE, "--eps", "4/255", "--eps-grid", "1/255,1/128")
        assert found["eps"] == 4 / 255
        assert [point["eps"] for point in found["curve"]] == [1 / 255, 1 / 128]
        scaled = [
            {**result(*ATTACK, "--eps", "0.1", "--mean", mean, "--std", std), "seconds": 0}
            for mean, std in (("1/4", "1/2"), ("0.25", "0.5"), ("0", "1"))
        ]
        assert scaled[0] == scaled[1] != scaled[2]
        assert main(["patch", "model.onnx", "-o", "out.onnx", "--jump", "1/8", "-q"]) == 0
        assert find_activations(onnx.load("out.onnx"))[0].jump == 0.125

    @pytest.mark.parametrize(
        ("arguments", "option"),
        [
            ([*ATTACK, "--eps", "8/0"], "--eps"),
            ([*TUNE, "--eps", "8/x"], "--eps"),
            ([*TUNE, "--max-drop", "1%"], "--max-drop"),
            ([*VALIDATE, "--eps", "big"], "--eps"),
            ([*VALIDATE, "--eps-grid", "1/255,"], "--eps-grid"),
            ([*VALIDATE, "--min-gain", "x"], "--min-gain"),
            ([*ATTACK, "--mean", "0.5;0.4"], "--mean"),
            (["inspect", "model.onnx", "--data", "data.npz", "--std", "1/"], "--std"),
            (["verify", "model.onnx", "patched.onnx", "--data", "data.npz", "--mean", "m"], "--mean"),
            (["patch", "model.onnx", "--jump", "x"], "--jump"),
        ],
    )
    @pytest.mark.usefixtures("folder")
    def test_bad_ones_are_one_line(self, arguments: list[str], option: str, capsys: Captured) -> None:
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith(f"onnx-jumprelu: Invalid value for '{option}'") or option in captured.err
        assert captured.err.count("\n") == 1


class TestGroups:
    @pytest.mark.parametrize("name", ["attack", "tune", "validate"])
    def test_commands_that_run_a_model_have_the_same_options(self, name: str) -> None:
        shared = {each.name for each in fields(TargetOptions)} | {each.name for each in fields(ResultOptions)}
        assert shared | {"n_examples", "seed", "norm", "eps"} <= set(options_of(name))

    def test_a_shared_option_is_the_same_everywhere(self) -> None:
        seen: dict[str, dict[str, str]] = {}
        group: Any = typer.main.get_command(app)
        for name in group.commands:
            for option, parameter in options_of(name).items():
                seen.setdefault(option, {})[name] = f"{parameter.opts}{parameter.rich_help_panel}{parameter.metavar}"
        different = {option for option, forms in seen.items() if len(set(forms.values())) > 1}
        # Arguments, and outputs of different kinds; a limit to search for and a gate.
        assert different <= {"model", "patched", "max_drop", "help"}

    def test_a_new_option_of_a_group_reaches_the_command(self) -> None:
        @dataclass(frozen=True)
        class Toy(OptionGroup):
            strength: Annotated[float, NUMBER, typer.Option(help="How strong.")] = 1.0
            label: Annotated[str | None, typer.Option("--label", "-l")] = None

        seen: list[object] = []

        @command
        def run(*, toy: Toy, count: int = 3) -> None:
            """Run a toy."""
            seen.append((toy, count))

        program = typer.Typer(add_completion=False)
        program.command()(run)
        program(["--strength", "1/2", "-l", "x", "--count", "4"], standalone_mode=False)
        program([], standalone_mode=False)
        assert seen == [(Toy(0.5, "x"), 4), (Toy(), 3)]
        assert inspect.getdoc(run) == "Run a toy."

    def test_the_target_has_them_all(self, tmp_path: Path) -> None:
        chosen = TargetOptions(
            mean=(0.5,),
            std=(2.0,),
            bounds=(-1.0, 1.0),
            input_name="x",
            output_name="y",
            providers=("CPUExecutionProvider",),
            threads=2,
            batch_size=7,
        )
        target = chosen.target(tmp_path / "m.onnx", "relu")
        for each in fields(TargetOptions):
            if not each.name.startswith("old_"):
                assert getattr(target, each.name) == getattr(chosen, each.name), each.name
        assert target.surrogate == "relu"
        assert TargetOptions(old_input="x").target(tmp_path / "m.onnx").input_name == "x"

    @pytest.mark.usefixtures("folder")
    def test_the_batch_size_counts(self, capsys: Captured) -> None:
        assert main([*ATTACK, "--eps", "0.1", "--batch-size", "3", "--threads", "1", "--json", "-"]) == 0
        small = json.loads(capsys.readouterr().out)
        assert main([*ATTACK, "--eps", "0.1", "--json", "-"]) == 0
        assert {**small, "seconds": 0} == {**json.loads(capsys.readouterr().out), "seconds": 0}
        assert main([*ATTACK, "--eps", "0.1", "--batch-size", "0"]) == 2


PANELS = {
    "inspect": ["Arguments", "Data", "Output"],
    "patch": ["Arguments", "JumpReLU", "Data", "Effort", "Output"],
    "revert": ["Arguments", "Output"],
    "verify": ["Arguments", "Data", "Effort", "Output"],
    "attack": ["Arguments", "Data", "Model", "Threat", "Effort", "Output"],
    "tune": ["Arguments", "Data", "Model", "Threat", "Effort", "Reports", "Output"],
    "validate": ["Arguments", "Data", "Model", "Threat", "Effort", "Gates", "Reports", "Output"],
    "demo": ["Output"],
}


class TestHelp:
    @pytest.mark.parametrize("name", PANELS)
    @pytest.mark.parametrize("width", ["80", "120"])
    def test_panels(self, name: str, width: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", width)
        assert main([name, "--help"]) == 0
        out = capsys.readouterr().out
        assert re.findall(r"^╭─ (\w+) ─", out, re.MULTILINE) == PANELS[name]
        assert all(len(line) <= int(width) for line in out.splitlines())
        assert "--input " not in out
        assert "--output-file" not in out

    def test_attack_names_every_attack(self) -> None:
        assert attack.ATTACKS.split(", ") == list(ATTACKS)
        assert attack.PAPER_ATTACKS.split(", ") == list(PAPER_ATTACKS)


class TestCompletion:
    def complete(self, words: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> set[str]:
        monkeypatch.setenv("_ONNX_JUMPRELU_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
        with pytest.raises(SystemExit):
            main([])
        return set(capsys.readouterr().out.split())

    def test_commands_options_and_names(self, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.complete("onnx-jumprelu va", capsys, monkeypatch) == {"validate"}
        assert self.complete("onnx-jumprelu attack --attack apgd", capsys, monkeypatch) == {
            "apgd-ce",
            "apgd-dlr",
            "apgd-t",
        }
        assert "--input-name" in self.complete("onnx-jumprelu attack --inp", capsys, monkeypatch)
        assert self.complete("onnx-jumprelu attack --norm L", capsys, monkeypatch) == {"L2", "Linf"}
        assert self.complete("onnx-jumprelu validate --attacks st", capsys, monkeypatch) == {"standard"}

    def test_it_can_be_shown(self, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SHELL", "/bin/bash")
        assert main(["--help"]) == 0
        assert "--install-completion" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
class TestStdout:
    def test_markdown_alone(self, capsys: Captured) -> None:
        assert main([*VALIDATE, "--markdown", "-"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("#")
        assert out.count("\n## ") or out.count("\n# ") or "|" in out
        assert main([*VALIDATE, "--markdown", "v.md"]) == 0
        assert "Robust accuracy per attack" in capsys.readouterr().out

    def test_junit_alone_with_quiet_too(self, capsys: Captured) -> None:
        assert main([*VALIDATE, "--junit", "-", "--min-clean", "0.5", "--quiet", "--json", "v.json"]) == 0
        assert next(ET.fromstring(capsys.readouterr().out).iter("testcase")).get("name")  # noqa: S314 - our own
        assert json.loads(Path("v.json").read_text())["gates"]

    def test_csv_alone(self, capsys: Captured) -> None:
        assert main([*TUNE, "--csv", "-"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("family,")
        assert "No jump" not in out

    def test_a_recipe_alone(self, capsys: Captured) -> None:
        assert main([*TUNE, "-o", "-"]) == 0
        assert "default" in json.loads(capsys.readouterr().out)

    @pytest.mark.parametrize(
        ("arguments", "option"),
        [([*ATTACK, "--eps", "0.1", "-o", "-"], "--output"), ([*VALIDATE, "--state", "-"], "--state")],
    )
    def test_what_cannot_be_printed(self, arguments: list[str], option: str, capsys: Captured) -> None:
        assert main(arguments) == 2
        assert f"{option} needs a file; it cannot be printed" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "options"),
        [
            ([*VALIDATE, "--markdown", "-", "--json", "-"], "--markdown and --json"),
            ([*VALIDATE, "--markdown", "-", "--junit", "-"], "--junit and --markdown"),
            ([*TUNE, "--csv", "-", "--json", "-"], "--csv and --json"),
        ],
    )
    def test_only_one_result_is_printed(self, arguments: list[str], options: str, capsys: Captured) -> None:
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert f"only one result can go to the standard output, not {options}" in captured.err
        assert captured.err.count("\n") == 1
        assert captured.out == ""
        assert not Path("model.recipe.json").exists()


@pytest.mark.usefixtures("folder")
class TestConcerns:
    """Said on stderr before the work, whatever `--quiet` and `--json` say."""

    @pytest.mark.parametrize("arguments", [[*ATTACK, "--eps", "0.05"], VALIDATE, TUNE])
    def test_they_are_said(self, arguments: list[str], capsys: Captured) -> None:
        assert main([*arguments, "--quiet", "--n-examples", "40"]) == 0
        assert capsys.readouterr() == ("", "")
        assert main([*arguments, "--quiet", "--n-examples", "50", "--eps", "0.6"]) == 0
        captured = capsys.readouterr()
        assert captured.out == ""
        lines = captured.err.splitlines()
        assert len(lines) == 2
        assert lines[0] == (
            "onnx-jumprelu: warning: data.npz: has 40 examples, fewer than the 50 asked for; all are used"
        )
        assert lines[1].startswith("onnx-jumprelu: warning: eps 0.6 is at least half of the data's range (0 to 1)")


@pytest.mark.usefixtures("folder")
def test_an_output_that_is_not_a_model_is_kept(capsys: Captured) -> None:
    notes = Path("notes.txt")
    notes.write_text("precious")
    for words in (["patch", "model.onnx", "--jump", "0.1"], ["revert", "patched.onnx"]):
        assert main([*words, "-o", "notes.txt"]) == 2
        assert "notes.txt: already exists and is not an ONNX model" in capsys.readouterr().err
        assert notes.read_text() == "precious"
    assert main(["patch", "model.onnx", "--jump", "0.1", "-o", "notes.txt", "--force", "-q"]) == 0
    assert onnx.load(notes).graph.node


@pytest.mark.usefixtures("folder")
class TestOneModel:
    """`validate MODEL` measures a model without a patched one."""

    ONE = ("validate", "model.onnx", "--data", "data.npz", "--attacks", "fgsm,square", "--eps", "1/20")

    def test_measured(self, capsys: Captured) -> None:
        options = [
            "--json",
            "v.json",
            "--markdown",
            "v.md",
            "--junit",
            "v.xml",
            "--min-robust",
            "0",
            "--min-clean",
            "1",
        ]
        assert main([*self.ONE, *options]) == 0
        captured = capsys.readouterr()
        assert re.fullmatch(r"validating: 2 attacks on 40 examples, at most about 0:\d\d\n", captured.err)
        assert captured.out.startswith("Measured")
        content = json.loads(Path("v.json").read_text())
        assert content["verdict"] == "measured"
        assert content["models"] == {"model": "model.onnx"}
        assert [gate["ok"] for gate in content["gates"]] == [True, True]
        assert "original" not in Path("v.md").read_text()
        assert not Path("model.partial.json").exists()

    def test_a_gate_that_fails(self, capsys: Captured) -> None:
        assert main([*self.ONE, "--min-robust", "1"]) == 1
        assert re.search(r"^Measured; gates failed: min-robust: ", capsys.readouterr().err, re.MULTILINE)

    def test_a_gate_on_a_pair_is_refused(self, capsys: Captured) -> None:
        assert main([*self.ONE, "--min-gain", "0"]) == 2
        assert "min_gain compares two models, and only one was given" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("models", "note"),
        [
            (("model.onnx", "model.onnx"), "Both models are the same file"),
            (("patched.onnx", "model.onnx"), "Were they swapped?"),
        ],
    )
    def test_the_same_model_twice_and_swapped_ones_are_noticed(
        self, models: tuple[str, str], note: str, capsys: Captured
    ) -> None:
        command = ["validate", *models, "--data", "data.npz", "--attacks", "fgsm", "--eps", "0.05"]
        assert main([*command, "--json", "v.json"]) == 0
        captured = capsys.readouterr()
        assert note in captured.err.splitlines()[0], "before the work"
        assert note in " ".join(captured.out.split())
        assert any(note in each for each in json.loads(Path("v.json").read_text())["notes"])
