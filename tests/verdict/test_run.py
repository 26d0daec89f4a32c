"""The engine of the verdict: worst cases, replays, seeds, interruptions, curves."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import onnx_jumprelu as oj
from onnx_jumprelu import DataError, OnnxClassifier, OptionError
from onnx_jumprelu.attacks import FGSM, PGD, Square
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import Data
from onnx_jumprelu.verdict import run
from onnx_jumprelu.verdict.checkpoint import Checkpoint
from onnx_jumprelu.verdict.experiment import Experiment, about, one, pair
from onnx_jumprelu.verdict.progress import RunningAttack
from onnx_jumprelu.verdict.result import MODELS, Verdict
from onnx_jumprelu.verdict.run import judge, n_attacks
from tests.models import single
from tests.verdict.running import interrupting, successes


def test_each_attack_runs_on_both_models_and_is_replayed_on_the_other(verdict: Verdict) -> None:
    made = [(row.label, row.model, row.kind) for row in verdict.rows if row.source == row.model]
    assert [name for name, model, _ in made if model == "original"] == ["fgsm", "pgd", "apgd-ce (relu)", "square"]
    assert [item[0] for item in made if item[1] == "patched"] == [item[0] for item in made if item[1] == "original"]
    kinds = {"fgsm": "white-box", "pgd": "white-box", "apgd-ce (relu)": "adaptive", "square": "black-box"}
    assert {name: kind for name, model, kind in made if model == "patched"} == kinds
    # The original has no site for the surrogate.
    assert {name: kind for name, model, kind in made if model == "original"} == {**kinds, "apgd-ce (relu)": "white-box"}
    replayed = {(row.label, row.model): row.kind for row in verdict.rows if row.source != row.model}
    assert replayed["pgd from the original", "patched"] == "gray-box"
    assert replayed["pgd from the patched", "original"] == "transfer"
    assert len(verdict.rows) == 16


def test_the_worst_case_is_counted_example_by_example(verdict: Verdict) -> None:
    for model in MODELS:
        rows = [row for row in verdict.rows if row.model == model]
        withstood = ~np.any([row.success for row in rows], axis=0)
        assert verdict.worst_case(model).value == withstood.mean()
        assert verdict.worst_case(model).value <= min(row.robust_accuracy for row in rows)
    assert verdict.gain is not None
    assert verdict.gain.value == verdict.worst_case("patched").value - verdict.worst_case("original").value


def test_replays_ask_the_other_model(experiment: Experiment, verdict: Verdict) -> None:
    x, labels = experiment.data.x, experiment.data.required_labels()
    original, patched = (
        OnnxClassifier(experiment.targets["original"].model),
        OnnxClassifier(experiment.targets["patched"].model),
    )
    result = PGD(eps=experiment.eps, n_iter=15)(original, x, labels, rng=np.random.default_rng([0, 0, 0, 1, 0]))
    row = next(row for row in verdict.rows if row.label == "pgd from the original")
    assert np.array_equal(row.success, patched.predict(result.x_adv) != labels)
    own = next(row for row in verdict.rows if (row.label, row.model) == ("pgd", "original"))
    assert np.array_equal(own.success, result.success)


def test_the_naive_number_is_pgd_with_exact_gradients(verdict: Verdict) -> None:
    row = next(row for row in verdict.rows if (row.label, row.model) == ("pgd", "patched"))
    assert verdict.naive("patched") == row.robust_accuracy


def test_the_same_seed_gives_the_same_verdict(experiment: Experiment, verdict: Verdict) -> None:
    assert successes(judge(experiment)) == successes(verdict)
    assert successes(judge(replace(experiment, seed=1))) != successes(verdict)


@pytest.mark.parametrize("after", [1, 3, 8])
def test_an_interrupted_run_goes_on_and_ends_the_same(
    experiment: Experiment, verdict: Verdict, after: int, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.json"
    cut = judge(experiment, checkpoint=Checkpoint(path), on_done=interrupting(after))
    assert not cut.complete
    assert not cut.gain_shown
    assert 0 < len(cut.rows) <= 2 * after
    kept = json.loads(path.read_text())["attacks"]
    assert len(kept) == after
    count: list[int] = []
    whole = judge(experiment, checkpoint=Checkpoint(path, resume=True), on_done=count.append)
    assert whole.complete
    assert successes(whole) == successes(verdict)
    assert sum(count) == n_attacks(experiment) == 8


def test_each_attack_tells_how_far_it_is(experiment: Experiment, verdict: Verdict) -> None:
    seen: list[RunningAttack | int] = []
    watched = judge(experiment, on_done=seen.append, on_progress=seen.append)
    assert successes(watched) == successes(verdict)
    assert [str(now) for now in seen if isinstance(now, RunningAttack) and now.share == 0] == [
        "fgsm on original",
        "fgsm on patched",
        "pgd on original",
        "pgd on patched",
        "apgd-ce (relu) on original",
        "apgd-ce (relu) on patched",
        "square on original",
        "square on patched",
    ]
    # From an attack's end to the next one's, the share of one attack alone, from 0 to 1.
    ends = [at for at, now in enumerate(seen) if now == 1]
    for start, end in zip([0, *(end + 1 for end in ends)], ends, strict=False):
        work = [now for now in seen[start:end] if isinstance(now, RunningAttack)]
        assert len({str(now) for now in work}) == 1
        shares = [now.share for now in work]
        assert (shares[0], shares[-1]) == (0, 1)
        assert (np.diff(shares) > 0).all()


def test_what_is_resumed_is_not_at_work(experiment: Experiment, tmp_path: Path) -> None:
    path, seen = tmp_path / "checkpoint.json", list[RunningAttack]()
    judge(experiment, checkpoint=Checkpoint(path), on_done=interrupting(7))
    judge(experiment, checkpoint=Checkpoint(path, resume=True), on_progress=seen.append)
    assert {str(now) for now in seen} == {"square on patched"}


def test_the_estimate_counts_what_is_still_to_do(
    experiment: Experiment, verdict: Verdict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "seconds_per_gradient", lambda *_: 1.0)
    path, seconds = tmp_path / "checkpoint.json", list[float]()
    square = Square(eps=experiment.eps, n_queries=50)  # a query takes half as long as a gradient
    some = replace(experiment, attacks=[FGSM(eps=experiment.eps), square], eps_grid=())
    original, patched = (int(verdict.correct[model].sum()) for model in MODELS)
    for resume in (False, True):
        checkpoint = Checkpoint(path, resume=resume)
        judge(some, checkpoint=checkpoint, on_start=seconds.append, on_done=interrupting(3))
    n_queries = square.n_steps(10)
    assert seconds == [(original + patched) * (1 + n_queries / 2), patched * n_queries / 2]


def test_resuming_takes_the_rows_from_the_file(experiment: Experiment, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    judge(experiment, checkpoint=Checkpoint(path), on_done=interrupting(1))
    content = json.loads(path.read_text())
    content["attacks"]["0/0/0/original"]["success"] = "1" * 24  # as if the first attack had fooled everything
    path.write_text(json.dumps(content))
    assert judge(experiment, checkpoint=Checkpoint(path, resume=True)).worst_case("original").value == 0


def test_a_checkpoint_of_another_experiment_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    judge(experiment, checkpoint=Checkpoint(path), on_done=interrupting(1))
    targets = experiment.targets
    original, patched = targets["original"], targets["patched"]
    classifiers = {model: target.classifier() for model, target in targets.items()}

    def resumed(other: Experiment) -> int:
        checkpoint = Checkpoint(path, resume=True)
        checkpoint.open(about(other, classifiers))
        return len(checkpoint)

    for other in (
        replace(experiment, eps=0.2),
        replace(experiment, eps=0.10000001),
        replace(experiment, seed=5),
        replace(experiment, attacks=(PGD(eps=experiment.eps, n_iter=16), *list(experiment.attacks)[1:])),
        replace(experiment, data=experiment.data.first(7)),
        replace(experiment, eps_grid=(0.05,)),
        replace(experiment, targets=pair(replace(original, input_name="x"), patched)),
        replace(experiment, targets=pair(original, replace(patched, output_name="y"))),
        replace(experiment, targets=pair(original, replace(patched, mean=[0.5]))),
        replace(experiment, targets=pair(replace(original, bounds=(0.0, 0.5)), patched)),
    ):
        with pytest.raises(OptionError, match="belongs to another experiment"):
            resumed(other)
    assert resumed(replace(experiment, targets=pair(replace(original, threads=1), patched))) == 1


def test_other_external_weights_are_another_experiment(experiment: Experiment, tmp_path: Path) -> None:
    model = experiment.targets["original"].opened().model
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    asked = replace(experiment, targets=one(Target(tmp_path / "m.onnx")))
    before = about(asked, {"model": asked.targets["model"].classifier()})
    weights = bytearray((tmp_path / "m.bin").read_bytes())
    weights[0] ^= 1
    (tmp_path / "m.bin").write_bytes(weights)
    after = about(asked, {"model": asked.targets["model"].classifier()})
    assert {name for name, value in before.items() if after[name] != value} == {"model SHA-256"}


def test_mistakes(experiment: Experiment, samples: Path) -> None:
    with pytest.raises(OptionError, match="'magic' is neither a set"):
        judge(replace(experiment, attacks="magic"))
    with pytest.raises(OptionError, match="surrogate 'x' of pgd is unknown"):
        judge(replace(experiment, attacks="pgd:x"))
    with pytest.raises(OptionError, match="above 0"):
        judge(replace(experiment, eps_grid=(0.1, 0.0)))
    with pytest.raises(OptionError, match=r"eps 0.2 is in the grid more than once"):
        judge(replace(experiment, eps_grid=(0.2, 0.1, 0.20)))
    with pytest.raises(OptionError, match="eps must be"):
        judge(replace(experiment, eps_grid=(0.2, float("inf"))))
    with pytest.raises(DataError, match="has no labels"):
        judge(replace(experiment, data=Data(experiment.data.x, None, Path("d.npz"))))
    wrong = Data(experiment.data.x[:, :, :4], experiment.data.labels, Path("d.npz"))
    with pytest.raises(DataError, match=r"d.npz: x has shape"):
        judge(replace(experiment, data=wrong))
    assert Target(samples / "digits_cnn.onnx").classifier().n_classes == 10


def test_replayed_examples_that_were_wrong_from_the_start_count(tmp_path: Path) -> None:
    """The other model answers the opposite: it is wrong on every example, and right on what fools the first one."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(4, 2)).astype(np.float32)
    for name, weights in (("original.onnx", w), ("opposite.onnx", -w)):
        model = single("MatMul", inputs=["x", "w"], shape=["N", 4], extra={"w": weights})
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2
        onnx.save(model, tmp_path / name)
    x = rng.uniform(size=(20, 4)).astype(np.float32)
    data = Data(x, (x @ w).argmax(axis=1))
    models = pair(Target(tmp_path / "original.onnx"), Target(tmp_path / "opposite.onnx"))
    found = judge(Experiment(models, data, eps=0.9, attacks="pgd", latency=False))
    own, replayed = (next(row for row in found.rows if row.label == name) for name in ("pgd", "pgd from the original"))
    assert own.success.all()
    assert not found.correct["patched"].any()
    assert replayed.success.all()


@pytest.mark.parametrize("count", [2, 3])
def test_a_model_of_few_classes(tmp_path: Path, count: int) -> None:
    """The sets run on it; a list that names an attack without a loss for it is refused."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(4, count)).astype(np.float32)
    model = single("MatMul", inputs=["h", "w"], shape=["N", 4], extra={"w": w})
    model.graph.node.insert(0, helper.make_node("Relu", ["x"], ["h"]))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = count
    onnx.save(model, tmp_path / "original.onnx")
    oj.patch_file(tmp_path / "original.onnx", tmp_path / "patched.onnx", jump=0.2)
    x = rng.uniform(size=(30, 4)).astype(np.float32)
    data = Data(x, (x @ w).argmax(axis=1), Path("d.npz"))
    original, patched = (Target(tmp_path / name) for name in ("original.onnx", "patched.onnx"))
    found = judge(Experiment(pair(original, patched), data, eps=0.1, attacks="quick", latency=False))
    assert found.complete
    assert found.worst_case("original").value < 1
    with pytest.raises(DataError, match="apgd-t: loss dlr-targeted needs a model with at least 4 classes"):
        judge(Experiment(pair(original, patched), data, eps=0.1, attacks="apgd-t", latency=False))
