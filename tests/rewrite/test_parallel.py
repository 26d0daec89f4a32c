"""Jobs in processes: one that is killed fails alone, and none outlives the process that started it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import onnx
import pytest

from onnx_jumprelu import FileOptions, patch_files
from onnx_jumprelu.rewrite.parallel import Processes, ProcessKilledError, outcomes
from tests.models import RELU, parse


def double(number: int) -> int:
    """Twice a number; 3 kills its process, and -1 is refused."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number < 0:
        raise ValueError(f"{number} is refused")
    return 2 * number


def pool(count: int) -> Executor:
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"))


@pytest.mark.parametrize("make", [Processes, pool])
def test_a_killed_process_fails_its_job_alone(make: Callable[[int], Executor]) -> None:
    numbers = [0, 1, 2, 3, 4, -1, 5, 6, 7]
    with make(2) as executor:
        found = dict(outcomes(double, numbers, executor))
    assert sorted(found) == list(range(len(numbers)))
    assert isinstance(found[3], ProcessKilledError)
    assert str(found[3]) == "its process was killed (for lack of memory, for example)"
    assert str(found[5]) == "-1 is refused"
    assert [found[place] for place in (0, 1, 2, 4, 6, 7, 8)] == [0, 2, 4, 8, 10, 12, 14]


def test_an_executor_that_is_broken_from_the_start() -> None:
    with pool(1) as executor:
        executor.submit(double, 3).exception()
        assert sorted(outcomes(double, [1, 2], executor)) == [(0, 2), (1, 4)]


def test_a_process_that_was_killed_while_idle_is_replaced() -> None:
    with Processes(1) as executor:
        os.kill(executor.submit(os.getpid).result(), signal.SIGKILL)
        time.sleep(0.3)
        assert executor.submit(double, 4).result() == 8


def kill_for(name: str, original: Path, finished: Path) -> None:
    """A check that kills the process at one of the models."""
    assert finished.is_file()
    if original.name == name:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_model_whose_process_is_killed_fails_alone(tmp_path: Path) -> None:
    paths = [tmp_path / f"m{number}.onnx" for number in range(6)]
    for path in paths:
        onnx.save(parse(RELU), path)
    with Processes(2) as executor:
        files = FileOptions(check=partial(kill_for, "m2.onnx"))
        results = patch_files(paths, jump=0.5, executor=executor, files=files)
    assert [result.error is None for result in results] == [True, True, False, True, True, True]
    assert results[2].error == f"{paths[2]}: its process was killed (for lack of memory, for example)"
    assert not (tmp_path / "m2.jumprelu.onnx").exists()


PARENT = """
import os, sys, time
from onnx_jumprelu.rewrite.parallel import Processes
if __name__ == "__main__":
    executor = Processes(2)
    pids = {executor.submit(os.getpid).result()}
    pids |= {future.result() for future in [executor.submit(os.getpid) for _ in range(8)]}
    print(*pids, flush=True)
    time.sleep(60)
"""


def test_they_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, "parent.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        assert all(map(alive, workers))
        parent.kill()
    deadline = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers))


def alive(pid: int) -> bool:
    """Whether a process runs, one that has ended and that nobody waits for aside."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
