"""The soft form: what it is, that its lowerings compute it, that it is found again."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto

from onnx_jumprelu import OnnxClassifier, OptionError, PatchError, Recipe, find_activations, patch_model, revert_model
from onnx_jumprelu.activation.definition import activate, edge_values, tolerance
from onnx_jumprelu.activation.finder import find_jumprelus
from onnx_jumprelu.activation.lowerings import LOWERINGS
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.scopes import newest_opset, walk_scopes
from onnx_jumprelu.names import LoweringName
from tests.activation.test_lowerings import capped, values
from tests.models import f32, parse, run, run_reference, single, spread

SOFT: list[LoweringName] = ["softplus", "exp-log", "function"]
TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "float64": TensorProto.DOUBLE}
SITES = [Parameters(0.0, 0.1), Parameters(0.3, 0.1), Parameters(2.0, 0.05, 0.25), Parameters(0.0, 3.0, -0.5)]


def patched_with(original: ModelProto, parameters: Parameters, **options: object) -> ModelProto:
    recipe = Recipe(
        parameters if not parameters.per_channel else None, {} if not parameters.per_channel else {"*": parameters}
    )
    return patch_model(original, recipe=recipe, **options).model  # type: ignore[arg-type]


def assert_soft(y: Array, x: Array, parameters: Parameters, cap: float | None = None) -> None:
    """Within the tolerance of the reference; equal where that is not finite."""
    expected = activate(x, parameters, cap)
    allowed = tolerance(activate(x, parameters), parameters)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(y[~finite], expected[~finite])
    gap = np.abs(y[finite].astype(np.float64) - expected[finite].astype(np.float64))
    assert (gap <= allowed[finite]).all(), (x[finite][gap > allowed[finite]][:3], gap.max())


class TestDefinition:
    @pytest.mark.parametrize("parameters", [Parameters(0.0, 0.1), Parameters(0.5, 0.2), Parameters(2.0, 1.0)])
    def test_is_the_mean_of_the_jump_over_logistic_noise(self, parameters: Parameters) -> None:
        jump, t = (float(parameters.arrays(None)[name]) for name in ("jump", "softness"))
        shares = (np.arange(200_000) + 0.5) / 200_000
        noise = t * np.log(shares / (1 - shares))  # the quantiles of the logistic distribution
        for x in (-1.0, 0.0, 0.4, 0.5, 0.7, 3.0):
            noisy = x + noise
            mean = np.where(noisy > jump, noisy, 0).mean()
            assert activate(np.asarray([x]), parameters)[0] == pytest.approx(mean, abs=1e-4)

    def test_tends_to_the_hard_form(self) -> None:
        x = np.asarray([-2.0, 0.0, 0.49, 0.51, 3.0])
        np.testing.assert_allclose(activate(x, Parameters(0.5, 1e-6)), activate(x, Parameters(0.5)), atol=1e-12)

    def test_infinities_and_nan(self) -> None:
        y = activate(f32([np.inf, -np.inf, np.nan, 3e38]), Parameters(0.5, 0.1, 1.0))
        assert np.isposinf(y[0])
        assert y[1] == -1
        assert np.isnan(y[2])
        assert y[3] == np.float32(3e38)

    def test_the_center_is_subtracted_and_a_cap_comes_last(self) -> None:
        x = np.asarray([-5.0, 0.0, 9.0])
        plain, centered = activate(x, Parameters(0.0, 1.0)), activate(x, Parameters(0.0, 1.0, 0.5))
        np.testing.assert_allclose(plain - centered, 0.5)
        np.testing.assert_array_equal(activate(x, Parameters(0.0, 1.0, 0.5), 6.0), np.clip(centered, 0, 6))


class TestLowerings:
    def test_every_soft_lowering_is_tested(self) -> None:
        assert set(SOFT) == {name for name, lowering in LOWERINGS.items() if lowering.form != "hard"}

    @pytest.mark.parametrize("cap", [False, True])
    @pytest.mark.parametrize("parameters", SITES, ids=str)
    @pytest.mark.parametrize("name", TYPES)
    @pytest.mark.parametrize("lowering", [*SOFT, "auto"])
    def test_is_the_soft_form(self, lowering: LoweringName, name: str, parameters: Parameters, *, cap: bool) -> None:
        elem_type = TYPES[name]
        held = parameters.rounded(elem_type)
        for opset in (7, 13, newest_opset()):
            if lowering == "softplus" and name != "float32":
                continue  # refused, see below
            if lowering == "function" and opset < 15:
                continue
            original = capped(elem_type, opset) if cap else single("Relu", elem_type=elem_type, opset=opset)
            patched = patched_with(original, parameters, lowering=lowering)
            onnx.checker.check_model(patched, full_check=True)
            x = edge_values(elem_type, held, None, seed=0)
            for optimize in (False, True):
                assert_soft(values(patched, x, optimize=optimize), x, held, 6.0 if cap else None)
            assert revert_model(patched).SerializeToString() == original.SerializeToString()

    @pytest.mark.parametrize("lowering", SOFT)
    def test_per_channel(self, lowering: LoweringName) -> None:
        parameters = Parameters((0.0, 0.5, 2.0), (0.1, 0.2, 0.3), (0.0, 0.5, -1.0)).rounded(TensorProto.FLOAT)
        original = single("Relu", shape=["N", 3, 1])
        patched = patched_with(original, parameters, lowering=lowering)
        x = edge_values(TensorProto.FLOAT, parameters, None, seed=0, rank=3)
        assert_soft(run(patched, {"x": x})[0], x, parameters)

    def test_bfloat16_in_the_reference_evaluator(self) -> None:
        original = single("Relu", elem_type=TensorProto.BFLOAT16, opset=22, ir_version=10)
        x = spread(TensorProto.BFLOAT16, 0.5)
        for lowering in SOFT:
            patched = patched_with(original, Parameters(0.5, 0.25), lowering=lowering)
            (y,) = run_reference(patched, {"x": x})
            assert_soft(y, x, Parameters(0.5, 0.25))

    @pytest.mark.parametrize("planted", [(0.3, 0.10001), (0.30001, 0.1), (0.3, 0.1, 1e-5)])
    def test_the_tolerance_finds_a_wrong_number(self, planted: tuple[float, ...]) -> None:
        x = edge_values(TensorProto.FLOAT, Parameters(0.3, 0.1), None, seed=0)
        y = run(patched_with(single("Relu"), Parameters(*planted)), {"x": x})[0]
        with pytest.raises(AssertionError):
            assert_soft(y, x, Parameters(0.3, 0.1).rounded(TensorProto.FLOAT))

    @pytest.mark.parametrize("left_out", ["Mul", "Add", "Sub"])
    def test_the_tolerance_finds_a_node_that_is_wrong(self, left_out: str) -> None:
        parameters = Parameters(0.3, 0.1, 0.2).rounded(TensorProto.FLOAT)
        patched = patched_with(single("Relu"), parameters)
        node = next(node for node in patched.graph.node if node.op_type == left_out)
        node.op_type = "Max"
        x = edge_values(TensorProto.FLOAT, parameters, None, seed=0)
        with pytest.raises(AssertionError):
            assert_soft(run(patched, {"x": x})[0], x, parameters)

    def test_a_tiny_softness_does_not_overflow(self) -> None:
        x = f32([-10, 0, 0.25, 10, 3e38, np.inf])
        for softness in (1e-38, 1e-30, 1e-20):
            patched = patched_with(single("Relu"), Parameters(0.0, softness))
            assert_soft(run(patched, {"x": x})[0], x, Parameters(0.0, softness).rounded(TensorProto.FLOAT))

    @pytest.mark.parametrize(
        ("elem_type", "softness", "message"),
        [
            (TensorProto.DOUBLE, 0.1, "no float64 kernel"),
            (TensorProto.FLOAT16, 0.1, "in float16"),
            (TensorProto.FLOAT, 1e-33, "below 1e-30"),
        ],
    )
    def test_softplus_is_refused_where_it_does_not_run_or_overflows(
        self, elem_type: int, softness: float, message: str
    ) -> None:
        original = single("Relu", elem_type=elem_type)
        with pytest.raises(PatchError, match=re.escape(message)):
            patch_model(original, softness=softness, lowering="softplus")
        assert patch_model(original, softness=softness).lowering == "exp-log"

    def test_a_type_known_only_at_run_time(self) -> None:
        model = parse(
            """<ir_version: 10, opset_import: ["" : 18, "my" : 1]>
            net (float[N] x, double[N] z) => (float[N] y, double[N] w) { y = my.F(x)  w = my.F(z) }
            <domain: "my", opset_import: ["" : 18]> F (u) => (v) { v = Relu(u) }"""
        )
        patched = patch_model(model, 0.25, softness=0.125).model
        x, z = spread(TensorProto.FLOAT, 0.25), spread(TensorProto.DOUBLE, 0.25)
        for y, fed in zip(run(patched, {"x": x, "z": z}), (x, z), strict=True):
            assert_soft(y, fed, Parameters(0.25, 0.125))


class TestRewrite:
    def test_softness_0_is_the_hard_site(self) -> None:
        model = single("Relu")
        assert patch_model(model, 0.5, softness=0.0).model == patch_model(model, 0.5).model
        same = patch_model(model, recipe=Recipe({"jump": 0.5, "softness": 0})).model  # type: ignore[arg-type]
        assert same.graph == patch_model(model, 0.5).model.graph

    def test_softness_alone_has_jump_0(self) -> None:
        (site,) = patch_model(single("Relu"), softness=0.1).sites
        assert site.parameters == Parameters(0.0, 0.1)

    def test_a_lowering_of_the_hard_form_leaves_soft_sites_alone(self) -> None:
        model = parse(
            """<ir_version: 8, opset_import: ["" : 17]>
            net (float[N] x) => (float[N] y) { h = Relu(x) y = Relu(h) }"""
        )
        recipe = Recipe(None, {"h": 0.5, "y": Parameters(0.5, 0.1)})
        result = patch_model(model, recipe=recipe, lowering="thresholded-relu")
        assert result.lowering == "softplus,thresholded-relu"
        assert [site.parameters for site in find_activations(result.model)] == [Parameters(0.5), Parameters(0.5, 0.1)]

    def test_patching_again_changes_the_parameters(self) -> None:
        model = single("Relu")
        soft = patch_model(model, softness=0.5)
        assert patch_model(soft.model, 0.5).model == patch_model(model, 0.5).model
        assert patch_model(patch_model(model, 0.5).model, softness=0.5).model == soft.model

    def test_parameters_as_inputs(self) -> None:
        result = patch_model(single("Relu"), 0.5, softness=0.25, jump_input=True)
        assert result.sites[0].inputs == {"jump": "jump", "softness": "softness"}
        x = f32([-1, 0, 0.5, 2])
        for fed in ({}, {"softness": f32(0.5)}, {"jump": f32(1), "softness": f32(0.125)}):
            held = Parameters(float(fed.get("jump", 0.5)), float(fed.get("softness", 0.25)))
            assert_soft(run(result.model, {"x": x, **fed})[0], x, held)
        assert revert_model(result.model).SerializeToString() == single("Relu").SerializeToString()

    def test_a_recipe_file(self) -> None:
        recipe = Recipe(0.5, {"act": Parameters(1.5, (0.2, 0.3))})
        assert '"softness": [' in recipe.to_json()
        assert Recipe({"jump": 0.5}).to_dict() == {"default": 0.5, "sites": {}}  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "give either a jump, a softness or both, or a recipe"),
            ({"softness": 0.1, "recipe": Recipe(0.5)}, "give either a jump, a softness or both, or a recipe"),
            ({"softness": -0.1}, "the softness must be a finite number of at least 0"),
            ({"softness": 1e39}, r"softness 1e+39 is out of range for float32"),
        ],
    )
    def test_options_that_are_refused(self, options: dict[str, object], message: str) -> None:
        with pytest.raises(OptionError, match=re.escape(message)):
            patch_model(single("Relu"), **options)  # type: ignore[arg-type]

    def test_a_default_of_a_recipe_holds_for_every_number_of_channels(self) -> None:
        with pytest.raises(OptionError, match="the default must be a single number"):
            Recipe(Parameters((0.5, 1.0)))


RAMP = "u = Sub(x, two) z = Div(u, half) p = Softplus(z) m = Mul(p, half)"
DECAY = "a = Abs(x) n = Neg(a) z = Div(n, half) e = Exp(z)"
SPELLINGS = {
    "Softplus": ("y = Softplus(x)", 0.0, 1.0),
    "log of 1 + exp": ("e = Exp(x) s = Add(one, e) y = Log(s)", 0.0, 1.0),
    "scaled": ("z = Div(x, half) p = Softplus(z) y = Mul(half, p)", 0.0, 0.5),
    "as PyTorch writes it": ("z = Mul(x, two) p = Softplus(z) y = Div(p, two)", 0.0, 0.5),
    "stable": (f"{DECAY} s = Add(e, one) l = Log(s) t = Mul(l, half) r = Relu(x) y = Add(t, r)", 0.0, 0.5),
    "with a jump": (f"{RAMP} g = Sigmoid(z) s = Mul(two, g) y = Add(s, m)", 2.0, 0.5),
}
LOOK_ALIKES = {
    "another factor": "z = Div(x, half) p = Softplus(z) y = Mul(two, p)",
    "another gate": f"{RAMP} g = Sigmoid(u) s = Mul(two, g) y = Add(s, m)",
    "another step": f"{RAMP} g = Sigmoid(z) s = Mul(one, g) y = Add(s, m)",
    "log of 2 + exp": "e = Exp(x) s = Add(two, e) y = Log(s)",
}


def written(nodes: str) -> ModelProto:
    return parse(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 2] x) => (float[N, 2] y)
        <float one = {{1.0}}, float half = {{0.5}}, float two = {{2.0}}> {{ {nodes} }}"""
    )


class TestFinder:
    @pytest.mark.parametrize("spelling", SPELLINGS)
    def test_spellings(self, spelling: str) -> None:
        nodes, jump, softness = SPELLINGS[spelling]
        model = written(nodes)
        (scope,) = walk_scopes(model)
        (site,) = find_jumprelus(scope).values()
        assert (site.x, site.y) == ("x", "y")
        held = {
            name: float(value if isinstance(value, float) else scope.constant(value))
            for name, value in site.operands.items()
        }
        assert held == {"jump": jump, "softness": softness}
        x = f32([[-1, 0.3], [2, 5]])
        assert_soft(run(model, {"x": x})[0], x, Parameters(jump, softness))

    @pytest.mark.parametrize("spelling", LOOK_ALIKES)
    def test_look_alikes_are_not_taken_for_the_whole(self, spelling: str) -> None:
        (scope,) = walk_scopes(written(LOOK_ALIKES[spelling]))
        assert "y" not in find_jumprelus(scope)

    @pytest.mark.parametrize("lowering", ["softplus", "exp-log"])
    @pytest.mark.parametrize("parameters", SITES, ids=str)
    def test_every_lowering_is_found(self, lowering: LoweringName, parameters: Parameters) -> None:
        patched = patched_with(single("Relu"), parameters, lowering=lowering)
        (scope,) = walk_scopes(patched)
        (site,) = find_jumprelus(scope).values()
        expected = f"jump {parameters.jump:g}, softness {parameters.softness:g}"
        assert site.shown() == expected

    def test_nothing_inside_a_soft_site_is_patched(self) -> None:
        """The `exp-log` lowering holds a Relu; without the record it must not be taken for a rectifier."""
        patched = patched_with(single("Relu"), Parameters(0.3, 0.1), lowering="exp-log")
        del patched.metadata_props[:]
        assert not [site for site in find_activations(patched) if site.patchable]

    def test_a_rectifier_before_a_softplus_is_one_of_its_own(self) -> None:
        first, second = find_activations(written("h = Relu(x) y = Softplus(h)"))
        assert first.patchable
        assert str(second.reason).startswith("is already a soft JumpReLU (jump 0, softness 1)")


class TestGradient:
    @pytest.mark.parametrize("lowering", [*SOFT, "auto"])
    def test_of_a_patched_network(self, lowering: LoweringName) -> None:
        model = parse(
            """<ir_version: 8, opset_import: ["" : 17]>
            net (float[N, 2] x) => (float[N, 2] logits)
            <float[2, 2] w = {1.0, -2.0, 0.5, 3.0}> { h = MatMul(x, w) a = Relu(h) logits = MatMul(a, w) }"""
        )
        parameters = Parameters(0.5, 0.25, 0.1)
        classifier = OnnxClassifier(patched_with(model, parameters, lowering=lowering))
        assert classifier.n_jumps == 1
        x, w = np.random.default_rng(0).random((20, 2)), np.asarray([[1.0, -2.0], [0.5, 3.0]])
        labels = np.zeros(20, np.int64)
        _, gradient = classifier.loss_and_grad(x.astype(np.float32), labels, "logit")

        def logit(at: Array) -> Array:
            return (activate(at @ w, parameters) @ w)[:, 0]  # type: ignore[no-any-return]

        for axis, step in enumerate(np.eye(2) * 1e-6):
            slope = (logit(x + step) - logit(x - step)) / 2e-6
            np.testing.assert_allclose(gradient[:, axis], slope, rtol=1e-4, atol=1e-5)
