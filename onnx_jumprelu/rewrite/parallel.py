"""Many jobs at a time, in processes of which one can be killed without harm to the jobs of the others."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from multiprocessing import get_context, parent_process
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Job = TypeVar("Job")
Result = TypeVar("Result")


def outcomes(
    do: Callable[[Job], Result], jobs: Sequence[Job], executor: Executor | None
) -> Iterator[tuple[int, Result | BaseException]]:
    """Do each job, and yield its place and its result as soon as that is there.

    A pool of processes gives up all its jobs when one of its processes dies. Those are then done one by one, each in a
    new process, and at most once.

    Args:
        do: Does one job; for processes it must be picklable, like the jobs and the results.
        jobs: What to do.
        executor: What to do it with; without one the jobs are done one after the other, here.

    Yields:
        The place of a job, and its result; in place of that the error of the executor, for example ProcessKilledError.
    """
    if executor is None:
        yield from enumerate(map(do, jobs))
        return
    futures: dict[Future[Result], int] = {}
    given_up: list[int] = []
    try:
        for place, job in enumerate(jobs):
            try:
                futures[executor.submit(do, job)] = place
            except BrokenExecutor:
                given_up.append(place)
        for future in as_completed(futures):
            error = future.exception()
            if isinstance(error, BrokenExecutor):
                given_up.append(futures[future])
            else:
                yield futures[future], future.result() if error is None else error
    finally:
        for future in futures:
            future.cancel()  # after Ctrl-C, jobs that have not started do not start
    if given_up:
        with Processes(1) as one_by_one:
            for number, outcome in outcomes(do, [jobs[place] for place in given_up], one_by_one):
                yield given_up[number], outcome


class ProcessKilledError(RuntimeError):
    """The process that did a job is gone: killed, or crashed."""

    def __init__(self) -> None:
        super().__init__("its process was killed (for lack of memory, for example)")


class Processes(Executor):
    """Up to a number of processes at work, each with one job at a time.

    A `ProcessPoolExecutor` gives up all its jobs when one of its processes dies. Here each thread of a pool has a
    process for itself, and a new one after that has died; so only the job that it was doing fails, with
    `ProcessKilledError`. Ctrl-C is left to the process that started them: they finish what they are doing. If that
    process is killed, they end too.
    """

    def __init__(self, count: int) -> None:
        """Prepare up to `count` processes; each starts with its first job."""
        self._threads = ThreadPoolExecutor(count, initializer=_block_interrupts)
        self._idle: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        for _ in range(count):
            self._idle.put(_one_process())

    def submit(
        self, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """See `Executor.submit`; the function, its arguments and its result must be picklable."""
        return self._threads.submit(self._do, function, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as Executor
        """See `Executor.shutdown`."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        while not self._idle.empty():
            self._idle.get().shutdown(wait=wait)

    def _do(
        self, function: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        process = self._idle.get()
        try:
            try:
                future = process.submit(function, *args, **kwargs)
            except BrokenExecutor:  # it was killed while it had nothing to do
                process = _one_process()
                future = process.submit(function, *args, **kwargs)
            return future.result()
        except BrokenExecutor as error:
            process = _one_process()
            raise ProcessKilledError from error
        finally:
            self._idle.put(process)


def _one_process() -> ProcessPoolExecutor:
    # A fresh process: a fork of one that runs threads (such as a progress bar's) may hang.
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin)


def _block_interrupts() -> None:
    """Let the processes that this thread starts know no Ctrl-C from their first moment on."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Otherwise a process whose parent was killed would wait for its next job for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
