"""The public names: each can be had, and the lists of them agree. All take models and data in every documented form."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnx_jumprelu as oj
from onnx_jumprelu import errors
from tests.models import f32, parse

NET = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 4] x) => (float[N, 4] y) { s = Relu(x)  y = Identity(s) }"""


def test_every_public_name_can_be_had() -> None:
    for name in oj.__all__:
        assert getattr(oj, name) is not None
    assert sorted(oj.__all__) == sorted(set(oj.__all__))
    assert dir(oj) == sorted(oj.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'patch_modell'"):
        _ = oj.patch_modell


def test_the_lists_of_names_agree() -> None:
    tree = ast.parse(Path(str(oj.__file__)).read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for node in checked.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            seen[alias.name] = str(node.module).removeprefix("onnx_jumprelu").removeprefix(".")
    modules = {name: home.rpartition(".")[0] for name, home in oj._MODULES.items()}  # noqa: SLF001
    assert seen == {**oj._HOME_OF, **modules}  # noqa: SLF001
    assert set(oj.__all__) == {*seen, "__version__"}


def test_every_exception_is_public() -> None:
    own = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert own <= set(oj.__all__)
    assert all(issubclass(getattr(oj, name), oj.JumpReLUError) for name in own)


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = "import sys, onnx_jumprelu; print([n for n in ('numpy', 'onnx', 'onnxruntime') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
    assert found.stdout.strip() == "[]"


X, LABELS = np.random.default_rng(0).random((24, 4), dtype=np.float32), np.arange(24) % 4
MODEL = parse(NET)
DataForm = Callable[[Path], Any]
DATA: dict[str, DataForm] = {
    "pair": lambda _: (X, LABELS),
    "lists": lambda _: (X.tolist(), LABELS.tolist()),
    "uint8": lambda _: ((X * 255).astype(np.uint8), LABELS),
    "Data": lambda _: oj.Data(X, LABELS),
    "path": lambda folder: folder / "data.npz",
    "str": lambda folder: str(folder / "data.npz"),
}
MODELS: dict[str, DataForm] = {
    "ModelProto": lambda _: MODEL,
    "path": lambda folder: folder / "model.onnx",
    "str": lambda folder: str(folder / "model.onnx"),
    "Target": lambda folder: oj.Target(folder / "model.onnx", threads=1),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    onnx.save(MODEL, folder / "model.onnx")
    np.savez(folder / "data.npz", x=X, y=LABELS)
    return folder


def pairs() -> list[tuple[str, str]]:
    """Every form of a model with one of data, and the other way round."""
    return [*((model, "pair") for model in MODELS), *(("ModelProto", data) for data in DATA)]


@pytest.mark.parametrize(("model", "data"), pairs())
class TestForms:
    def test_attack(self, model: str, data: str, folder: Path) -> None:
        run = oj.attack(MODELS[model](folder), DATA[data](folder), "fgsm", eps=0.1)
        assert run.result.clean_accuracy >= run.result.robust_accuracy
        assert run.result.eps == 0.1

    def test_evaluate(self, model: str, data: str, folder: Path) -> None:
        verdict = oj.evaluate(MODELS[model](folder), DATA[data](folder), eps=0.1, attacks="fgsm,square", latency=False)
        assert verdict.outcome == "measured"

    def test_tune(self, model: str, data: str, folder: Path) -> None:
        tuning = oj.tune(MODELS[model](folder), DATA[data](folder), eps=0.1, n_trials=2)
        assert set(tuning.jumps) == {"s"}


def test_evaluate_takes_two_models_of_any_form(folder: Path) -> None:
    patched = oj.patch_model(MODEL, 0.2).model
    verdict = oj.evaluate(folder / "model.onnx", patched, (X, LABELS), eps=0.1, attacks="fgsm,square", latency=False)
    assert verdict.outcome in {"gain", "loss", "undecided"}


@pytest.mark.parametrize("x", [None, X, {"x": X}, *DATA])
def test_verify_takes_models_and_inputs_of_any_form(x: Any, folder: Path) -> None:  # noqa: ANN401
    patched = oj.patch_model(MODEL, 0.2).model
    onnx.save(patched, folder / "patched.onnx")
    given = DATA[x](folder) if isinstance(x, str) else x
    for original, result in ((MODEL, patched), (folder / "model.onnx", str(folder / "patched.onnx"))):
        assert oj.verify(original, result, given).ok
    if not isinstance(x, str) or x == "lists":
        return
    assert oj.verify(MODEL, patched, given, mean=[0.5], std=[0.25]).ok


def test_what_verify_does_not_take(folder: Path) -> None:
    patched = oj.patch_model(MODEL, 0.2).model
    np.savez(folder / "named.npz", x=X, y=LABELS)
    with pytest.raises(oj.DataError, match="x: give an array, arrays by input name, Data or a path, not int"):
        oj.verify(MODEL, patched, 3)  # type: ignore[arg-type]
    with pytest.raises(oj.DataError, match="mean and std are for Data and files"):
        oj.verify(MODEL, patched, X, mean=[0.5])
    with pytest.raises(oj.DataError, match=r"none\.npz: cannot be read"):
        oj.verify(MODEL, patched, folder / "none.npz")


@pytest.mark.parametrize("wrong", [None, 3, 0.5, b"bytes", {}, object()])
def test_other_arguments_are_one_line(wrong: Any, folder: Path) -> None:  # noqa: ANN401
    calls: list[Callable[[], object]] = [
        lambda: oj.attack(wrong, (X, LABELS), eps=0.1),
        lambda: oj.attack(MODEL, wrong, eps=0.1),
        lambda: oj.attack(MODEL, (X, wrong), eps=0.1) if wrong is not None else oj.attack(MODEL, X, eps=0.1),  # type: ignore[arg-type]
        lambda: oj.attack(MODEL, (X, LABELS), wrong, eps=0.1),
        lambda: oj.evaluate(wrong, (X, LABELS), eps=0.1),
        lambda: oj.evaluate(MODEL, wrong, eps=0.1),
        lambda: oj.tune(wrong, (X, LABELS)),
        lambda: oj.tune(MODEL, wrong),
        lambda: oj.verify(wrong, MODEL),
        lambda: oj.verify(folder / "model.onnx", wrong),
        lambda: oj.OnnxClassifier(wrong),
        lambda: oj.Target(wrong),
    ]
    for call in calls:
        with pytest.raises(oj.JumpReLUError) as error:
            call()
        assert "\n" not in str(error.value)


class TestAttack:
    def test_by_name_and_by_instance(self) -> None:
        named = oj.attack(MODEL, (X, LABELS), "pgd", eps=0.1, n_iter=5, seed=3)
        instance = oj.attack(MODEL, (X, LABELS), oj.attacks.PGD(eps=0.1, n_iter=5), seed=3)
        assert np.array_equal(named.x_adv, instance.x_adv)
        other = oj.attack(MODEL, (X, LABELS), "pgd", eps=0.1, n_iter=5, seed=4)
        assert not np.array_equal(named.x_adv, other.x_adv)

    def test_surrogate_and_norm(self) -> None:
        patched = oj.patch_model(MODEL, 0.5).model
        exact, smooth = (
            oj.attack(patched, (X, LABELS), "fgsm", eps=0.3, norm="L2", surrogate=name) for name in ("exact", "smooth")
        )
        assert (exact.target.surrogate, smooth.target.surrogate, exact.result.norm) == ("exact", "smooth", "L2")
        assert not np.array_equal(exact.x_adv, smooth.x_adv)
        target = oj.Target(patched, surrogate="smooth")
        assert np.array_equal(oj.attack(target, (X, LABELS), "fgsm", eps=0.3, norm="L2").x_adv, smooth.x_adv)

    def test_progress(self, capsys: pytest.CaptureFixture[str]) -> None:
        shares: list[float] = []
        oj.attack(MODEL, (X, LABELS), "pgd", eps=0.1, n_iter=5, progress=shares.append)
        assert (shares[0], shares[-1]) == (0.0, 1.0)
        assert capsys.readouterr().err == ""
        oj.attack(MODEL, (X, LABELS), "pgd", eps=0.1, n_iter=5, progress=True)
        lines = capsys.readouterr().err.splitlines()
        assert lines[0].startswith("pgd on ")
        assert lines[0].endswith(": 0%")
        assert lines[-1].endswith(": 100%")

    def test_it_is_shown_in_a_line(self) -> None:
        run = oj.attack(MODEL, (X, LABELS), "fgsm", eps=0.1)
        accuracy = f"{run.result.robust_accuracy:.4f}"
        shown = f"AttackResult('fgsm', 'Linf', eps=0.1, n_examples={len(X)}, robust_accuracy={accuracy})"
        assert repr(run.result) == shown
        assert repr(run) == f"AttackRun({run.target.name!r}, 'standard', {shown})"

    def test_a_text_is_not_a_number(self) -> None:
        with pytest.raises(oj.OptionError, match="eps must be a number such as 8 / 255, not '8/255'"):
            oj.attack(MODEL, (X, LABELS), eps="8/255")  # type: ignore[arg-type]

    def test_settings_are_given_once(self) -> None:
        for given in ({"eps": 0.2}, {"norm": "L2"}, {"n_iter": 3}):
            with pytest.raises(oj.OptionError, match="attack pgd is given with its own settings"):
                oj.attack(MODEL, (X, LABELS), oj.attacks.PGD(eps=0.1), **given)
        with pytest.raises(oj.OptionError, match="attack pgd has no setting 'n_queries'"):
            oj.attack(MODEL, (X, LABELS), "pgd", eps=0.1, n_queries=3)

    def test_rng_or_seed(self) -> None:
        model, attack = oj.OnnxClassifier(MODEL), oj.attacks.PGD(eps=0.1, n_iter=3)
        by_seed, by_rng = attack(model, X, LABELS, seed=5), attack(model, X, LABELS, rng=np.random.default_rng(5))
        assert np.array_equal(by_seed.x_adv, by_rng.x_adv)
        assert np.array_equal(attack(model, X, LABELS).x_adv, attack(model, X, LABELS, seed=0).x_adv)
        with pytest.raises(oj.OptionError, match="give rng or seed, not both"):
            attack(model, X, LABELS, seed=5, rng=np.random.default_rng(5))
        with pytest.raises(oj.OptionError, match="the seed must be at least 0, not -1"):
            attack(model, X, LABELS, seed=-1)


def test_arguments_are_not_changed() -> None:
    model, x = parse(NET), X.copy()
    before = model.SerializeToString()
    oj.attack(model, (x, LABELS), "pgd", eps=0.1, n_iter=2)
    oj.verify(model, oj.patch_model(model, 0.2).model, x)
    assert model.SerializeToString() == before
    assert np.array_equal(x, X)
    assert oj.Data(x, LABELS).x.tolist() == f32(X).tolist()
