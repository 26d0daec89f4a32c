"""The door to files: nothing is half written, nothing is lost, what cannot be used is refused in one line."""

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from onnx_jumprelu import ModelFileError
from onnx_jumprelu.files.atomic import check_output, copy_file, write_text
from onnx_jumprelu.files.models import ModelFile, check_model_output, load, staged
from onnx_jumprelu.names import ExternalDataMode
from onnx_jumprelu.runtime import OrtRunner
from tests.models import RELU, f32, parse, with_external_weights


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(parse(RELU), path)
    return path


def save(model: ModelProto, target: Path, source: ModelFile, mode: ExternalDataMode = "copy") -> None:
    with staged(model, target, source, mode=mode):
        pass


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".onnx_jumprelu-" in path.name]


def refuse(path: Path) -> str:
    with pytest.raises(ModelFileError) as error:
        load(path)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


class TestLoad:
    def test_knows_its_hash(self, model_path: Path) -> None:
        assert load(model_path).sha256 == hashlib.sha256(model_path.read_bytes()).hexdigest()

    def test_not_there(self, tmp_path: Path) -> None:
        assert "cannot be read (No such file" in refuse(tmp_path / "none.onnx")

    def test_directory(self, tmp_path: Path) -> None:
        assert "is a directory" in refuse(tmp_path)

    @pytest.mark.parametrize(
        "content", [b"", b"hello, this is not a model\n", b"\x89PNG\r\n\x1a\n", b"\x08\x08", bytes(100)]
    )
    def test_not_onnx(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        assert ("is empty" if not content else "is not an ONNX model, or is cut short") in refuse(path)

    def test_cut_short_anywhere(self, model_path: Path) -> None:
        content = model_path.read_bytes()
        for length in range(1, len(content)):
            model_path.write_bytes(content[:length])
            refuse(model_path)


class TestExternalData:
    def test_missing(self, tmp_path: Path) -> None:
        path = with_external_weights(tmp_path)
        (tmp_path / "weights.bin").unlink()
        assert "its external data file is missing; put 'weights.bin' next to the model" in refuse(path)

    def test_cut_short(self, tmp_path: Path) -> None:
        path = with_external_weights(tmp_path)
        os.truncate(tmp_path / "weights.bin", 255)
        assert "'weights.bin' is cut short" in refuse(path)

    @pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../b", "C:\\weights", ""])
    def test_outside_the_folder(self, tmp_path: Path, location: str) -> None:
        path = with_external_weights(tmp_path)
        model = onnx.load(path, load_external_data=False)
        model.graph.initializer[0].external_data[0].value = location
        onnx.save(model, path)
        assert "outside the model's folder" in refuse(path)

    def test_same_folder_is_referenced(self, tmp_path: Path) -> None:
        source = load(with_external_weights(tmp_path))
        before = (tmp_path / "weights.bin").stat()
        save(source.model, tmp_path / "out.onnx", source)
        after = (tmp_path / "weights.bin").stat()
        assert (after.st_ino, after.st_mtime_ns, after.st_nlink) == (before.st_ino, before.st_mtime_ns, 1)
        assert [file.location for file in load(tmp_path / "out.onnx").weights] == ["weights.bin"]

    @pytest.mark.parametrize("location", ["weights.bin", "deep/down/weights.bin"])
    def test_another_folder_gets_them(self, tmp_path: Path, location: str) -> None:
        source = load(with_external_weights(tmp_path / "in", location=location))
        (tmp_path / "out").mkdir()
        target = tmp_path / "out" / "out.onnx"
        save(source.model, target, source)
        origin, place = tmp_path / "in" / location, tmp_path / "out" / location
        assert place.read_bytes() == origin.read_bytes()
        assert not origin.samefile(place)
        (y,) = OrtRunner(*load(target).for_session()).run(None, {"x": f32(np.eye(8))})
        assert y.tobytes() == np.maximum(np.fromfile(origin, np.float32), 0).tobytes()
        assert onnx.load(target).graph.initializer[0].raw_data == origin.read_bytes()
        save(source.model, target, source)  # once more: the weights are there already
        assert not leftovers(tmp_path)

    def test_other_weights_of_that_name_are_never_replaced(self, tmp_path: Path) -> None:
        source = load(with_external_weights(tmp_path / "in"))
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "weights.bin").write_bytes(b"other")
        with pytest.raises(ModelFileError, match="another file has the name that the weights"):
            save(source.model, tmp_path / "out" / "out.onnx", source)
        assert (tmp_path / "out" / "weights.bin").read_bytes() == b"other"
        assert not (tmp_path / "out" / "out.onnx").exists()

    def test_the_output_is_never_the_weights(self, tmp_path: Path) -> None:
        source = load(with_external_weights(tmp_path / "in"))
        (tmp_path / "out").mkdir()
        for target in (tmp_path / "in" / "weights.bin", tmp_path / "out" / "weights.bin"):
            with pytest.raises(ModelFileError, match="is the name of the weights"):
                check_model_output(target, source)

    def test_weights_behind_a_link(self, tmp_path: Path) -> None:
        path = with_external_weights(tmp_path / "in")
        (tmp_path / "in" / "weights.bin").rename(tmp_path / "in" / "blob")
        (tmp_path / "in" / "weights.bin").symlink_to(tmp_path / "in" / "blob")
        (tmp_path / "out").mkdir()
        source, place = load(path), tmp_path / "out" / "weights.bin"
        save(source.model, tmp_path / "out" / "out.onnx", source)
        assert not place.is_symlink()
        assert place.read_bytes() == (tmp_path / "in" / "blob").read_bytes()

    def test_a_failure_takes_the_weights_back(self, tmp_path: Path) -> None:
        source = load(with_external_weights(tmp_path / "in"))
        (tmp_path / "out").mkdir()

        def fail() -> None:
            with staged(source.model, tmp_path / "out" / "out.onnx", source):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail()
        assert list((tmp_path / "out").iterdir()) == []


class TestTarget:
    def test_the_input(self, model_path: Path, tmp_path: Path) -> None:
        source = load(model_path)
        (tmp_path / "link.onnx").symlink_to(model_path)
        os.link(model_path, tmp_path / "hard.onnx")
        for target in (model_path, tmp_path / "." / "model.onnx", tmp_path / "link.onnx", tmp_path / "hard.onnx"):
            with pytest.raises(ModelFileError, match="is the input; give another output, or --in-place"):
                check_model_output(target, source)
        for target in (model_path, tmp_path / "." / "model.onnx", tmp_path / "hard.onnx"):
            check_model_output(target, source, in_place=True)
        with pytest.raises(ModelFileError, match=r"is a link to .*model\.onnx; patch that file in place, or give an"):
            check_model_output(tmp_path / "link.onnx", source, in_place=True)

    def test_what_cannot_be_one(self, model_path: Path, tmp_path: Path) -> None:
        source = load(model_path)
        for target, message in (
            (tmp_path, "is a directory"),
            (Path("/dev/null"), "is not a regular file"),
            (tmp_path / "none" / "out.onnx", "the folder .* does not exist"),
        ):
            with pytest.raises(ModelFileError, match=message):
                check_model_output(target, source)


class TestSave:
    def test_a_failure_leaves_the_old_file(self, model_path: Path, tmp_path: Path) -> None:
        target = tmp_path / "out.onnx"
        target.write_bytes(b"old")

        def fail() -> None:
            with staged(parse(RELU), target, load(model_path)) as finished:
                assert finished.read_bytes() == parse(RELU).SerializeToString()
                assert target.read_bytes() == b"old"
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert target.read_bytes() == b"old"
        assert not leftovers(tmp_path)

    def test_permissions(self, model_path: Path, tmp_path: Path) -> None:
        """A new file has the model's permissions, less the umask; an old one keeps its own."""
        target = tmp_path / "out.onnx"
        for given, expected in ((0o666, 0o640), (0o600, 0o600)):
            model_path.chmod(given)
            target.unlink(missing_ok=True)
            old = os.umask(0o027)
            try:
                save(parse(RELU), target, load(model_path))
            finally:
                os.umask(old)
            assert stat.S_IMODE(target.stat().st_mode) == expected
        target.chmod(0o644)
        save(parse(RELU), target, load(model_path))
        assert stat.S_IMODE(target.stat().st_mode) == 0o644

    def test_a_write_protected_file_stays(
        self, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "out.onnx").write_bytes(b"old")
        monkeypatch.setattr("os.access", lambda *_: False)  # root may write everything
        with pytest.raises(ModelFileError, match="is write-protected"):
            check_model_output(tmp_path / "out.onnx", load(model_path))

    def test_a_link_becomes_a_file(self, model_path: Path, tmp_path: Path) -> None:
        (tmp_path / "blob").write_bytes(b"shared")
        (tmp_path / "out.onnx").symlink_to(tmp_path / "blob")
        save(parse(RELU), tmp_path / "out.onnx", load(model_path))
        assert (tmp_path / "blob").read_bytes() == b"shared"
        assert not (tmp_path / "out.onnx").is_symlink()

    def test_a_full_disk(self, model_path: Path, tmp_path: Path) -> None:
        script = (
            "import resource, sys; from onnx_jumprelu.files.models import load, staged\n"
            "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "source = load(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
            "with staged(source.model, sys.argv[2], source): pass"
        )
        target = tmp_path / "out.onnx"
        target.write_bytes(b"old")
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", script, str(model_path), str(target)], capture_output=True, text=True, check=False
        )
        assert f"ModelFileError: {target}: cannot be written (File too large)" in done.stderr
        assert target.read_bytes() == b"old"
        assert not leftovers(tmp_path)

    def test_a_kill_leaves_the_old_file(self, model_path: Path, tmp_path: Path) -> None:
        script = (
            "import os, sys; from onnx_jumprelu.files.models import load, staged; source = load(sys.argv[1])\n"
            "with staged(source.model, sys.argv[2], source): os.kill(os.getpid(), 9)"
        )
        target = tmp_path / "out.onnx"
        target.write_bytes(b"old")
        subprocess.run([sys.executable, "-c", script, str(model_path), str(target)], check=False)  # noqa: S603
        assert target.read_bytes() == b"old"


def test_text_and_copies_are_whole_too(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", "{}\n", "JSON")
    copy_file(tmp_path / "a.json", tmp_path / "b.json")
    copy_file(tmp_path / "a.json", tmp_path / "b.json")
    assert (tmp_path / "b.json").read_text() == "{}\n"
    (tmp_path / "b.json").write_text("mine")
    with pytest.raises(ModelFileError, match="already exists with other content"):
        copy_file(tmp_path / "a.json", tmp_path / "b.json")
    assert (tmp_path / "b.json").read_text() == "mine"
    with pytest.raises(ModelFileError, match="cannot be written"):
        write_text(tmp_path / "none" / "c", "", "JSON")
    with pytest.raises(ModelFileError, match="cannot be written"):
        copy_file(tmp_path / "a.json", tmp_path / "none" / "c")


def test_a_name_too_long_is_one_line(tmp_path: Path, model_path: Path) -> None:
    long = tmp_path / ("x" * 300)
    refuse(long)
    with pytest.raises(ModelFileError, match="cannot be written"):
        check_model_output(long, load(model_path))


def test_what_nothing_could_read_is_not_written(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = load(model_path)
    monkeypatch.setattr("onnx_jumprelu.files.models.LARGEST_MESSAGE", 50)
    with pytest.raises(ModelFileError, match="would be larger than 2 GiB"):
        save(source.model, tmp_path / "out.onnx", source)
    assert not (tmp_path / "out.onnx").exists()


def test_an_input_that_changes_meanwhile(model_path: Path, tmp_path: Path) -> None:
    source = load(model_path, weights=False)
    os.utime(model_path, ns=(0, 0))
    with pytest.raises(ModelFileError, match="was changed by another program"):
        save(source.model, tmp_path / "out.onnx", source)
    assert not (tmp_path / "out.onnx").exists()


def test_weights_are_copied_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    source = load(with_external_weights(tmp_path / "in"))
    (tmp_path / "out").mkdir()
    monkeypatch.setattr("os.link", refuse_links)
    save(source.model, tmp_path / "out" / "out.onnx", source)
    assert (tmp_path / "out" / "weights.bin").read_bytes() == (tmp_path / "in" / "weights.bin").read_bytes()
    (tmp_path / "out" / "weights.bin").unlink()
    with pytest.raises(ModelFileError, match="cannot be linked"):
        save(source.model, tmp_path / "out" / "out.onnx", source, "link")
    assert not leftovers(tmp_path)


class TestTextTarget:
    def test_never_a_model(self, model_path: Path, tmp_path: Path) -> None:
        for target in (model_path, tmp_path, tmp_path / "none" / "x.json"):
            with pytest.raises(ModelFileError):
                check_output(target, "JSON", [model_path])
        check_output(tmp_path / "x.json", "JSON", [model_path])

    def test_a_pipe_stays_a_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE, text=True) as reader:  # noqa: S603, S607
            write_text(tmp_path / "pipe", "{}\n", "JSON")
            assert reader.communicate()[0] == "{}\n"
        assert (tmp_path / "pipe").is_fifo()


def test_the_disk_has_it_before_it_takes_its_place(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    flush, move = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        events.append("flush")
        flush(descriptor)

    def moved(path: Path, target: Path) -> Path:
        events.append("move")
        return move(path, target)

    monkeypatch.setattr("os.fsync", flushed)
    monkeypatch.setattr(Path, "replace", moved)
    save(parse(RELU), tmp_path / "out.onnx", load(model_path))
    assert events == ["flush", "move", "flush"]  # the file, then its folder
    (tmp_path / "in.json").write_text("{}")
    events.clear()
    copy_file(tmp_path / "in.json", tmp_path / "copy.json")
    assert events == ["flush", "move", "flush"]


def test_a_result_is_not_written_over_another_file_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is an input or an output of this command"):
        check_output(tmp_path / "a.json", "JSON", [tmp_path / "." / "a.json"])
