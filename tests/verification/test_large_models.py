"""Many sites and large activations: each site is proved, in seconds and in little memory."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_jumprelu import Recipe, patch_model, verify
from onnx_jumprelu.verification import inside
from onnx_jumprelu.verification.pair import Pair
from tests.models import f32
from tests.verification.nets import failed, nodes

N_SITES = 200
FEW_SESSIONS = 16
MEGABYTE = 2**20


def chain(n_sites: int, shape: list[int | str], *, weights: bool = False) -> ModelProto:
    """A network in which additions (or convolutions) and rectifiers alternate."""
    layers: list[NodeProto] = []
    initializers: list[TensorProto] = []
    name, channels = "x", int(shape[1])
    if not weights:
        initializers.append(numpy_helper.from_array(f32([-0.001]), "c"))
    for index in range(n_sites):
        if weights:
            kernel = np.random.default_rng(index).standard_normal((channels, channels, 3, 3)) / 17
            initializers.append(numpy_helper.from_array(f32(kernel), f"w{index}"))
            layers.append(helper.make_node("Conv", [name, f"w{index}"], [f"a{index}"], pads=[1] * 4))
        else:
            layers.append(helper.make_node("Add", [name, "c"], [f"a{index}"]))
        layers.append(helper.make_node("Relu", [f"a{index}"], [f"r{index}"], name=f"relu{index}"))
        name = f"r{index}"
    graph = helper.make_graph(
        layers,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


CHAIN = chain(N_SITES, ["N", 4])
PATCHED = patch_model(CHAIN, 0.5).model


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each graph that is loaded during a test."""
    loaded: list[str] = []
    plain = Pair.runner

    def runner(self: Pair, model: ModelProto, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as Pair.runner
        loaded.append(model.graph.name)
        return plain(self, model, *args, **options)

    monkeypatch.setattr(Pair, "runner", runner)
    return loaded


def test_equal_sites_are_run_once(sessions: list[str]) -> None:
    report = verify(CHAIN, PATCHED)
    assert report.ok, report
    assert f"{N_SITES} sites alone" in report.checks[4].detail
    assert sessions.count("site") == 2  # optimized and not
    assert len(sessions) <= FEW_SESSIONS


def test_sites_of_different_jumps_are_not_equal(sessions: list[str]) -> None:
    recipe = Recipe(0.5, {"relu7": 0.25, "relu8": 0.125, "relu9": 0.25})
    assert verify(CHAIN, patch_model(CHAIN, recipe=recipe).model).ok
    assert sessions.count("site") == 2 * 3


def test_sites_that_differ_in_their_cap_or_their_type_are_not_equal(sessions: list[str]) -> None:
    def site(name: str, op: str, x: str, bound: str = "") -> NodeProto:
        return helper.make_node(op, [x, "zero", bound] if bound else [x], [f"{name}_out"], name=name)

    tensors = [numpy_helper.from_array(f32(value), name) for name, value in (("zero", 0), ("six", 6), ("five", 5))]
    ys = [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, ["N"]) for name in "abcd"]
    graph = helper.make_graph(
        [site("a", "Relu", "x"), site("b", "Clip", "x", "six"), site("c", "Clip", "x", "five"), site("d", "Relu", "x")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        ys,
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert verify(model, patch_model(model, 0.5).model).ok
    assert sessions.count("site") == 2 * 3


def _greater_or_equal(model: ModelProto) -> None:
    nodes(model, "Greater")[137].op_type = "GreaterOrEqual"


def _other_zero(model: ModelProto) -> None:
    """0 becomes the smallest number above 0 at one site."""
    tiny = numpy_helper.from_array(np.asarray(1e-45, np.float32))
    constant = helper.make_node("Constant", [], ["tiny"], value=tiny)
    where = nodes(model, "Where")[137]
    where.input[2] = "tiny"
    model.graph.node.insert(list(model.graph.node).index(where), constant)


def _swapped(model: ModelProto) -> None:
    where = nodes(model, "Where")[137]
    where.input[1], where.input[2] = where.input[2], where.input[1]


def _input_of_another_site(model: ModelProto) -> None:
    nodes(model, "Greater")[137].input[0] = "a136"


def _output_of_another_site(model: ModelProto) -> None:
    nodes(model, "Add")[138].input[0] = "r136"


def _other_jump(model: ModelProto) -> None:
    other = numpy_helper.from_array(f32(0.5000001))
    greater = nodes(model, "Greater")[137]
    greater.input[1] = "other"
    constant = helper.make_node("Constant", [], ["other"], value=other)
    model.graph.node.insert(list(model.graph.node).index(greater), constant)


FAULTS: list[tuple[Callable[[ModelProto], None], str]] = [
    (_greater_or_equal, "sites"),
    (_other_zero, "sites"),
    (_swapped, "sites"),
    (_input_of_another_site, "structure"),
    (_output_of_another_site, "structure"),
    (_other_jump, "record"),
]


@pytest.mark.parametrize(("fault", "check"), FAULTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_fault_in_one_of_many_sites_is_found(fault: Callable[[ModelProto], None], check: str) -> None:
    patched = patch_model(CHAIN, 0.5).model
    fault(patched)
    report = verify(CHAIN, patched)
    assert check in failed(report), report
    if check == "sites":
        assert "site 'relu137' is not JumpReLU of its input" in report.checks[4].detail


class Wrong:
    """A running model in which one tensor is wrong in one value."""

    def __init__(self, runner: Any, name: str) -> None:  # noqa: ANN401 - a Runner
        self._runner, self._name = runner, name

    def run(self, names: list[str] | None, feeds: Any) -> list[Any]:  # noqa: ANN401 - as Runner.run
        values = [np.array(value) for value in self._runner.run(names, feeds)]
        if names is not None and self._name in names:
            values[names.index(self._name)].flat[-1] += 1
        return values


def _tapped_runs(monkeypatch: pytest.MonkeyPatch, wrong: str = "") -> list[list[str]]:
    """The names of the tensors that each tapped run outputs; one tensor is wrong."""
    runs: list[list[str]] = []
    plain = Pair.runner

    def runner(self: Pair, model: ModelProto, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as Pair.runner
        if model.graph.name != "site" and len(model.graph.output) > 1:
            runs.append([value.name for value in model.graph.output])
        return Wrong(plain(self, model, *args, **options), wrong)

    monkeypatch.setattr(Pair, "runner", runner)
    return runs


def test_sites_are_watched_in_groups_that_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "LARGEST_GROUP", 1280)  # bytes: 40 sites of 4 values of one example
    runs = _tapped_runs(monkeypatch)
    report = verify(CHAIN, PATCHED)
    assert report.ok, report
    assert [len(names) for names in runs] == [80] * 5
    assert sorted(name for names in runs for name in names) == sorted(
        name for index in range(N_SITES) for name in (f"a{index}", f"r{index}")
    )
    assert f"{N_SITES} sites of the main graph inside the running model (800 values)" in report.checks[4].detail


@pytest.mark.parametrize("wrong", ["r0", "r39", "r40", "r199"])
def test_a_site_that_is_wrong_only_inside_the_model_is_found_in_its_group(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "LARGEST_GROUP", 1280)
    _tapped_runs(monkeypatch, wrong)
    report = verify(CHAIN, PATCHED, np.ones((6, 4), np.float32))
    assert failed(report) == ["sites"]
    assert f"site 'relu{wrong[1:]}' is not JumpReLU of its input on the given inputs" in report.checks[4].detail


def test_values_are_compared_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype(np.float32)
    monkeypatch.setattr(inside, "LARGEST_PIECE", 16)
    pieces = list(inside._pieces(x, x + 1))  # noqa: SLF001
    assert sum(one.size for one, _ in pieces) == x.size
    assert all(one.size <= 2 * 16 and one.shape[1] == 3 for one, _ in pieces)
    assert all(np.array_equal(one + 1, other) for one, other in pieces)


# The peak of this program alone: `ru_maxrss` would be at least that of the process that started it.
LIMIT = """
import pathlib, re, sys
from onnx_jumprelu.cli import main
code = main(sys.argv[1:])
peak = re.search(r"VmHWM:\\s*(\\d+) kB", pathlib.Path("/proc/self/status").read_text())
print(int(peak.group(1)) // 1024)
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says here how much memory a process took")
@pytest.mark.parametrize("batch", ["N", 1], ids=str)
def test_large_activations_of_a_small_model_need_little_memory(batch: int | str, tmp_path: Path) -> None:
    """The activations of 30 layers of 32 x 224 x 224 are 385 MB for one example."""
    model = chain(30, [batch, 32, 224, 224], weights=True)
    onnx.save(model, tmp_path / "model.onnx")
    onnx.save(patch_model(model, 0.01).model, tmp_path / "patched.onnx")
    command = [sys.executable, "-c", LIMIT, "verify", "model.onnx", "patched.onnx", "-q"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: S603
    assert int(done.stdout) < 400, f"{done.stdout} MB"
