"""What cannot be read to its end is refused in one line, whatever reads it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from onnx_jumprelu import JumpReLUError, find_activations, load_data, patch_file, read_policy
from onnx_jumprelu.files.inputs import LARGEST_TEXT
from onnx_jumprelu.rewrite.batch import revert_file
from onnx_jumprelu.rewrite.recipe import Recipe
from onnx_jumprelu.tuning.record_file import read_search_record
from onnx_jumprelu.verdict.checkpoint import Checkpoint

TEXTS: dict[str, Callable[[Path], object]] = {
    "a recipe": Recipe.read,
    "a policy": read_policy,
    "a checkpoint": lambda path: Checkpoint(path, resume=True).open({}),
    "a record of tuning": lambda path: read_search_record(path, path),
}
READERS: dict[str, Callable[[Path], object]] = {
    **TEXTS,
    "a model": find_activations,
    "a model to patch": lambda path: patch_file(path, jump=0.5),
    "a patched model": revert_file,
    "data": load_data,
}


def refused(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(JumpReLUError) as error:
        read(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("what", READERS)
def test_pipes_and_devices(what: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        assert f"{path}: " in refused(READERS[what], path)
        assert "not a regular file" in refused(READERS[what], path)


@pytest.mark.parametrize("what", READERS)
def test_names_that_no_file_has(what: str) -> None:
    assert "not the name of a file" in refused(READERS[what], Path("a\0b"))
    refused(READERS[what], Path("n" * 300))


@pytest.mark.parametrize("what", TEXTS)
def test_texts_that_are_too_large(what: str, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, LARGEST_TEXT + 1)
    assert "larger than 32 MiB" in refused(TEXTS[what], path)


@pytest.mark.parametrize("what", TEXTS)
@pytest.mark.parametrize(
    "text",
    [b"\xff\xfe", b"[" * 100_000, b'{"a": ' * 100_000, b"9" * 5000, b'{"default": ' + b"9" * 5000 + b"}", b"\0", b""],
)
def test_texts_of_another_kind(what: str, text: bytes, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(text)
    refused(TEXTS[what], tmp_path / "text")
