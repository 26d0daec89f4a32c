"""Rectifiers that several nodes write: zeros of a computed shape, caps after a rectifier, arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu import PatchError, find_activations, patch_file, patch_model, revert_model, verify
from tests.models import f32, oracle, parse, run


def written(nodes: str, shape: str = "N, 3", opset: int = 17) -> ModelProto:
    return parse(
        f"""<ir_version: 8, opset_import: ["" : {opset}]>
        net (float[{shape}] x) => (float[{shape}] y)
        <float zero = {{0.0}}, float half = {{0.5}}, float two = {{2.0}}, float six = {{6.0}}, float ten = {{10.0}},
         float[1] one_zero = {{0.0}}, float[1,1,1] zero_3d = {{0.0}}, int64[2] rows5 = {{5, 1}},
         double wide = {{0.0}}, int64[2] target = {{1, 3}}, int64[1] first = {{0}}>
        {{ {nodes} }}"""
    )


ZEROS = {
    "ConstantOfShape": "s = Shape(x) z = ConstantOfShape(s) y = Max(x, z)",
    "ConstantOfShape, its value given": "s = Shape(x) z = ConstantOfShape <value = float[1] {0.0}> (s) y = Max(z, x)",
    "Expand": "s = Shape(x) z = Expand(zero, s) y = Max(x, z)",
    "Expand, one element": "s = Shape(x) z = Expand(one_zero, s) y = Max(x, z)",
    "CastLike": "z = CastLike(wide, x) y = Max(x, z)",
    "Cast": "z = Cast <to = 1> (wide) y = Max(x, z)",
    "through Identity": "s = Shape(x) t = Identity(s) z = ConstantOfShape(t) w = Identity(z) y = Max(x, w)",
    "a shape that is fixed": "z = ConstantOfShape(target) y = Max(x, z)",
}


@pytest.mark.parametrize("form", ZEROS)
def test_zeros_of_a_computed_shape(form: str) -> None:
    model = written(ZEROS[form])
    (site,) = [site for site in find_activations(model) if site.tensor == "y"]
    assert (site.form, site.input, site.patchable) == ("Max", "x", True)
    patched = patch_model(model, 0.5).model
    x = f32([[-1, 0.5, 2], [0.25, 0.75, -0.0]])
    np.testing.assert_array_equal(run(patched, {"x": x})[0], oracle(x, 0.5))
    assert verify(model, patched).ok
    assert revert_model(patched).SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize(
    "nodes",
    [
        "s = Shape(x) rows = Concat <axis = 0> (first, s) z = ConstantOfShape(rows) y = Max(x, z)",
        "s = Shape <start = 1> (x) z = ConstantOfShape(s) y = Max(x, z)",
        "s = Shape(x) five = Expand(zero, rows5) z = Expand(five, s) y = Max(x, z)",
        "s = Shape(x) z = Expand(zero_3d, s) y = Max(x, z)",
        "w = Transpose(x) s = Shape(w) z = ConstantOfShape(s) y = Max(x, z)",
    ],
)
def test_zeros_that_may_widen_are_listed(nodes: str) -> None:
    (site,) = find_activations(written(nodes))
    assert "the shape of the zero is computed and may broadcast" in str(site.reason)


@pytest.mark.parametrize("zeros", ["Expand(zero_3d, target)", "Expand(zero, rows5)"])
def test_zeros_whose_fixed_shape_widens_are_listed(zeros: str) -> None:
    (site,) = find_activations(written(f"z = {zeros} y = Max(x, z)"))
    assert "may broadcast its input to a larger shape" in str(site.reason)


def test_sizes_of_the_same_name_may_differ() -> None:
    """The runtime does not enforce that two dimensions of one name are equal."""
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[N, 4] x, float[N, 4] w) => (float[N, 4] y)
        { s = Shape(w) z = ConstantOfShape(s) y = Max(x, z) }"""
    )
    assert "may broadcast" in str(next(iter(find_activations(model))).reason)


def test_ones_of_a_computed_shape_are_no_rectifier() -> None:
    model = written("s = Shape(x) z = ConstantOfShape <value = float[1] {1.0}> (s) y = Max(x, z)")
    assert not find_activations(model)


def test_a_zero_in_an_external_file_is_listed(tmp_path: Path) -> None:
    model = parse(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[N, 3] x) => (float[N, 3] y) { y = Max(x, z) }"""
    )
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 3), np.float32), "z"))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    (site,) = find_activations(onnx.load(tmp_path / "m.onnx", load_external_data=False))
    assert str(site.reason).startswith("may be a rectifier: 'z' is stored in an external data file")


CAPS = {
    "Relu, Clip": "h = Relu(x) y = Clip(h, zero, six)",
    "Relu, Clip without a minimum": "h = Relu(x) y = Clip(h, , six)",
    "Relu, Min": "h = Relu(x) y = Min(h, six)",
    "Max, Min": "h = Max(x, zero) y = Min(six, h)",
    "Clip, Min": "h = Clip(x, zero) y = Min(h, six)",
    "Relu, Identity, Clip": "h = Relu(x) i = Identity(h) y = Clip(i, zero, six)",
    "Relu, Min, Clip": "h = Relu(x) m = Min(h, six) y = Clip(m, zero, six)",
    "Relu, Min, a wider Min": "h = Relu(x) m = Min(h, six) y = Min(m, ten)",
    "Relu, Clip to 0, Min": "h = Relu(x) m = Clip(h, zero) y = Min(m, six)",
    "Max of several zeros, Min": "h = Max(x, zero, one_zero) y = Min(h, six)",
}


@pytest.mark.parametrize("form", CAPS)
@pytest.mark.parametrize("lowering", ["where", "cast-mul", "function"])
def test_a_rectifier_and_its_cap_are_one_site(form: str, lowering: str) -> None:
    model = written(CAPS[form])
    (site,) = find_activations(model)
    assert (site.tensor, site.input, site.cap, site.patchable) == ("h", "x", 6.0, True)
    patched = patch_model(model, 0.5, lowering=lowering).model  # type: ignore[arg-type]
    x = f32([[-1, 0.5, 0.75], [5, 7, np.inf]])
    np.testing.assert_array_equal(run(patched, {"x": x})[0], oracle(x, 0.5, 6.0))
    assert verify(model, patched).ok
    assert revert_model(patched).SerializeToString() == model.SerializeToString()


@pytest.mark.parametrize(
    "nodes",
    ["h = Relu(x) y = Clip(h, half, six)", "h = Relu(x) n = Neg(six) y = Min(h, n)", "h = Relu(x) y = Min(h, zero)"],
)
def test_what_does_more_than_cap_is_no_cap(nodes: str) -> None:
    (site,) = find_activations(written(nodes))
    assert site.cap is None


def test_a_clip_that_does_not_follow_a_rectifier_is_a_site_of_its_own() -> None:
    model = written("h = Relu(x) t = Tanh(h) y = Clip(t, zero, six)")
    assert [(site.form, site.cap) for site in find_activations(model)] == [("Relu", None), ("Clip", 6.0)]


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ("a = Abs(x) s = Add(x, a) y = Div(s, two)", "(x + |x|) / 2"),
        ("a = Abs(x) s = Add(a, x) y = Mul(half, s)", "(x + |x|) / 2"),
        ("m = Min(x, zero) y = Sub(x, m)", "x - min(x, 0)"),
    ],
)
def test_arithmetic_is_listed(nodes: str, reason: str) -> None:
    (site,) = find_activations(written(nodes))
    assert reason in str(site.reason)


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Abs(x) s = Add(x, a) y = Div(s, six)",
        "a = Abs(x) s = Add(a, a) y = Mul(half, s)",
        "m = Min(x, six) y = Sub(x, m)",
        "y = Mul(x, half)",
    ],
)
def test_other_arithmetic_is_not(nodes: str) -> None:
    assert not find_activations(written(nodes))


class TestPartial:
    MODEL = "h = Relu(x) y = LeakyRelu <alpha = 0.1> (h)"

    def test_it_is_said_in_the_result(self) -> None:
        (left,) = patch_model(written(self.MODEL), 0.5).skipped
        assert not left.by_choice

    def test_strict_refuses_it(self, tmp_path: Path) -> None:
        onnx.save(written(self.MODEL), tmp_path / "m.onnx")
        with pytest.raises(PatchError, match=r"1 of its 2 activation sites cannot be patched; 'y': alpha is 0\.1"):
            patch_file(tmp_path / "m.onnx", jump=0.5, strict=True)
        assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]

    def test_sites_left_out_on_purpose_do_not_count(self) -> None:
        model = written("h = Relu(x) y = Relu(h)")
        (left,) = patch_model(model, 0.5, include=["h"], strict=True).skipped
        assert left.by_choice
        for options in ({"exclude": ["y"]}, {"include": ["h"]}):  # the one that cannot be patched
            (left,) = patch_model(written(self.MODEL), 0.5, strict=True, **options).skipped  # type: ignore[arg-type]
            assert left.by_choice
            assert left.reason.startswith("alpha is")


def test_a_bound_gives_the_type_where_nothing_else_does() -> None:
    """Behind an operator that nothing is known of; opset 13 needs a type."""
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Odd", ["x"], ["h"], domain="odd"), helper.make_node("Max", ["h", "zero"], ["y"])],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
            [onnx.ValueInfoProto(name="y")],
            [numpy_helper.from_array(np.zeros((), np.float32), "zero")],
        ),
        opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("odd", 1)],
        ir_version=8,
    )
    (site,) = find_activations(model)
    assert (site.dtype, site.patchable) == ("float32", True)
