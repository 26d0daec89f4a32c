"""`python -m tests.corpus`: patch every model of the corpus in every way, and judge the results."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from tests.corpus.examine import EVERY_WAY
from tests.corpus.findings import Findings, total
from tests.corpus.run import listed, run

SLOWEST, SHOWN = 5, 3


def main() -> int:
    """Returns 0, or 1 if there is a fault or nothing was examined."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="GLOB", help="models by name; repeatable")
    parser.add_argument("--lowering", action="append", choices=EVERY_WAY, help="patch in this way only; repeatable")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default: 2)")
    parser.add_argument("--list", action="store_true", help="list the models and stop")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was found to this file")
    options = parser.parse_args()
    started = time.perf_counter()
    names, found = listed(options.only)
    if options.list:
        print("\n".join(names))
        return 0
    results = [found]
    for number, (name, each) in enumerate(run(names, options.jobs, options.lowering or EVERY_WAY), 1):
        results.append(each)
        for fault in each.faults:
            print(f"FAULT {fault}", flush=True)
        if sys.stderr.isatty():
            print(f"\r{number}/{len(names)} {name:.60}\033[K", end="", file=sys.stderr)
    whole = total(results)
    print(_report(whole, time.perf_counter() - started))
    if options.json is not None:
        options.json.write_text(json.dumps(vars(whole), indent=2) + "\n", encoding="utf-8")
    return 1 if whole.faults or not whole.counts else 0


def _report(found: Findings, seconds: float) -> str:
    slowest = sorted(found.seconds.items(), key=lambda item: -item[1])[:SLOWEST]
    return "\n".join(
        [
            *_section("Done", found.counts),
            *_section("Refused, by reason", found.refusals),
            *_section(
                "Skipped", Counter({f"{why}: {_some(names)}": len(names) for why, names in found.skipped.items()})
            ),
            "Slowest",
            *(f"  {taken:6.1f} s {name}" for name, taken in slowest),
            f"{len(found.faults)} faults in {len(found.seconds)} models, {seconds:.0f} s",
        ]
    )


def _section(title: str, lines: Counter[str]) -> list[str]:
    return [title, *(f"  {count:6} {line}" for line, count in lines.most_common())] if lines else []


def _some(names: list[str]) -> str:
    return ", ".join([*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])])


if __name__ == "__main__":
    sys.exit(main())
