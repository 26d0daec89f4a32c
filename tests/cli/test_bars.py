"""Bars of attacks on a terminal: they appear, tell the time left, and vanish."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnx_jumprelu.cli import common, main
from onnx_jumprelu.cli.bars import DrawnBars, attack_progress

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
    monkeypatch.setattr(common, "PATIENCE", 0.0)


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
def appeared(total: int) -> Iterator[DrawnBars]:
    """Bars that are on the screen, and drawn once more before they go."""
    with attack_progress("validating", total, quiet=False) as found:
        assert isinstance(found, DrawnBars)
        while not found.progress.live.is_started:
            time.sleep(0.001)
        yield found
        found.progress.refresh()


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
        monkeypatch.setattr(found.progress, "update", lambda _, completed: moves.append(completed))
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


@pytest.mark.usefixtures("impatient", "folder")
@pytest.mark.parametrize("command", [VALIDATE, ATTACK])
def test_nothing_where_nobody_looks(command: tuple[str, ...], screen: Screen, capsys: Captured) -> None:
    assert main(command) == 0  # stderr is no terminal
    assert capsys.readouterr().err == ""
    with screen.on_stderr():
        assert main([*command, "--quiet"]) == 0
    assert screen.text == ""


@pytest.mark.usefixtures("folder")
def test_nothing_within_the_first_second(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "PATIENCE", 1000.0)
    with screen.on_stderr():
        assert main(ATTACK) == 0
    assert screen.text == ""
