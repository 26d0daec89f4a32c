"""Concerns about data and settings: each is raised where it should be, says what to do, and is silent otherwise."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

import onnx_jumprelu as oj
from onnx_jumprelu import Data, DataError, Target, load_data
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.data.plausibility import Concern, concerns_about
from tests.models import parse

EPS = 0.1


@pytest.fixture(scope="module")
def digits(samples: Path) -> Data:
    return load_data(samples / "digits.npz").first(200)


@pytest.fixture(scope="module")
def model(samples: Path) -> ModelProto:
    return onnx.load(samples / "digits_cnn.onnx")


def taking(model: ModelProto, scale: float, offset: float = 0.0) -> ModelProto:
    """The same classifier for other inputs: what it sees is `scale` times the input, plus `offset`."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    name = other.graph.input[0].name
    other.graph.input[0].name = "other"
    for constant, value in (("scale", scale), ("offset", offset)):
        other.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), constant))
    other.graph.node.insert(0, helper.make_node("Mul", ["other", "scale"], ["scaled"]))
    other.graph.node.insert(1, helper.make_node("Add", ["scaled", "offset"], [name]))
    return other


def changed(data: Data, x: Array | None = None, labels: Array | None = None) -> Data:
    return Data(data.x if x is None else x, data.labels if labels is None else labels, data.path)


def only(found: tuple[Concern, ...], name: str) -> str:
    """The message of the one concern."""
    assert [concern.name for concern in found] == [name], found
    assert "\n" not in found[0].message
    return found[0].message


@pytest.mark.parametrize("name", ["digits_cnn", "digits_cnn_adv", "digits_relu6"])
def test_right_inputs_raise_no_concern(samples: Path, name: str, digits: Data) -> None:
    target = Target(samples / f"{name}.onnx")
    for eps, norm in ((EPS, "Linf"), (0.3, "Linf"), (1.5, "L2"), (None, "Linf")):
        assert concerns_about(target, digits, eps=eps, norm=norm, n_examples=200) == ()  # type: ignore[arg-type]


def test_right_inputs_in_other_units_raise_no_concern(model: ModelProto, digits: Data) -> None:
    pixels = changed(digits, digits.x * 255)
    assert concerns_about(Target(taking(model, 1 / 255), bounds=(0, 255)), pixels, eps=8) == ()
    assert concerns_about(Target(taking(model, 1 / 255), mean=[0], std=[1 / 255]), digits, eps=8 / 255) == ()
    assert concerns_about(Target(model, bounds=(0, 255), std=[255]), pixels, eps=8) == ()


class TestSettings:
    @pytest.mark.parametrize(
        ("eps", "norm", "bounds", "words"),
        [
            (0.5, "Linf", (0, 1), "eps 0.5 is at least half of the data's range (0 to 1)"),
            (8, "Linf", (0, 1), "did you mean 8/255?"),
            (1.2, "Linf", (-1, 1), "the data's range (-1 to 1)"),
            (4.5, "L2", (0, 1), "the data's diameter (8)"),
        ],
    )
    def test_a_large_eps(
        self, model: ModelProto, digits: Data, eps: float, norm: str, bounds: tuple[float, float], words: str
    ) -> None:
        assert words in only(concerns_about(Target(model, bounds=bounds), digits, eps=eps, norm=norm), "eps")  # type: ignore[arg-type]

    def test_an_eps_that_is_a_pixel_value_in_pixels(self, model: ModelProto, digits: Data) -> None:
        pixels = changed(digits, digits.x * 255)
        message = only(concerns_about(Target(model, bounds=(0, 255), std=[255]), pixels, eps=128), "eps")
        assert "did you mean" not in message

    def test_more_examples_than_there_are(self, model: ModelProto, digits: Data) -> None:
        message = only(concerns_about(Target(model), digits, n_examples=500), "n-examples")
        assert message.endswith("digits.npz: has 200 examples, fewer than the 500 asked for; all are used")

    def test_bounds_of_other_units(self, model: ModelProto, digits: Data) -> None:
        small = changed(digits, digits.x.copy())  # floats, not uint8: nothing shows that they were scaled
        message = only(concerns_about(Target(model, bounds=(0, 255)), small, eps=1), "bounds")
        assert "the data lie between 0 and 1, a small part of the bounds 0 to 255" in message


class TestAccuracy:
    """Each wrong scale, layout or order of labels, on a classifier that is right on all of these images."""

    def advice(self, target: Target, data: Data) -> str:
        message = only(concerns_about(target, data), "accuracy")
        assert "the model gets " in message
        return message

    def test_a_model_for_pixels_up_to_255(self, model: ModelProto, digits: Data) -> None:
        message = self.advice(Target(taking(model, 1 / 255)), digits)
        assert "expect values from 0 to 255; give --mean 0 --std 1/255: then it gets 99% right" in message

    def test_a_mean_and_std_of_pixels_up_to_255(self, model: ModelProto, digits: Data) -> None:
        target = Target(taking(model, 0.5, 0.2), mean=[51], std=[127.5])
        advice = self.advice(target, digits)
        assert (
            "--mean and --std seem to be for values from 0 to 255; give --mean 51/255 --std 127.5/255: then" in advice
        )

    def test_pixels_for_a_model_of_values_up_to_1(self, samples: Path, digits: Data) -> None:
        model = onnx.load(samples / "digits_relu6.onnx")  # ReLU6 is not indifferent to scale
        target = Target(taking(model, 0.5, 0.2), bounds=(0, 255), mean=[0.2], std=[0.5])
        assert "give --mean 51 --std 127.5: then" in self.advice(target, changed(digits, digits.x * 255))

    def test_normalization_that_the_model_does_not_expect(self, model: ModelProto, digits: Data) -> None:
        assert "leave out --mean and --std" in self.advice(Target(model, mean=[3.0], std=[0.1]), digits)

    def test_missing_normalization(self, digits: Data, model: ModelProto) -> None:
        bright = changed(digits, digits.x / 4 + np.float32(0.7))
        target = Target(taking(model, float(digits.x.std()), float(digits.x.mean())))
        assert "give the --mean and --std that it was trained with (these data have 0.7" in self.advice(target, bright)

    def test_values_from_minus_1_to_1(self) -> None:
        sign = parse(
            """<ir_version: 8, opset_import: ["" : 18]>
            net (float[N, 1] x) => (float[N, 2] y) { a = Neg(x)  y = Concat<axis = 1>(a, x) }"""
        )
        x = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
        data = Data(x, (x[:, 0] > 0.5).astype(int))
        assert "give --mean 0.5 --std 0.5: then it gets 100% right" in self.advice(Target(sign), data)

    @pytest.mark.parametrize(("shift", "words"), [(1, "count from 1; subtract 1"), (-1, "too small by 1; add 1")])
    def test_labels_off_by_one(self, model: ModelProto, digits: Data, shift: int, words: str) -> None:
        labels = digits.required_labels()
        keep = (labels + shift >= 0) & (labels + shift < 10)
        assert words in self.advice(Target(model), Data(digits.x[keep], (labels + shift)[keep]))

    def test_labels_in_another_order(self, model: ModelProto, digits: Data) -> None:
        order = np.random.default_rng(1).permutation(10)
        message = self.advice(Target(model), changed(digits, labels=order[digits.required_labels()]))
        assert "the labels seem to be in another order" in message
        assert f"{order[0]} is class 0" in message
        assert "99% right" in message

    def test_two_labels_swapped_in_a_model_of_two_classes(self) -> None:
        two = parse(
            """<ir_version: 8, opset_import: ["" : 18]>
            net (float[N, 2] x) => (float[N, 2] y) { a = Neg(x)  y = Neg(a) }"""
        )
        x = np.random.default_rng(0).uniform(size=(40, 2)).astype(np.float32)
        message = self.advice(Target(two), Data(x, 1 - x.argmax(axis=1)))
        assert "(label 0 is class 1, 1 is class 0); reorder them: then it gets 100% right" in message

    def test_transposed_images(self, model: ModelProto, digits: Data) -> None:
        assert "swap height and width" in self.advice(Target(model), changed(digits, digits.x.swapaxes(2, 3)))

    def test_inverted_images(self, model: ModelProto, digits: Data) -> None:
        assert "inverted" in self.advice(Target(model), changed(digits, 1 - digits.x))

    def test_nothing_helps(self, model: ModelProto, digits: Data) -> None:
        labels = np.random.default_rng(0).integers(0, 10, len(digits.x))
        message = self.advice(Target(model), changed(digits, labels=labels))
        assert message.endswith("is the data's scale, layout, mean or std wrong, or are the labels in another order?")

    def test_a_weak_model_is_not_questioned(self, model: ModelProto, digits: Data) -> None:
        """Half of the labels are wrong: no correction explains that, and chance is far below."""
        labels = digits.required_labels().copy()
        labels[::2] = np.random.default_rng(0).integers(0, 10, len(labels[::2]))
        assert concerns_about(Target(model), changed(digits, labels=labels)) == ()

    def test_a_few_examples_say_nothing(self, model: ModelProto, digits: Data) -> None:
        data = changed(digits, labels=(digits.required_labels() + 1) % 10)
        assert concerns_about(Target(model), data.first(5)) == ()


class TestErrors:
    def test_channels_last(self) -> None:
        net = parse(
            """<ir_version: 8, opset_import: ["" : 18]>
            net (float[N, 3, 8, 8] x) => (float[N, 192] y) { y = Flatten(x) }"""
        )
        data = Data(np.zeros((20, 8, 8, 3), np.float32), np.zeros(20, int))
        with pytest.raises(
            DataError, match=r"data: x has shape .* seems to be \(N, H, W, C\); transpose it to \[20, 3"
        ):
            concerns_about(Target(net), data)

    def test_labels_from_1_to_the_number_of_classes(self, model: ModelProto, digits: Data) -> None:
        with pytest.raises(DataError, match="between 1 and 10, and the model has classes 0 to 9; subtract 1"):
            concerns_about(Target(model), changed(digits, labels=digits.required_labels() + 1))

    def test_other_misfits_are_left_to_the_work(self, model: ModelProto, digits: Data) -> None:
        target = Target(model)
        assert concerns_about(target, Data(np.zeros((20, 5), np.float32), np.zeros(20, int))) == ()
        assert concerns_about(target, Data(digits.x)) == ()
        assert concerns_about(target, Data(digits.x, np.full(200, 700))) != ()


def test_a_verdict_notes_them(model: ModelProto, digits: Data) -> None:
    few = digits.first(20)
    right = oj.evaluate(model, few, eps=EPS, attacks="fgsm")
    wrong = oj.evaluate(model, changed(few, labels=(few.required_labels() + 1) % 10), eps=0.7, attacks="fgsm")
    assert right.notes == ()
    assert len(wrong.notes) == 2
    assert wrong.notes[0].startswith("eps 0.7 is at least half")
    assert "subtract 1 from them" in wrong.notes[1]


def test_it_takes_paths_and_arrays(samples: Path, digits: Data) -> None:
    assert oj.concerns_about(str(samples / "digits_cnn.onnx"), samples / "digits.npz", eps=EPS) == ()
    (concern,) = oj.concerns_about(samples / "digits_cnn.onnx", (digits.x, digits.required_labels()), eps=8)
    assert concern.name == "eps"
