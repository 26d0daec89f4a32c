"""A part of the fuzzer, and proof that it sees what it looks for."""

import os
import time
from pathlib import Path

import pytest

from onnx_jumprelu import JumpReLUError
from tests.fuzz import trials, workers
from tests.fuzz.mutations import KINDS, drawn
from tests.fuzz.workers import run

EVERY = tuple(KINDS)


def test_some_inputs() -> None:
    report = run(seed=1, inputs=range(200), kinds=EVERY, jobs=2)
    assert not report.failures
    assert sum(report.tried.values()) == 200
    assert set(report.tried) == set(EVERY)


@pytest.mark.slow
def test_more_inputs() -> None:
    assert not run(seed=2, inputs=range(5000), kinds=EVERY, jobs=2).failures


def test_a_seed_repeats_an_input() -> None:
    assert drawn(3, 4, EVERY) == drawn(3, 4, EVERY) != drawn(3, 5, EVERY)


class TestItSees:
    """The workers are forked, so that they try what is planted here."""

    def planted(self, monkeypatch: pytest.MonkeyPatch, trial: trials.Trial) -> list[str]:
        monkeypatch.setitem(trials.TRIALS, "policy", lambda _: [trial])
        report = run(seed=0, inputs=range(2), kinds=("policy",), jobs=1)
        assert report.failures
        assert report.failures[0].index == 0
        return [failure.what for failure in report.failures]

    def test_another_exception(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def trial(_: Path) -> None:
            raise KeyError("planted")

        assert self.planted(monkeypatch, trial)[0] == "KeyError: 'planted'"

    def test_an_output_after_a_refusal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def trial(path: Path) -> None:
            path.with_name("half").write_bytes(b"1")
            raise JumpReLUError("refused")

        assert "after a refusal" in self.planted(monkeypatch, trial)[0]

    def test_a_changed_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "the input was changed" in self.planted(monkeypatch, lambda path: path.write_bytes(b""))[0]

    def test_the_end_of_the_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "the process ended with 3" in self.planted(monkeypatch, lambda _: os._exit(3))[0]

    def test_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers, "SECONDS", 0.5)
        assert "took more than" in self.planted(monkeypatch, lambda _: time.sleep(60))[0]

    def test_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers, "MEMORY", 2**26)
        assert "MiB" in self.planted(monkeypatch, lambda _: bytearray(2**27))[0]
