"""Results with the same content are equal; they can be pickled and copied."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import onnx_jumprelu as oj
from tests.test_arguments import DATA, LABELS, MODEL

COPIES = [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]  # noqa: S301


@pytest.fixture(scope="module")
def verdict() -> oj.Verdict:
    return oj.evaluate(MODEL, DATA, eps=0.1, attacks=["fgsm"], eps_grid=[0.1], examples=1)


@pytest.fixture(scope="module")
def run() -> oj.AttackRun:
    return oj.attack(MODEL, DATA, "fgsm", eps=0.1)


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_is_equal_and_read_only(verdict: oj.Verdict, copied: Callable[[Any], Any]) -> None:
    again = copied(verdict)
    assert again == verdict
    assert isinstance(again.about, MappingProxyType)
    assert isinstance(again.rows[0].settings, MappingProxyType)
    assert again.to_dict() == verdict.to_dict()


def test_other_content_is_not_equal(verdict: oj.Verdict) -> None:
    row = verdict.rows[0]
    flipped = replace(row, success=~row.success)
    assert row != flipped
    assert verdict != replace(verdict, rows=(flipped, *verdict.rows[1:]))
    assert verdict != replace(verdict, about={})
    assert verdict != replace(verdict, rows=verdict.rows[1:])
    assert verdict != verdict.to_dict()


@pytest.mark.parametrize("copied", COPIES)
def test_results_of_attacks(run: oj.AttackRun, copied: Callable[[Any], Any]) -> None:
    assert copied(run) == run
    assert run.result != replace(run.result, x_adv=run.result.x_adv + np.float32(1))
    assert run.result != replace(run.result, labels=LABELS[1:])


def test_a_name_that_is_not_a_model_of_the_verdict(verdict: oj.Verdict) -> None:
    with pytest.raises(oj.OptionError, match="the verdict has no model 'patched'; it has model"):
        verdict.worst_case("patched")
    with pytest.raises(oj.OptionError, match="give a Policy, or read one"):
        verdict.check({"min_clean": 0.5})  # type: ignore[arg-type]


def test_short_texts() -> None:
    patched = oj.patch_model(MODEL, 0.5)
    assert "ModelProto" not in repr(patched)
    assert repr(oj.verify(MODEL, patched.model)).startswith("VerifyReport(ok=True; checker: ok, session: ok")
    assert repr(oj.OnnxClassifier(MODEL)) == "OnnxClassifier(model in memory, input (N, 4), 4 classes, exact gradients)"
