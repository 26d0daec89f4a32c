"""Temporary files: of killed runs they are removed, of running ones never. Files that are replaced keep their owner."""

import contextlib
import errno
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from onnx_jumprelu import FileOptions, ModelFileError, patch_file, revert_file
from onnx_jumprelu.cli import main
from onnx_jumprelu.files.atomic import replacing, write_text
from onnx_jumprelu.files.models import check_model_output, load
from onnx_jumprelu.files.temporary import temporary
from tests.models import RELU, parse

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files are not locked on Windows")
HOLD = """
import sys
from pathlib import Path
from onnx_jumprelu.files.temporary import temporary
with temporary(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print(file.name, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that is writing a temporary file, and that file."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().rstrip("\n"))
        process.kill()


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    with another_process(tmp_path) as (process, left):
        process.kill()
        process.wait()
        assert left.read_bytes() == b"half"
        write_text(tmp_path / "a.json", "{}", "JSON")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    with another_process(tmp_path) as (process, used):
        write_text(tmp_path / "a.json", "{}", "JSON")
        assert used.read_bytes() == b"half"
        process.communicate("")  # it ends by itself, and cleans up
        assert not used.exists()
    with temporary(tmp_path) as mine:  # of this very process too
        write_text(tmp_path / "b.json", "{}", "JSON")
        assert Path(mine.name).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


@pytest.mark.parametrize("number", [1, 2**22 + 1, os.getpid()])
def test_the_number_of_a_process_says_nothing(number: int, tmp_path: Path) -> None:
    """It may be that of another process by now, or of a process in another container."""
    left = tmp_path / f".onnx_jumprelu-{number}-0123456789ab.tmp"
    left.write_bytes(b"half")
    write_text(tmp_path / "a.json", "{}", "JSON")
    assert not left.exists()


def test_only_own_files_are_removed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / ".onnx_jumprelu-1-0123456789aa.tmp").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / ".onnx_jumprelu-1-0123456789ab.tmp")
    (tmp_path / ".onnx_jumprelu-1-0123456789ac.tmp").mkdir()
    (tmp_path / ".onnx_jumprelu-1-0123456789ad.tmp.onnx").touch()
    (tmp_path / "my.onnx_jumprelu-1-0123456789ae.tmp").touch()
    before = sorted(path.name for path in tmp_path.iterdir())
    write_text(tmp_path / "a.json", "{}", "JSON")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "a.json"])
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_many_at_once_never_take_each_others(tmp_path: Path) -> None:
    """Files are made and removed all the time while others look for what they may remove."""
    failures: list[Exception] = []
    ends = time.monotonic() + 1

    def write(name: str) -> None:
        try:
            while time.monotonic() < ends:
                with replacing(tmp_path / name) as file:
                    file.write(b"whole")
        except Exception as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=write, args=(f"{number}.json",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(tmp_path.iterdir())) == len(threads)


def test_where_files_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems: everything is written, nothing is removed."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    left = tmp_path / ".onnx_jumprelu-1-0123456789ab.tmp"
    left.write_bytes(b"half")
    write_text(tmp_path / "a.json", "{}", "JSON")
    assert left.exists()
    assert (tmp_path / "a.json").read_text() == "{}"


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    write_text(tmp_path / "a.json", "{}", "JSON")
    assert (tmp_path / "a.json").read_text() == "{}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(parse(RELU), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


class TestAttributes:
    """Of a file that is replaced."""

    def test_in_place(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model.chmod(0o640)
        owners: list[tuple[int, int]] = []
        monkeypatch.setattr("os.chown", lambda _, owner, group: owners.append((owner, group)))
        kept = has_attributes(model)
        for _ in range(2):
            patch_file(model, jump=0.5, files=FileOptions(in_place=True))
        revert_file(model, files=FileOptions(in_place=True))
        status = model.stat()
        assert stat.S_IMODE(status.st_mode) == 0o640
        assert owners == [(-1, status.st_gid), (status.st_uid, -1)] * 3
        if kept:
            assert os.getxattr(model, "user.note") == b"mine"

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
    def test_owner_and_group(self, model: Path, tmp_path: Path) -> None:
        os.chown(model, 12345, 23456)
        model.chmod(0o4755)  # a new owner clears the first digit
        patch_file(model, jump=0.5, files=FileOptions(in_place=True))
        status = model.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 23456, 0o4755)
        patch_file(model, tmp_path / "new.onnx", 1.0)
        assert (tmp_path / "new.onnx").stat().st_uid == os.geteuid()

    def test_what_the_system_does_not_allow(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        for name in ("chown", "listxattr", "setxattr"):
            monkeypatch.setattr(f"os.{name}", refuse, raising=False)
        model.chmod(0o600)
        patch_file(model, jump=0.5, files=FileOptions(in_place=True))
        assert stat.S_IMODE(model.stat().st_mode) == 0o600


def has_attributes(path: Path) -> bool:
    try:
        os.setxattr(path, "user.note", b"mine")
    except (AttributeError, OSError):
        return False
    return True


def test_a_link_is_not_patched_in_place(model: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.onnx"
    link.symlink_to(model.name)
    before = model.read_bytes()
    message = rf"link\.onnx: is a link to {model}; patch that file in place, or give an output"
    with pytest.raises(ModelFileError, match=message):
        patch_file(link, jump=0.5, files=FileOptions(in_place=True))
    with pytest.raises(ModelFileError, match=message):
        revert_file(link, files=FileOptions(in_place=True))
    assert (model.read_bytes(), link.is_symlink()) == (before, True)


def test_an_output_that_is_a_link_becomes_a_file(model: Path, tmp_path: Path) -> None:
    """What the link leads to, if anything, stays as it is."""
    (tmp_path / "other.onnx").write_bytes(model.read_bytes())
    for name, to in (("circle", "circle"), ("dangling", "nothing"), ("link", "other.onnx")):
        (tmp_path / name).symlink_to(to)
        patch_file(model, tmp_path / name, 0.5)
        assert not (tmp_path / name).is_symlink()
        assert load(tmp_path / name).sha256 != load(model).sha256
    assert (tmp_path / "other.onnx").read_bytes() == model.read_bytes()
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("name", ["circle", "dangling"])
def test_a_model_that_is_a_link_to_nothing(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).symlink_to(name.replace("dangling", "nothing"))
    for command in (["inspect"], ["patch", "--jump", "1"], ["patch", "--jump", "1", "--in-place"], ["revert"]):
        assert main([command[0], str(tmp_path / name), *command[1:]]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{tmp_path / name}: cannot be read" in line


def test_nothing_is_mapped_that_could_be_cut_short(model: Path, tmp_path: Path) -> None:
    """Access to a mapped file behind its end kills the process."""
    file = load(model, weights=False)
    (tmp_path / "out.onnx").write_bytes(model.read_bytes())
    os.truncate(model, 3)
    check_model_output(tmp_path / "out.onnx", file)
    with replacing(tmp_path / "out.onnx") as out:
        out.write(file.model.SerializeToString())
    assert load(tmp_path / "out.onnx").sha256 == file.sha256


@pytest.mark.parametrize(
    "content",
    [b"hello", bytes(100), b"\x08\x08", b"\x08\x08\x3a\x7f", b"\x3a\x00", b"\x0a\x08\x3a\x00", b"\x08\x08\x3a\x02\x0a"],
)
def test_what_is_not_a_model_is_not_replaced(content: bytes, model: Path, tmp_path: Path) -> None:
    (tmp_path / "out.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match="already exists and is not an ONNX model"):
        check_model_output(tmp_path / "out.onnx", load(model))
