"""Rectifiers inside onnxruntime's fused kernels are taken out, and come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto

from onnx_jumprelu import ProvenanceError, find_activations, patch_model, revert_model, verify
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.tuning.preactivations import observable
from tests.models import f32, parse, run

HEAD = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>'
CONV = f"""{HEAD} net (float[N, 2, 4, 4] x) => (float[N, 3, 4, 4] y)
    <float[3] b = {{0.1, 0.2, 0.3}}>
    {{ y = com.microsoft.FusedConv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], ACTIVATION> (x, w, b) }}"""
GEMM = f"""{HEAD} net (float[N, 4] x) => (float[N, 3] y) <float[3] b = {{0.1, 0.2, 0.3}}>
    {{ y = com.microsoft.FusedGemm <alpha = 0.5, ACTIVATION> (x, w, b) }}"""
RELU, CLIP = 'activation = "Relu"', 'activation = "Clip", activation_params = [0.0, 1.5]'


def network(text: str, activation: str) -> ModelProto:
    model = parse(text.replace("ACTIVATION", activation))
    weights = np.random.default_rng(0).standard_normal((3, 2, 3, 3) if text is not GEMM else (4, 3))
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights.astype(np.float32), "w"))
    return model


def inputs(model: ModelProto) -> Array:
    sizes = [dim.dim_value or 5 for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(1).standard_normal(sizes).astype(np.float32)


CASES = {
    "FusedConv, Relu": (CONV, RELU, np.inf),
    "FusedConv, Clip": (CONV, CLIP, 1.5),
    "FusedGemm, Relu": (GEMM, RELU, np.inf),
}


@pytest.mark.parametrize("softness", [None, 0.25])
@pytest.mark.parametrize("lowering", ["auto", "function"])
@pytest.mark.parametrize("case", CASES)
def test_it_is_patched_and_comes_back(case: str, lowering: str, softness: float | None) -> None:
    text, activation, cap = CASES[case]
    model = network(text, activation)
    (site,) = find_activations(model)
    assert (site.form, site.patchable, site.dtype) == (case.split(",", maxsplit=1)[0], True, "float32")
    assert site.cap == (None if cap == np.inf else cap)
    patched = patch_model(model, 0.5, softness=softness, lowering=lowering).model  # type: ignore[arg-type]
    report = verify(model, patched)
    assert report.ok, report
    assert revert_model(patched).SerializeToString() == model.SerializeToString()
    if softness is None:
        (before,), (after,) = run(model, {"x": inputs(model)}), run(patched, {"x": inputs(model)})
        np.testing.assert_array_equal(after, np.where(before > 0.5, before, 0))


def test_everything_else_of_the_kernel_stays() -> None:
    """Also the fourth input of FusedConv, which it adds before the activation."""
    text = CONV.replace("x)", "x, float[N, 3, 4, 4] z)", 1).replace("(x, w, b)", "(x, w, b, z)")
    model = network(text, RELU)
    x, z = inputs(model), np.ones((5, 3, 4, 4), np.float32)
    patched = patch_model(model, 0.5).model
    (before,), (after,) = run(model, {"x": x, "z": z}), run(patched, {"x": x, "z": z})
    np.testing.assert_array_equal(after, np.where(before > 0.5, before, 0))
    assert verify(model, patched).ok


@pytest.mark.parametrize("fault", ["pads", "kernel"])
def test_a_kernel_that_was_changed_is_noticed(fault: str) -> None:
    model = network(CONV, RELU)
    patched = patch_model(model, 0.5).model
    kernel = next(node for node in patched.graph.node if node.op_type == "FusedConv")
    if fault == "pads":
        next(entry for entry in kernel.attribute if entry.name == "pads").ints[:] = [0, 2, 1, 1]
    else:
        del kernel.input[2]
    assert not verify(model, patched).ok
    with pytest.raises(ProvenanceError, match="is not a JumpReLU of what the fused kernel computes now"):
        revert_model(patched)


@pytest.mark.parametrize(
    "activation",
    [
        'activation = "Tanh"',
        'activation = "Clip", activation_params = [-1.0, 1.0]',
        'activation = "Clip"',
        'activation = "LeakyRelu", activation_params = [0.1]',
    ],
)
def test_others_stay_inside(activation: str) -> None:
    assert not [site for site in find_activations(network(CONV, activation)) if site.patchable]


def test_its_pre_activation_cannot_be_measured() -> None:
    (site,) = find_activations(network(CONV, RELU))
    assert "inside FusedConv" in str(observable(site))


def test_a_network_that_onnxruntime_has_optimized(tmp_path: Path, samples: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(samples / "digits_relu6.onnx"), options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(tmp_path / "optimized.onnx")
    sites = find_activations(optimized)
    assert "FusedConv" in {site.form for site in sites}
    assert all(site.patchable for site in sites)
    patched = patch_model(optimized, 0.5).model
    assert verify(optimized, patched).ok
    assert revert_model(patched).SerializeToString() == optimized.SerializeToString()
    original = patch_model(onnx.load(samples / "digits_relu6.onnx"), 0.5).model
    x = f32(np.load(samples / "digits.npz")["x"][:20])
    name = original.graph.input[0].name
    np.testing.assert_allclose(run(patched, {name: x})[0], run(original, {name: x})[0], rtol=1e-4, atol=1e-4)
