"""A command in a folder: what it does when nothing disturbs it, and so what it may leave behind when something does."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "onnx_jumprelu")
PATIENCE = 120.0  # seconds after which a command counts as stuck
VOLATILE = {"seconds", "latency_ratio", "command"}  # keys of a verdict that differ from run to run
CHECKPOINT, INCOMPLETE, DAMAGED = "a checkpoint", "an incomplete verdict", "damaged"


@dataclass(frozen=True)
class Scene:
    """A command with its files.

    Attributes:
        name: The row of the summary.
        folder: Where it works; made anew for each trial.
        store: Where its files come from.
        command: Its words after the name of the program.
        before: The files at the beginning, by their place in the folder: files of the store.
        program: What is run.
        resumed_by: If this file is there, the next run has `--resume`.
        passing: States that a file may also have, by its name, while the work is not complete.
    """

    name: str
    folder: Path
    store: Path
    command: tuple[str, ...]
    before: Mapping[str, str]
    program: tuple[str, ...] = PROGRAM
    resumed_by: str | None = None
    passing: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def reset(self) -> None:
        """Make the folder as it is at the beginning."""
        if self.folder.exists():
            self.folder.chmod(0o755)
            shutil.rmtree(self.folder)
        for place, origin in self.before.items():
            (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.store / origin, self.folder / place)

    def start(self, *more: str, prepare: Callable[[], None] | None = None) -> Running:
        """Start the command; `prepare` is called in the new process."""

        def begin() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets what it starts in the background ignore it
            if prepare is not None:
                prepare()

        resumed = self.resumed_by is not None and (self.folder / self.resumed_by).exists()
        words = [*self.program, *self.command, *more, *(["--resume"] if resumed else [])]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            words,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
            preexec_fn=begin,  # noqa: PLW1509 - no other thread runs
        )
        return Running(process, self)

    def states(self) -> dict[str, str]:
        """Each file of the folder with a text that says what it holds."""
        return {name: state(self.folder / name) for name in sorted(self.names())}

    def names(self) -> set[str]:
        """The files of the folder."""
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}


@dataclass(frozen=True)
class Known:
    """What a scene's files may hold, learnt from runs that nothing disturbed.

    Attributes:
        before: The states at the beginning.
        after: The states in the end.
        seconds: How long a run takes.
    """

    before: Mapping[str, str]
    after: Mapping[str, str]
    seconds: float

    def violations(self, scene: Scene, found: Mapping[str, str], *others: Known) -> Iterator[str]:
        """Files that hold neither what they held before nor what the command (or one of others) writes."""
        for name in sorted({*self.before, *found}):
            if name in self.before or name in self.after:
                allowed = {*scene.passing.get(name, ()), self.before.get(name, "missing")}
                allowed |= {known.after.get(name, "missing") for known in (self, *others)}
                if (now := found.get(name, "missing")) not in allowed:
                    yield f"{name} is {now[:40]}, neither old nor new"
            elif name in scene.passing and found[name] not in scene.passing[name]:
                yield f"{name} is {found[name][:40]}"

    def leftovers(self, scene: Scene, found: Mapping[str, str]) -> list[str]:
        """Files that neither were there nor belong there."""
        return sorted(set(found) - set(self.before) - set(self.after) - set(scene.passing))


def learn(scene: Scene) -> Known:
    """Run the command once without harm."""
    scene.reset()
    before, start = scene.states(), time.monotonic()
    running = scene.start()
    code, complaint = running.end()
    if code:
        raise SystemExit(f"{scene.name}: the undisturbed command failed: {complaint}")
    seconds = time.monotonic() - start
    for path in scene.folder.rglob("*.onnx"):
        check_loads(path)
    return Known(before, scene.states(), seconds)


def check_loads(path: Path) -> None:
    """See that both loaders take a model."""
    import onnx  # noqa: PLC0415 - slow to import, and not needed by who only asks for help
    import onnxruntime  # noqa: PLC0415

    onnx.load(path)
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Running:
    """A command at work."""

    process: subprocess.Popen[str]
    scene: Scene

    def wait_for_writing(self, known: Known) -> None:
        """Wait until something is written: a temporary file, or one that is there only while the work is not done."""
        expected = known.before.keys() | known.after.keys()
        while self.process.poll() is None and self.scene.names() <= expected:
            time.sleep(0.001)

    def first_workers(self) -> list[int]:
        """The processes that do its jobs, as soon as there are any; none if it ends before."""
        workers: list[int] = []
        while not workers and self.process.poll() is None:
            workers = [pid for pid, words in self.session() if b"spawn_main" in words]
        return workers

    def session(self) -> list[tuple[int, bytes]]:
        """The processes that it has started, and theirs, with their command lines."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.process.pid:
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    if int(fields[3]) == self.process.pid and fields[0] != "Z":
                        found.append((int(entry.name), (entry / "cmdline").read_bytes()))
                except (FileNotFoundError, ProcessLookupError):
                    continue
        return found

    def end(self) -> tuple[int, str]:
        """Its exit code and what it said on stderr, once it has ended."""
        try:
            _, complaint = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
            return 999, "stuck"
        return self.process.returncode, complaint

    def orphans(self) -> list[int]:
        """Processes of it that do not end, though it has."""
        deadline = time.monotonic() + 10
        while (left := self.session()) and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid, _ in left:
            os.kill(pid, signal.SIGKILL)
        return [pid for pid, _ in left]


def state(path: Path) -> str:
    """What a file holds: a hash; of a verdict without what differs from run to run."""
    if path.suffix != ".json":
        return _digest(path.read_bytes())
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return DAMAGED
    if str(content.get("schema")).startswith("onnx-jumprelu/checkpoint/"):
        return CHECKPOINT
    if content.get("complete") is False:
        return INCOMPLETE
    return _digest(json.dumps(_steady(content), sort_keys=True).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _steady(content: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(content, dict):
        return {key: _steady(value) for key, value in content.items() if key not in VOLATILE}
    return [_steady(value) for value in content] if isinstance(content, list) else content


def limited(size: int) -> Callable[[], None]:
    """What makes a process find the disk full after so many bytes of a file."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def without_privileges() -> None:
    """Make a process that root starts respect permissions."""
    library = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
        library.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; an ordinary user has none to drop
