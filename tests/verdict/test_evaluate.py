"""`evaluate`, as a user calls it."""

import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import onnx
import pytest

import onnx_jumprelu as oj
from onnx_jumprelu.attacks import FGSM, PGD, Square
from onnx_jumprelu.data.reading import load_data
from onnx_jumprelu.verdict.experiment import Experiment
from onnx_jumprelu.verdict.progress import RunningAttack
from tests.verdict.conftest import EPS
from tests.verdict.running import successes

CHEAP = (FGSM(eps=EPS), Square(eps=EPS, n_queries=50))


@pytest.fixture(scope="session")
def measured(models: Path) -> oj.Verdict:
    """The verdict on one model."""
    return oj.evaluate(models / "patched.onnx", models / "data.npz", eps=EPS, attacks=[*CHEAP, (PGD(eps=EPS), "relu")])


def test_a_pair_in_every_form(experiment: Experiment, verdict: oj.Verdict, models: Path) -> None:
    original, patched, data = (models / name for name in ("original.onnx", "patched.onnx", "data.npz"))
    loaded = load_data(data)
    same = {"eps": EPS, "attacks": experiment.attacks, "latency": False}
    for found in (
        oj.evaluate(str(original), str(patched), str(data), **same),  # type: ignore[call-overload]
        oj.evaluate(onnx.load(original), oj.Target(patched), (loaded.x, loaded.labels), **same),  # type: ignore[call-overload]
    ):
        assert successes(found) == successes(verdict)
        assert found.models == ("original", "patched")
        assert found.notes == ()


def test_one_model(measured: oj.Verdict, models: Path) -> None:
    assert measured.models == ("model",)
    assert measured.outcome == "measured"
    assert measured.gain is None
    assert measured.targets == {"model": str(models / "patched.onnx")}
    assert [(row.label, row.kind) for row in measured.rows] == [
        ("fgsm", "white-box"),
        ("square", "black-box"),
        ("pgd (relu)", "adaptive"),
    ]
    worst = measured.worst_case("model")
    assert worst.value <= min(row.robust_accuracy for row in measured.rows)
    assert measured.latency_ratio is None
    gates = measured.check(oj.Policy(min_robust=0.99))
    assert not gates[0].ok


def test_one_model_by_keyword_and_its_curve(models: Path) -> None:
    data = load_data(models / "data.npz")
    found = oj.evaluate(models / "original.onnx", data=data, eps=EPS, attacks=CHEAP, eps_grid=[EPS], examples=2)
    assert [point.worst_case for point in found.curve] == [{"model": found.worst_case("model").value}]
    assert len(found.examples) == 2
    assert found.examples[0].attack == "pgd (relu) on the model"
    assert set(found.examples[0].predictions) == {"model"}


@pytest.mark.parametrize("name", ["max_drop", "min_gain", "max_latency_ratio"])
def test_gates_that_compare_need_two_models(name: str, models: Path) -> None:
    with pytest.raises(oj.OptionError, match=f"{name} compares two models"):
        oj.evaluate(models / "original.onnx", models / "data.npz", eps=EPS, gates=oj.Policy(**{name: 0.5}))


def test_models_without_data_are_refused(models: Path) -> None:
    with pytest.raises(oj.OptionError, match="evaluate takes a model and data"):
        oj.evaluate(models / "original.onnx", oj.Target(models / "patched.onnx"), eps=EPS)
    with pytest.raises(oj.OptionError, match="evaluate takes a model and data"):
        oj.evaluate(models / "original.onnx", eps=EPS)


def test_the_same_model_twice_is_noticed(models: Path) -> None:
    paths = [models / "original.onnx", models / "original.onnx", models / "data.npz"]
    found = oj.evaluate(*paths, eps=EPS, attacks="fgsm", latency=False)
    assert found.notes == ("Both models are the same file: there is nothing to gain or to lose.",)
    assert found.outcome == "undecided"


def test_swapped_models_are_noticed(models: Path) -> None:
    paths = [models / "patched.onnx", models / "original.onnx", models / "data.npz"]
    found = oj.evaluate(*paths, eps=EPS, attacks="fgsm", latency=False)
    (note,) = found.notes
    assert "Were they swapped?" in note


def test_surrogates_have_no_site_where_all_jumps_are_0(models: Path, tmp_path: Path) -> None:
    oj.patch_file(models / "original.onnx", tmp_path / "zero.onnx", jump=0.0)
    found = oj.evaluate(tmp_path / "zero.onnx", models / "data.npz", eps=EPS, attacks="fgsm,fgsm:relu,fgsm:smooth")
    assert {row.kind for row in found.rows} == {"white-box"}
    assert found.jump_sites == {"model": 0}


def test_gates_and_progress(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[RunningAttack] = []
    paths = (models / "original.onnx", models / "data.npz")
    found = oj.evaluate(*paths, eps=EPS, attacks=CHEAP, gates=oj.Policy(min_clean=0.5), progress=seen.append)
    assert [gate.name for gate in found.gates] == ["min-clean"]
    assert [str(now) for now in seen if now.share == 0] == ["fgsm", "square"]
    assert capsys.readouterr().err == ""
    oj.evaluate(*paths, eps=EPS, attacks=CHEAP, progress=True)
    start, *lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"at most 2 attacks on \d+ examples, at most about \d+ s", start)
    assert lines == ["attack 1 of at most 2: fgsm", "attack 2 of at most 2: square"]


def test_it_goes_on_from_a_file(models: Path, tmp_path: Path) -> None:
    path, paths = tmp_path / "state.json", (models / "original.onnx", models / "data.npz")

    def interrupted(now: RunningAttack) -> None:
        if now.attack == "square":
            raise KeyboardInterrupt

    cut = oj.evaluate(*paths, eps=EPS, attacks=CHEAP, resume=path, progress=interrupted)
    assert cut.missing == ("square", "flags")
    assert path.exists()
    with pytest.raises(oj.OptionError, match=r"belongs to another experiment \(seed differs\)"):
        oj.evaluate(*paths, eps=EPS, attacks=CHEAP, resume=path, seed=1)
    seen: list[RunningAttack] = []
    whole = oj.evaluate(*paths, eps=EPS, attacks=CHEAP, resume=path, progress=seen.append)
    assert whole.complete
    assert {now.attack for now in seen} == {"square"}
    assert successes(whole) == successes(oj.evaluate(*paths, eps=EPS, attacks=CHEAP))
    assert not path.exists()


def test_a_verdict_cannot_be_changed(measured: oj.Verdict) -> None:
    with pytest.raises(FrozenInstanceError):
        measured.eps = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        measured.about["seed"] = "1"  # type: ignore[index]
    rows = list(measured.rows)
    copied = replace(measured, rows=rows)  # type: ignore[arg-type]
    rows.clear()
    assert len(copied.rows) == len(measured.rows)


def test_what_a_notebook_shows(measured: oj.Verdict) -> None:
    worst = measured.worst_case("model").value
    assert repr(measured) == f"Verdict('measured', worst_case: model {worst:.4f}, eps=0.1, n_examples=24)"
    table = measured.rows_as_dicts()
    assert [line["attack"] for line in table] == ["fgsm", "square", "pgd"]
    assert table[1]["settings"] == {"n_queries": 50, "p_init": 0.8}
    assert {type(value) for line in table for value in line.values()} <= {str, float, type(None), dict}


def test_a_verdict_renders_itself(verdict: oj.Verdict, tmp_path: Path) -> None:
    assert verdict.to_dict()["verdict"] == verdict.outcome
    assert "per_example" not in verdict.to_dict()
    assert "per_example" in verdict.to_dict(per_example=True)
    assert "apgd-ce (relu)" in verdict.to_text()
    assert "<td>worst case over all attacks</td>" in verdict._repr_html_()
    assert verdict.to_markdown().startswith("#")
    assert verdict.to_junit().startswith("<?xml")
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    document = verdict.to_html(tmp_path / "verdict.html")
    assert (tmp_path / "verdict.html").read_text(encoding="utf-8") == document
    assert document.lower().startswith("<!doctype html>")
    assert len(verdict.plot().axes) == 1
