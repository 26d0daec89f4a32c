"""Tries inputs in processes of their own, each watched for time and memory."""

from __future__ import annotations

import multiprocessing
import os
import resource
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.fuzz.trials import try_input

SECONDS = 10.0  # per input
MEMORY = 2**30  # bytes per input, beyond what the process had before
ADDRESSES = 2**33  # bytes of address space, so that a fault cannot take the machine's memory
PAUSE = 0.2
FORK = multiprocessing.get_context("fork")  # what is imported already need not be imported again


@dataclass(frozen=True)
class Failure:
    """An input on which a promise was broken."""

    index: int
    what: str
    where: str = ""


@dataclass
class Report:
    """How many inputs of each kind were tried, and which failed."""

    tried: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    on_failure: Callable[[Failure], object] = print

    def add(self, failure: Failure) -> None:
        """Keep a failure, and report it at once."""
        self.failures.append(failure)
        self.on_failure(failure)


@dataclass(frozen=True)
class Batch:
    """Which inputs to try: `start`, `start + step`, and so on below `stop`."""

    seed: int
    start: int
    stop: int
    step: int
    kinds: tuple[str, ...]


def run(
    seed: int, inputs: range, kinds: tuple[str, ...], jobs: int, on_failure: Callable[[Failure], object] = print
) -> Report:
    """Try inputs in `jobs` processes; `on_failure` is called with each failure as soon as it is known."""
    report = Report(on_failure=on_failure)
    workers = [_Worker(Batch(seed, inputs.start + job, inputs.stop, jobs, kinds)) for job in range(jobs)]
    while sum(worker.watch(report) for worker in workers):  # each of them, unlike `any`
        time.sleep(PAUSE)
    report.failures.sort(key=lambda failure: failure.index)
    return report


class _Worker:
    """One process, which is started anew after an input that took too much or killed it."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._start(batch.start)

    def _start(self, start: int) -> None:
        batch = self._batch
        self._done = start >= batch.stop
        if self._done:
            return
        self._at, self._since = start, time.monotonic()
        self._receiver, sender = FORK.Pipe(duplex=False)
        given = Batch(batch.seed, start, batch.stop, batch.step, batch.kinds)
        self._process = FORK.Process(target=_work, args=(given, sender), daemon=True)
        self._process.start()
        sender.close()

    def watch(self, report: Report) -> bool:
        """Read what the process reports, and stop it where it takes too long; returns whether it goes on."""
        if self._done:
            return False
        ended = not self._process.is_alive()
        for message in self._messages():
            if isinstance(message, int):
                self._at, self._since = message, time.monotonic()
            elif isinstance(message, Failure):
                report.add(message)
            else:
                report.tried.update(message)
        if ended:
            code = self._process.exitcode
            if code:
                report.add(Failure(self._at, f"the process ended with {code}"))
                self._start(self._at + self._batch.step)
            else:
                self._done = True
        elif time.monotonic() - self._since > SECONDS:
            self._process.kill()
            self._process.join()
            report.add(Failure(self._at, f"took more than {SECONDS:g} s"))
            self._start(self._at + self._batch.step)
        return not self._done

    def _messages(self) -> Iterator[Any]:
        try:
            while self._receiver.poll():
                yield self._receiver.recv()
        except EOFError:
            return


def _work(batch: Batch, reports: Connection) -> None:
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(os.devnull, "w") as null:  # noqa: PTH123 - a descriptor is needed
        os.dup2(null.fileno(), 2)  # what native code prints
    before = _peak()
    tried: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:  # noqa: S108
        for index in range(batch.start, batch.stop, batch.step):
            reports.send(index)
            try:
                tried[try_input(batch.seed, index, batch.kinds, Path(folder))] += 1
            except (Exception, MemoryError) as error:  # noqa: BLE001 - what the fuzzer looks for
                frame = traceback.extract_tb(error.__traceback__)[-1]
                ours = [each for each in traceback.extract_tb(error.__traceback__) if "onnx_jumprelu" in each.filename]
                place = ours[-1] if ours else frame
                where = f"{Path(place.filename).name}:{place.lineno} {place.name}"
                reports.send(Failure(index, f"{type(error).__name__}: {' '.join(str(error).split())[:150]}", where))
            if _peak() - before > MEMORY:
                reports.send(Failure(index, f"took {(_peak() - before) >> 20} MiB"))
                before = _peak()
    reports.send(dict(tried))


def _peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
