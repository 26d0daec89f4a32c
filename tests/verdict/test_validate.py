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
from onnx_jumprelu.attacks.pgd import PGD
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import Data
from onnx_jumprelu.verdict.checkpoint import Partial
from onnx_jumprelu.verdict.progress import AtWork
from onnx_jumprelu.verdict.result import MODELS, Verdict
from onnx_jumprelu.verdict.run import Question, about, n_attacks, verdict_on
from onnx_jumprelu.verdict.suite import SETS, planned
from tests.models import single
from tests.verdict.running import interrupting, successes


@pytest.fixture
def verdict(question: Question) -> Verdict:
    return verdict_on(question)


def test_each_attack_runs_on_both_models_and_is_replayed_on_the_other(verdict: Verdict) -> None:
    made = [(row.name, row.model, row.kind) for row in verdict.rows if " from the " not in row.name]
    assert [name for name, model, _ in made if model == "original"] == ["fgsm", "pgd", "apgd-ce (relu)", "square"]
    assert [item[0] for item in made if item[1] == "patched"] == [item[0] for item in made if item[1] == "original"]
    kinds = {name: kind for name, _, kind in made}
    assert kinds == {"fgsm": "white-box", "pgd": "white-box", "apgd-ce (relu)": "adaptive", "square": "black-box"}
    replayed = {(row.name, row.model): row.kind for row in verdict.rows if " from the " in row.name}
    assert replayed["pgd from the original", "patched"] == "gray-box"
    assert replayed["pgd from the patched", "original"] == "transfer"
    assert len(verdict.rows) == 16


def test_the_worst_case_is_counted_example_by_example(verdict: Verdict) -> None:
    for model in MODELS:
        rows = [row for row in verdict.rows if row.model == model]
        withstood = ~np.any([row.success for row in rows], axis=0)
        assert verdict.worst_case(model).value == withstood.mean()
        assert verdict.worst_case(model).value <= min(row.robust_accuracy for row in rows)
    assert verdict.gain.value == verdict.worst_case("patched").value - verdict.worst_case("original").value


def test_replays_ask_the_other_model(question: Question, verdict: Verdict) -> None:
    x, labels = question.data.x, question.data.required_labels()
    original, patched = OnnxClassifier(question.original.model), OnnxClassifier(question.patched.model)
    index = [plan.name for plan in planned(question.attacks, question.eps, "Linf")].index("pgd")
    result = PGD(eps=question.eps, n_iter=15)(original, x, labels, rng=np.random.default_rng([0, 0, 0, index, 0]))
    row = next(row for row in verdict.rows if row.name == "pgd from the original")
    assert np.array_equal(row.success, patched.predict(result.x_adv) != labels)
    own = next(row for row in verdict.rows if (row.name, row.model) == ("pgd", "original"))
    assert np.array_equal(own.success, result.success)


def test_the_naive_number_is_pgd_with_exact_gradients(verdict: Verdict) -> None:
    row = next(row for row in verdict.rows if (row.name, row.model) == ("pgd", "patched"))
    assert verdict.naive("patched") == row.robust_accuracy


def test_the_same_seed_gives_the_same_verdict(question: Question, verdict: Verdict) -> None:
    assert successes(verdict_on(question)) == successes(verdict)
    assert successes(verdict_on(replace(question, seed=1))) != successes(verdict)


@pytest.mark.parametrize("after", [1, 3, 8])
def test_an_interrupted_run_goes_on_and_ends_the_same(
    question: Question, verdict: Verdict, after: int, tmp_path: Path
) -> None:
    path = tmp_path / "partial.json"
    cut = verdict_on(question, partial=Partial(path, about(question)), on_done=interrupting(after))
    assert not cut.complete
    assert not cut.gain_shown
    assert 0 < len(cut.rows) <= 2 * after
    kept = json.loads(path.read_text())["outcomes"]
    assert len(kept) == after
    count: list[int] = []
    whole = verdict_on(question, partial=Partial(path, about(question), resume=True), on_done=count.append)
    assert whole.complete
    assert successes(whole) == successes(verdict)
    assert sum(count) == n_attacks(question) == 8


def test_each_attack_tells_how_far_it_is(question: Question, verdict: Verdict) -> None:
    seen: list[AtWork | int] = []
    watched = verdict_on(question, on_done=seen.append, on_progress=seen.append)
    assert successes(watched) == successes(verdict)
    assert [str(now) for now in seen if isinstance(now, AtWork) and now.share == 0] == [
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
        work = [now for now in seen[start:end] if isinstance(now, AtWork)]
        assert len({str(now) for now in work}) == 1
        shares = [now.share for now in work]
        assert (shares[0], shares[-1]) == (0, 1)
        assert (np.diff(shares) > 0).all()


def test_what_is_resumed_is_not_at_work(question: Question, tmp_path: Path) -> None:
    path, seen = tmp_path / "partial.json", list[AtWork]()
    verdict_on(question, partial=Partial(path, about(question)), on_done=interrupting(7))
    verdict_on(question, partial=Partial(path, about(question), resume=True), on_progress=seen.append)
    assert {str(now) for now in seen} == {"square on patched"}


def test_resuming_takes_the_rows_from_the_file(question: Question, tmp_path: Path) -> None:
    path = tmp_path / "partial.json"
    verdict_on(question, partial=Partial(path, about(question)), on_done=interrupting(1))
    content = json.loads(path.read_text())
    content["outcomes"]["0/0/0/original"]["success"] = "1" * 24  # as if the first attack had fooled everything
    path.write_text(json.dumps(content))
    assert verdict_on(question, partial=Partial(path, about(question), resume=True)).worst_case("original").value == 0


def test_a_partial_verdict_of_another_question_is_refused(question: Question, tmp_path: Path) -> None:
    path = tmp_path / "partial.json"
    verdict_on(question, partial=Partial(path, about(question)), on_done=interrupting(1))
    original, patched = question.original, question.patched
    for other in (
        replace(question, eps=0.2),
        replace(question, eps=0.10000001),
        replace(question, seed=5),
        replace(question, data=question.data.first(7)),
        replace(question, eps_grid=(0.05,)),
        replace(question, original=replace(original, input_name="x")),
        replace(question, patched=replace(patched, output_name="y")),
        replace(question, patched=replace(patched, mean=[0.5])),
        replace(question, original=replace(original, bounds=(0.0, 0.5))),
    ):
        with pytest.raises(OptionError, match="belongs to another question"):
            Partial(path, about(other), resume=True)
    assert len(Partial(path, about(replace(question, original=replace(original, threads=1))), resume=True)) == 1


def test_other_external_weights_are_another_question(question: Question, tmp_path: Path) -> None:
    model = question.original.opened().model
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    asked = replace(question, original=replace(question.original, model=tmp_path / "m.onnx"))
    before = about(asked)
    weights = bytearray((tmp_path / "m.bin").read_bytes())
    weights[0] ^= 1
    (tmp_path / "m.bin").write_bytes(weights)
    after = about(asked)
    assert {name for name, value in before.items() if after[name] != value} == {"original SHA-256"}


def test_mistakes(question: Question, samples: Path) -> None:
    with pytest.raises(OptionError, match="'magic' is neither a set"):
        verdict_on(replace(question, attacks="magic"))
    with pytest.raises(OptionError, match="gradient 'x' of pgd is unknown"):
        verdict_on(replace(question, attacks="pgd:x"))
    with pytest.raises(OptionError, match="above 0"):
        verdict_on(replace(question, eps_grid=(0.1, 0.0)))
    with pytest.raises(OptionError, match=r"eps 0.2 is in the grid more than once"):
        verdict_on(replace(question, eps_grid=(0.2, 0.1, 0.20)))
    with pytest.raises(OptionError, match="eps must be"):
        verdict_on(replace(question, eps_grid=(0.2, float("inf"))))
    with pytest.raises(DataError, match="has no labels"):
        verdict_on(replace(question, data=Data(question.data.x, None, Path("d.npz"))))
    wrong = Data(question.data.x[:, :, :4], question.data.labels, Path("d.npz"))
    with pytest.raises(DataError, match=r"d.npz: x has shape"):
        verdict_on(replace(question, data=wrong))
    assert Target(samples / "digits_cnn.onnx").classifier().n_classes == 10


@pytest.mark.parametrize(
    ("attacks", "repeated"),
    [
        ("fgsm,square,square", "'square' (or 'square:exact')"),
        ("pgd:exact,pgd", "'pgd' (or 'pgd:exact')"),
        ("pgd:relu, pgd ,pgd:relu", "'pgd:relu'"),
    ],
)
def test_an_attack_is_given_once(attacks: str, repeated: str) -> None:
    with pytest.raises(OptionError) as refused:
        planned(attacks, 0.1, "Linf")
    assert str(refused.value) == f"attacks: {repeated} is given more than once"
    assert [plan.name for plan in planned("pgd:exact,pgd:relu", 0.1, "Linf")] == ["pgd", "pgd (relu)"]


@pytest.mark.parametrize("name", SETS)
def test_every_set_has_each_kind(name: str) -> None:
    kinds = {plan.kind for plan in planned(name, 0.1, "Linf")}
    assert kinds == {"white-box", "adaptive", "black-box"}


@pytest.mark.parametrize("name", SETS)
def test_sets_for_few_classes(name: str) -> None:
    """The targeted ratio of logits needs four classes, the plain one three."""
    four, three, two = ([plan.name for plan in planned(name, 0.1, "Linf", count)] for count in (4, 3, 2))
    assert four == [plan.name for plan in planned(name, 0.1, "Linf")]
    assert "apgd-t (relu)" in four
    assert three == [plan.replace("apgd-t", "apgd-dlr") for plan in four]
    assert two == [plan for plan in four if "apgd-t" not in plan]


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
    found = verdict_on(Question(original, patched, data, eps=0.1, attacks="quick", latency=False))
    assert found.complete
    assert found.worst_case("original").value < 1
    with pytest.raises(DataError, match="apgd-t: loss dlr-targeted needs a model with at least 4 classes"):
        verdict_on(Question(original, patched, data, eps=0.1, attacks="apgd-t", latency=False))


def test_the_function_for_users(question: Question, verdict: Verdict, models: Path) -> None:
    names = [str(models / name) for name in ("original.onnx", "patched.onnx", "data.npz")]
    found = oj.evaluate(*names, eps=question.eps, attacks=question.attacks, eps_grid=[question.eps])
    assert successes(found) == successes(verdict)
    assert [point.eps for point in found.curve] == [question.eps]
