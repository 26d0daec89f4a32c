"""What was written is what the exit code says: 2 means nothing, 3 that something is missing, in one line."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
import pytest

from onnx_jumprelu import patch_file
from onnx_jumprelu.cli import main
from onnx_jumprelu.files.temporary import finish
from tests.models import NESTED, RELU, parse
from tests.tuning.networks import GAINING, examples, saved

Captured = pytest.CaptureFixture[str]
PROGRAM = f"{shlex.quote(sys.executable)} -m onnx_jumprelu"
VALIDATE = "validate model.onnx --data data.npz --attacks fgsm --eps 0.05"
TUNE = "tune model.onnx --data data.npz --eps 0.05 --trials 2"
ATTACK = "attack model.onnx --data data.npz --attack fgsm --eps 0.1"
GONE = "true; exit ${PIPESTATUS[0]}"  # a reader that reads nothing
FULL = "No space left on device"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models and data, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, GAINING)
    onnx.save(parse(RELU), "relu.onnx")
    onnx.save(parse(NESTED), "nested.onnx")
    patch_file("relu.onnx", "patched.onnx", 0.5)
    x, y = examples(40)
    np.savez("data.npz", x=x, y=y)
    return tmp_path


def in_shell(command: str) -> tuple[int, str]:
    """The exit code and stderr of a command line, in which `P` is the program."""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        ["/bin/bash", "-c", f'P() {{ {PROGRAM} "$@"; }}; {command}'],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return done.returncode, done.stderr


@pytest.mark.usefixtures("folder")
class TestWritten:
    """Code 3 and one line that names what was written and what was not."""

    @pytest.mark.parametrize(
        ("command", "written"),
        [
            ("patch relu.onnx --jump 1", "relu.jumprelu.onnx was"),
            ("patch relu.onnx --jump 1 --in-place", "relu.onnx was"),
            ("patch relu.onnx nested.onnx --jump 1", "relu.jumprelu.onnx and nested.jumprelu.onnx were"),
            ("patch relu.onnx --jump 1 --out-dir out", "out/relu.jumprelu.onnx was"),
            ("revert patched.onnx", "patched.reverted.onnx was"),
            (f"{ATTACK} -o adv.npz", "adv.npz was"),
            (TUNE, "model.recipe.json was"),
            (f"{TUNE} --csv t.csv -o r.json", "r.json and t.csv were"),
            (f"{VALIDATE} --junit v.xml --markdown v.md", "model.partial.json, v.xml and v.md were"),
        ],
    )
    def test_the_json_cannot_be(self, command: str, written: str, capsys: Captured) -> None:
        assert main([*command.split(), "--json", "/dev/full", "-q"]) == 3
        assert (
            capsys.readouterr()
            .err.splitlines()[-1]
            .startswith(f"onnx-jumprelu: {written} written, but /dev/full: cannot be written ({FULL})")
        )
        for name in written.split()[:-1]:
            assert name == "and" or Path(name.rstrip(",")).stat().st_size

    @pytest.mark.parametrize("option", ["--junit", "--markdown", "--html"])
    def test_one_report_does_not_stop_the_others(self, option: str, capsys: Captured) -> None:
        pytest.importorskip("jinja2")
        pytest.importorskip("matplotlib")
        assert main([*VALIDATE.split(), option, "/dev/full", "--json", "v.json"]) == 3
        captured = capsys.readouterr()
        line = f"model.partial.json and v.json were written, but /dev/full: cannot be written ({FULL}); "
        assert f"{line}the same command with --resume writes the rest" in captured.err.splitlines()[-1]
        assert captured.out.startswith("Measured")
        assert json.loads(Path("v.json").read_text())["complete"]
        assert main([*VALIDATE.split(), option, "report", "--resume"]) == 0
        assert Path("report").stat().st_size
        assert not Path("model.partial.json").exists()

    @pytest.mark.parametrize(
        "ending",
        [
            "> /dev/full",
            ">&-",
            "| true; exit ${PIPESTATUS[0]}",
            "--json - > /dev/full",
            "--json - | true; exit ${PIPESTATUS[0]}",
        ],
    )
    def test_stdout_cannot_be(self, ending: str) -> None:
        code, err = in_shell(f"P patch relu.onnx --jump 1 {ending}")
        assert code == 3
        assert err.startswith("onnx-jumprelu: relu.jumprelu.onnx was written, but the output cannot be written (")
        assert err.count("\n") == 1
        assert onnx.load("relu.jumprelu.onnx").graph.node

    def test_the_examples_cannot_be_and_the_rest_is(self, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise OSError(28, FULL)

        monkeypatch.setattr("numpy.savez_compressed", fail)
        assert main([*ATTACK.split(), "-o", "adv.npz", "--json", "a.json"]) == 3
        captured = capsys.readouterr()
        assert f"a.json was written, but adv.npz: cannot be written ({FULL})" in captured.err
        assert "robust accuracy" in captured.out
        assert not Path("adv.npz").exists()

    def test_a_model_that_fails_counts_more(self, capsys: Captured) -> None:
        Path("bad.onnx").write_text("bad")
        assert main(["patch", "relu.onnx", "bad.onnx", "--jump", "1", "--json", "/dev/full", "-q"]) == 1
        first, second = capsys.readouterr().err.splitlines()
        assert "relu.jumprelu.onnx was written, but /dev/full" in first
        assert "bad.onnx: is not an ONNX model" in second
        assert main([*VALIDATE.split(), "--min-robust", "1", "--json", "/dev/full", "-q"]) == 1

    def test_finished_attacks_are_kept(self, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
        """The disk is full when the second attack is to be kept."""
        command, calls = [*VALIDATE.split(), "--attacks", "fgsm,square", "--json", "v.json", "-q"], list[str]()

        def fill(file: BinaryIO) -> None:
            calls.append(file.name)
            if len(calls) > 1:
                raise OSError(28, FULL)
            finish(file)

        with monkeypatch.context() as patch:
            patch.setattr("onnx_jumprelu.files.atomic.finish", fill)
            assert main(command) == 3
        assert capsys.readouterr().err == (
            "onnx-jumprelu: 1 attack kept in model.partial.json (continue with the same command and --resume), but "
            f"model.partial.json: cannot be written ({FULL})\n"
        )
        assert len(json.loads(Path("model.partial.json").read_text())["attacks"]) == 1
        assert main([*command, "--resume"]) == 0


@pytest.mark.usefixtures("folder")
class TestNothingWritten:
    """Code 2 and one line."""

    @pytest.mark.parametrize(
        "command",
        ["inspect relu.onnx", "verify relu.onnx patched.onnx", "patch relu.onnx --jump 1 --dry-run"],
    )
    def test_the_only_output_cannot_be(self, command: str, folder: Path, capsys: Captured) -> None:
        before = sorted(folder.iterdir())
        assert main([*command.split(), "--json", "/dev/full", "-q"]) == 2
        assert capsys.readouterr().err == f"onnx-jumprelu: /dev/full: cannot be written ({FULL})\n"
        assert sorted(folder.iterdir()) == before

    @pytest.mark.parametrize("command", ["patch relu.onnx --jump 1", "inspect relu.onnx"])
    def test_a_closed_stdout_is_noticed_before_the_work(self, command: str, folder: Path) -> None:
        before = sorted(folder.iterdir())
        code, err = in_shell(f"P {command} --json - >&-")
        assert code == 2
        assert "--json -: the standard output is closed; give a file" in err
        assert err.count("\n") == 1
        assert sorted(folder.iterdir()) == before

    @pytest.mark.parametrize("command", ["patch relu.onnx --jump 1 -o -", "revert patched.onnx -o -"])
    def test_a_model_is_not_printed(self, command: str, folder: Path, capsys: Captured) -> None:
        before = sorted(folder.iterdir())
        assert main(command.split()) == 2
        assert "-o needs a file; a model cannot be printed" in capsys.readouterr().err
        assert sorted(folder.iterdir()) == before

    @pytest.mark.parametrize(
        ("command", "name", "content"),
        [
            ("inspect relu.onnx --json package.json", "package.json", b'{"name": "app"}'),
            ("patch relu.onnx --jump 1 --json package.json", "package.json", b'{"name": "app"}'),
            (f"{TUNE} -o package.json", "package.json", b'{"name": "app"}'),
            (TUNE, "model.recipe.json", b'{"default": 0.5}'),
            (f"{VALIDATE} --markdown README.md", "README.md", b"# My project"),
            (f"{VALIDATE} --junit pom.xml", "pom.xml", b"<project/>"),
            (f"{VALIDATE} --state package.json", "package.json", b'{"name": "app"}'),
            (f"{ATTACK} -o train.npz", "train.npz", b""),
        ],
    )
    def test_files_of_others_are_kept(
        self, command: str, name: str, content: bytes, folder: Path, capsys: Captured
    ) -> None:
        Path(name).write_bytes(content or Path("data.npz").read_bytes())
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert main(command.split()) == 2
        captured = capsys.readouterr()
        assert f"{name}: already exists and is not a" in captured.err
        assert captured.err.count("\n") == 1
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert main([*command.split(), "--force", "-q"]) == 0

    def test_a_forgotten_resume(self, capsys: Captured) -> None:
        """Hours of finished attacks are not overwritten."""
        assert main([*VALIDATE.split(), "--json", "/dev/full", "-q"]) == 3
        assert "model.partial.json was written, but /dev/full: cannot be written" in capsys.readouterr().err
        kept = Path("model.partial.json").read_bytes()
        capsys.readouterr()
        assert main(VALIDATE.split()) == 2
        assert "holds the finished attacks of an interrupted run; give --resume" in capsys.readouterr().err
        assert main([*VALIDATE.split(), "--eps", "0.2"]) == 2
        assert "of another experiment (eps differs); give another --state" in capsys.readouterr().err
        assert Path("model.partial.json").read_bytes() == kept
        assert main([*VALIDATE.split(), "--json", "model.partial.json", "--state", "s.json"]) == 2
        assert "model.partial.json: already exists and is not a result of this tool" in capsys.readouterr().err
        assert main([*VALIDATE.split(), "--resume", "-q"]) == 0
        assert not Path("model.partial.json").exists()

    def test_a_folder_that_was_made_is_removed_again(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError(28, FULL)

        before = sorted(folder.iterdir())
        monkeypatch.setattr("onnx_jumprelu.files.atomic.finish", fail)
        for command in ("patch relu.onnx --jump 1 --out-dir new/deep", "demo --out-dir new"):
            assert main([*command.split(), "-q"]) == 2
            assert sorted(folder.iterdir()) == before


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "command",
    [
        "inspect relu.onnx --json r.json",
        "verify relu.onnx patched.onnx --json r.json",
        "patch relu.onnx --jump 1 --json r.json",
        "patch relu.onnx nested.onnx --jump 1 --json r.json",
        "revert patched.onnx --json r.json",
        f"{ATTACK} -o adv.npz --json r.json",
        f"{TUNE} --csv t.csv --json r.json",
        f"{VALIDATE} --junit v.xml --markdown v.md --json r.json",
    ],
)
def test_the_same_command_works_again(command: str) -> None:
    """Its own older results may be replaced."""
    for _ in range(2):
        assert main([*command.split(), "-q"]) == 0


@pytest.mark.usefixtures("folder")
def test_pictures_and_pages_can_be_written_again() -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    for command in (f"{TUNE} --picture t.svg", f"{VALIDATE} --html v.html"):
        for _ in range(2):
            assert main([*command.split(), "-q"]) == 0


@pytest.mark.usefixtures("folder")
class TestStderr:
    """Nobody reads it: the work is done all the same, and nothing of it lands elsewhere."""

    @pytest.mark.parametrize("ending", ["2>&-", "2> /dev/full", "2> >(true)"])
    def test_it_stops_nothing(self, ending: str) -> None:
        code, _ = in_shell(f"P {VALIDATE} --json v.json --n-examples 50 {ending}")
        assert code == 0
        assert json.loads(Path("v.json").read_text())["complete"]

    @pytest.mark.parametrize("ending", ["2>&-", "2> /dev/full"])
    def test_an_error_keeps_its_code(self, ending: str) -> None:
        assert in_shell(f"P patch none.onnx --jump 1 {ending}") == (2, "")

    def test_a_file_does_not_get_what_is_printed(self) -> None:
        """With the streams closed, the next file would get their numbers, and what libraries print."""
        script = (
            "import os; from onnx_jumprelu.cli import main; main(['inspect', 'relu.onnx', '-q'])\n"
            "file = open('mine', 'wb'); os.write(2, b'a warning'); os.write(1, b'more'); print(file.fileno() > 2)"
        )
        Path("script.py").write_text(script)
        code, _ = in_shell(f"PYTHONPATH=$PYTHONPATH {shlex.quote(sys.executable)} script.py <&- >&- 2>&-")
        assert code == 0
        assert Path("mine").read_bytes() == b""
