"""The authors' table and their protocol on a small network, against the attacks run one by one."""

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_jumprelu import Data, DataError, OnnxClassifier, OptionError, PatchError, Target, patch_model
from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.classifier.normalization import normalized
from onnx_jumprelu.paper.attacks import PAPER_ATTACKS, mean_lengths
from onnx_jumprelu.paper.protocol import attack_as_authors, paper_attack_named
from onnx_jumprelu.paper.table import paper_table
from onnx_jumprelu.report import paper
from tests.models import parse, with_external_weights

NET = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 4] x) => (float[N, 2] logits)
<float[4, 2] w = {1.0, -1.0, 3.0, -3.0, -3.0, 3.0, 0.5, 0.0}, float[2] b = {-0.2, 0.2}>
{ h = Relu(x) m = MatMul(h, w) logits = Add(m, b) }
"""
MEAN, STD, JUMP = [0.3], [0.4], 0.5


def problem() -> tuple[Floats, Labels]:
    """Inputs between 0 and 1, and the classes that the network gives them, one of five changed."""
    x = np.random.default_rng(0).uniform(0, 1, (20, 4)).astype(np.float32)
    labels = OnnxClassifier(parse(NET), mean=MEAN, std=STD).predict(x)
    labels[::5] = 1 - labels[::5]
    return x, labels


@pytest.fixture(scope="module")
def target() -> Target:
    return Target(parse(NET), mean=MEAN, std=STD)


def test_cells_are_what_the_attacks_give_one_by_one(target: Target) -> None:
    """White-box examples are made on the model with the jump, gray-box ones on the original."""
    x, labels = problem()
    done: list[int] = []
    rows = paper_table(target, (x, labels), [JUMP], on_done=done.append)
    assert [row.jump for row in rows] == [0, JUMP]
    assert sum(done) == 2 * len(PAPER_ATTACKS)
    inside = normalized(x, MEAN, STD)
    bounds = (float(inside.min()), float(inside.max()))
    original, patched = (
        OnnxClassifier(model, bounds=bounds) for model in (parse(NET), patch_model(parse(NET), JUMP).model)
    )
    differ = 0
    for row, classifier in zip(rows, (original, patched), strict=True):
        assert row.clean_accuracy == float((classifier.predict(inside) == labels).mean())
        assert [cell.attack for cell in row.cells] == list(PAPER_ATTACKS)
        for cell in row.cells:
            attack = PAPER_ATTACKS[cell.attack]()
            white, made_on_original = (
                attack(each, inside, labels, rng=np.random.default_rng(0)) for each in (classifier, original)
            )
            assert cell.white_box == white.robust_accuracy
            assert cell.gray_box == pytest.approx((classifier.predict(made_on_original.x_adv) == labels).mean())
            lengths = mean_lengths(white.x_adv, inside, attack.norm)
            assert (cell.relative_length, cell.absolute_length) == pytest.approx(lengths)
            assert cell.zero_gradients == white.zero_gradients / white.n_gradients
            differ += cell.white_box != cell.gray_box
    assert differ  # else it would not matter on which model examples are made


def test_the_original_comes_first_and_once(target: Target) -> None:
    rows = paper_table(target, problem(), [1.0, 0.0])
    assert [row.jump for row in rows] == [0, 1]
    assert all(cell.white_box == cell.gray_box for cell in rows[0].cells)


def test_every_form_of_a_model_and_of_data(tmp_path: Path) -> None:
    onnx.save(parse(NET), tmp_path / "m.onnx")
    x, labels = problem()
    np.savez(tmp_path / "d.npz", x=x, y=labels)
    expected = paper_table(parse(NET), (x, labels), [JUMP])
    assert paper_table(tmp_path / "m.onnx", tmp_path / "d.npz", [JUMP]) == expected
    assert paper_table(Target(str(tmp_path / "m.onnx")), Data(x, labels), [JUMP]) == expected


def test_external_weights(tmp_path: Path) -> None:
    path = with_external_weights(tmp_path)
    x = np.random.default_rng(0).uniform(0, 1, (8, 8)).astype(np.float32)
    labels = OnnxClassifier(path).predict(x)
    inside = onnx.load(path)
    assert paper_table(path, (x, labels), [0.1]) == paper_table(inside, (x, labels), [0.1])


class TestRefusals:
    def test_patched_model(self) -> None:
        patched = patch_model(parse(NET), JUMP).model
        with pytest.raises(PatchError, match=r"^model 'net': is patched already; give the original"):
            paper_table(patched, problem())

    def test_nothing_to_patch(self) -> None:
        model = parse(NET.replace("Relu(x)", "Abs(x)"))
        with pytest.raises(PatchError, match=r"^model 'net': "):
            paper_table(model, problem())

    def test_data(self, target: Target) -> None:
        x, labels = problem()
        with pytest.raises(DataError, match=r"^data: has no labels"):
            paper_table(target, Data(x))
        with pytest.raises(DataError, match=r"^data: label"):
            paper_table(target, (x, labels + 5))
        pixels = ((255 * x).astype(np.uint8), labels)
        for refused in (
            lambda: paper_table(replace(target, bounds=(0.0, 255.0)), pixels),
            lambda: attack_as_authors(replace(target, bounds=(0.0, 255.0)), Data(*pixels), paper_attack_named("tr")),
        ):
            with pytest.raises(DataError, match="uint8 pixels are divided by 255"):
                refused()


class TestProtocol:
    def test_examples_come_back_in_data_space(self, target: Target) -> None:
        x, labels = problem()
        run = attack_as_authors(target, Data(x, labels), paper_attack_named("ifgsm"))
        fooled = run.result.success
        assert fooled.any()
        assert (target.classifier().predict(run.x_adv) != labels)[fooled].all()
        # 40 steps of 0.01 in normalized space are at most 0.16 in data space.
        assert 0 < np.abs(run.x_adv - x).max() <= 0.4 * STD[0] + 1e-6
        assert x.min() - 1e-6 <= run.x_adv.min() <= run.x_adv.max() <= x.max() + 1e-6
        assert run.protocol == "paper"

    def test_names_and_settings(self) -> None:
        assert paper_attack_named("tr", eps=None).name == "paper-trust-region"
        with pytest.raises(OptionError, match="has no attack 'pgd'; choose ifgsm, deepfool-inf"):
            paper_attack_named("pgd")
        with pytest.raises(OptionError, match="fixes every setting; leave out eps"):
            paper_attack_named("tr", eps=0.1, norm=None)


class TestReport:
    def test_every_number_is_in_the_text(self, target: Target) -> None:
        rows = paper_table(target, problem(), [JUMP])
        text = paper.text(rows, "net, 20 examples")
        assert text.startswith("net, 20 examples; ")
        for row in rows:
            assert f"{row.clean_accuracy:.4f}" in text
            for cell in row.cells:
                assert f"{cell.white_box:.3f} / {cell.gray_box:.3f}" in text
                assert f"{cell.relative_length:.3f} / {cell.absolute_length:.3f}" in text
                assert f"{cell.zero_gradients:.1%}" in text

    def test_json(self, target: Target) -> None:
        rows = paper_table(target, problem(), [JUMP])
        content = json.loads(json.dumps(paper.content(rows), allow_nan=False))
        jsonschema = pytest.importorskip("jsonschema")
        schema = json.loads(resources.files("onnx_jumprelu.report").joinpath("schemas/paper.json").read_text("utf-8"))
        validator = jsonschema.Draft202012Validator(schema)
        assert list(validator.iter_errors(content)) == []
        assert list(validator.iter_errors({**content, "rows": []}))
        assert content["schema"] == "onnx-jumprelu/paper/1"
        assert content["protocol"] == "paper"
        assert [row["jump"] for row in content["rows"]] == [0, JUMP]
        first, cell = content["rows"][1]["attacks"][0], rows[1].cells[0]
        assert first == {
            "name": "ifgsm",
            "white": cell.white_box,
            "gray": cell.gray_box,
            "relative_noise": cell.relative_length,
            "absolute_noise": cell.absolute_length,
            "zero_gradients": cell.zero_gradients,
        }
