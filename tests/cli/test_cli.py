"""The command line as a user meets it: output, exit codes, and one line for everything that is wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import jsonschema
import numpy as np
import onnx
import pytest

from onnx_jumprelu.activation.lowering import Lowering, LoweringSite
from onnx_jumprelu.activation.lowerings import LOWERINGS
from onnx_jumprelu.cli import main
from onnx_jumprelu.graphs.builder import GraphBuilder
from onnx_jumprelu.names import LoweringName
from onnx_jumprelu.report import text_tables
from onnx_jumprelu.report.schemas import json_schema
from onnx_jumprelu.verification.verify import verify
from onnx_jumprelu.version import __version__
from tests.models import NESTED, RELU, parse, single, with_external_weights

Captured = pytest.CaptureFixture[str]
# What the JSON result says of a patched site in addition to its name and jump.
HARD = {"softness": 0.0, "center": 0.0, "jump_input": None, "softness_input": None, "center_input": None}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some models, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    onnx.save(parse(RELU), "relu.onnx")
    onnx.save(parse(NESTED), "nested.onnx")
    onnx.save(single("Sigmoid"), "sigmoid.onnx")
    onnx.save(single("LeakyRelu"), "leaky.onnx")
    Path("bad.onnx").write_text("not a model")
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"a folder"
        for path in folder.rglob("*")
    }


class TestInspect:
    def test_table(self, folder: Path, capsys: Captured) -> None:
        del folder
        assert main(["inspect", "nested.onnx"]) == 0
        out = capsys.readouterr().out
        assert "nested.onnx: 7 activation sites, 7 patchable" in out
        assert re.search(r"deep_out +main/b\.then_branch/inner\.then_branch +Relu +float32 +N x 4 +patchable", out)

    def test_reasons(self, folder: Path, capsys: Captured) -> None:
        del folder
        assert main(["inspect", "leaky.onnx"]) == 0
        assert "not patchable: alpha is 0.01, not 0" in capsys.readouterr().out

    def test_nothing(self, folder: Path, capsys: Captured) -> None:
        del folder
        assert main(["inspect", "sigmoid.onnx"]) == 0
        assert capsys.readouterr().out == "sigmoid.onnx: 0 activation sites, 0 patchable\n"

    def test_json(self, folder: Path, capsys: Captured) -> None:
        assert main(["inspect", "relu.onnx", "--json", "-"]) == 0
        content = json.loads(capsys.readouterr().out)
        assert content["model"] == "relu.onnx"
        assert content["sites"] == [
            {"name": "y", "scope": "main", "form": "Relu", "tensor": "y", "input": "x", "dtype": "float32",
             "shape": ["N", 4], "cap": None, "patchable": True, "reason": None, "jump": None,
             "softness": None, "center": None}
        ]  # fmt: skip
        assert main(["inspect", "relu.onnx", "--json", "sites.json", "--quiet"]) == 0
        assert capsys.readouterr().out == ""
        assert json.loads((folder / "sites.json").read_text()) == content

    def test_a_patched_model_shows_its_jumps(self, folder: Path, capsys: Captured) -> None:
        del folder
        main(["patch", "relu.onnx", "--jump", "0.5", "-q"])
        assert main(["inspect", "relu.jumprelu.onnx"]) == 0
        assert "JumpReLU, jump 0.5" in capsys.readouterr().out


class TestPatch:
    def test_one(self, folder: Path, capsys: Captured) -> None:
        before = (folder / "relu.onnx").read_bytes()
        assert main(["patch", "relu.onnx", "--jump", "0.5"]) == 0
        assert "relu.onnx -> relu.jumprelu.onnx: 1 site patched (where)" in capsys.readouterr().out
        assert [node.op_type for node in onnx.load("relu.jumprelu.onnx").graph.node][-2:] == ["Greater", "Where"]
        assert (folder / "relu.onnx").read_bytes() == before

    def test_json(self, folder: Path, capsys: Captured) -> None:
        del folder
        assert main(["patch", "relu.onnx", "--jump", "0.5", "--json", "-"]) == 0
        assert json.loads(capsys.readouterr().out) == {
            "schema": "onnx-jumprelu/patch/1", "version": __version__,
            "input": "relu.onnx", "output": "relu.jumprelu.onnx", "lowering": "where",
            "sites": [{"name": "y", "jump": 0.5, **HARD}], "skipped": [],
            "repatched": False, "notes": [], "verified": False, "error": None,
        }  # fmt: skip

    @pytest.mark.parametrize("lowering", get_args(LoweringName))
    def test_lowerings(self, folder: Path, lowering: str) -> None:
        del folder
        assert main(["patch", "relu.onnx", "--jump", "0.5", "-o", "out.onnx", "--lowering", lowering, "--verify"]) == 0
        assert main(["verify", "relu.onnx", "out.onnx"]) == 0

    def test_the_lowerings_are_those_of_the_library(self) -> None:
        assert get_args(LoweringName) == ("auto", *LOWERINGS)

    def test_one_model_found_by_a_glob_may_be_named(self, folder: Path) -> None:
        assert main(["patch", "rel*.onnx", "--jump", "0.5", "-o", "named.onnx"]) == 0
        assert (folder / "named.onnx").is_file()

    def test_recipe_include_exclude(self, folder: Path, capsys: Captured) -> None:
        (folder / "recipe.json").write_text('{"default": 0.5, "sites": {"deep*": 1.5}}')
        command = ["patch", "nested.onnx", "--recipe", "recipe.json", "--include", "*out*", "--exclude", "out2"]
        assert main([*command, "--json", "-"]) == 0
        content = json.loads(capsys.readouterr().out)
        assert content["sites"] == [
            {"name": "out", "jump": 0.5, **HARD},
            {"name": "deep_out", "jump": 1.5, **HARD},
        ]
        assert {site["reason"] for site in content["skipped"]} == {"excluded", "not included"}

    def test_other_switches(self, folder: Path) -> None:
        del folder
        assert main(["patch", "relu.onnx", "--jump", "0.5", "-o", "in.onnx", "--jump-input", "--keep-nan"]) == 0
        model = onnx.load("in.onnx")
        assert [value.name for value in model.graph.input] == ["x", "jump"]
        assert "LessOrEqual" in {node.op_type for node in model.graph.node}

    def test_dry_run(self, folder: Path, capsys: Captured) -> None:
        before = files(folder)
        assert main(["patch", "relu.onnx", "--jump", "0.5", "--dry-run"]) == 0
        assert "nothing written (dry run)" in capsys.readouterr().out
        assert files(folder) == before

    def test_in_place_and_again(self, folder: Path, capsys: Captured) -> None:
        before = (folder / "relu.onnx").read_bytes()
        assert main(["patch", "relu.onnx", "--jump", "0.5", "--in-place"]) == 0
        assert main(["patch", "relu.onnx", "--jump", "1.0", "--in-place"]) == 0
        assert "patched before" in capsys.readouterr().out
        assert main(["revert", "relu.onnx", "--in-place"]) == 0
        assert (folder / "relu.onnx").read_bytes() == before

    def test_many(self, folder: Path, capsys: Captured) -> None:
        assert main(["patch", ".", "--jump", "0.5", "--out-dir", "out", "--jobs", "2", "--json", "result.json"]) == 1
        captured = capsys.readouterr()
        assert "2 models patched, 3 failed" in captured.out
        assert [line.split(":")[1].strip() for line in captured.err.splitlines()] == [
            "bad.onnx",
            "leaky.onnx",
            "sigmoid.onnx",
        ]
        assert sorted(path.name for path in (folder / "out").iterdir()) == [
            "nested.jumprelu.onnx",
            "relu.jumprelu.onnx",
        ]
        content = json.loads((folder / "result.json").read_text())
        assert [entry["output"] is None for entry in content] == [True, True, False, False, True]

    def test_many_good_ones(self, folder: Path, capsys: Captured) -> None:
        del folder
        assert main(["patch", "relu.onnx", "nest*.onnx", "--jump", "0.5"]) == 0
        assert "2 models patched, 0 failed" in capsys.readouterr().out

    def test_external_data(self, folder: Path) -> None:
        with_external_weights(folder / "in")
        (folder / "out").mkdir()
        patch = ["patch", "in/model.onnx", "--jump", "0.5", "--verify"]
        assert main([*patch, "-o", "out/m.onnx", "--external-data", "copy"]) == 0
        assert (folder / "in" / "weights.bin").read_bytes() == (folder / "out" / "weights.bin").read_bytes()
        assert main(patch) == 0


class TestRevert:
    def test_says_that_the_bytes_are_the_originals(self, folder: Path, capsys: Captured) -> None:
        main(["patch", "nested.onnx", "--jump", "0.5", "-q"])
        assert main(["revert", "nested.jumprelu.onnx", "-o", "back.onnx"]) == 0
        assert "the very bytes" in capsys.readouterr().out
        assert (folder / "back.onnx").read_bytes() == (folder / "nested.onnx").read_bytes()

    def test_json(self, folder: Path, capsys: Captured) -> None:
        del folder
        main(["patch", "relu.onnx", "--jump", "0.5", "-q"])
        assert main(["revert", "relu.jumprelu.onnx", "--json", "-"]) == 0
        content = json.loads(capsys.readouterr().out)
        assert content == {
            "schema": "onnx-jumprelu/revert/1", "version": __version__,
            "input": "relu.jumprelu.onnx", "output": "relu.reverted.onnx", "identical": True,
        }  # fmt: skip


class TestColor:
    def test_only_on_a_terminal(self, folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
        del folder
        main(["patch", "relu.onnx", "--jump", "0.5", "-q"])
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        assert main(["verify", "relu.onnx", "relu.jumprelu.onnx"]) == 0
        assert "\x1b" not in capsys.readouterr().out
        for patched, mark in (("relu.jumprelu.onnx", "\x1b[32mok"), ("relu.onnx", "\x1b[31mFAILED")):
            report = verify("relu.onnx", patched)
            assert mark in text_tables.verification(report, color=True)
            assert "\x1b" not in text_tables.verification(report, color=False)


class TestVerify:
    def test_right(self, folder: Path, capsys: Captured) -> None:
        del folder
        main(["patch", "relu.onnx", "--jump", "0.5", "-q"])
        assert main(["verify", "relu.onnx", "relu.jumprelu.onnx"]) == 0
        out = capsys.readouterr().out
        assert "verified: the rewrite is right" in out
        assert "discontinuity" in out

    def test_wrong(self, folder: Path, capsys: Captured) -> None:
        del folder
        main(["patch", "relu.onnx", "--jump", "0.5", "-q"])
        model = onnx.load("relu.jumprelu.onnx")
        next(node for node in model.graph.node if node.op_type == "Greater").op_type = "Less"
        onnx.save(model, "wrong.onnx")
        assert main(["verify", "relu.onnx", "wrong.onnx", "--json", "-"]) == 1
        content = json.loads(capsys.readouterr().out)
        assert content["ok"] is False
        assert {check["name"]: check["ok"] for check in content["checks"]}["sites"] is False

    def test_data(self, folder: Path, capsys: Captured) -> None:
        np.savez(folder / "d.npz", x=np.arange(80, dtype=np.uint8).reshape(20, 4))
        main(["patch", "relu.onnx", "--jump", "0.5", "-q"])
        command = ["verify", "relu.onnx", "relu.jumprelu.onnx", "--data", "d.npz", "--mean", "0.1", "--std", "0.2"]
        assert main(command) == 0
        assert "the given inputs" in capsys.readouterr().out

    def test_data_for_several_inputs(self, folder: Path, capsys: Captured) -> None:
        main(["patch", "nested.onnx", "--jump", "0.5", "-q"])
        np.savez(folder / "d.npz", x=np.ones((1, 4), np.float32), flag=np.asarray(True), trips=np.asarray(2))
        assert main(["verify", "nested.onnx", "nested.jumprelu.onnx", "--data", "d.npz"]) == 0
        assert "the given inputs" in capsys.readouterr().out
        np.savez(folder / "d.npz", x=np.ones((1, 4), np.float32), flag=np.asarray(True))
        assert main(["verify", "nested.onnx", "nested.jumprelu.onnx", "--data", "d.npz"]) == 2
        assert "d.npz: the model has 3 inputs (x, flag, trips); give an array for each" in capsys.readouterr().err
        two = parse(
            """<ir_version: 8, opset_import: ["" : 17]> net (float[N] a, float[N] b) => (float[N] y)
            { c = Add(a, b)  y = Relu(c) }"""
        )
        onnx.save(two, "two.onnx")
        main(["patch", "two.onnx", "--jump", "0.5", "-q"])
        np.savez(folder / "d.npz", a=np.ones(20, np.float32), b=np.ones(20, np.float32))
        assert main(["verify", "two.onnx", "two.jumprelu.onnx", "--data", "d.npz"]) == 0
        assert "the given inputs" in capsys.readouterr().out

    def test_patch_verifies_on_given_inputs(self, folder: Path, capsys: Captured) -> None:
        far = parse(
            """<ir_version: 8, opset_import: ["" : 17]> net (int64[N] ids, float[N, 2] b) => (float[N, 2] y)
            <float[2, 2] table = {1, -2, 0.25, 3}, int64 far = {1000}>
            { near = Sub(ids, far)  a = Gather(table, near)  c = Add(a, b)  y = Relu(c) }"""
        )
        onnx.save(far, "far.onnx")
        before = files(folder)
        command = ["patch", "far.onnx", "--jump", "0.5", "--verify"]
        assert main(command) == 1
        error = capsys.readouterr().err
        assert "far.onnx: nothing written, the check 'sites' could not be made" in error
        assert "give --data FILE.npz with real ones for: ids, b" in error
        assert error.count("\n") == 1
        assert files(folder) == before
        np.savez(folder / "d.npz", ids=np.full(20, 1001), b=np.zeros((20, 2), np.float32))
        assert main([*command, "--data", "d.npz"]) == 0
        assert "Verified before it was written." in capsys.readouterr().out
        assert main(["verify", "far.onnx", "far.jumprelu.onnx"]) == 1
        assert "NOT verified: not comparable" in capsys.readouterr().out
        np.savez(folder / "d.npz", ids=np.full(20, 3), b=np.zeros((20, 2), np.float32))
        assert main([*command, "--data", "d.npz"]) == 2
        assert "far.onnx: d.npz: the original does not run on the given inputs" in capsys.readouterr().err

    def test_patch_verifies_on_normalized_data(self, folder: Path, capsys: Captured) -> None:
        np.savez(folder / "d.npz", x=np.arange(80, dtype=np.uint8).reshape(20, 4))
        command = ["patch", "relu.onnx", "--jump", "0.5", "--data", "d.npz", "--mean", "0.1", "--std", "0.2"]
        assert main([*command, "--verify"]) == 0
        assert main([*command, "--verify", "--std", "0"]) == 2
        assert "std: every value must be above 0" in capsys.readouterr().err

    def test_a_failed_verification_writes_nothing(
        self, folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(LOWERINGS, "where", Lowering(_greater_or_equal, lambda _: None))
        before = files(folder)
        assert main(["patch", "relu.onnx", "--jump", "0.5", "--verify"]) == 1
        assert "nothing written, the check 'sites' failed" in capsys.readouterr().err
        assert files(folder) == before


def _greater_or_equal(site: LoweringSite, to: GraphBuilder) -> str:
    mask = to.op("GreaterOrEqual", [site.x, site.operand("jump", to)], "mask")
    return to.op("Where", [mask, site.x, site.constant(0.0, "zero", to)], "wrong")


@pytest.mark.slow
def test_demo_tells_the_story_and_its_commands_work(folder: Path, capsys: Captured) -> None:
    assert main(["demo", "--json", "story.json"]) == 0
    out = capsys.readouterr().out
    for part in ("5 activation sites", "5 sites patched", "verified: the rewrite is right", "worst case"):
        assert part in out
    assert re.search("Gain shown|Loss shown|Undecided", out)
    assert (folder / "onnx-jumprelu-demo" / "digits_cnn.jumprelu.onnx").is_file()
    content = json.loads((folder / "story.json").read_text())
    assert list(content) == ["schema", "version", "inspect", "tune", "patch", "verify", "validate"]
    schemas = {"inspect": "inspection", "tune": "tuning", "patch": "patch", "verify": "verification"}
    for step, name in {**schemas, "validate": "verdict"}.items():
        jsonschema.validate(content[step], json_schema(name), jsonschema.Draft202012Validator)
    jsonschema.validate(content, json_schema("demo"), jsonschema.Draft202012Validator)
    assert content["verify"]["ok"]
    assert content["validate"]["complete"]
    commands = re.findall(r"^\$ onnx-jumprelu (.*)$", out, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["inspect", "tune", "patch", "verify", "validate"]
    for command in commands:
        words = command.split()
        cheap = {"tune": ["--trials", "2"], "validate": ["--attacks", "fgsm"]}.get(words[0], [])
        assert main([*words, *cheap]) == 0


BAD: dict[str, tuple[list[str], str]] = {
    "not ONNX": (["patch", "bad.onnx", "--jump", "1"], "bad.onnx: is not an ONNX model"),
    "not ONNX, spelled in another way": (["patch", "./bad.onnx", "--jump", "1"], "bad.onnx: is not an ONNX model"),
    "missing": (["inspect", "none.onnx"], "none.onnx: cannot be read"),
    "a directory": (["inspect", "."], ".: is a directory"),
    "negative jump": (["patch", "relu.onnx", "--jump", "-1"], "must be a finite number of at least 0"),
    "NaN jump": (["patch", "relu.onnx", "--jump", "nan"], "must be a finite number of at least 0"),
    "no number": (["patch", "relu.onnx", "--jump", "big"], "--jump"),
    "no jump": (["patch", "relu.onnx"], "give --jump NUMBER, --softness NUMBER or both"),
    "both": (["patch", "relu.onnx", "--jump", "1", "--recipe", "r.json"], "give --jump NUMBER"),
    "unknown site": (
        ["patch", "relu.onnx", "--recipe", "unknown.json"],
        "names 'conv9', which matches no site; the sites are: y",
    ),
    "no recipe": (["patch", "relu.onnx", "--recipe", "none.json"], "none.json: cannot read the recipe"),
    "unknown pattern": (["patch", "relu.onnx", "--jump", "1", "--include", "z*"], "include names 'z*'"),
    "no activation": (
        ["patch", "sigmoid.onnx", "--jump", "1"],
        "sigmoid.onnx: has no activation that JumpReLU can replace",
    ),
    "none patchable": (
        ["patch", "leaky.onnx", "--jump", "1"],
        "none of its activations (1) is patched; 'act': alpha is 0.01",
    ),
    "no folder": (["patch", "relu.onnx", "--jump", "1", "-o", "none/x.onnx"], "the folder none does not exist"),
    "a device": (["patch", "relu.onnx", "--jump", "1", "-o", "/dev/null"], "is not a regular file"),
    "the input": (["patch", "relu.onnx", "--jump", "1", "-o", "./relu.onnx"], "is the input"),
    "out dir is a file": (
        ["patch", "relu.onnx", "--jump", "1", "--out-dir", "bad.onnx"],
        "bad.onnx: cannot create the folder",
    ),
    "many to one": (["patch", "relu.onnx", "nested.onnx", "--jump", "1", "-o", "x.onnx"], "-o names one output"),
    "two targets": (
        ["patch", "relu.onnx", "--jump", "1", "-o", "x.onnx", "--in-place"],
        "give only one of -o and --in-place",
    ),
    "no match": (["patch", "*.none", "--jump", "1"], "*.none: no model found"),
    "bad lowering": (["patch", "relu.onnx", "--jump", "1", "--lowering", "fancy"], "--lowering"),
    "impossible lowering": (
        ["patch", "relu.onnx", "--jump", "1", "--lowering", "thresholded-relu", "--keep-nan"],
        "thresholded-relu has no",
    ),
    "no jobs": (["patch", "relu.onnx", "--jump", "1", "--jobs", "0"], "--jobs"),
    "unknown option": (["patch", "relu.onnx", "--jmup", "1"], "--jmup"),
    "unknown command": (["pach", "relu.onnx"], "pach"),
    "nothing to revert": (["revert", "relu.onnx"], "relu.onnx: the model has no record of a patch"),
    "json nowhere": (["inspect", "relu.onnx", "--json", "none/x.json"], "none/x.json: cannot be written"),
    "verify what": (["verify", "relu.onnx", "none.onnx"], "none.onnx: cannot be read"),
    "data missing": (["verify", "relu.onnx", "relu.onnx", "--data", "none.npz"], "none.npz: cannot be read"),
    "mean without data": (
        ["verify", "relu.onnx", "relu.onnx", "--mean", "1"],
        "--mean and --std need inputs",
    ),
    "data without verify": (["patch", "relu.onnx", "--jump", "1", "--data", "two.npz"], "give one of these too"),
    "mean of a patch without data": (
        ["patch", "relu.onnx", "--jump", "1", "--verify", "--mean", "1"],
        "--mean and --std need inputs",
    ),
    "missing weights": (["patch", "in/model.onnx", "--jump", "1"], "its external data file is missing"),
    "huge jump": (["patch", "half.onnx", "--jump", "1e6"], "jump 1000000.0 is out of range for float16"),
    "json over the recipe": (
        ["patch", "relu.onnx", "--recipe", "unknown.json", "--json", "unknown.json"],
        "is an input",
    ),
    "json over weights": (["inspect", "relu.onnx", "--json", "bad.onnx"], "is not a JSON file"),
    "mean of named inputs": (
        ["verify", "two.onnx", "two.onnx", "--data", "two.npz", "--mean", "1"],
        "mean and std apply to an array 'x'",
    ),
    "out dir of a bad model": (["patch", "bad.onnx", "--jump", "1", "--out-dir", "new"], "is not an ONNX model"),
    "demo with a result nowhere": (["demo", "--out-dir", "new", "--json", "none/x.json"], "cannot be written"),
    "json over the model": (["inspect", "relu.onnx", "--json", "relu.onnx"], "relu.onnx: is an input"),
    "json over the output": (["patch", "relu.onnx", "--jump", "1", "--json", "relu.jumprelu.onnx"], "is an input"),
    "json nowhere after a patch": (["patch", "relu.onnx", "--jump", "1", "--json", "none/x.json"], "cannot be written"),
    "an empty name": (["patch", "", "--jump", "1", "--in-place"], "an empty name is not a model"),
    "demo nowhere": (["demo", "--out-dir", "bad.onnx"], "bad.onnx: cannot create the folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_2(folder: Path, capsys: Captured, case: str) -> None:
    arguments, message = BAD[case]
    (folder / "unknown.json").write_text('{"default": 1, "sites": {"conv9": 2}}')
    with_external_weights(folder / "in")
    (folder / "in" / "weights.bin").unlink()
    onnx.save(single("Relu", elem_type=onnx.TensorProto.FLOAT16), folder / "half.onnx")
    two = '<ir_version: 8, opset_import: ["" : 17]> net (float[N] a, float[N] b) => (float[N] y) { y = Add(a, b) }'
    onnx.save(parse(two), folder / "two.onnx")
    np.savez(folder / "two.npz", a=np.ones(2, np.float32), b=np.ones(2, np.float32))
    before = files(folder)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("onnx-jumprelu: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert files(folder) == before


class TestProgram:
    def test_version(self, capsys: Captured) -> None:
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"onnx-jumprelu {__version__}\n"

    @pytest.mark.parametrize("command", [[], ["inspect"], ["patch"], ["revert"], ["verify"], ["demo"]])
    def test_help(self, capsys: Captured, command: list[str]) -> None:
        assert main([*command, "--help"]) == 0
        assert "Usage" in capsys.readouterr().out

    @pytest.mark.parametrize("command", [[], ["patch"], ["validate"]])
    def test_help_shows_no_type_for_flags(self, capsys: Captured, command: list[str]) -> None:
        assert main([*command, "--help"]) == 0
        assert "bool" not in capsys.readouterr().out

    def test_help_imports_nothing_slow(self) -> None:
        script = (
            "import sys; from onnx_jumprelu.cli import main; main(['--help'])\n"
            "print(sorted({'numpy', 'onnx', 'onnxruntime', 'onnx_graphsurgeon', 'google'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
        assert done.stdout.splitlines()[-1] == "[]"

    def test_as_a_module_and_with_a_closed_pipe(self, folder: Path) -> None:
        inspect = f"{sys.executable} -m onnx_jumprelu inspect relu.onnx"
        for command in (inspect, f"{inspect} | true"):
            done = subprocess.run(  # noqa: S602 - our own interpreter
                command, shell=True, cwd=folder, capture_output=True, text=True, check=True, env=environment()
            )
            assert done.stderr == ""

    def test_a_full_or_narrow_output(self, folder: Path) -> None:
        model = single("Relu")
        model.graph.node[0].name = "ünï"
        onnx.save(model, folder / "u.onnx")
        inspect = f"{sys.executable} -m onnx_jumprelu inspect u.onnx"
        narrow = {**environment(), "PYTHONIOENCODING": "ascii"}
        done = subprocess.run(  # noqa: S602 - our own interpreter
            inspect, shell=True, cwd=folder, capture_output=True, text=True, check=True, env=narrow
        )
        assert done.stderr == ""
        done = subprocess.run(  # noqa: S602 - our own interpreter
            f"{inspect} > /dev/full", shell=True, cwd=folder, capture_output=True, text=True, check=False, env=narrow
        )
        assert done.returncode == 2
        assert done.stderr.startswith("onnx-jumprelu: the output cannot be written (No space left on device)")
        assert "Traceback" not in done.stderr

    def test_ctrl_c_stops_a_batch(self, folder: Path) -> None:
        count, content = 1000, parse(NESTED).SerializeToString()  # more than are done before a busy machine interrupts
        for number in range(count):
            (folder / f"m{number}.onnx").write_bytes(content)
        command = [sys.executable, "-m", "onnx_jumprelu", "patch", ".", "--jump", "1", "--out-dir", "out", "--verify"]
        with subprocess.Popen(  # noqa: S603 - our own interpreter
            [*command, "--jobs", "2"],
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            start_new_session=True,
            # A shell lets what it runs in the background ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one thread
        ) as program:
            while len(list(folder.glob("out/*.onnx"))) < 20:  # by then both workers have started
                assert program.poll() is None
                time.sleep(0.05)
            os.killpg(program.pid, signal.SIGINT)
            program.communicate(timeout=60)
        assert program.returncode != 0
        assert len(list(folder.glob("out/*.onnx"))) < count
        assert not list(folder.glob("out/.*"))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
