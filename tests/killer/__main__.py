"""`python -m tests.killer`: kill commands at random moments, and see that no file is lost.

Each trial starts `patch`, `patch --in-place`, `patch --jobs` or `validate --resume`, and disturbs it: SIGKILL, SIGTERM
or SIGINT at a random moment, most often while a file is written; a full disk; a folder that is read-only; a second run
on the same target. Then each file must be the old one or the new one, whole; the next run must complete the work and
remove what was left; and a resumed verdict must equal the uninterrupted one. Exit code 1 if any of this does not hold.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.killer.materials import build, scenes
from tests.killer.scene import Known, Scene, learn
from tests.killer.trials import Trial, full_disk, kill, read_only, resume, rivals, two_at_once

RESUMED = "validate --resume"
OF_A_WORKER = "patch --jobs"


def trials(work: Path, *, kills: int, seed: int, megabytes: int = 24) -> Iterator[Trial]:
    """All trials: so many kills, and a tenth as many of each other disturbance."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    build(work / "store", megabytes)
    found = scenes(work / "scenes", work / "store")
    known = {name: learn(scene) for name, scene in found.items()}
    others = {name: scene for name, scene in found.items() if name != RESUMED}
    yield from _kills(found, known, kills, chance)
    for name, scene in found.items():
        yield read_only(scene, known[name])
    for _ in range(kills // 10):
        name = chance.choice(list(found))
        yield full_disk(found[name], known[name], chance)
    contested = {name: rivals(scene) for name, scene in others.items()} if kills >= 10 else {}
    for _ in range(kills // 10):
        name = chance.choice(list(others))
        yield two_at_once(others[name], known[name], chance, contested[name])


def _kills(found: dict[str, Scene], known: dict[str, Known], kills: int, chance: random.Random) -> Iterator[Trial]:
    """Kills, in turn of each scene, and of a process of `--jobs`."""
    done, turn = 0, [*found, "worker"]
    while done < kills:
        name = turn[done % len(turn)]
        if name == RESUMED:
            for trial in resume(found[name], known[name], chance):
                done += not trial.kind.endswith("completed")
                yield trial
        else:
            scene = OF_A_WORKER if name == "worker" else name
            yield kill(found[scene], known[scene], chance, "worker" if name == "worker" else "program")
            done += 1


def summary(done: list[Trial]) -> str:
    """A row per kind: how many trials, how many ended with the new files, left something, or broke a promise."""
    rows: list[tuple[str, ...]] = [("disturbed", "trials", "new", "left files", "violations")]
    for kind in sorted({trial.kind for trial in done}):
        of_kind = [trial for trial in done if trial.kind == kind]
        numbers = (
            len(of_kind),
            sum(trial.new for trial in of_kind),
            sum(bool(trial.leftovers) for trial in of_kind),
            sum(bool(trial.violations) for trial in of_kind),
        )
        rows.append((kind, *map(str, numbers)))
    return "\n".join(f"{row[0]:44}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in rows)


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.killer", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--megabytes", type=int, default=24, help="size of the largest model")
    parser.add_argument("--verbose", action="store_true", help="a line per trial")
    options = parser.parse_args()
    start, done = time.monotonic(), list[Trial]()
    with tempfile.TemporaryDirectory(prefix="killer-") as work:
        for trial in trials(Path(work), kills=options.kills, seed=options.seed, megabytes=options.megabytes):
            done.append(trial)
            if options.verbose:
                print(f"{time.monotonic() - start:.0f} s: {trial.kind}", flush=True)  # noqa: T201
            for violation in trial.violations:
                print(f"{trial.kind}: {violation}", flush=True)  # noqa: T201
    print(summary(done))  # noqa: T201
    violations = sum(bool(trial.violations) for trial in done)
    print(f"{len(done)} trials, {violations} violations, {time.monotonic() - start:.0f} s, seed {options.seed}")  # noqa: T201
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
