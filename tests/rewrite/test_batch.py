"""Patching files: where the output goes, and one bad model among many."""

import contextlib
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_jumprelu import (
    FileOptions,
    JumpReLUError,
    ModelFileError,
    OptionError,
    PatchedFile,
    PatchError,
    find_activations,
    patch_file,
    patch_files,
    patch_model,
    revert_file,
)
from onnx_jumprelu.rewrite.paths import expand
from onnx_jumprelu.verification.verify import prove, verify
from tests.models import NESTED, RELU, parse, single, with_external_weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(parse(RELU), tmp_path / "a.onnx")
    onnx.save(parse(NESTED), tmp_path / "b.onnx")
    (tmp_path / "sub").mkdir()
    onnx.save(single("Sigmoid"), tmp_path / "sub" / "c.onnx")
    return tmp_path


def test_the_default_output_is_next_to_the_input(folder: Path) -> None:
    before = (folder / "a.onnx").read_bytes()
    result = patch_file(folder / "a.onnx", jump=0.5)
    assert result.output == folder / "a.jumprelu.onnx"
    assert (folder / "a.onnx").read_bytes() == before
    assert revert_file(result.output).identical
    assert (folder / "a.reverted.onnx").read_bytes() == before


def test_in_place(folder: Path) -> None:
    before = (folder / "a.onnx").read_bytes()
    here = FileOptions(in_place=True)
    assert patch_file(folder / "a.onnx", jump=0.5, files=here).output == folder / "a.onnx"
    assert (folder / "a.onnx").read_bytes() != before
    assert patch_file(folder / "a.onnx", jump=1.0, files=here).repatched
    assert revert_file(folder / "a.onnx", files=here).identical
    assert (folder / "a.onnx").read_bytes() == before
    for change in (patch_file, revert_file):
        with pytest.raises(OptionError, match="leave out the output"):
            change(folder / "a.onnx", folder / "b.onnx", files=here)


def test_a_patched_file_is_not_its_own_output(folder: Path) -> None:
    patched = patch_file(folder / "a.onnx", jump=0.5).output
    assert patched is not None
    with pytest.raises(ModelFileError, match="is the input"):
        patch_file(patched, jump=1.0)


def test_a_dry_run_writes_nothing(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    result = patch_file(folder / "a.onnx", folder / "none" / "x.onnx", 0.5, files=FileOptions(dry_run=True))
    assert (result.output, len(result.sites)) == (None, 1)
    patch_files([folder / "a.onnx"], folder / "none", 0.5, files=FileOptions(dry_run=True))
    assert sorted(folder.rglob("*")) == before


def test_errors_name_the_file(folder: Path) -> None:
    with pytest.raises(PatchError, match=r"c\.onnx: has no activation"):
        patch_file(folder / "sub" / "c.onnx", jump=0.5)
    with pytest.raises(OptionError, match=r"a\.onnx: include names 'z'"):
        patch_file(folder / "a.onnx", jump=0.5, include=["z"])


def test_a_failed_check_keeps_the_target(folder: Path) -> None:
    target = folder / "out.onnx"
    target.write_bytes((folder / "b.onnx").read_bytes())

    def refuse(original: Path, finished: Path) -> None:
        assert onnx.load(finished).metadata_props
        raise PatchError(f"{original} is not liked")

    with pytest.raises(PatchError, match="not liked"):
        patch_file(folder / "a.onnx", target, 0.5, files=FileOptions(check=refuse))
    assert target.read_bytes() == (folder / "b.onnx").read_bytes()


PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01"
NOT_MODELS = {"text": b"my notes\n", "image": PNG, "archive": b"PK\x03\x04rest", "field": b"\x08\x08", "newline": b"\n"}


@pytest.mark.parametrize("content", NOT_MODELS.values(), ids=NOT_MODELS.keys())
def test_only_a_model_is_replaced(folder: Path, content: bytes) -> None:
    """A file of another kind is kept, unless `force` says that it may go."""
    patched = patch_file(folder / "a.onnx", jump=0.5).output
    assert patched is not None
    target = folder / "out.onnx"
    changes: list[Callable[..., object]] = [
        partial(patch_file, folder / "a.onnx", jump=0.5),
        partial(revert_file, patched),
    ]
    for change in changes:
        target.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"out\.onnx: already exists and is not an ONNX model; .* --force"):
            change(output=target)
        assert target.read_bytes() == content
        change(output=target, files=FileOptions(force=True))
        assert onnx.load(target).graph.node


def test_a_batch_replaces_only_models(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "a.jumprelu.onnx").write_text("my notes")
    first, second = patch_files([folder / "a.onnx", folder / "b.onnx"], folder / "out", 0.5)
    assert first.error is not None
    assert "is not an ONNX model" in first.error
    assert second.error is None
    assert (folder / "out" / "a.jumprelu.onnx").read_text() == "my notes"


def test_an_empty_file_and_an_earlier_output_are_replaced(folder: Path) -> None:
    target = folder / "out.onnx"
    target.touch()  # as mktemp makes one
    assert patch_file(folder / "a.onnx", target, 0.5).output == target
    patch_file(folder / "a.onnx", target, 1.0)
    assert [site.jump for site in find_activations(onnx.load(target))] == [1.0]
    revert_file(folder / "out.onnx", folder / "b.onnx")
    assert (folder / "b.onnx").read_bytes() == (folder / "a.onnx").read_bytes()


def test_an_earlier_output_is_replaced_even_without_its_weights(folder: Path) -> None:
    with_external_weights(folder / "in")
    (folder / "out").mkdir()
    target = folder / "out" / "m.onnx"
    patch_file(folder / "in" / "model.onnx", target, 0.5)
    (folder / "out" / "weights.bin").unlink()
    patch_file(folder / "a.onnx", target, 0.5)


def test_a_folder_is_never_replaced(folder: Path) -> None:
    with pytest.raises(ModelFileError, match="is a directory"):
        patch_file(folder / "a.onnx", folder / "sub", 0.5, files=FileOptions(force=True))


def test_revert_says_when_the_bytes_are_not_the_originals(folder: Path) -> None:
    patched = patch_file(folder / "a.onnx", jump=0.5).output
    assert patched is not None
    model = onnx.load(patched)
    model.doc_string = "changed since"
    onnx.save(model, patched)
    assert not revert_file(patched).identical


class TestMany:
    @pytest.mark.parametrize("kind", ["none", "threads", "processes"])
    def test_one_bad_model_fails_alone(self, folder: Path, kind: str) -> None:
        (folder / "bad.onnx").write_bytes(b"bad")
        paths = [folder / "a.onnx", folder / "bad.onnx", folder / "sub" / "c.onnx", folder / "b.onnx"]
        seen: list[Path] = []

        def on_done(result: PatchedFile) -> None:
            seen.append(result.input)

        with contextlib.ExitStack() as stack:
            executor: Executor | None = None
            if kind == "threads":
                executor = stack.enter_context(ThreadPoolExecutor(2))
            elif kind == "processes":
                executor = stack.enter_context(ProcessPoolExecutor(2, mp_context=get_context("spawn")))
            results = patch_files(paths, folder / "out", 0.5, executor=executor, on_done=on_done)
        assert [result.input for result in results] == paths
        assert sorted(seen) == sorted(paths)
        assert [result.error is None for result in results] == [True, False, False, True]
        assert "not an ONNX model" in str(results[1].error)
        assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.jumprelu.onnx", "b.jumprelu.onnx"]

    def test_an_unexpected_failure_fails_alone_too(self, folder: Path) -> None:
        def explode(_: Path, __: Path) -> None:
            raise ZeroDivisionError("two\nlines")

        (result,) = patch_files([folder / "a.onnx"], jump=0.5, files=FileOptions(check=explode))
        assert str(result.error).endswith("a.onnx: unexpected ZeroDivisionError: two lines")

    def test_models_keep_their_folders(self, folder: Path) -> None:
        onnx.save(parse(RELU), folder / "sub" / "a.onnx")
        results = patch_files([folder / "a.onnx", folder / "sub" / "a.onnx"], folder / "out", 0.5)
        outputs = [folder / "out" / "a.jumprelu.onnx", folder / "out" / "sub" / "a.jumprelu.onnx"]
        assert [result.output for result in results] == outputs
        assert all(output.is_file() for output in outputs)

    def test_one_name_is_no_list(self, folder: Path) -> None:
        with pytest.raises(OptionError, match="takes a list of files"):
            patch_files(str(folder / "a.onnx"), jump=0.5)

    def test_the_same_input_twice_is_refused(self, folder: Path) -> None:
        with pytest.raises(OptionError, match="would both be written to"):
            patch_files([folder / "a.onnx", folder / "sub" / ".." / "a.onnx"], jump=0.5)

    def test_shared_weights_outlive_a_failure(self, tmp_path: Path) -> None:
        first = with_external_weights(tmp_path / "in", "first.onnx")
        second = with_external_weights(tmp_path / "in", "second.onnx")

        def refuse_second(original: Path, _: Path) -> None:
            if original == second:
                raise PatchError("no")

        results = patch_files([second, first], tmp_path / "out", 0.5, files=FileOptions(check=refuse_second))
        assert [result.error for result in results] == ["no", None]
        assert onnx.load(tmp_path / "out" / "first.jumprelu.onnx").graph.initializer[0].raw_data

    def test_other_weights_of_the_same_name_fail_alone(self, tmp_path: Path) -> None:
        first = with_external_weights(tmp_path / "one", "first.onnx")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "weights.bin").write_bytes(bytes(256))
        second = with_external_weights(tmp_path / "one", "second.onnx", location="others.bin")
        results = patch_files([first, second], tmp_path / "out", 0.5)
        assert [result.error is None for result in results] == [False, True]
        assert (tmp_path / "out" / "weights.bin").read_bytes() == bytes(256)


class TestExpand:
    def test_folders_globs_and_files(self, folder: Path) -> None:
        patch_file(folder / "a.onnx", jump=0.5)
        names = [path.name for path in expand([folder, folder / "?.onnx", str(folder / "**" / "c.onnx"), folder / "x"])]
        assert names == ["a.onnx", "b.onnx", "c.onnx", "x"]

    def test_a_name_with_brackets_is_a_file_where_there_is_one(self, folder: Path) -> None:
        odd = folder / "[x].onnx"
        onnx.save(parse(RELU), odd)
        assert expand([odd]) == [odd]

    @pytest.mark.parametrize("name", ["empty", "*.nothing"])
    def test_nothing_found(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(ModelFileError, match="no model found"):
            expand([tmp_path / name])

    def test_an_empty_name_is_not_the_current_folder(self) -> None:
        with pytest.raises(ModelFileError, match="an empty name is not a model"):
            expand([""])

    def test_outputs_and_folders_are_passed_over(self, folder: Path) -> None:
        patch_file(folder / "a.onnx", jump=0.5)
        (folder / "d.onnx").mkdir()
        assert [path.name for path in expand([folder / "*.onnx"])] == ["a.onnx", "b.onnx"]
        assert [path.name for path in expand([str(folder / "*.jumprelu.onnx")])] == ["a.jumprelu.onnx"]
        named = [folder / "a.jumprelu.onnx", folder / "a.onnx"]  # as a shell expands *.onnx
        assert [path.name for path in expand(named)] == ["a.onnx"]
        assert [path.name for path in expand(named[:1])] == ["a.jumprelu.onnx"]


def test_a_large_slope_is_read(tmp_path: Path) -> None:
    slope = np.zeros((4, 80, 80), np.float32)
    model = single("PRelu", inputs=["x", "s"], extra={"s": slope}, shape=["N", 4, 80, 80])
    onnx.save(model, tmp_path / "model.onnx")
    patched = patch_file(tmp_path / "model.onnx", jump=0.5).output
    assert patched is not None
    assert patched.read_bytes() == patch_model(model, 0.5).model.SerializeToString()


def test_a_model_that_breaks_onnxs_rules_is_one_line(tmp_path: Path) -> None:
    model = single("Clip", inputs=["x", "lo"], extra={"c": np.zeros((), np.float32)})
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["c"], ["lo"], to=99))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(JumpReLUError) as error:
        patch_file(tmp_path / "model.onnx", jump=0.5)
    assert "model.onnx: " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_patch_that_could_not_be_undone_is_not_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx_jumprelu.rewrite.batch.reverted", lambda model: model)
    with pytest.raises(PatchError, match="cannot be patched so that the patch can be reverted"):
        patch_file(folder / "a.onnx", jump=0.5)
    assert not (folder / "a.jumprelu.onnx").exists()


@pytest.mark.parametrize("in_place", [False, True])
def test_a_repatch_is_proved_too(folder: Path, *, in_place: bool) -> None:
    patched = patch_file(folder / "a.onnx", jump=0.5).output
    assert patched is not None
    files = FileOptions(in_place=in_place, check=prove)
    again = patch_file(patched, None if in_place else folder / "again.onnx", 1.0, files=files)
    assert again.repatched
    assert again.output is not None
    assert verify(folder / "a.onnx", again.output).ok


def test_options_of_files() -> None:
    with pytest.raises(OptionError, match="external_data is copy or link, not 'move'"):
        FileOptions(external_data="move")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="leave out the output folder"):
        patch_files([], "out", 0.5, files=FileOptions(in_place=True))


def test_outputs_are_patched_in_place_next_to_their_models(folder: Path) -> None:
    patched = patch_file(folder / "a.onnx", jump=0.5).output
    assert patched is not None
    assert expand([folder / "a.onnx", patched], in_place=True) == [folder / "a.onnx", patched]


def test_a_result_that_is_not_a_valid_model_is_not_written(folder: Path) -> None:
    """A function may be called without an argument; the Relu in its place needs it."""
    model = patch_model(onnx.load(folder / "a.onnx"), 0.5, lowering="function").model
    call = next(node for node in model.graph.node if node.op_type == "JumpReLU")
    call.input[0] = ""
    onnx.save(model, folder / "c.onnx")
    before = sorted(folder.iterdir())
    for write in (lambda: patch_file(folder / "c.onnx", jump=0.5), lambda: revert_file(folder / "c.onnx")):
        with pytest.raises(JumpReLUError):
            write()
        assert sorted(folder.iterdir()) == before
