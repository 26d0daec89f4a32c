"""A jump per channel: what it computes, what is refused, and that everything around a patch takes it too."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from onnx_jumprelu import (
    OnnxClassifier,
    OptionError,
    ProvenanceError,
    Recipe,
    find_activations,
    patch_model,
    revert_model,
    verify,
)
from onnx_jumprelu.activation.finder import find_jumprelus
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.cli import main
from onnx_jumprelu.graphs.constants import numpy_dtype
from onnx_jumprelu.graphs.scopes import walk_scopes
from onnx_jumprelu.names import LoweringName
from tests.models import f32, oracle, parse, run, single, spread

JUMPS = (0.5, 0.0, 1.25)
SHAPES: list[list[int | str]] = [["N", 3], ["N", 3, "L"], ["N", 3, 2, 2]]
LOWERINGS: list[LoweringName] = ["where", "function", "cast-mul"]
# Channels of a Conv as sites see them, and a hidden layer with one unit per channel.
NET = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 1, 4, 4] x) => (float[N, 2] y)
<float[3, 1, 2, 2] w = {1,0,0,1, 0.5,-1,1,0, -1,1,1,-0.5}, float[27, 2] v>
{ a = Conv(x, w)  b = Relu(a)  c = Flatten(b)  y = MatMul(c, v) }"""


def net() -> ModelProto:
    model = parse(NET.replace("float[27, 2] v", "float[1] unused = {0}"))
    model.graph.initializer.pop()
    rng = np.random.default_rng(0)
    model.graph.initializer.append(numpy_helper.from_array(f32(rng.standard_normal((27, 2))), "v"))
    return model


def inputs(elem_type: int, rank: int) -> Array:
    """Values around every jump, the same for each channel: (N, 3), (N, 3, 5) or (N, 3, 2, 2)."""
    values = np.concatenate([spread(elem_type, jump) for jump in JUMPS])
    tail = (5,) if rank == 3 else (2, 2)[: max(0, rank - 2)]
    x: Array = np.broadcast_to(values.reshape(-1, *[1] * (rank - 1)), (len(values), 3, *tail)).copy()
    return x


def expected(x: Array, cap: float = np.inf) -> Array:
    """Channel by channel, each with the oracle of a single jump."""
    return np.stack([oracle(x[:, place], jump, cap) for place, jump in enumerate(JUMPS)], axis=1)


@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("lowering", LOWERINGS)
def test_each_channel_has_its_own(lowering: LoweringName, shape: list[int | str], elem_type: int) -> None:
    model = single("Relu", elem_type=elem_type, shape=shape)
    patched = patch_model(model, recipe=Recipe(None, {"act": JUMPS}), lowering=lowering).model
    x = inputs(elem_type, len(shape))
    for optimize in (False, True):
        (y,) = run(patched, {"x": x}, optimize=optimize)
        assert y.dtype == numpy_dtype(elem_type)
        assert np.array_equal(y, expected(x))
    assert verify(model, patched).ok
    assert revert_model(patched).SerializeToString() == model.SerializeToString()
    assert find_activations(patched)[0].jump == JUMPS


def test_the_cap_stays() -> None:
    bounds = {"low": f32(0), "high": f32(6)}
    model = single("Clip", inputs=["x", "low", "high"], extra=bounds, shape=["N", 3, 2, 2])
    patched = patch_model(model, recipe=Recipe(None, {"act": JUMPS})).model
    x = inputs(TensorProto.FLOAT, 4)
    assert np.array_equal(run(patched, {"x": x})[0], expected(x, cap=6.0))
    assert verify(model, patched).ok


def test_equal_jumps_are_one_jump() -> None:
    x = f32(np.random.default_rng(1).standard_normal((20, 1, 4, 4)))
    one = patch_model(net(), 0.4).model
    each = patch_model(net(), recipe=Recipe(0.4, {"b": [0.4, 0.4, 0.4]})).model
    assert np.array_equal(run(one, {"x": x})[0], run(each, {"x": x})[0])


def test_a_list_for_a_single_channel_is_a_number() -> None:
    model = single("Relu", shape=["N", 1, 2, 2])
    listed = patch_model(model, recipe=Recipe(None, {"act": [0.5]})).model
    plain = patch_model(model, recipe=Recipe(None, {"act": 0.5})).model
    assert listed.SerializeToString() == plain.SerializeToString()


def test_a_new_patch_replaces_the_jumps() -> None:
    patched = patch_model(net(), recipe=Recipe(None, {"b": JUMPS})).model
    again = patch_model(patched, 0.5).model
    assert again.SerializeToString() == patch_model(net(), 0.5).model.SerializeToString()


def test_as_an_input() -> None:
    patched = patch_model(net(), recipe=Recipe(None, {"b": JUMPS}), jump_input=True).model
    (jump,) = [value for value in patched.graph.input if value.name != "x"]
    assert [dim.dim_value for dim in jump.type.tensor_type.shape.dim] == [3, 1, 1]
    onnx.checker.check_model(patched, full_check=True)
    x = f32(np.random.default_rng(1).standard_normal((20, 1, 4, 4)))
    other = f32([0.1, 0.2, 0.3]).reshape(3, 1, 1)
    fixed = patch_model(net(), recipe=Recipe(None, {"b": [0.1, 0.2, 0.3]})).model
    assert np.array_equal(run(patched, {"x": x, jump.name: other})[0], run(fixed, {"x": x})[0])
    assert verify(net(), patched).ok


@pytest.mark.parametrize(
    ("jumps", "words"),
    [
        ([0.5, 1.0], "has 3 channels, but the recipe gives it 2 jumps"),
        ([0.5] * 4, "has 3 channels, but the recipe gives it 4 jumps"),
        ([], "is an empty list"),
        ([0.5, -1.0, 0.5], "channel 1, must be a finite number of at least 0, not -1.0"),
        ([0.5, 1e39, 0.5], "jump 1e+39 is out of range for float32"),
        ([0.5, 1e-60, 0.5], "jump 1e-60 is 0 in float32"),
        ([[0.5, 0.5, 0.5]], "must be a finite number"),
        ([0.5, [0.5], 0.5], "channel 1, must be a finite number"),
        ("0.5", "must be a finite number"),
    ],
)
def test_refused(jumps: object, words: str) -> None:
    with pytest.raises(OptionError, match="site 'b'") as refusal:
        patch_model(net(), recipe=Recipe(None, {"b": jumps}))  # type: ignore[dict-item]
    assert words in str(refusal.value)


@pytest.mark.parametrize("shape", [["N"], ["N", "C"], ["N", "C", 4, 4]])
def test_refused_where_the_number_of_channels_is_not_known(shape: list[int | str]) -> None:
    with pytest.raises(OptionError, match="needs a known number of channels") as refusal:
        patch_model(single("Relu", shape=shape), recipe=Recipe(None, {"act": JUMPS}))
    assert "\n" not in str(refusal.value)


def test_refused_where_the_file_contradicts_itself() -> None:
    """One channel comes in; a declaration of three for what goes out would have widened the output without a word."""
    model = single("Relu", shape=["N", 1, 4, 4])
    model.graph.node[0].output[0] = "a"
    model.graph.node.append(onnx.helper.make_node("ReduceMax", ["a"], ["y"], axes=[1]))
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 3, 4, 4]))
    with pytest.raises(OptionError, match="needs a known number of channels"):
        patch_model(model, recipe=Recipe(None, {"act": JUMPS}))


def test_a_declaration_that_the_data_contradict_is_found_by_running() -> None:
    model = single("Relu", shape=["N", "C", 4, 4])
    model.graph.node[0].output[0] = "a"
    model.graph.node.append(onnx.helper.make_node("ReduceMax", ["a"], ["y"], axes=[1]))
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 3, 4, 4]))
    patched = patch_model(model, recipe=Recipe(None, {"act": JUMPS})).model
    report = verify(model, patched, f32(np.ones((2, 1, 4, 4))))
    assert any("changes its input's shape" in check.detail for check in report.checks if not check.ok)


def test_thresholded_relu_holds_one_number() -> None:
    result = patch_model(net_with_two(), recipe=Recipe(1.0, {"b": JUMPS}), lowering="thresholded-relu")
    assert [site.name for site in result.sites] == ["y"]
    assert result.skipped[0].reason.endswith("cannot hold a jump per channel")


def net_with_two() -> ModelProto:
    model = net()
    model.graph.node[-1].output[0] = "z"
    model.graph.node.append(onnx.helper.make_node("Relu", ["z"], ["y"]))
    return model


def test_a_recipe_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(net(), tmp_path / "net.onnx")
    recipe = tmp_path / "recipe.json"
    recipe.write_text(Recipe(None, {"b": JUMPS}).to_json())
    assert json.loads(recipe.read_text())["sites"] == {"b": list(JUMPS)}
    given = [str(tmp_path / "net.onnx"), "--recipe", str(recipe), "-o", str(tmp_path / "out.onnx"), "--verify"]
    assert main(["patch", *given]) == 0
    assert "jump 0 to 1.25, per channel" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "out.onnx"), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["sites"][0]["jump"] == list(JUMPS)
    assert main(["verify", str(tmp_path / "net.onnx"), str(tmp_path / "out.onnx")]) == 0


class TestVerifyFinds:
    """What must not pass as the recorded jumps per channel."""

    @staticmethod
    def planted(change: Callable[[Array], Array]) -> ModelProto:
        patched = patch_model(net(), recipe=Recipe(None, {"b": JUMPS})).model
        for node in patched.graph.node:
            if node.op_type == "Constant" and list(node.attribute[0].t.dims) == [3, 1, 1]:
                values = change(numpy_helper.to_array(node.attribute[0].t))
                node.attribute[0].t.CopyFrom(numpy_helper.from_array(values))
                return patched
        raise AssertionError("nothing to change")

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda jump: jump[::-1].copy(), "the record says jump"),
            (lambda jump: jump.reshape(1, 3, 1), "do not lie along its channels"),
            (lambda jump: np.repeat(jump, 2)[:6].reshape(6, 1, 1), "do not lie along its channels"),
            (lambda jump: f32(jump.max()), "the record says jump"),
            (lambda jump: -1 - jump, "not a finite number of at least 0"),
            (lambda jump: jump - f32([0, 2, 0]).reshape(3, 1, 1), "not a finite number of at least 0"),
            (lambda jump: jump + f32([0, np.inf, 0]).reshape(3, 1, 1), "not a finite number of at least 0"),
        ],
    )
    def test_planted(self, change: Callable[[Array], Array], words: str) -> None:
        report = verify(net(), self.planted(change))
        assert not report.ok
        assert any(words in check.detail for check in report.checks if not check.ok)

    @pytest.mark.parametrize("jump", [-2.0, float("inf")])
    def test_a_single_jump_that_is_none(self, jump: float) -> None:
        patched = patch_model(net(), 0.5).model
        del patched.metadata_props[:]
        for node in patched.graph.node:
            if node.op_type == "Constant" and numpy_helper.to_array(node.attribute[0].t) == 0.5:
                node.attribute[0].t.CopyFrom(numpy_helper.from_array(f32(jump)))
        assert any("not a finite number" in check.detail for check in verify(net(), patched).checks if not check.ok)

    def test_a_record_of_negative_jumps(self) -> None:
        patched = patch_model(net(), recipe=Recipe(None, {"b": JUMPS})).model
        entry = next(entry for entry in patched.metadata_props if entry.key == "onnx_jumprelu.jumps")
        entry.value = '{"b":[0.5,-1.0,1.25]}'
        with pytest.raises(ProvenanceError, match="damaged"):
            revert_model(patched)

    def test_a_leading_axis_makes_no_difference(self) -> None:
        patched = self.planted(lambda jump: jump.reshape(1, 3, 1, 1))
        del patched.metadata_props[:]
        assert verify(net(), patched).ok

    def test_channels_of_another_axis_compute_something_else(self) -> None:
        """The check of the site alone finds it too: right numbers, but compared along the wrong axis."""
        model = single("Relu", shape=["N", 3, 3])
        patched = patch_model(model, recipe=Recipe(None, {"act": JUMPS})).model
        constant = patched.graph.node[0]
        assert list(constant.attribute[0].t.dims) == [3, 1]
        turned = onnx.helper.make_node("Transpose", [constant.output[0]], ["turned"], perm=[1, 0])
        patched.graph.node.insert(1, turned)
        for node in patched.graph.node:
            if node.op_type == "Greater":
                node.input[1] = "turned"
        del patched.metadata_props[:]
        failed = [check.name for check in verify(model, patched).checks if not check.ok]
        assert "sites" in failed


def test_without_a_record_the_jumps_come_from_the_graph() -> None:
    patched = patch_model(net(), recipe=Recipe(None, {"b": JUMPS})).model
    del patched.metadata_props[:]
    report = verify(net(), patched)
    assert report.ok
    assert "lowering where" in next(check.detail for check in report.checks if check.name == "record")


@pytest.mark.parametrize("lowering", LOWERINGS[::2])
def test_found_by_structure(lowering: LoweringName) -> None:
    patched = patch_model(net(), recipe=Recipe(None, {"b": JUMPS}), lowering=lowering).model
    assert "b" in find_jumprelus(next(walk_scopes(patched)))
    del patched.metadata_props[:]
    assert any("jumps 0 to 1.25" in (site.reason or "") for site in find_activations(patched))


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_the_gradient_follows_each_channel(lowering: LoweringName) -> None:
    """Against the chain rule by hand: the derivative at a site is 1 above its channel's jump, else 0."""
    model = net()
    patched = patch_model(model, recipe=Recipe(None, {"b": JUMPS}), lowering=lowering).model
    x = f32(np.random.default_rng(2).uniform(0, 1, (6, 1, 4, 4)))
    labels = np.zeros(6, np.int64)
    _, gradient = OnnxClassifier(patched).loss_and_grad(x, labels, loss="logit")
    w, v = (numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer)
    by_hand = np.zeros(x.shape)
    for row in range(3):
        for column in range(3):
            window = x[:, 0, row : row + 2, column : column + 2].astype(np.float64)
            before = np.einsum("nij,cij->nc", window, w[:, 0])
            after = v.reshape(3, 3, 3, 2)[:, row, column, 0]
            slope = np.where(before > np.asarray(JUMPS), after, 0.0)
            by_hand[:, 0, row : row + 2, column : column + 2] += np.einsum("nc,cij->nij", slope, w[:, 0])
    assert np.allclose(gradient, by_hand, rtol=1e-4, atol=1e-5)
    assert np.abs(by_hand).max() > 0.1
