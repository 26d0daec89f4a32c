"""Weights beside an output: it loads in onnxruntime and in onnx's own loader, or nothing is written."""

import os
import shutil
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from onnx_jumprelu import (
    FileOptions,
    ModelFileError,
    OnnxClassifier,
    find_activations,
    patch_file,
    patch_files,
    revert_file,
    verify,
)
from onnx_jumprelu.cli import main
from onnx_jumprelu.files import external_data, placing
from onnx_jumprelu.files.hashes import model_sha256
from onnx_jumprelu.files.models import load
from onnx_jumprelu.files.temporary import temporary
from onnx_jumprelu.names import ExternalDataMode
from tests.files.layouts import (
    DOTTED,
    LINKED,
    NAME,
    PLAIN,
    WRITTEN,
    X,
    cache,
    in_onnx,
    in_onnxruntime,
    link,
    link_in_the_folder,
    state,
    two_folders,
    write_model,
    write_weights,
)


@pytest.mark.parametrize("layout", [*PLAIN, *LINKED, *DOTTED])
@pytest.mark.parametrize("where", ["beside", "elsewhere", "link"])
def test_what_is_written_loads_in_both(layout: Callable[[Path], Path], where: str, tmp_path: Path) -> None:
    """In onnxruntime and in onnx's own loader; or nothing is written, and the message says what to do."""
    model = layout(tmp_path)
    output = model.with_name("out.onnx") if where == "beside" else tmp_path / "out" / "deep" / "out.onnx"
    output.parent.mkdir(parents=True, exist_ok=True)
    files = FileOptions(external_data="link" if where == "link" else "copy")
    if layout in WRITTEN[where]:
        patch_file(model, output, 0.0, files=files)
        assert in_onnxruntime(output) == in_onnxruntime(model)
        in_onnx(output)
        return
    before = state(tmp_path)
    with pytest.raises(ModelFileError, match=r"in another folder|--external-data copy|next to the model"):
        patch_file(model, output, 0.0, files=files)
    assert state(tmp_path) == before


def test_a_model_in_a_package_cache_is_patched_verified_and_reverted(tmp_path: Path) -> None:
    model, output = cache(tmp_path), tmp_path / "out" / NAME
    output.parent.mkdir()
    assert main(["patch", str(model), "--jump", "0.5", "-o", str(output), "--verify"]) == 0
    assert verify(model, output).ok
    assert revert_file(output, tmp_path / "out" / "back.onnx").identical
    (tmp_path / "blobs" / "g3").write_bytes(output.read_bytes())
    link(model.with_name("patched.onnx"), "../../blobs/g3")
    report = verify(model, model.with_name("patched.onnx"))
    assert report.ok
    assert report.checks[0].detail == "onnx accepts the patched model; its own loader refuses weights that are a link"


@pytest.mark.parametrize("layout", [cache, two_folders, link_in_the_folder])
def test_in_place_never_through_a_link(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    model = layout(tmp_path)
    before = state(tmp_path)
    with pytest.raises(ModelFileError, match=r"is a link to|are a link"):
        patch_file(model, jump=0.5, files=FileOptions(in_place=True))
    assert state(tmp_path) == before


def test_attack_and_validate_see_the_weights_that_run(tmp_path: Path) -> None:
    """Two folders with the same graph and other weights: what is judged is what onnxruntime loads by that path."""
    model = two_folders(tmp_path)
    assert OnnxClassifier(model).logits(X)[0, 0] == 3
    assert OnnxClassifier(tmp_path / "a" / NAME).logits(X)[0, 0] == 2
    assert model_sha256(model) != model_sha256(tmp_path / "a" / NAME)


def test_copies_belong_to_one_model_each_and_failures_leave_nothing(tmp_path: Path) -> None:
    """Folders that were made for weights are taken back too."""
    write_weights(tmp_path / "in" / "deep" / "down" / "w.bin")
    model = write_model(tmp_path / "in" / NAME, "deep/down/w.bin")
    (tmp_path / "out").mkdir()

    def fail(_: Path, __: Path) -> None:
        raise ModelFileError("no")

    with pytest.raises(ModelFileError, match="no"):
        patch_file(model, tmp_path / "out" / NAME, 0.5, files=FileOptions(check=fail))
    assert list((tmp_path / "out").iterdir()) == []


def test_weights_are_not_written_through_links(tmp_path: Path) -> None:
    write_weights(tmp_path / "in" / "sub" / "w.bin")
    model = write_model(tmp_path / "in" / NAME, "sub/w.bin")
    (tmp_path / "elsewhere").mkdir()
    link(tmp_path / "out" / "sub", "../elsewhere")
    with pytest.raises(ModelFileError, match="sub: is a link, and weights are not written through links"):
        patch_file(model, tmp_path / "out" / NAME, 0.5)
    (tmp_path / "out" / "sub").unlink()
    link(tmp_path / "out" / "sub" / "w.bin", "../../elsewhere/w.bin")  # dangling
    with pytest.raises(ModelFileError, match=r"w\.bin: is a link"):
        patch_file(model, tmp_path / "out" / NAME, 0.5)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_weights_that_nobody_may_write_are_copied(tmp_path: Path) -> None:
    """As in a cache that is kept read-only."""
    weights = write_weights(tmp_path / "in" / "w.bin")
    weights.chmod(0o444)
    model = write_model(tmp_path / "in" / NAME)
    (result,) = patch_files([model], tmp_path / "out", 0.0)
    assert result.error is None
    assert (tmp_path / "out" / "w.bin").stat().st_mode & 0o777 == 0o444
    assert in_onnxruntime(tmp_path / "out" / "model.jumprelu.onnx") == in_onnxruntime(model)


@pytest.mark.parametrize("mode", ["copy", "link"])
def test_hard_links_where_onnx_takes_them(
    mode: ExternalDataMode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 1.21, onnx's loader read a file with several hard links."""
    monkeypatch.setattr(placing, "refusal", lambda *_: None)
    weights, model = write_weights(tmp_path / "in" / "w.bin"), write_model(tmp_path / "in" / NAME)
    (tmp_path / "out").mkdir()
    patch_file(model, tmp_path / "out" / NAME, 0.5, files=FileOptions(external_data=mode))
    assert weights.samefile(tmp_path / "out" / "w.bin") is (mode == "link")


def test_weights_in_the_models_own_file_are_not_overwritten(tmp_path: Path) -> None:
    model = write_model(tmp_path / NAME, NAME, offset=0, length=16)
    with pytest.raises(ModelFileError, match="is the name of the weights"):
        patch_file(model, jump=0.5, files=FileOptions(in_place=True))


def test_a_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    write_weights(folder / "w.bin")
    model = write_model(folder / NAME)
    assert OnnxClassifier(model).logits(X)[0, 0] == 2
    assert find_activations(model)
    with pytest.raises(ModelFileError, match=r"caf\\udce9.* are in a folder whose name is not UTF-8"):
        patch_file(model, jump=0.5)
    patch_file(model, tmp_path / "out.onnx", 0.5)
    in_onnx(tmp_path / "out.onnx")


def test_the_weights_of_a_large_model_are_not_brought_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_data, "LARGEST_MESSAGE", 15)
    write_weights(tmp_path / "w.bin")
    with pytest.raises(ModelFileError, match="larger than 2 GiB"):
        load(write_model(tmp_path / NAME)).with_external_weights()


def test_the_probe_warns_of_nothing(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.bin")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert external_data.refusal(tmp_path, "w.bin") is None


def test_a_copy_that_was_killed_before_it_was_finished(tmp_path: Path) -> None:
    """The weights have two names then, which onnx refuses; the next run removes the temporary one."""
    weights, model = write_weights(tmp_path / "in" / "w.bin"), write_model(tmp_path / "in" / NAME)
    left = tmp_path / "out" / ".onnx_jumprelu-1-0123456789ab.tmp"
    left.parent.mkdir()
    shutil.copy(weights, left)
    os.link(left, tmp_path / "out" / "w.bin")
    patch_file(model, tmp_path / "out" / NAME, 0.5)
    in_onnx(tmp_path / "out" / NAME)
    assert not left.exists()


def test_models_that_share_weights_are_patched_at_once(tmp_path: Path) -> None:
    write_weights(tmp_path / "in" / "w.bin")
    models = [write_model(tmp_path / "in" / f"{number}.onnx") for number in range(24)]
    with ThreadPoolExecutor(4) as executor:
        results = patch_files(models, tmp_path / "out", 0.5, executor=executor)
    assert [result.error for result in results] == [None] * len(models)


def test_the_copy_of_another_process_is_waited_for(tmp_path: Path) -> None:
    """As long as it has the weights under two names."""
    weights, model = write_weights(tmp_path / "in" / "w.bin"), write_model(tmp_path / "in" / NAME)
    (tmp_path / "out").mkdir()
    with temporary(tmp_path / "out") as file:
        file.write(weights.read_bytes())
        file.flush()
        os.link(file.name, tmp_path / "out" / "w.bin")
        timer = threading.Timer(0.2, os.unlink, [file.name])
        timer.start()
        patch_file(model, tmp_path / "out" / NAME, 0.5)
        timer.join()
    in_onnx(tmp_path / "out" / NAME)


class TestChanged:
    """By another program, at any moment: nothing is written."""

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        write_weights(tmp_path / "in" / "w.bin", count=2**19)
        (tmp_path / "out").mkdir()
        return write_model(tmp_path / "in" / NAME, offset=0, length=16)

    def test_while_weights_are_copied(self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        weights, copy = tmp_path / "in" / "w.bin", shutil.copyfileobj

        def rewritten(*arguments: Any) -> None:  # noqa: ANN401
            copy(*arguments)
            write_weights(weights, 3, 2**19)

        monkeypatch.setattr("shutil.copyfileobj", rewritten)
        with pytest.raises(ModelFileError, match=r"w\.bin: was changed after .* had been opened"):
            patch_file(model, tmp_path / "out" / NAME, 0.5)
        assert list((tmp_path / "out").iterdir()) == []

    def test_without_a_new_time(self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As by a program that writes to memory that is mapped to the file."""
        weights, copy = tmp_path / "in" / "w.bin", shutil.copyfileobj
        status = weights.stat()

        def rewritten(*arguments: Any) -> None:  # noqa: ANN401
            copy(*arguments)
            write_weights(weights, 3, 2**19)
            os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))

        monkeypatch.setattr("shutil.copyfileobj", rewritten)
        with pytest.raises(ModelFileError, match=r"w\.bin: was changed by another program while it was copied"):
            patch_file(model, tmp_path / "out" / NAME, 0.5)
        assert list((tmp_path / "out").iterdir()) == []

    @pytest.mark.parametrize("where", ["in/patched.onnx", "out/patched.onnx"])
    def test_weights_before_the_output_takes_its_place(self, where: str, model: Path, tmp_path: Path) -> None:
        def check(_: Path, __: Path) -> None:
            write_weights(tmp_path / "in" / "w.bin", 3)

        with pytest.raises(ModelFileError, match=r"w\.bin: was changed"):
            patch_file(model, tmp_path / where, 0.5, files=FileOptions(check=check))
        assert sorted(path.name for path in tmp_path.rglob("*.*")) == [NAME, "w.bin"]

    def test_the_model_before_the_output_takes_its_place(self, model: Path, tmp_path: Path) -> None:
        def check(_: Path, __: Path) -> None:
            os.truncate(model, 10)

        with pytest.raises(ModelFileError, match=r"model\.onnx: was changed by another program"):
            patch_file(model, tmp_path / "out" / NAME, 0.5, files=FileOptions(check=check))
        assert list((tmp_path / "out").iterdir()) == []

    def test_weights_between_the_hash_and_the_session(self, model: Path, tmp_path: Path) -> None:
        classifier = OnnxClassifier(model)
        write_weights(tmp_path / "in" / "w.bin", 3)
        with pytest.raises(ModelFileError, match=r"w\.bin: was changed"):
            classifier.logits(X)

    def test_weights_while_they_are_hashed_or_loaded(self, model: Path, tmp_path: Path) -> None:
        file = load(model)
        write_weights(tmp_path / "in" / "w.bin", 3)
        with pytest.raises(ModelFileError, match=r"w\.bin: was changed"):
            file.with_external_weights()
