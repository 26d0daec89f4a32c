"""What disturbs a command, and what must hold afterwards."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from tests.killer.scene import Known, Running, Scene, learn, limited, without_privileges

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
AT_ANY_MOMENT = 0.4  # the share of kills that do not wait until something is written
AGAIN = 0.4  # the share of trials after which the command is run again, though nothing was left
WRITING = 0.1  # seconds from the first byte of a large file until it has its name, or a little more
Target = Literal["program", "worker"]


@dataclass(frozen=True)
class Trial:
    """What came of one disturbance.

    Attributes:
        kind: The row of the summary.
        new: Whether everything was written.
        leftovers: How many files were left that do not belong there.
        violations: What must not be.
    """

    kind: str
    new: bool
    leftovers: int
    violations: tuple[str, ...]


def kill(scene: Scene, known: Known, chance: random.Random, target: Target = "program") -> Trial:
    """Kill a command at a random moment, and run it again."""
    scene.reset()
    running = scene.start()
    how = signal.SIGKILL if target == "worker" else chance.choice(SIGNALS)
    _wait(running, known, chance)
    if target == "program":
        _send(running, how, None)
    elif workers := running.first_workers():
        _send(running, how, chance.choice(workers))
    code, complaint = running.end()
    orphans, found = running.orphans(), scene.states()
    violations = [*known.violations(scene, found), *(["processes were left"] if orphans else [])]
    leftovers = known.leftovers(scene, found)
    if how == signal.SIGINT:
        violations += _of_interrupt(code, complaint, leftovers)
    if target == "worker":
        violations += _of_worker(code, complaint, scene, known)
    if leftovers or violations or chance.random() < AGAIN:
        violations += _next_run(scene, known)
    kind = f"{scene.name}: {'a process of it, ' if target == 'worker' else ''}{how.name}"
    return Trial(kind, found == known.after, len(leftovers), tuple(violations))


def _wait(running: Running, known: Known, chance: random.Random) -> None:
    """Until a random moment: any, or (more often) one while something is written."""
    if chance.random() < AT_ANY_MOMENT:
        deadline = time.monotonic() + chance.uniform(0, known.seconds)
        while running.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
    else:
        running.wait_for_writing(known)
        time.sleep(chance.uniform(0, 1.0 if running.scene.passing else WRITING))


def _send(running: Running, how: signal.Signals, worker: int | None) -> None:
    if running.process.poll() is not None:
        return
    try:
        if worker is not None:
            os.kill(worker, how)
        elif how == signal.SIGINT:
            os.killpg(running.process.pid, how)  # as a terminal sends Ctrl-C
        else:
            running.process.send_signal(how)
    except ProcessLookupError:
        return


def _of_interrupt(code: int, complaint: str, leftovers: list[str]) -> Iterator[str]:
    """Ctrl-C is handled; before the program has begun, Python itself handles it."""
    if code not in {0, 130, -signal.SIGINT}:
        yield f"Ctrl-C ended with code {code}"
    if "Traceback" in complaint and code != -signal.SIGINT:
        yield f"Ctrl-C showed a traceback: {complaint.splitlines()[-1]}"
    if leftovers:
        yield f"Ctrl-C left {leftovers}"


def _of_worker(code: int, complaint: str, scene: Scene, known: Known) -> Iterator[str]:
    found = scene.states()
    missing = [name for name, hashed in known.after.items() if found.get(name) != hashed]
    killed = [line for line in complaint.splitlines() if "its process was killed" in line]
    if len(missing) > 1 or len(killed) != len(missing) or code != (1 if missing else 0):
        yield f"one process was killed: exit code {code}, not written: {missing}, said: {complaint!r}"


def _next_run(scene: Scene, known: Known) -> Iterator[str]:
    """It completes the work, and removes what the killed one left."""
    code, complaint = scene.start().end()
    found = scene.states()
    if code:
        yield f"the next run failed with code {code}: {complaint.strip()[-300:]}"
    elif found != known.after:
        differing = {name for name in {*found, *known.after} if found.get(name) != known.after.get(name)}
        yield f"after the next run these are not as they should be: {sorted(differing)}"


def resume(scene: Scene, known: Known, chance: random.Random) -> Iterator[Trial]:
    """Kill a command again and again, resuming it each time, until it has completed."""
    scene.reset()
    done = False
    while not done:
        running = scene.start()
        how = chance.choice(SIGNALS)
        _wait(running, known, chance)
        _send(running, how, None)
        code, complaint = running.end()
        found, done = scene.states(), code == 0
        leftovers = known.leftovers(scene, found)
        violations = list(known.violations(scene, found))
        if how == signal.SIGINT:
            violations += _of_interrupt(code, complaint, leftovers)
        elif code not in {0, -how}:
            violations.append(f"it failed with code {code}: {complaint.strip()[-300:]}")
        if done and found != known.after:
            violations.append(f"the resumed verdict is not the uninterrupted one, or files were left: {sorted(found)}")
        yield Trial(f"{scene.name}: {how.name}", done, len(leftovers), tuple(violations))
        if not done and (chance.random() < AGAIN or violations):
            final = tuple(_next_run(scene, known))
            yield Trial(f"{scene.name}: completed", new=not final, leftovers=0, violations=final)
            return


def full_disk(scene: Scene, known: Known, chance: random.Random) -> Trial:
    """Run a command that can write only so many bytes of a file."""
    scene.reset()
    largest = max((scene.folder / name).stat().st_size for name in known.before)
    size = int(chance.choice([chance.uniform(0, 3000), chance.uniform(0, 1.1 * largest)]))
    return _refused(scene, known, "full disk", limited(size), {0, 1, 2, 3})


def read_only(scene: Scene, known: Known) -> Trial:
    """Run a command that may not write to its folder."""
    scene.reset()
    folders = [scene.folder, *(path for path in scene.folder.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        return _refused(scene, known, "read-only folder", without_privileges, {1, 2})
    finally:
        for folder in folders:
            folder.chmod(0o755)


def _refused(scene: Scene, known: Known, what: str, prepare: Callable[[], None], codes: set[int]) -> Trial:
    code, complaint = scene.start("--quiet", prepare=prepare).end()
    found = scene.states()
    violations = list(known.violations(scene, found))
    leftovers = known.leftovers(scene, found)
    if leftovers:
        violations.append(f"{leftovers} left")
    if code not in codes or "Traceback" in complaint:
        violations.append(f"it ended with code {code}: {complaint.strip()[-300:]}")
    if code == 0 and found != known.after:
        violations.append("code 0, but not everything is written")
    if code == 2 and found != known.before:
        violations.append("code 2, but something was written")
    if code in {2, 3} and complaint.count("\n") != 1:
        violations.append(f"not one line: {complaint!r}")
    return Trial(f"{scene.name}: {what}", found == known.after, len(leftovers), tuple(violations))


def two_at_once(scene: Scene, known: Known, chance: random.Random, others: Mapping[str, Known]) -> Trial:
    """Run a command twice on the same target with two jumps, one of them perhaps killed."""
    scene.reset()
    jump = chance.choice(list(others))
    rival = with_jump(scene, jump)
    pair = [scene.start()]
    time.sleep(chance.uniform(0, 0.2))
    pair.append(rival.start())
    if chance.random() < AGAIN:
        _wait(pair[0], known, chance)
        _send(pair[0], signal.SIGKILL, None)
    ended = [running.end() for running in pair]
    found = scene.states()
    violations = list(known.violations(scene, found, others[jump]))
    for code, complaint in ended:
        if code not in {0, 1, 2, -signal.SIGKILL} or "Traceback" in complaint:
            violations.append(f"one ended with code {code}: {complaint.strip()[-300:]}")
    leftovers = known.leftovers(scene, found)
    if leftovers and all(code >= 0 for code, _ in ended):
        violations.append(f"{leftovers} left")
    if leftovers or violations or chance.random() < AGAIN:
        violations += _next_run(scene, known)
    return Trial(f"{scene.name}: two at once", found == known.after, len(leftovers), tuple(violations))


def with_jump(scene: Scene, jump: str) -> Scene:
    """The same command with another jump."""
    words = list(scene.command)
    words[words.index("--jump") + 1] = jump
    return replace(scene, command=tuple(words))


def rivals(scene: Scene) -> dict[str, Known]:
    """What the command writes with other jumps."""
    return {jump: learn(with_jump(scene, jump)) for jump in ("2",)}
