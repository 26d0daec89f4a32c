"""Progress: bars on a terminal that appear, show the time left and vanish; plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnx_jumprelu.cli import main
from onnx_jumprelu.cli import progress as progress_module
from onnx_jumprelu.cli.progress import Bars, Lines, progress

pytestmark = pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")
Captured = pytest.CaptureFixture[str]
DATA = ("--data", "data.npz", "--n-examples", "20", "--eps", "0.1")
VALIDATE = ("validate", "model.onnx", "patched.onnx", *DATA, "--attacks", "fgsm,pgd:relu")
ATTACK = ("attack", "model.onnx", *DATA, "--attack", "pgd")
END = "<end>"
LINE_ERASED = "\x1b[1A\x1b[2K"  # the one above


class Screen:
    """A pseudo-terminal, and what was printed on it, without colours."""

    text = ""

    @contextlib.contextmanager
    def on_stderr(self) -> Iterator[None]:
        """Put it in the place of stderr."""
        here, there = os.openpty()
        raw = bytearray()
        reader = threading.Thread(target=_read, args=(here, raw))  # all along: a terminal holds little unread
        reader.start()
        with os.fdopen(there, "w", encoding="utf-8") as stderr, contextlib.redirect_stderr(stderr):
            try:
                yield
            finally:
                stderr.write(END)
                stderr.flush()
                reader.join()
                os.close(here)
        self.text = re.sub(r"\x1b\[[0-9;]*m", "", raw.decode().removesuffix(END))

    def frames(self) -> list[list[str]]:
        """What stood on it, one list of lines after the other."""
        drawn = re.split(r"(?:\r(?!\n)|\x1b\[[0-9]*[AK]|\x1b\[\?25[lh])+", self.text)
        return [[line.rstrip() for line in frame.splitlines()] for frame in drawn if frame.strip()]


def _read(terminal: int, into: bytearray) -> None:
    while not into.endswith(END.encode()):
        into += os.read(terminal, 1 << 16)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return Screen()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars appear at once."""
    monkeypatch.setattr(progress_module, "PATIENCE", 0.0)


@pytest.fixture
def folder(tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes((samples / "digits_cnn.onnx").read_bytes())
    (tmp_path / "data.npz").write_bytes((samples / "digits.npz").read_bytes())
    assert main(["patch", "model.onnx", "-o", "patched.onnx", "--jump", "0.5", "--quiet"]) == 0
    return tmp_path


class Clock:
    """The time as rich sees it."""

    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("rich.console.monotonic", lambda: clock.now)
    return clock


@contextlib.contextmanager
def appeared(total: int) -> Iterator[Bars]:
    """Bars that are on the screen, and drawn once more before they go."""
    with progress("validating", total, "attack", quiet=False) as found:
        assert isinstance(found, Bars)
        while not found.drawn.live.is_started:
            time.sleep(0.001)
        yield found
        found.drawn.refresh()


@pytest.mark.usefixtures("impatient")
def test_a_verdict_has_a_bar_for_all_attacks_and_one_for_the_attack_at_work(screen: Screen, clock: Clock) -> None:
    with screen.on_stderr(), appeared(30) as found:
        found.step(6)
        found.step()
        found.attack("fgsm on patched", 0.0)
        found.attack("fgsm on patched", 1.0)
        for share in (0.0, 0.1, 0.2, 0.4):
            clock.now += 10
            found.attack("apgd-t on patched", share)
    whole, attack = screen.frames()[-1]
    assert re.fullmatch(r"validating +[━╸╺]+ +7/30", whole)
    # 0.3 of the work in the last 20 seconds: 40 for the other 0.6.
    assert re.fullmatch(r"apgd-t on patched +[━╸╺]+ +40% +0:00:40 left", attack)
    assert screen.text.endswith("\r" + 2 * LINE_ERASED)


@pytest.mark.usefixtures("impatient")
def test_a_single_attack_has_one_bar(screen: Screen, clock: Clock) -> None:
    with screen.on_stderr(), appeared(1) as found:
        for share in (0.0, 0.25, 0.5):
            clock.now += 1
            found.attack("pgd on [odd].onnx", share)
    (attack,) = screen.frames()[-1]
    assert re.fullmatch(r"pgd on \[odd\].onnx +[━╸╺]+ +50% +0:00:02 left", attack)
    assert screen.text.endswith("\r" + LINE_ERASED)


@pytest.mark.usefixtures("impatient")
def test_a_long_name_is_cut_and_the_time_is_not(screen: Screen, clock: Clock) -> None:
    with screen.on_stderr(), appeared(1) as found:
        for share in (0.0, 0.25, 0.5):
            clock.now += 100
            found.attack("autoattack on a" + "n" * 100 + ".onnx", share)
    (attack,) = screen.frames()[-1]
    assert len(attack) <= 80
    assert re.fullmatch(r"autoattack on an+… +[━╸╺]+ +50% +0:03:20 left", attack)


@pytest.mark.usefixtures("impatient")
def test_the_estimate_reaches_back_to_the_beginning_however_many_steps_there_are(screen: Screen, clock: Clock) -> None:
    with screen.on_stderr(), appeared(1) as found:
        for query in range(100_001):
            clock.now = query / 1000 if query < 50_000 else query / 100  # from the middle on, ten times as slow
            found.attack("square on patched", query / 200_000)
    (attack,) = screen.frames()[-1]
    assert re.fullmatch(r"square on patched +[━╸╺]+ +50% +0:16:\d\d left", attack)


@pytest.mark.usefixtures("impatient")
def test_after_the_last_attack_none_is_at_work(screen: Screen) -> None:
    with screen.on_stderr(), appeared(2) as found:
        found.attack("pgd on patched", 0.0)
        found.step()
        found.attack("pgd on patched", 1.0)
        found.step()
    (whole,) = screen.frames()[-1]
    assert re.fullmatch(r"validating +━+ +2/2", whole)


@pytest.mark.usefixtures("impatient")
def test_a_step_too_small_to_be_seen_costs_nothing(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    with screen.on_stderr(), appeared(1) as found:
        found.attack("square on patched", 0.0)
        moves: list[float] = []
        monkeypatch.setattr(found.drawn, "update", lambda _, completed: moves.append(completed))
        for share in (0.0004, 0.0008, 0.0012, 0.0016, 0.9996, 1.0):
            found.attack("square on patched", share)
    assert moves == [0.0012, 0.9996, 1.0]


@pytest.mark.usefixtures("impatient", "folder")
@pytest.mark.parametrize(
    ("command", "names"),
    [
        (VALIDATE, ["fgsm on original", "fgsm on patched", "pgd (relu) on original", "pgd (relu) on patched"]),
        (ATTACK, ["pgd on model.onnx"]),
    ],
)
def test_commands_name_their_attacks(
    command: tuple[str, ...], names: list[str], screen: Screen, capsys: Captured
) -> None:
    with screen.on_stderr():
        assert main(command) == 0
    seen = [line for frame in screen.frames() for line in frame]
    for name in names:
        assert any(
            re.fullmatch(re.escape(name) + r" +[━╸╺]+ +\d+% +[-\d]:[-\d]{2}:[-\d]{2} left", line) for line in seen
        )
    assert any(re.fullmatch(r"validating +[━╸╺]+ +\d/4", line) for line in seen) == (command == VALIDATE)
    assert screen.text.endswith("\r" + len(screen.frames()[-1]) * LINE_ERASED), "all lines are gone in the end"
    assert "left" not in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_nothing_within_the_first_second(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "PATIENCE", 1000.0)
    with screen.on_stderr():
        assert main(ATTACK) == 0
    assert screen.text == ""


@pytest.mark.usefixtures("impatient", "folder")
@pytest.mark.parametrize("command", [VALIDATE, ATTACK])
def test_quiet_silences_it(command: tuple[str, ...], screen: Screen, capsys: Captured) -> None:
    with screen.on_stderr():
        assert main([*command, "--quiet"]) == 0
    assert screen.text == ""
    assert main([*command, "--quiet"]) == 0  # stderr is not a terminal
    assert capsys.readouterr() == ("", "")


class Log:
    """Lines of a run whose clock the test sets."""

    def __init__(self, total: int, start: str | None = None, unit: progress_module.Unit = "attack") -> None:
        self.now, self.written = 100.0, list[str]()
        self.lines = Lines("validating", total, unit, start=start, clock=lambda: self.now, write=self.written.append)


def test_a_line_says_which_attack_how_far_and_how_long() -> None:
    log = Log(4)
    log.lines.attack("fgsm on original", 0.0)
    log.now += 10
    assert log.lines.line() == "validating: attack 1 of 4 (fgsm on original), 0%, 0:10 elapsed"
    log.lines.attack("fgsm on original", 1.0)
    log.lines.step()
    log.lines.attack("apgd-t on patched", 0.5)
    log.now += 3650
    assert log.lines.line() == (
        "validating: attack 2 of 4 (apgd-t on patched), 38%, 1:01:00 elapsed, about 1:41:40 left"
    )
    log.lines.attack("apgd-t on patched", 1.0)
    for _ in range(3):
        log.lines.step()
    assert log.lines.line() == "validating: attack 4 of 4, 100%, 1:01:00 elapsed"


def test_attacks_of_an_earlier_run_took_no_time() -> None:
    log = Log(4)
    log.lines.step()  # from the file: no attack was at work
    log.lines.step()
    log.lines.attack("pgd on patched", 0.5)
    log.now += 30
    assert log.lines.line() == "validating: attack 3 of 4 (pgd on patched), 62%, 0:30 elapsed, about 1:30 left"


def test_steps_without_names_have_a_time_left_too() -> None:
    log = Log(98, unit="step")
    log.lines.step(49)
    log.now += 61
    assert log.lines.line() == "validating: step 50 of 98, 50%, 1:01 elapsed, about 1:01 left"


def test_a_single_attack_is_not_counted() -> None:
    log = Log(1)
    assert log.lines.line() == "validating: at work, 0%, 0:00 elapsed"
    log.lines.attack("pgd on model.onnx", 0.25)
    log.now += 10
    assert log.lines.line() == "validating: pgd on model.onnx, 25%, 0:10 elapsed, about 0:30 left"


def test_the_line_at_the_start_comes_once_and_with_the_first_attack() -> None:
    log = Log(2, "2 attacks on 20 examples")
    assert log.written == []
    log.lines.attack("fgsm on original", 0.0)
    log.lines.step()
    assert log.written == ["validating: 2 attacks on 20 examples"]
    silent = Log(2)
    silent.lines.attack("fgsm on original", 0.0)
    assert silent.written == []


def test_the_line_at_the_start_says_how_long_the_work_takes_at_most() -> None:
    log = Log(2, "2 attacks on 20 examples")
    log.lines.takes(200.0)
    log.lines.attack("fgsm on original", 0.0)
    assert log.written == ["validating: 2 attacks on 20 examples, at most about 3:20"]


def test_lines_come_at_intervals_while_the_work_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "FIRST_LINE", 0.01)
    monkeypatch.setattr(progress_module, "EVERY", 0.01)
    log = Log(1)
    with log.lines.written():
        while len(log.written) < 3:
            time.sleep(0.001)
    count = len(log.written)
    time.sleep(0.05)
    assert len(log.written) == count, "none after the end"
    assert set(log.written) == {"validating: at work, 0%, 0:00 elapsed"}


def test_a_failure_ends_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "EVERY", 0.01)
    before = threading.active_count()
    log = Log(1, "one attack")
    with pytest.raises(ValueError, match="broken"), log.lines.written():
        raise ValueError("broken")
    assert threading.active_count() == before
    assert log.written == []


@pytest.mark.usefixtures("folder")
def test_commands_write_lines_to_a_log(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert main(VALIDATE) == 0
    beginning = r"validating: 4 attacks on 20 examples, at most about 0:\d\d"
    assert re.fullmatch(beginning + "\n", capsys.readouterr().err)
    assert main(ATTACK) == 0
    assert capsys.readouterr().err == "", "short work is not announced"
    monkeypatch.setattr(progress_module, "EVERY", 0.001)
    assert main([*VALIDATE, "--json", "-"]) == 0
    captured = capsys.readouterr()
    start, *lines = captured.err.splitlines()
    assert start.startswith("validating: 4 attacks on 20 examples")
    assert lines
    pattern = r"validating: attack \d of 4( \(.+ on (original|patched)\))?, \d+%, 0:\d\d elapsed(, about 0:\d\d left)?"
    assert all(re.fullmatch(pattern, line) for line in lines), lines
    assert captured.out.startswith("{")
