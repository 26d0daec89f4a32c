"""Runs the corpus: which models there are, and how they are spread over processes."""

from __future__ import annotations

import faulthandler
import hashlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from fnmatch import fnmatchcase
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

from tests.corpus import given_models, onnx_models, sklearn_exports, tools, torch_exports
from tests.corpus.examine import EVERY_WAY, examine
from tests.corpus.findings import Findings, one_line
from tests.corpus.subjects import MissingError, Source

SOURCES: dict[str, Source] = {
    "torch": torch_exports.EXPORTS,
    "tools": tools.REWRITTEN,
    "sklearn": sklearn_exports.EXPORTS,
    "onnx-folders": onnx_models.FOLDERS,
    "onnx-cases": onnx_models.CASES,
    "samples": given_models.SAMPLES,
    "networks": given_models.NETWORKS,
    "cases": given_models.CASES,
    "texts": given_models.TEXTS,
}

LONGEST = 300  # seconds for one model, which takes a few on an idle machine


def listed(patterns: Sequence[str] = ()) -> tuple[list[str], Findings]:
    """The models whose names match one of the patterns (all without patterns), and what is skipped as a whole."""
    chosen: list[str] = []
    skipped = Findings()
    for kind, source in SOURCES.items():
        if patterns and not any(_may_match(kind, pattern) for pattern in patterns):
            continue
        missing = source.missing()
        if missing:
            skipped.skip(f"{kind}/*", f"{', '.join(missing)} is not installed")
            continue
        names = [f"{kind}/{name}" for name in source.names()]
        chosen += [name for name in names if not patterns or any(fnmatchcase(name, each) for each in patterns)]
    return chosen, skipped


def _may_match(kind: str, pattern: str) -> bool:
    """Whether a source may have models of a pattern; listing the others would only take time."""
    first, slash, _ = pattern.partition("/")
    return not slash or fnmatchcase(kind, first)


def run_one(name: str, ways: Sequence[str] = EVERY_WAY, within: Path | None = None) -> Findings:
    """Make a model and examine it, in a folder of its own `within` another, which is deleted afterwards."""
    source, _, inner = name.partition("/")
    found, started = Findings(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="corpus", dir=within) as folder:
        try:
            subject = SOURCES[source].make(inner, Path(folder))
        except MissingError as error:
            found.skip(name, str(error))
            return found
        except Exception as error:  # noqa: BLE001 - what another tool cannot make says nothing about this package
            found.skip(name, f"cannot be made: {type(error).__name__}: {one_line(error)}")
            return found
        found = examine(name, subject, ways)
    found.seconds[name] = time.perf_counter() - started
    return found


def run(names: Sequence[str], jobs: int = 1, ways: Sequence[str] = EVERY_WAY) -> Iterator[tuple[str, Findings]]:
    """Examine models in processes, in any order. That a model ends its process, or takes too long, is a fault."""
    left = dict.fromkeys(names)
    with tempfile.TemporaryDirectory(prefix="corpus") as folder:
        while left:
            for name, found in _in_processes(list(left), jobs, ways, Path(folder)):
                del left[name]
                yield name, found
            for name in [name for name in left if _mark(Path(folder), name).exists()]:
                # It ran when a process ended; alone it shows whether it was the reason.
                del left[name]
                ended = (name, Findings(faults=[f"{name}: takes more than {LONGEST} s, or ends its process"]))
                yield next(_in_processes([name], 1, ways, Path(folder)), ended)


def _in_processes(names: Sequence[str], jobs: int, ways: Sequence[str], marks: Path) -> Iterator[tuple[str, Findings]]:
    """As many results as there are before a process ends. Each model that was begun leaves a mark."""
    # A fork has what was imported to list the models: PyTorch, and onnx's test cases.
    context = get_context("fork" if "fork" in get_all_start_methods() else "spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as executor:
        futures = {executor.submit(_run_marked, name, ways, _mark(marks, name)): name for name in names}
        for future in as_completed(futures):
            if isinstance(future.exception(), BrokenProcessPool):
                return
            yield futures[future], future.result()


def _mark(folder: Path, name: str) -> Path:
    return folder / hashlib.sha256(name.encode()).hexdigest()


def _run_marked(name: str, ways: Sequence[str], mark: Path) -> Findings:
    mark.touch()
    # Ends the process after that time, also inside of onnx or onnxruntime, and says on stderr where it was.
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    try:
        return run_one(name, ways, mark.parent)
    finally:
        faulthandler.cancel_dump_traceback_later()
