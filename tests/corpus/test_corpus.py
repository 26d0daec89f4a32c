"""A part of the corpus, and faults planted to see that it notices them. `python -m tests.corpus` runs all of it."""

import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from onnx import ModelProto

from onnx_jumprelu import PatchError
from onnx_jumprelu.activation.lowering import LoweringSite
from onnx_jumprelu.activation.lowerings import LOWERINGS
from onnx_jumprelu.graphs.builder import GraphBuilder
from onnx_jumprelu.rewrite import batch
from onnx_jumprelu.rewrite.recognisers import RECOGNISERS
from tests.corpus import examine as examining
from tests.corpus import onnx_models, run
from tests.corpus.examine import examine
from tests.corpus.findings import Findings, total
from tests.corpus.subjects import MissingError, Source, Subject

SAMPLE = "samples/digits_relu6.onnx"
OPERATORS = (
    "relu",
    "clip",
    "max",
    "leakyrelu",
    "prelu",
    "thresholdedrelu",
    "dynamicquantizelinear",
    "where",
    "if_",
    "loop",
    "scan",
    "rnn",
)


def test_every_way_of_patching_a_sample() -> None:
    found = run.run_one(SAMPLE)
    assert found.faults == []
    assert {f"patched: {way}" for way in examining.EVERY_WAY} <= found.counts.keys()
    assert found.counts["outputs that the patch changes"] == len(examining.EVERY_WAY)
    assert found.counts["proved by verify"] == len(examining.EVERY_WAY)


def test_rectifiers_in_branches_loops_and_functions() -> None:
    found = run.run_one("texts/scopes")
    assert found.faults == []
    assert found.counts["outputs that the patch changes"] == found.counts["outputs compared"] >= len(examining.HARD)


def test_the_cases_of_operators_that_rectify_or_hold_graphs(tmp_path: Path) -> None:
    def each() -> Iterator[Findings]:
        for name, case in onnx_models.of_operators(*OPERATORS).items():
            (tmp_path / name).mkdir()
            yield examine(name, onnx_models.subject_of(case, tmp_path / name))

    found = total(each())
    assert found.faults == []
    assert found.counts["models inspected"] > 60
    assert found.counts["models patched"] >= 4


@pytest.mark.parametrize("folder", ["simple", "pytorch-operator", "pytorch-converted", "light/light_squeezenet"])
def test_models_in_folders(folder: str) -> None:
    names = run.listed([f"onnx-folders/{folder}*"])[0]
    assert names
    found = total(run.run_one(name) for name in names)
    assert found.faults == []
    assert found.counts["models inspected"] == len(names)


def test_a_wrong_comparison_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def emit(site: LoweringSite, to: GraphBuilder) -> str:
        mask = to.op("GreaterOrEqual", [site.x, site.operand("jump", to)], f"{site.base}/above")
        return to.op("Where", [mask, site.x, site.constant(0.0, "zero", to)], f"{site.base}/jumprelu")

    monkeypatch.setitem(LOWERINGS, "where", replace(LOWERINGS["where"], emit=emit))
    assert f"{SAMPLE}: where: the outputs differ from those of the independent rewrite" in _faults(["where"])


def test_a_rectifier_that_is_not_recognised_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(RECOGNISERS, "Clip")
    faults = _faults()
    assert len(faults) == 5
    assert all("is not listed" in fault for fault in faults)


def test_bytes_that_do_not_come_back_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def revert(path: Path, output: Path) -> batch.RevertedFile:
        result = batch.revert_file(path, output)
        model = ModelProto.FromString(output.read_bytes())
        model.doc_string = "changed"
        output.write_bytes(model.SerializeToString())
        return result

    monkeypatch.setattr(examining, "revert_file", revert)
    assert _faults(["where"]) == [f"{SAMPLE}: where: reverting does not give the original's bytes"]


@pytest.mark.parametrize("error", [KeyError("x"), PatchError("no")])
def test_an_exception_and_a_wrong_refusal_are_noticed(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(_: object) -> None:
        raise error

    monkeypatch.setattr(examining, "find_activations", refuse)
    assert len(_faults()) == 1


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork with threads
def test_a_model_that_ends_its_process_is_noticed_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(name: str, folder: Path) -> Subject:
        if name == "bad":
            os._exit(1)
        return run.SOURCES["samples"].make("digits_cnn.onnx", folder)

    monkeypatch.setitem(run.SOURCES, "planted", Source(lambda: ["good", "bad"], make))
    results = dict(run.run(["planted/good", "planted/bad"], 1, ["where"]))
    assert results["planted/good"].faults == []
    assert results["planted/good"].counts["models patched"] == 1
    assert len(results["planted/bad"].faults) == 1


def test_what_is_missing_is_skipped_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(name: str, _: Path) -> Subject:
        raise MissingError(f"{name} is not here")

    monkeypatch.setitem(run.SOURCES, "absent", Source(lambda: ["one"], make))
    monkeypatch.setitem(run.SOURCES, "tool", Source(lambda: ["two"], make, needs=("no_such_package",)))
    names, skipped = run.listed(["absent/*", "tool/*"])
    assert names == ["absent/one"]
    assert skipped.skipped == {"no_such_package is not installed": ["tool/*"]}
    assert run.run_one("absent/one").skipped == {"one is not here": ["absent/one"]}


def _faults(ways: list[str] | None = None) -> list[str]:
    return run.run_one(SAMPLE, ways or examining.EVERY_WAY).faults
