"""No gain is shown for a model whose gradients are hidden, however little the attacks find; an honest gain is shown."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from onnx_jumprelu import Data, OnnxClassifier, Policy, Verdict, evaluate, load_data
from onnx_jumprelu.attacks import APGDCE, FGSM, PGD, Square
from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.attacks.probe import is_wrong

EPS, N_EXAMPLES = 0.1, 40
ATTACKS: Sequence[str | Attack | tuple[Attack, str]] = (
    FGSM(eps=EPS),
    PGD(eps=EPS, n_iter=15),
    (APGDCE(eps=EPS, n_iter=15), "smooth"),
    Square(eps=EPS, n_queries=200),
)
Fake = Callable[[ModelProto], ModelProto]


@pytest.fixture(scope="session")
def data(samples: Path) -> Data:
    return load_data(samples / "digits.npz").first(N_EXAMPLES)


@pytest.fixture(scope="session")
def judged(samples: Path, data: Data) -> Callable[[ModelProto], Verdict]:
    """The verdict on the undefended sample model against another one."""

    def judge(model: ModelProto) -> Verdict:
        return evaluate(samples / "digits_cnn.onnx", model, data, eps=EPS, attacks=ATTACKS, latency=False)

    return judge


def behind_the_logits(*steps: tuple[str, float | None]) -> Fake:
    """Operators after the logits, each with one constant as its second input, or none."""

    def fake(model: ModelProto) -> ModelProto:
        model, name = copy.deepcopy(model), model.graph.output[0].name
        for number, (op_type, constant) in enumerate(steps):
            inputs, name = [name], f"fake{number}"
            if constant is not None:
                inputs.append(f"constant{number}")
                model.graph.initializer.append(numpy_helper.from_array(np.float32(constant), inputs[1]))
            model.graph.node.append(helper.make_node(op_type, inputs, [name]))
        model.graph.output[0].name = name
        return model

    return fake


def rounded_input(step: float) -> Fake:
    """The input rounded to multiples of a step before anything else sees it."""

    def fake(model: ModelProto) -> ModelProto:
        model, source = copy.deepcopy(model), model.graph.input[0].name
        for node in model.graph.node:
            node.input[:] = ["rounded" if name == source else name for name in node.input]
        model.graph.initializer.append(numpy_helper.from_array(np.float32(step), "step"))
        for place, (op_type, inputs, output) in enumerate(
            [("Div", [source, "step"], "steps"), ("Round", ["steps"], "whole"), ("Mul", ["whole", "step"], "rounded")]
        ):
            model.graph.node.insert(place, helper.make_node(op_type, inputs, [output]))
        return model

    return fake


def after_the_last_relu(*op_types: str, scale: float = 1.0) -> Fake:
    """Operators between the last Relu, whose output is scaled, and the rest of the model."""

    def fake(model: ModelProto) -> ModelProto:
        model = copy.deepcopy(model)
        place = max(number for number, node in enumerate(model.graph.node) if node.op_type == "Relu")
        relu = model.graph.node[place]
        wanted, name = relu.output[0], "relu"
        relu.output[0] = name
        model.graph.initializer.append(numpy_helper.from_array(np.float32(scale), "scale"))
        for number, op_type in enumerate(["Mul", *op_types]):
            inputs, output = [name, "scale"] if op_type == "Mul" else [name], f"fake{number}"
            last = number == len(op_types)
            name = wanted if last else output
            model.graph.node.insert(place + 1 + number, helper.make_node(op_type, inputs, [name]))
        return model

    return fake


FAKES: dict[str, Fake] = {
    "rounded logits": behind_the_logits(("Mul", 0.5), ("Round", None)),
    "finely rounded logits": behind_the_logits(("Mul", 20), ("Round", None)),
    "saturating sigmoid": behind_the_logits(("Mul", 50), ("Sigmoid", None), ("Mul", 1)),
    "saturating softmax": behind_the_logits(("Mul", 60), ("Softmax", None), ("Mul", 2)),
    "clipped logits": behind_the_logits(("Min", 2), ("Max", -0.5)),
    "huge logits": behind_the_logits(("Mul", 1e4)),
    "tiny logits": behind_the_logits(("Mul", 1e-30)),
    "rounded input": rounded_input(0.5),
    "finely rounded input": rounded_input(0.25),
    "floor": after_the_last_relu("Floor"),
    "sign": after_the_last_relu("Sign"),
    "saturating tanh": after_the_last_relu("Tanh", scale=30),
}
ALWAYS = {"rounded logits", "saturating sigmoid", "clipped logits", "rounded input", "finely rounded input"}
CLAIMING = {"rounded input", "finely rounded input"}  # the interval of the gain lies above 0


@pytest.mark.parametrize(
    "name", [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in FAKES]
)
def test_a_fake_shows_no_gain(name: str, samples: Path, judged: Callable[[ModelProto], Verdict]) -> None:
    verdict = judged(FAKES[name](onnx.load(samples / "digits_cnn.onnx")))
    assert not verdict.gain_shown
    (gate,) = verdict.check(Policy(min_gain=0.01))
    assert not gate.ok
    assert verdict.gain is not None
    if name in CLAIMING:
        assert verdict.gain.low > 0
        assert {"flag gradients-vanish is raised"} <= set(verdict.doubts("patched"))


def test_an_attack_through_the_rounding_refutes_what_the_fake_claims(samples: Path, data: Data) -> None:
    """Straight-through gradients: those of the model without the rounding, followed twice as far."""
    model = onnx.load(samples / "digits_cnn.onnx")
    plain, fake = OnnxClassifier(model), OnnxClassifier(rounded_input(0.25)(model))
    labels = data.required_labels()
    eps = 0.13  # half a step: rounding then hides nothing
    found = PGD(eps=eps, n_iter=40)(plain, data.x, labels, rng=np.random.default_rng(0))
    assert is_wrong(fake.logits(found.x_adv), labels).mean() > 0.3


def test_floored_activations(shared: Path, judged: Callable[[ModelProto], Verdict]) -> None:
    """Every gradient is 0, so that `smooth` gradients are as exact as all others."""
    verdict = judged(onnx.load(shared / "cases" / "digits_floored_relu.onnx"))
    own = [row for row in verdict.rows if row.model == row.source == "patched"]
    assert {row.label: row.kind for row in own} == {
        "fgsm": "white-box",
        "pgd": "white-box",
        "apgd-ce (smooth)": "white-box",
        "square": "black-box",
    }
    assert [row.zero_gradients for row in own] == [1.0, 1.0, 1.0, None]
    assert not verdict.gain_shown
    assert "at least half of the gradients were 0 in every attack" in verdict.doubts("patched")
    assert not verdict.doubts("original")


def test_a_robust_model_shows_its_gain(samples: Path, judged: Callable[[ModelProto], Verdict]) -> None:
    """Adversarially trained, without a jump: no smooth gradients are needed."""
    verdict = judged(onnx.load(samples / "digits_cnn_adv.onnx"))
    assert verdict.outcome == "gain"
    assert verdict.doubts("patched") == ()
    (gate,) = verdict.check(Policy(min_gain=0.05))
    assert gate.ok


def test_the_robust_model_behind_a_rounding_shows_no_gain(
    samples: Path, judged: Callable[[ModelProto], Verdict]
) -> None:
    """It may be as robust as before, but nothing measured here can tell."""
    verdict = judged(rounded_input(0.25)(onnx.load(samples / "digits_cnn_adv.onnx")))
    assert verdict.gain is not None
    assert verdict.gain.low > 0
    assert verdict.outcome == "undecided"


def quick(original: ModelProto, model: ModelProto, data: Data) -> Verdict:
    attacks = (PGD(eps=EPS, n_iter=5), (PGD(eps=EPS, n_iter=5), "smooth"), Square(eps=EPS, n_queries=10))
    return evaluate(original, model, data, eps=EPS, attacks=attacks, latency=False)


@pytest.fixture(scope="session")
def plain(samples: Path) -> ModelProto:
    return onnx.load(samples / "digits_cnn.onnx")


def test_one_example_many_times_shows_no_gain(plain: ModelProto, data: Data) -> None:
    """Forty copies of an example that the fake wins: the interval lies above 0, and one example proves nothing."""
    fake = rounded_input(0.25)(plain)
    once = quick(plain, fake, data)
    won = int(np.flatnonzero(once.standing("patched") & ~once.standing("original"))[0])
    copies = Data(data.x[[won] * 40], data.required_labels()[[won] * 40])
    verdict = quick(plain, fake, copies)
    assert verdict.gain is not None
    assert verdict.gain.low > 0
    assert "flag repeated-examples is raised" in verdict.doubts("patched")
    assert "flag repeated-examples is raised" not in once.doubts("patched")


def test_a_model_that_always_gives_the_same_answer_shows_no_gain(plain: ModelProto, data: Data) -> None:
    """On data of one class it is right whatever an attack does, and its gradients are as they were."""
    ones = data.required_labels() == 1
    fake = behind_the_logits(("Add", 0))(plain)
    fake.graph.initializer[-1].CopyFrom(
        numpy_helper.from_array(8 * np.eye(10, dtype=np.float32)[1:2], fake.graph.initializer[-1].name)
    )
    verdict = quick(plain, fake, Data(data.x[ones], data.required_labels()[ones]))
    assert verdict.worst_case("patched").value == 1
    assert "flag same-answer is raised" in verdict.doubts("patched")


def test_statistics_over_the_batch_show_no_gain(plain: ModelProto, data: Data) -> None:
    fake, old = copy.deepcopy(plain), plain.graph.output[0].name
    fake.graph.initializer.append(numpy_helper.from_array(np.array([0]), "batch"))
    fake.graph.node.append(helper.make_node("ReduceMean", [old, "batch"], ["mean"], keepdims=1))
    fake.graph.node.append(helper.make_node("Sub", [old, "mean"], ["answer"]))
    fake.graph.output[0].name = "answer"
    assert "flag depends-on-the-batch is raised" in quick(plain, fake, data).doubts("patched")


def test_noise_that_spares_the_data_is_noticed(plain: ModelProto, data: Data) -> None:
    """Random numbers only where a pixel lies between the values that pixels have in the data."""
    fake, old = copy.deepcopy(plain), plain.graph.output[0].name
    numbers = {"step": np.float32(1 / 255), "tolerance": np.float32(0.02), "all": np.array([1, 2, 3])}
    fake.graph.initializer.extend(numpy_helper.from_array(np.asarray(each), name) for name, each in numbers.items())
    nodes: list[tuple[str, list[str], str, dict[str, int | float]]] = [
        ("Div", [fake.graph.input[0].name, "step"], "steps", {}),
        ("Round", ["steps"], "whole", {}),
        ("Sub", ["steps", "whole"], "rest", {}),
        ("Abs", ["rest"], "off", {}),
        ("ReduceMax", ["off", "all"], "most", {"keepdims": 0}),
        ("Greater", ["most", "tolerance"], "between", {}),
        ("Cast", ["between"], "gate", {"to": 1}),
        ("Unsqueeze", ["gate", "last"], "column", {}),
        ("RandomNormalLike", [old], "noise", {"scale": 3.0}),
        ("Mul", ["noise", "column"], "added", {}),
        ("Add", [old, "added"], "answer", {}),
    ]
    for op_type, inputs, output, attributes in nodes:
        fake.graph.node.append(helper.make_node(op_type, inputs, [output], **attributes))  # type: ignore[arg-type]
    fake.graph.initializer.append(numpy_helper.from_array(np.array([1]), "last"))
    fake.graph.output[0].name = "answer"
    classifier = OnnxClassifier(fake)
    assert np.array_equal(classifier.logits(data.x), classifier.logits(data.x))
    assert "flag random-outputs is raised" in quick(plain, fake, data).doubts("patched")
