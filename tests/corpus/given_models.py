"""Models that lie in folders (samples; networks and cases that the project does not ship), and models as text."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from tests.conftest import REPOSITORY, SHARED
from tests.corpus.subjects import MissingError, Source, Subject, written
from tests.models import parse

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

# Rectifiers in branches, in a loop, and in functions whose tensors have the same names.
SCOPES = """
<ir_version: 10, opset_import: ["" : 18, "my" : 1]>
scopes (float[N, 4] x, bool flag) => (float[N, 4] y) {
    a = Relu(x)
    b = If (flag) <
        then_branch = yes () => (float[N, 4] yes_out) { below = Sub(a, x)  yes_out = Relu(below) },
        else_branch = no () => (float[N, 4] no_out) { no_out = Relu(x) }
    >
    trips = Constant <value_int = 3> ()
    c = Loop (trips, , b) <
        body = step (int64 i, bool go, float[N, 4] state) => (bool go_on, float[N, 4] next) {
            go_on = Identity(go)
            more = Add(state, x)
            next = Relu(more)
        }
    >
    y = my.Outer(c)
}
<domain: "my", opset_import: ["" : 18, "my" : 1]>
Outer (u) => (w) { v = my.Inner(u)  w = Relu(v) }
<domain: "my", opset_import: ["" : 18]>
Inner (u) => (w) {
    tenth = Constant <value_float = 0.1> ()
    less = Sub(u, tenth)
    w = Relu(less)
}
"""
TEXTS = Source(lambda: ["scopes"], lambda _, to: written(parse(SCOPES), to))
