"""Models that lie in folders: the samples; networks and cases that the project does not ship."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from tests.conftest import REPOSITORY, SHARED
from tests.corpus.subjects import MissingError, Source, Subject

# The cases that break ONNX's rules, or cost exponential time, by the beginning of their names.
BROKEN = ("element_type_", "function", "if_without_")


def _listed(folder: Path, *expected: str) -> list[str]:
    """The models of a folder, and those that it should have."""
    return sorted({path.name for path in folder.glob("*.onnx")} | set(expected))


def _copy(folder: Path, name: str, to: Path) -> Subject:
    if not (folder / name).is_file():
        raise MissingError(f"{folder / name} is not here")
    return Subject(Path(shutil.copy(folder / name, to / "model.onnx")), is_broken=name.startswith(BROKEN))


def _source(folder: Path, *expected: str) -> Source:
    return Source(partial(_listed, folder, *expected), partial(_copy, folder))


SAMPLES = _source(REPOSITORY / "sample_models")
NETWORKS = _source(SHARED / "models", "mnist_lenet.onnx", "cifar_resnet20.onnx")
# Small inputs that once went wrong, some of them not valid. The one named here stands for all where they are missing.
CASES = _source(SHARED / "cases", "max_zeros_like.onnx")
