"""Robust accuracy against eps, and what its smaller budgets do to the verdict."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnx_jumprelu.verdict import run
from onnx_jumprelu.verdict.checkpoint import Checkpoint
from onnx_jumprelu.verdict.experiment import Experiment
from onnx_jumprelu.verdict.findings import Flag
from onnx_jumprelu.verdict.flags import Evidence
from onnx_jumprelu.verdict.progress import RunningAttack
from onnx_jumprelu.verdict.result import MODELS
from onnx_jumprelu.verdict.run import judge
from tests.verdict.running import interrupting, successes

pytestmark = pytest.mark.usefixtures("quick_sets")


def test_the_curve_falls_and_stops_where_the_original_has_nothing_left(experiment: Experiment) -> None:
    verdict = judge(replace(experiment, attacks="fgsm", eps_grid=(0.9, 0.05, 0.3, 0.02)))
    eps = [point.eps for point in verdict.curve]
    assert eps == sorted(eps)
    assert eps[:2] == [0.02, 0.05]
    assert verdict.curve[-1].worst_case["original"] == 0
    assert 0.9 not in eps
    for model in MODELS:
        values = [point.worst_case[model] for point in verdict.curve]
        assert values == sorted(values, reverse=True)
        assert values[0] > values[-1]
        for point in verdict.curve:
            assert point.worst_case[model] <= min(point.kinds[model].values())


def test_what_a_smaller_budget_fools_counts_for_the_verdict(experiment: Experiment) -> None:
    """FGSM alone, and a curve whose points below and beyond have stronger attacks."""
    asked = replace(experiment, attacks="fgsm")
    alone = judge(asked)
    grid = (0.098, asked.eps, 0.5)
    found = judge(replace(asked, eps_grid=grid))
    for model in MODELS:
        assert found.worst_case(model).value < alone.worst_case(model).value
        counted = [row.success for row in found.rows if row.model == model]
        assert np.array_equal(found.standing(model), ~np.any(counted, axis=0))
    there = next(point for point in found.curve if point.eps == asked.eps)
    assert there.worst_case == {model: found.worst_case(model).value for model in MODELS}
    kinds = {row.kind for row in found.rows if row.model == "patched"}
    assert there.kinds["patched"] == {kind: found.standing("patched", {kind}).mean() for kind in kinds}
    assert {row.eps for row in found.rows} == {experiment.eps, 0.098}
    # The table of attacks and the naive claim are of the verdict's own eps.
    assert successes(replace(found, rows=found.own_rows)) == successes(alone)
    assert found.naive("patched") is None
    assert any(row.attack == "pgd" for row in found.rows)


def test_flags_look_at_the_whole_budget_alone(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Evidence] = []

    def noted(evidence: Evidence) -> list[Flag]:
        seen.append(evidence)
        return []

    monkeypatch.setattr(run, "raised", noted)
    judge(replace(experiment, attacks="fgsm", eps_grid=(0.05,)))
    assert [{row.eps for row in evidence.rows} for evidence in seen] == [{experiment.eps}, {experiment.eps}]


@pytest.mark.parametrize("after", [1, 5])
def test_an_interrupted_curve_goes_on_and_ends_the_same(experiment: Experiment, after: int, tmp_path: Path) -> None:
    asked, path = replace(experiment, attacks="fgsm", eps_grid=(0.05, experiment.eps)), tmp_path / "checkpoint.json"
    whole = judge(asked)
    cut = judge(asked, checkpoint=Checkpoint(path), on_done=interrupting(after))
    assert len(cut.rows) == 2 * after
    assert cut.missing == (("fgsm", "curve", "flags") if after == 1 else ("curve", "flags"))
    resumed = judge(asked, checkpoint=Checkpoint(path, resume=True))
    assert (successes(resumed), resumed.curve) == (successes(whole), whole.curve)
    assert [row.eps for row in resumed.rows] == [row.eps for row in whole.rows]


def test_progress_names_the_eps_of_a_point(experiment: Experiment) -> None:
    seen: list[RunningAttack] = []
    judge(replace(experiment, attacks="fgsm", eps_grid=(0.02, experiment.eps)), on_progress=seen.append)
    names = [str(now) for now in seen if now.share == 0]
    assert names[:3] == ["fgsm on original", "fgsm on patched", "fgsm on original at eps 0.02"]
    assert names[-1] == "square on patched at eps 0.02"
    assert len(names) == 10
