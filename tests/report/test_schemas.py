"""Every JSON result of every command fits the schema that it names, and the schemas describe every key."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from onnx_jumprelu.cli import main
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.report import as_json
from onnx_jumprelu.report.schemas import json_schema, schema_names
from onnx_jumprelu.verdict.checkpoint import Checkpoint, FinishedAttack
from onnx_jumprelu.verdict.result import Verdict
from onnx_jumprelu.version import __version__
from tests.report.verdicts import ALL

N_EXAMPLES = 24


def closed(schema: Any) -> Any:  # noqa: ANN401 - any part of a JSON schema
    """The schema without room for keys that it does not describe."""
    if isinstance(schema, list):
        return [closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    return {**inner, "additionalProperties": False} if "properties" in schema and "required" in schema else inner


def check(content: dict[str, Any], name: str) -> None:
    assert (content["schema"], content["version"]) == (f"onnx-jumprelu/{name}/1", __version__)
    jsonschema.validate(content, closed(json_schema(name)), jsonschema.Draft202012Validator)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """A folder with `model.onnx`, `patched.onnx`, `val.npz` and `data.npz`."""
    folder = tmp_path_factory.mktemp("schemas")
    (folder / "model.onnx").write_bytes((samples / "digits_cnn.onnx").read_bytes())
    with np.load(samples / "digits.npz") as arrays:
        np.savez(folder / "data.npz", x=arrays["x"][:N_EXAMPLES], y=arrays["y"][:N_EXAMPLES])
        np.savez(folder / "val.npz", x=arrays["x_val"][:N_EXAMPLES], y=arrays["y_val"][:N_EXAMPLES])
    assert main(["patch", str(folder / "model.onnx"), "--jump", "0.75", "-o", str(folder / "patched.onnx")]) == 0
    return folder


COMMANDS = [
    ("inspection", ["inspect", "model.onnx"]),
    ("inspection", ["inspect", "patched.onnx"]),
    ("inspection", ["inspect", "model.onnx", "--data", "val.npz"]),
    ("patch", ["patch", "model.onnx", "--jump", "0.5", "-o", "other.onnx", "--exclude", "*1*", "--jump-input"]),
    ("revert", ["revert", "patched.onnx", "-o", "reverted.onnx"]),
    ("verification", ["verify", "model.onnx", "patched.onnx"]),
    ("attack", ["attack", "patched.onnx", "--data", "data.npz", "--attack", "fgsm", "--eps", "0.1"]),
    ("attack", ["attack", "model.onnx", "--data", "data.npz", "--protocol", "paper", "--attack", "ifgsm"]),
    (
        "verdict",
        [
            *("validate", "model.onnx", "patched.onnx", "--data", "data.npz", "--eps", "0.1"),
            *("--attacks", "fgsm,square", "--min-clean", "0.1", "--max-drop", "1"),
        ],
    ),
]


@pytest.mark.parametrize(
    ("name", "command"), COMMANDS, ids=[f"{name}-{index}" for index, (name, _) in enumerate(COMMANDS)]
)
def test_output_of_commands(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, command: list[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main([*command, "--quiet", "--json", "-"]) == 0
    check(json.loads(capsys.readouterr().out), name)


def test_several_models_give_a_list(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    (folder / "broken.onnx").write_bytes(b"no model")
    command = ["patch", "model.onnx", "broken.onnx", "--jump", "0.5", "--out-dir", "several", "--json", "-"]
    assert main(command) == 1
    results = json.loads(capsys.readouterr().out)
    for result in results:
        check(result, "patch")
    assert [result["error"] is None for result in results] == [True, False]


@pytest.mark.parametrize("verdict", ALL.values(), ids=ALL)
@pytest.mark.parametrize("per_example", [False, True])
def test_verdicts_of_every_kind(verdict: Verdict, per_example: bool) -> None:  # noqa: FBT001 - pytest passes it
    check(as_json.verdict(verdict, per_example=per_example), "verdict")


def test_per_example_outcomes_are_those_that_the_shares_count() -> None:
    verdict = next(iter(ALL.values()))
    content = as_json.verdict(verdict, per_example=True)
    for model in verdict.models:
        robust = content["per_example"]["robust"][model]
        assert robust.count("1") / len(robust) == content["worst_case"][model]
        correct = content["per_example"]["correct"][model]
        assert correct.count("1") / len(correct) == content["clean_accuracy"][model]
    for row in content["attacks"]:
        assert row["success"].count("0") / len(row["success"]) == row["robust_accuracy"]


def test_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "state.json")
    checkpoint.open({"examples": "2"})
    fooled = np.asarray([True, False])
    checkpoint.keep("0/0/0/original", FinishedAttack(fooled, fooled, 0.5, 1.0))
    checkpoint.keep("0/0/0/model", FinishedAttack(fooled, None, None, 1.0))
    check(json.loads((tmp_path / "state.json").read_text(encoding="utf-8")), "checkpoint")


def broken(content: object) -> Iterator[object]:
    """The same content with each key of each object left out in turn."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield {name: entry for name, entry in content.items() if name != key}
            yield from ({**content, key: inner} for inner in broken(value))
    elif isinstance(content, list) and content:
        yield from ([inner, *content[1:]] for inner in broken(content[0]))


@pytest.mark.parametrize("name", [name for name in schema_names() if name != "demo"])
def test_schemas_are_schemas_and_can_fail(name: str) -> None:
    schema = json_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema"] == {"const": f"onnx-jumprelu/{name}/1"}
    assert {"schema", "version"} <= set(schema["required"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({}, schema)


def test_a_key_that_is_missing_is_noticed() -> None:
    verdict = as_json.verdict(next(iter(ALL.values())))
    schema = json_schema("verdict")
    optional = {"original", "patched", "model"}  # and maps by model or by kind, whose keys are data
    noticed = 0
    for content in broken(copy.deepcopy(verdict)):
        noticed += not jsonschema.Draft202012Validator(schema).is_valid(content)
    assert noticed > len(verdict) + len(verdict["attacks"][0]) - len(optional)


def test_an_unknown_schema() -> None:
    with pytest.raises(OptionError, match="there is no JSON schema 'magic'; choose attack, checkpoint"):
        json_schema("magic")
