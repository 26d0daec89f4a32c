"""An addition to a registry works everywhere: a toy of each kind, in the library, on the command line, in JSON.

`docs/extending.md` says which places an addition touches; here each toy touches the registry alone.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, get_args

import numpy as np
import onnx
import pytest
import typer
from onnx import ModelProto

import onnx_jumprelu as oj
from onnx_jumprelu.activation import derivatives, lowerings
from onnx_jumprelu.activation.lowering import Lowering
from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.attacks import ATTACKS, Attack
from onnx_jumprelu.attacks.probe import Probe
from onnx_jumprelu.cli import app, main
from onnx_jumprelu.cli.options import MODEL, TargetOptions, command
from onnx_jumprelu.data import reading
from onnx_jumprelu.gradient.core import losses, registry
from onnx_jumprelu.gradient.core.registry import Node, Rule
from onnx_jumprelu.gradient.core.values import Value
from onnx_jumprelu.graphs.builder import GraphBuilder
from onnx_jumprelu.names import LoweringName, SurrogateName
from onnx_jumprelu.report import REPORTS
from onnx_jumprelu.rewrite import recognisers
from onnx_jumprelu.rewrite.recognisers import Match, NodeInScope
from onnx_jumprelu.verdict import flags, gates
from tests.models import parse

EPS = 0.1


def classifier_with(activation: str) -> ModelProto:
    """A classifier of two pixels into two classes, with one activation."""
    return parse(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 2] x) => (float[N, 2] logits)
        <float[2, 3] a = {{1.0, -1.0, 0.5, -1.0, 1.0, 0.5}}, float[3, 2] b = {{2.0, -1.0, -1.0, 2.0, 0.5, -0.5}}> {{
            h = MatMul(x, a)
            [act] y = {activation}
            logits = MatMul(y, b)
        }}""")


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    x = np.random.default_rng(0).random((8, 2), dtype=np.float32)
    path = tmp_path / "data.npz"
    np.savez(path, x=x, y=(x[:, 1] > x[:, 0]).astype(np.int64))
    return path


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(classifier_with("Relu(h)"), path)
    return path


@pytest.fixture
def patched_file(model_file: Path) -> Path:
    path = model_file.with_name("patched.onnx")
    oj.patch_file(str(model_file), str(path), jump=0.25)
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints."""
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def printed_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(printed(capsys, *arguments, "--json", "-"))
    return content


def test_a_rectifier_form(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def selu_without_tail(at: NodeInScope) -> Match | None:
        return Match("Selu", at.input(0)) if at.node.attribute[0].f == 0 else None

    model = classifier_with("Selu <alpha=0.0, gamma=1.0> (h)")
    onnx.save(model, tmp_path / "selu.onnx")
    assert oj.find_activations(model) == []
    monkeypatch.setitem(recognisers.RECOGNISERS, "Selu", selu_without_tail)

    assert [site.form for site in oj.find_activations(model)] == ["Selu"]
    assert "Selu" in printed(capsys, "inspect", tmp_path / "selu.onnx")
    patched = oj.patch_model(model, jump=0.5).model
    assert oj.verify(model, patched).ok
    assert oj.revert_model(patched).SerializeToString() == model.SerializeToString()


def test_a_lowering(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_where(site: Any, to: GraphBuilder) -> str:  # noqa: ANN401 - see LOWERINGS
        greater = to.op("Greater", [site.x, site.operand("jump", to)], f"{site.base}/above")
        below = to.op("Not", [greater], f"{site.base}/below")
        return to.op("Where", [below, site.constant(0.0, "zero", to), site.x], f"{site.base}/jumprelu")

    toy: Any = "not-where"
    model = classifier_with("Relu(h)")
    with pytest.raises(oj.OptionError, match=toy):
        oj.patch_model(model, jump=0.5, lowering=toy)
    monkeypatch.setitem(lowerings.LOWERINGS, toy, Lowering(not_where, lambda _: None))

    patched = oj.patch_model(model, jump=0.5, lowering=toy).model
    assert [node.op_type for node in patched.graph.node if node.op_type in ("Not", "Where")] == ["Not", "Where"]
    assert oj.verify(model, patched).ok
    assert oj.revert_model(patched).SerializeToString() == model.SerializeToString()
    # Its sites are found by structure, so that surrogates act on them.
    assert any(node.op_type == "Sigmoid" for node in oj.build_gradient_model(patched, surrogate="smooth").graph.node)


def test_choices_on_the_command_line_are_those_of_the_registries() -> None:
    assert get_args(LoweringName) == (lowerings.AUTO, *lowerings.LOWERINGS)
    assert get_args(SurrogateName) == tuple(derivatives.SURROGATES)


def test_the_gradient_of_an_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    def sin(at: Node, g: Value) -> Value:
        return g * at.x().op("Cos")

    model = classifier_with("Sin(h)")
    x, labels = np.asarray([[0.5, 0.25]], np.float32), np.asarray([1], np.int64)
    with pytest.raises(oj.GradientError, match="Sin"):
        oj.OnnxClassifier(model).loss_and_grad(x, labels)
    monkeypatch.setitem(registry.RULES, "Sin", [Rule(sin, since=7)])

    _, gradient = oj.OnnxClassifier(model).loss_and_grad(x, labels, loss="logit")
    a, b = np.asarray([[1, -1, 0.5], [-1, 1, 0.5]]), np.asarray([[2, -1], [-1, 2], [0.5, -0.5]])
    np.testing.assert_allclose(gradient[0], a @ (np.cos(x[0] @ a) * b[:, 1]), rtol=1e-5)


@dataclass(frozen=True, kw_only=True)
class ToyAttack(Attack):
    """Moves every pixel up by eps, with one look at the gradient, and asks for more than it may."""

    name: ClassVar[str] = "toy"
    n_iter: int = 1

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        del rng
        model.evaluate(x, labels)
        attempt: Floats = x + np.float32(2 * (self.eps or 0))
        return attempt


def test_an_attack(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model_file: Path,
    patched_file: Path,
    data_file: Path,
) -> None:
    assert main(["attack", str(model_file), "--data", str(data_file), "--eps", "0.1", "--attack", "toy"]) != 0
    monkeypatch.setitem(ATTACKS, "toy", ToyAttack)

    alone = printed_json(
        capsys, "attack", model_file, "--data", data_file, "--eps", EPS, "--attack", "toy", "--steps", 2
    )
    assert alone["attack"] == "toy"
    assert alone["max_perturbation"] == pytest.approx(EPS)
    pair = ("validate", model_file, patched_file, "--data", data_file, "--eps", EPS, "--attacks", "toy,toy:relu")
    rows = printed_json(capsys, *pair)["attacks"]
    kinds = {(row["attack"], row["surrogate"], row["model"], row["source"]): row["kind"] for row in rows}
    assert kinds["toy", "exact", "patched", "patched"] == "white-box"
    assert kinds["toy", "relu", "patched", "patched"] == "adaptive"
    assert kinds["toy", "relu", "original", "original"] == "white-box"
    assert "toy (relu)" in printed(capsys, *pair)


def test_an_attack_says_what_it_knows(
    monkeypatch: pytest.MonkeyPatch, model_file: Path, patched_file: Path, data_file: Path
) -> None:
    class Blind(ToyAttack):
        name = "toy-blind"
        needs_gradients = False

    class Averaged(ToyAttack):
        name = "toy-averaged"
        sees_past_jumps = True

    for attack in (Blind, Averaged):
        monkeypatch.setitem(ATTACKS, attack.name, attack)
    verdict = oj.evaluate(model_file, patched_file, data_file, eps=EPS, attacks="toy-blind,toy-averaged")
    kinds = {row.attack: row.kind for row in verdict.rows if row.model == row.source == "patched"}
    assert kinds == {"toy-blind": "black-box", "toy-averaged": "adaptive"}


def test_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    def negated_logit(scores: losses.Scores) -> Value:
        return -scores.at(scores.labels)

    model = classifier_with("Relu(h)")
    with pytest.raises(oj.OptionError, match="toy"):
        oj.build_gradient_model(model, loss="toy")
    monkeypatch.setitem(losses.LOSSES, "toy", losses.Loss(negated_logit))

    x, labels = np.asarray([[0.5, 0.25]], np.float32), np.asarray([1], np.int64)
    classifier = oj.OnnxClassifier(model)
    loss, gradient = classifier.loss_and_grad(x, labels, loss="toy")
    value, opposite = classifier.loss_and_grad(x, labels, loss="logit")
    np.testing.assert_array_equal(loss, -value)
    np.testing.assert_array_equal(gradient, -opposite)
    assert oj.attacks.PGD(eps=EPS, loss="toy")(classifier, x, 1 - labels, rng=np.random.default_rng(0)).n_gradients


def test_a_surrogate(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model_file: Path,
    patched_file: Path,
    data_file: Path,
) -> None:
    def straight_through(x: Any, y: Any, jump: Any, g: Any) -> Any:  # noqa: ANN401 - see SURROGATES
        del x, y, jump
        return g

    monkeypatch.setitem(derivatives.SURROGATES, "straight", straight_through)
    x, labels = np.asarray([[0.1, 0.1]], np.float32), np.asarray([1], np.int64)
    exact = oj.OnnxClassifier(patched_file).loss_and_grad(x, labels)[1]
    straight = oj.OnnxClassifier(patched_file, surrogate="straight").loss_and_grad(x, labels)[1]
    assert not exact.any()
    assert straight.any()
    attacks = ("--attacks", "pgd:straight")
    result = printed_json(capsys, "validate", model_file, patched_file, "--data", data_file, "--eps", EPS, *attacks)
    kinds = {row["model"]: row["kind"] for row in result["attacks"] if row["source"] == row["model"]}
    assert {row["surrogate"] for row in result["attacks"]} == {"straight"}
    assert kinds == {"original": "white-box", "patched": "adaptive"}


def test_a_flag(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model_file: Path,
    patched_file: Path,
    data_file: Path,
) -> None:
    def toy(seen: flags.Evidence) -> str | None:
        return "the toy found something" if seen.model == "patched" else None

    monkeypatch.setitem(flags.FLAGS, "toy", flags.FlagRule(toy, undermines=True))
    page = data_file.with_name("verdict.md")
    pair = (
        "validate",
        model_file,
        patched_file,
        "--data",
        data_file,
        "--eps",
        EPS,
        "--attacks",
        "pgd",
        "--markdown",
        page,
    )
    found = [flag for flag in printed_json(capsys, *pair)["flags"] if flag["name"] == "toy"]
    assert [(flag["model"], flag["message"]) for flag in found] == [("patched", "the toy found something")]
    assert "the toy found something" in printed(capsys, *pair)
    assert "the toy found something" in page.read_text(encoding="utf-8")
    verdict = oj.evaluate(model_file, patched_file, data_file, eps=EPS, attacks="pgd")
    assert "flag toy is raised" in verdict.doubts("patched")
    assert "flag toy is raised" not in verdict.doubts("original")


def test_a_gate(monkeypatch: pytest.MonkeyPatch, model_file: Path, patched_file: Path, data_file: Path) -> None:
    @dataclass(frozen=True)
    class WiderPolicy(oj.Policy):
        max_flags: float | None = None

    def max_flags(verdict: oj.Verdict, limit: float) -> gates.Gate:
        count = len(verdict.flags)
        return gates.Gate("max-flags", ok=count <= limit, value=count, limit=limit, detail=f"{count} flags")

    monkeypatch.setitem(gates.CONDITIONS, "max_flags", max_flags)
    verdict = oj.evaluate(model_file, patched_file, data_file, eps=EPS, attacks="pgd", gates=WiderPolicy(max_flags=-1))
    assert [(gate.name, gate.ok) for gate in verdict.gates] == [("max-flags", False)]


def test_a_data_format(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model_file: Path, data_file: Path
) -> None:
    rows = data_file.with_name("data.rows")
    with np.load(data_file) as data:
        np.savetxt(rows, np.column_stack([data["x"], data["y"]]))

    def read_rows(path: Path) -> dict[str, Any]:
        table = np.loadtxt(path)
        return {"x": table[:, :-1].astype(np.float32), "y": table[:, -1].astype(np.int64)}

    arguments = ("attack", model_file, "--eps", EPS, "--attack", "fgsm", "--data")
    assert main([*map(str, arguments), str(rows)]) != 0
    monkeypatch.setitem(reading.READERS, ".rows", read_rows)
    first, second = (printed_json(capsys, *arguments, path) for path in (data_file, rows))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}
    verdict = oj.evaluate(model_file, rows, eps=EPS, attacks="fgsm")
    assert verdict.n_examples == first["n_examples"]


def test_a_report(monkeypatch: pytest.MonkeyPatch, model_file: Path, data_file: Path) -> None:
    def brief(verdict: oj.Verdict, *, loud: bool = False) -> str:
        text = f"{verdict.outcome} on {verdict.n_examples}"
        return text.upper() if loud else text

    verdict = oj.evaluate(model_file, data_file, eps=EPS, attacks="fgsm")
    with pytest.raises(oj.OptionError, match="there is no report 'toy'"):
        verdict.render("toy")
    module: Any = ModuleType("onnx_jumprelu.report.toy")
    module.brief = brief
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(REPORTS, "toy", "toy:brief")
    assert verdict.render("toy") == "measured on 8"
    assert verdict.render("toy", loud=True) == "MEASURED ON 8"


@dataclass(frozen=True)
class Wider(TargetOptions):
    """The options of the commands that attack, and a toy."""

    shade: Annotated[int, typer.Option("--shade", help="A toy.", metavar="N", rich_help_panel=MODEL)] = 3


def test_an_option_of_several_commands() -> None:
    seen: list[Wider] = []
    wide = typer.Typer()
    for name in ("one", "two", "three"):

        @wide.command(name)
        @command
        def run(*, target: Wider) -> None:
            seen.append(target)

    group: Any = typer.main.get_command(wide)
    for name in ("one", "two", "three"):
        group([name, "--shade", "5", "--std", "1/255"], standalone_mode=False)
        (help_text,) = [each.help for each in group.commands[name].params if each.name == "shade"]
        assert help_text == "A toy."
    assert [(options.shade, options.std) for options in seen] == [(5, (1 / 255,))] * 3


def test_shared_options_are_the_same_in_every_command() -> None:
    group: Any = typer.main.get_command(app)
    names = {field.name for field in fields(TargetOptions)}
    shown = [
        {(each.name, tuple(each.opts), each.help) for each in group.commands[name].params if each.name in names}
        for name in ("attack", "tune", "validate")
    ]
    assert {name for name, *_ in shown[0]} == names
    assert shown[0] == shown[1] == shown[2]
