"""A result replaces an older result of its kind, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from onnx_jumprelu.errors import ModelFileError
from onnx_jumprelu.files.atomic import check_output, write_arrays, write_text
from onnx_jumprelu.files.json_records import stamped
from onnx_jumprelu.files.kinds import KINDS, MARK, FileKind, TextKind

RESULT = json.dumps(stamped("attack", {"eps": 0.1}), indent=2)
CHECKPOINT = json.dumps(stamped("checkpoint", {}))
# Per kind: an older result, a file of the same kind that somebody else wrote, and a file of another kind.
CASES: dict[TextKind, tuple[str, str, str]] = {
    "JSON": (RESULT, '{"name": "my-app", "dependencies": {}}', "<svg/>"),
    "checkpoint": (CHECKPOINT, "{}", "[1]"),
    "HTML": (
        '<!DOCTYPE html>\n<head><meta charset="utf-8">\n<meta name="generator" content="onnx-jumprelu">',
        "<!DOCTYPE html><head><title>My page</title>",
        "{}",
    ),
    "XML": ('<?xml version="1.0"?>\n<testsuites name="onnx-jumprelu validate">', "<testsuites/>", "# A note"),
    "SVG": (f'<?xml version="1.0"?>\n{MARK}\n<svg/>', "<svg/>", "{}"),
    "Markdown": (f"### Gain shown\n\n{MARK}\n", "# My project\n", "a note"),
    "CSV": ("family,stage,clean_accuracy,worst_case,front,chosen,a\n", "family,members\n", "name,value\n"),
}


def test_every_kind_has_a_case() -> None:
    assert set(CASES) == set(get_args(TextKind))
    assert set(KINDS) == {*CASES, ".npz"}


@pytest.mark.parametrize("kind", CASES)
def test_text_replaces_only_its_own_kind(kind: TextKind, tmp_path: Path) -> None:
    old, foreign, other = CASES[kind]
    target = tmp_path / "result"
    for content in ("", " \n", old):
        target.write_text(content)
        check_output(target, kind)
        write_text(target, "new", kind)
        assert target.read_text() == "new"
    if kind != "checkpoint":  # which is read as a whole before it is replaced
        refused(target, foreign, kind, "is not a result of this tool; give another output, or --force to replace it")
    for force in (False, True):
        refused(target, other, kind, f"already exists and is not a {kind} file; give another output", force=force)
    target.write_text(foreign)
    check_output(target, kind, force=True)
    write_text(target, "new", kind, force=True)
    assert target.read_text() == "new"


def refused(target: Path, content: str, kind: TextKind, message: str, *, force: bool = False) -> None:
    target.write_text(content)
    with pytest.raises(ModelFileError, match=message):
        check_output(target, kind, force=force)
    with pytest.raises(ModelFileError, match=message):
        write_text(target, "new", kind, force=force)
    assert target.read_text() == content


@pytest.mark.parametrize(
    "content",
    [
        RESULT.replace("onnx-jumprelu/", "my-tool/"),
        json.dumps({"note": 1, **json.loads(RESULT)}),  # the mark comes first in what this tool writes
        '{"schema": "onnx-jumprelu"}',
        '[[{"schema": "onnx-jumprelu/attack/1"}]]',
        CHECKPOINT,  # hours of work
        " " * 5000 + "{}",
    ],
)
def test_json_that_is_kept(content: str, tmp_path: Path) -> None:
    target = tmp_path / "result"
    target.write_text(content)
    with pytest.raises(ModelFileError, match="already exists and is not a"):
        write_text(target, "new", "JSON")
    assert target.read_text() == content


@pytest.mark.parametrize("results", [json.loads(RESULT), [json.loads(RESULT)]])
@pytest.mark.parametrize("indent", [None, 2, 4])
def test_json_is_recognised_however_it_is_indented(results: object, indent: int | None, tmp_path: Path) -> None:
    target = tmp_path / "result"
    target.write_text(json.dumps(results, indent=indent))
    check_output(target, "JSON")


def test_weights_are_kept(tmp_path: Path) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(bytes(99))
    for kind in KINDS:
        for force in (False, True):
            with pytest.raises(ModelFileError, match="is not a"):
                check_output(weights, kind, force=force)
    assert weights.read_bytes() == bytes(99)


class TestArrays:
    def test_they_are_read_back_and_replaced(self, tmp_path: Path) -> None:
        target = tmp_path / "adv.npz"
        for value in (1.0, 2.0):
            write_arrays(target, {"x": np.full(5, value), "y": np.arange(5)})
            with np.load(target) as arrays:
                assert sorted(arrays) == ["x", "y"]
                assert (arrays["x"] == value).all()
                assert arrays["y"].tolist() == [0, 1, 2, 3, 4]

    def test_other_arrays_are_kept(self, tmp_path: Path) -> None:
        target = tmp_path / "data.npz"
        np.savez(target, x=np.ones(5), y=np.arange(5))
        before = target.read_bytes()
        with pytest.raises(ModelFileError, match="is not a result of this tool; give another output, or --force"):
            write_arrays(target, {"x": np.zeros(5)})
        assert target.read_bytes() == before
        write_arrays(target, {"x": np.zeros(5)}, force=True)
        with np.load(target) as arrays:
            assert sorted(arrays) == ["x"]

    @pytest.mark.parametrize("limit", [0, 10, 1000, 70_000])
    def test_a_full_disk(self, limit: int, tmp_path: Path) -> None:
        script = (
            "import resource, sys, numpy as np; from onnx_jumprelu.files.atomic import write_arrays\n"
            "x = np.random.default_rng(0).random(10_000); limit = int(sys.argv[2])\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)); write_arrays(sys.argv[1], {'x': x, 'y': x})"
        )
        target = tmp_path / "adv.npz"
        write_arrays(target, {"x": np.ones(3)})
        before = target.read_bytes()
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", script, str(target), str(limit)], stderr=subprocess.PIPE, text=True, check=False
        )
        assert done.stderr.splitlines()[-1].endswith(f"ModelFileError: {target}: cannot be written (File too large)")
        assert target.read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["adv.npz"]


def test_a_full_disk_is_named_for_texts_too(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from onnx_jumprelu.files.atomic import write_text\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)); write_text(sys.argv[1], '{}' * 50, 'JSON')"
    )
    target = tmp_path / "result.json"
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script, str(target)], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.stderr.splitlines()[-1].endswith(f"ModelFileError: {target}: cannot be written (File too large)")
    assert not list(tmp_path.iterdir())


KINDS_OF_FILES: list[FileKind] = ["JSON", ".npz"]


@pytest.mark.parametrize("kind", KINDS_OF_FILES)
def test_protected_files_and_folders(kind: FileKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before the work, and not when the result is there. Root may write everything, hence the patch."""
    allowed = os.access
    target = tmp_path / "result"
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path and allowed(path, mode))
    with pytest.raises(ModelFileError, match=r"result: cannot be written \(the folder .* is write-protected\)"):
        check_output(target, kind)
    target.touch()
    monkeypatch.setattr("os.access", lambda path, mode: path != target and allowed(path, mode))
    with pytest.raises(ModelFileError, match="result: is write-protected"):
        check_output(target, kind)
    monkeypatch.undo()
    check_output(target, kind)
