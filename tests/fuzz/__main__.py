"""Try malformed inputs from a seed, and list those on which a promise is broken.

The promises: no exception but the package's own, at most 10 seconds and 1 GB per input, nothing written after a
refusal, no input changed.

    python -m tests.fuzz                        200,000 inputs
    python -m tests.fuzz --inputs 2000 --seed 7 --kind npz
    python -m tests.fuzz --seed 7 --only 1234   one input of that run, with its traceback; the file is kept
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.mutations import KINDS
from tests.fuzz.trials import try_input
from tests.fuzz.workers import Failure, run

MOST_SHOWN = 3  # failures in one place


def main() -> int:
    """Run the fuzzer; returns the exit code, 1 where an input failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--inputs", type=int, default=200_000, help="how many inputs")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this kind; may be repeated")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--only", type=int, help="try the input of this number in this process")
    given = parser.parse_args()
    kinds = tuple(given.kind or KINDS)
    if given.only is not None:
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        print(f"files are in {folder}")
        print(f"{try_input(given.seed, given.only, kinds, folder)}: nothing failed")
        return 0
    seen: Counter[str] = Counter()

    def show(failure: Failure) -> None:
        seen[failure.where or failure.what] += 1
        if seen[failure.where or failure.what] <= MOST_SHOWN:
            print(f"FAILED --seed {given.seed} --only {failure.index}: {failure.what} {failure.where}", flush=True)

    start = time.monotonic()
    report = run(given.seed, range(given.first, given.first + given.inputs), kinds, given.jobs, show)
    seconds = time.monotonic() - start
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(report.tried.items()))
    print(f"{given.inputs} inputs in {seconds:.0f} s ({1000 * seconds / given.inputs:.1f} ms each): {counts}")
    print(f"{len(report.failures)} failures in {len(seen)} places")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
