"""Arguments of the wrong type are refused in one line that says what to give instead; a path is taken like a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnx_jumprelu as oj
from onnx_jumprelu.tuning.run import TuneSettings
from tests.models import parse

MODEL = parse("""<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 4] x) => (float[N, 4] y) { s = Relu(x)  y = Identity(s) }""")
X, LABELS = np.random.default_rng(0).random((24, 4), dtype=np.float32), np.arange(24) % 4
DATA = (X, LABELS)
ONE = oj.attacks.FGSM(eps=0.1)

# For calls that a type checker would refuse too.
evaluate: Any = oj.evaluate
attack: Any = oj.attack
target: Any = oj.Target
PGD: Any = oj.attacks.PGD


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: attack(MODEL, DATA, eps=0.1, seed="a"), "the seed must be an integer, not 'a'"),
        (lambda: attack(MODEL, DATA, eps=0.1, seed=1.5), "the seed must be an integer, not 1.5"),
        (lambda: attack(MODEL, DATA, ONE, eps=0.2), "with its own settings; leave out eps$"),
        (lambda: attack(MODEL, DATA, "pgd:relu", eps=0.1), "give 'pgd' and surrogate='relu'"),
        (lambda: attack(MODEL, DATA, eps=0.1, progress=3), "progress is True, False or a function, not 3"),
        (lambda: attack(target(MODEL, mean="a"), DATA, eps=0.1), "model 'net': mean must be a number, or one per"),
        (lambda: attack(target(MODEL, std=[0]), DATA, eps=0.1), "model 'net': std: every value must be above 0"),
        (lambda: attack(target(MODEL, bounds=3), DATA, eps=0.1), "bounds must be a list, not 3"),
        (
            lambda: attack(target(MODEL, bounds=(0, 1, 2)), DATA, eps=0.1),
            "bounds must be two numbers, not .0, 1, 2",
        ),
        (lambda: attack(target(MODEL, bounds=("a", 1)), DATA, eps=0.1), "bounds: each value must be a number, not 'a'"),
        (lambda: attack(target(MODEL, threads="a"), DATA, eps=0.1), "threads must be an integer, not 'a'"),
        (lambda: attack(target(MODEL, providers="CPU"), DATA, eps=0.1), "providers must be a list, not 'CPU'"),
        (lambda: PGD(eps=0.1, n_iter=1.5), "pgd: n_iter must be an integer, not 1.5"),
        (lambda: PGD(eps=0.1, n_iter=True), "pgd: n_iter must be an integer, not True"),
        (lambda: PGD(eps=0.1, step_size="a"), "pgd: step_size must be a number, not 'a'"),
        (lambda: PGD(eps=0.1)("model.onnx", X, LABELS), "is run on an OnnxClassifier, not 'model.onnx'"),
        (lambda: PGD(eps=0.1)(oj.OnnxClassifier(MODEL), X, LABELS, rng=0), "not 0; for an integer use seed="),
        (lambda: evaluate(MODEL, DATA, eps="a", attacks=[ONE]), "eps must be a number, not 'a'"),
        (lambda: evaluate(MODEL, DATA, eps=0.1, attacks=ONE), "attacks must be a list, not FGSM"),
        (lambda: evaluate(MODEL, DATA, eps=0.1, attacks=None), "attacks must be a list, not None"),
        (lambda: evaluate(MODEL, DATA, eps=0.1, attacks=[("fgsm", "x")]), "surrogate 'x' of fgsm is unknown"),
        (lambda: evaluate(MODEL, DATA, eps=0.1, eps_grid=0.1), "eps_grid must be a list, not 0.1"),
        (lambda: evaluate(MODEL, DATA, eps=0.1, eps_grid=["a"]), "eps_grid: each eps must be a number, not 'a'"),
        (lambda: evaluate(MODEL, DATA, eps=0.1, gates={"min_clean": 0.5}), "gates: give a Policy, or read one with"),
        (lambda: evaluate(MODEL, DATA, eps=0.1, examples=-1), "examples must be at least 0, not -1"),
        (lambda: evaluate(MODEL, DATA, eps=0.1, seed=-1), "the seed must be at least 0, not -1"),
        (lambda: evaluate(MODEL, DATA, eps=0.1, progress=3), "progress is True, False or a function, not 3"),
        (lambda: evaluate(MODEL, DATA, eps=0.1, resume=True), "resume is the path of a file, not True"),
        (lambda: TuneSettings(max_drop="a"), "max_drop must be a number, not 'a'"),  # type: ignore[arg-type]
        (lambda: TuneSettings(families="sites"), "families must be a list, not 'sites'"),
        (lambda: oj.Policy(min_clean="a"), "min_clean must be a number, not 'a'"),  # type: ignore[arg-type]
        (lambda: oj.read_policy("none.toml"), "none.toml: cannot be read"),
        (lambda: oj.Recipe(0.0, [1]), r"sites must be a mapping from site names or globs to jumps, not \[1\]"),  # type: ignore[arg-type]
        (lambda: oj.patch_model(MODEL, recipe="r.json"), r"must be a Recipe, read with Recipe.read\(FILE\)"),  # type: ignore[arg-type]
        (lambda: oj.patch_model(MODEL, 0.5, include=3), "include and exclude are lists of names"),  # type: ignore[arg-type]
        (lambda: oj.patch_model(3), "a model is a path or an onnx.ModelProto, not int"),  # type: ignore[arg-type]
        (lambda: oj.patch_file(MODEL, jump=0.5), "give the path of a model, not ModelProto; patch_model takes"),  # type: ignore[arg-type]
        (lambda: oj.patch_files([], jump=0.5, executor=3), "must be a concurrent.futures executor, not 3"),  # type: ignore[arg-type]
        (lambda: oj.load_data(3), "give the path of an .npz file, not int"),  # type: ignore[arg-type]
    ],
)
def test_one_line_says_what_to_give(call: Callable[[], object], message: str) -> None:
    with pytest.raises(oj.JumpReLUError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_path_is_taken_like_a_model(tmp_path: Path) -> None:
    onnx.save(MODEL, tmp_path / "model.onnx")
    path = str(tmp_path / "model.onnx")
    assert oj.find_activations(path) == oj.find_activations(MODEL)
    patched = oj.patch_model(path, 0.5).model
    assert patched == oj.patch_model(MODEL, 0.5).model
    onnx.save(patched, tmp_path / "patched.onnx")
    assert oj.revert_model(tmp_path / "patched.onnx") == MODEL
    assert oj.build_gradient_model(path) == oj.build_gradient_model(MODEL)


def test_a_pair_of_names_is_an_attack_and_its_surrogate() -> None:
    found = oj.evaluate(MODEL, DATA, eps=0.1, attacks=[("fgsm", "relu")])
    assert [(row.attack, row.surrogate) for row in found.rows] == [("fgsm", "relu")]


def test_completion_of_attacks_shows_attacks() -> None:
    assert "PGD" in dir(oj.attacks)
    assert "annotations" not in dir(oj.attacks)
