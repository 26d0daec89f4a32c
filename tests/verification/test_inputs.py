"""Inputs of a verification: the caller's, cut along their own batch axes, and random ones."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, helper

from onnx_jumprelu import DataError, VerifyReport, patch_model, verify
from onnx_jumprelu.verification.batch_axes import find_batch
from onnx_jumprelu.verification.input_types import fed_input
from onnx_jumprelu.verification.inputs import Given, given_runs
from onnx_jumprelu.verification.random_inputs import random_feeds
from tests.models import f32, parse, single
from tests.verification.nets import NET, failed

HEAD = '<ir_version: 8, opset_import: ["" : 17]> net '
ADD_STATE = "{ s = Squeeze(state, axis)  a = Add(inp, s)  y = Relu(a) }"
AXIS = "<int64[1] axis = {0}>"


def floats(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def checked(model: ModelProto, given: Any, **options: Any) -> VerifyReport:  # noqa: ANN401 - inputs of any form
    return verify(model, patch_model(model, 0.5).model, given, **options)


def n_outputs(report: VerifyReport) -> int:
    """How many output values were compared."""
    assert report.ok, report
    return int(report.checks[-1].detail.split()[1])


def test_real_inputs_are_used() -> None:
    model = parse(NET)
    patched = patch_model(model, 0.5).model
    assert "the given inputs" in verify(model, patched, f32([[1, 2, 3]])).checks[-1].detail
    assert verify(model, patched, {"x": f32([[1, 2, 3]])}).ok
    with pytest.raises(DataError, match=r"shape \[1, 4\] do not fit the input 'x' of shape \['\?', 3\]"):
        verify(model, patched, f32([[1, 2, 3, 4]]))
    with pytest.raises(DataError, match="no data for the input 'x'"):
        verify(model, patched, {"z": f32([[1, 2, 3]])})
    with pytest.raises(DataError, match="data of type <U3 do not fit the input 'x' of type float32"):
        verify(model, patched, np.asarray([["one", "two", "ten"]]))


def test_a_fixed_batch_takes_what_it_can() -> None:
    model = single("Relu", shape=[2, 2])
    assert n_outputs(checked(model, floats(5, 2))) == 8
    with pytest.raises(DataError, match="do not fit"):
        checked(model, floats(1, 2))


# Declared inputs, data, and the axis of each input along which the examples lie.
BATCHES: dict[str, tuple[str, dict[str, tuple[int, ...]], dict[str, int] | None]] = {
    "the same name": ("float[N, 4] x, float[1, N, 4] state", {"x": (20, 4), "state": (1, 20, 4)}, {"x": 0, "state": 1}),
    "the batch last": ("float[N, 4] x, float[4, N] z", {"x": (20, 4), "z": (4, 20)}, {"x": 0, "z": 1}),
    "time first": ("float[T, N, 4] x, float[L, N, 4] h", {"x": (7, 20, 4), "h": (2, 20, 4)}, {"x": 1, "h": 1}),
    "tokens and a mask": (
        "int64[N, T] ids, bool[N, T, T] mask",
        {"ids": (9, 9), "mask": (9, 9, 9)},
        {"ids": 0, "mask": 0},
    ),
    "other names": ("float[A, 4] x, float[1, B, 4] state", {"x": (20, 4), "state": (1, 20, 4)}, {"x": 0, "state": 1}),
    "no names": ("float[?, 4] x, float[1, ?, 4] state", {"x": (20, 4), "state": (1, 20, 4)}, {"x": 0, "state": 1}),
    "no shapes": ("float[] x, float scale", {"x": (20, 4), "scale": ()}, {"x": 0}),
    "one without a batch": ("float[N, 4] x, float[K] k", {"x": (20, 4), "k": (3,)}, {"x": 0}),
    "fixed": ("float[2, 4] x, float[1, 2, 4] state", {"x": (20, 4), "state": (1, 20, 4)}, {"x": 0, "state": 1}),
    "fixed on axis 1": ("float[5, 1, 4] x, float[2, 1, 4] h", {"x": (5, 20, 4), "h": (2, 20, 4)}, {"x": 1, "h": 1}),
    "only one run": ("float[2, 4] x, float[1, 2, 4] state", {"x": (2, 4), "state": (1, 2, 4)}, None),
    "not clear": ("float[?, ?] x, float[?, ?] z", {"x": (9, 9), "z": (9, 9)}, None),
    "one input of open width": ("float[1, T] x", {"x": (1, 50)}, None),
    "contradictory": ("float[2, 4] x, float[3, 4] z", {"x": (20, 4), "z": (20, 4)}, None),
    "does not fit": ("float[N, 4] x", {"x": (20, 5)}, None),
}


@pytest.mark.parametrize(("declared", "shapes", "axes"), BATCHES.values(), ids=BATCHES)
def test_each_input_has_its_own_batch_axis(
    declared: str, shapes: dict[str, tuple[int, ...]], axes: dict[str, int] | None
) -> None:
    inputs = [fed_input(value) for value in parse(f"{HEAD} ({declared}) => (float y) {{ y = Relu(x) }}").graph.input]
    batch = find_batch(inputs, {name: np.zeros(shape) for name, shape in shapes.items()})
    assert (None if batch is None else batch.axes) == axes


@pytest.mark.parametrize(
    ("declared", "n_examples"),
    [
        ("float[N, 4] inp, float[1, N, 4] state", 16),
        ("float[A, 4] inp, float[1, B, 4] state", 16),
        ("float[2, 4] inp, float[1, 2, 4] state", 16),
        ("float[3, 4] inp, float[1, 3, 4] state", 15),
        ("float[20, 4] inp, float[1, 20, 4] state", 20),
    ],
)
def test_a_file_of_named_inputs_is_cut_along_each_ones_axis(declared: str, n_examples: int, tmp_path: Path) -> None:
    model = parse(f"{HEAD} ({declared}) => (float[M, 4] y) {AXIS} {ADD_STATE}")
    np.savez(tmp_path / "d.npz", inp=floats(20, 4), state=floats(1, 20, 4))
    assert n_outputs(checked(model, tmp_path / "d.npz")) == 4 * n_examples


def test_inputs_that_cannot_be_cut_are_one_run(tmp_path: Path) -> None:
    """Here the examples of `k` are as many as those of `x` by chance, and the model needs all of them."""
    model = parse(
        f"{HEAD} (float[?, 4] x, float[?] k) => (float[?, 4] y) <int64[2] shape = {{-1, 1}}>"
        "{ c = Reshape(k, shape)  all = Constant<value_ints = [20, 4]>()  b = Expand(c, all)"
        "  a = Add(x, b)  y = Relu(a) }"
    )
    np.savez(tmp_path / "d.npz", x=floats(20, 4), k=floats(20))
    assert n_outputs(checked(model, tmp_path / "d.npz")) == 80


def test_a_large_fixed_batch_takes_as_many_examples_as_it_needs(tmp_path: Path) -> None:
    model = single("Relu", shape=[32, 4])
    np.savez(tmp_path / "d.npz", x=floats(100, 4))
    assert n_outputs(checked(model, tmp_path / "d.npz")) == 32 * 4


def test_data_without_examples_prove_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", inp=floats(0, 4), state=floats(1, 0, 4))
    model = parse(f"{HEAD} (float[N, 4] inp, float[1, N, 4] state) => (float[N, 4] y) {AXIS} {ADD_STATE}")
    with pytest.raises(DataError, match=r"d\.npz: the data hold no examples"):
        checked(model, tmp_path / "d.npz")


def test_data_on_which_the_original_does_not_run_are_named(tmp_path: Path) -> None:
    model = parse(f"{HEAD} (float[N, 4] a, float[M, 4] b) => (float[N, 4] y) {{ c = Add(a, b)  y = Relu(c) }}")
    np.savez(tmp_path / "d.npz", a=floats(20, 4), b=floats(7, 4))
    with pytest.raises(DataError, match=r"d\.npz: the original does not run on the given inputs"):
        checked(model, tmp_path / "d.npz")


def test_a_file_without_an_array_for_each_input_is_refused(tmp_path: Path) -> None:
    model = parse(f"{HEAD} (float[N, 4] x, float[N, 4] b) => (float[N, 4] y) {{ c = Add(x, b)  y = Relu(c) }}")
    np.savez(tmp_path / "d.npz", x=floats(20, 4))
    with pytest.raises(DataError, match=r"d\.npz: the model has 2 inputs \(x, b\); give an array for each by name"):
        checked(model, tmp_path / "d.npz")


# Models whose inputs take more than floating-point numbers of any shape.
TYPES = {
    "token ids": """(int64[N, T] ids) => (float[N, T, 2] y) <float[2, 2] table = {1, -2, 0.25, 3}>
        { a = Gather(table, ids)  y = Relu(a) }""",
    "an index into one row": """(int64[N] ids) => (float[N, 2] y) <float[1, 2] table = {1, -2}>
        { a = Gather(table, ids)  y = Relu(a) }""",
    "a divisor": """(float[N] x, int32[N] n) => (float[N] y)
        { d = Div(n, n)  c = Cast<to = 1>(d)  a = Mul(x, c)  y = Relu(a) }""",
    "a mask": """(float[N, 8] x, bool[N, 8] mask) => (float[N, 8] y) <float low = {-inf}>
        { a = Where(mask, x, low)  s = Softmax(a)  y = Relu(s) }""",
    "a count": """(float[N] x, int64 n) => (float[N] y)
        { a = Loop(n, , x) <body = step (int64 i, bool go, float[N] s) => (bool on, float[N] t)
        { on = Identity(go)  m = Neg(s)  t = Relu(m) }>  y = Identity(a) }""",
    "text": """(string[N] words) => (float[N] y) { a = Cast<to = 1>(words)  y = Relu(a) }""",
    "a sequence": "(seq(float[N, 4]) s) => (float[M, 4] y) { a = ConcatFromSequence<axis = 0>(s)  y = Relu(a) }",
    "an optional": "(optional(float[N]) o) => (float[N] y) { a = OptionalGetElement(o)  y = Relu(a) }",
    "tied by name": """(float[N, 4] inp, float[1, N, 4] state) => (float[N, 4] y) <int64[1] axis = {0}>
        { s = Squeeze(state, axis)  b = Concat<axis = 1>(inp, s)  a = Relu(b)  y = Identity(a) }""",
    "tied by hand": """(float[A, 4] inp, float[1, B, 4] state) => (float[A, 8] y) <int64[1] axis = {0}>
        { s = Squeeze(state, axis)  b = Concat<axis = 1>(inp, s)  a = Relu(b)  y = Identity(a) }""",
    "-1 for an open size": "(float[?, 4] x) => (float[?, 4] y) { y = Relu(x) }",
}


@pytest.mark.parametrize("text", TYPES.values(), ids=TYPES)
def test_random_inputs_fit_what_the_model_takes(text: str) -> None:
    model = parse(HEAD.replace("17", "18") + text)
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_param") and not dim.HasField("dim_value"):
                dim.dim_value = -1
    report = checked(model, None)
    assert report.ok, report
    assert "nan" not in report.checks[-1].detail


def test_dimensions_of_one_name_have_one_size() -> None:
    model = parse(f"{HEAD} (float[N, T] x, float[T, N, 3] z, float[L, N] h) => (float[N, T] y) {{ y = Relu(x) }}")
    for feeds in random_feeds(model, 0):
        (n, t), (t_again, n_again, three) = feeds["x"].shape, feeds["z"].shape
        assert (n_again, t_again, three) == (n, t, 3)
        assert feeds["h"].shape[1] == n


FAR = """(int64[N] ids) => (float[N, 2] y) <float[2, 2] table = {1, -2, 0.25, 3}, int64 far = {1000}>
    { near = Sub(ids, far)  a = Gather(table, near)  y = Relu(a) }"""


def test_where_random_inputs_fail_the_message_says_what_to_give() -> None:
    report = checked(parse(HEAD + FAR), None)
    assert failed(report) == ["sites", "jump 0"]
    assert report.status == "not comparable"
    for check in report.checks[-2:]:
        assert "the original does not run on random inputs" in check.detail
        assert "give --data FILE.npz with real ones for: ids" in check.detail
        assert "\n" not in check.detail
    assert checked(parse(HEAD + FAR), np.asarray([1000, 1001])).ok


def test_inputs_that_cannot_be_fed_are_not_a_wrong_rewrite() -> None:
    model = parse(HEAD + "(float[N] x) => (float[N] y) { y = Relu(x) }")
    model.graph.input.append(
        helper.make_value_info("m", helper.make_map_type_proto(7, helper.make_tensor_type_proto(1, [1])))
    )
    report = checked(model, None)
    assert report.status == "not comparable"
    assert "the input 'm' cannot be fed" in report.checks[-1].detail


def test_sequences_are_given_as_arrays() -> None:
    model = parse(HEAD.replace("17", "18") + TYPES["a sequence"])
    entries = [floats(2, 4), floats(3, 4)]
    assert n_outputs(checked(model, {"s": entries})) == 20
    assert n_outputs(checked(model, {"s": floats(5, 3, 4)})) == 60


def test_all_of_given_arrays_are_used_and_of_a_file_the_first_16_examples() -> None:
    model, x = parse(NET), floats(50, 3)
    assert [len(run["x"]) for run in next(given_runs(model, Given(x)))] == [50]
    assert [len(run["x"]) for run in next(given_runs(model, Given(x, 15)))] == [2] * 7 + [1]


def test_nan_of_the_original_is_avoided() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[N] x) => (float[N] y) { a = Log(x)  y = Relu(a) }"""
    )
    patched = patch_model(model, 0.5).model
    assert verify(model, patched).ok
    report = verify(model, patched, f32([-1.0]))
    assert "The original computes NaN here" in report.checks[-1].detail


def test_batches_of_one() -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[N, 4] x) => (float[M] y)
        { shape = Constant<value_ints = [4]>()  a = Reshape(x, shape)  y = Relu(a) }"""
    )
    assert verify(model, patch_model(model, 0.5).model).ok
