"""A graph that was changed after it was patched is reverted rightly, or not at all.

Faults are planted at random: inputs exchanged, names exchanged, operators and constants replaced. The oracle is the
changed model with its jumps at 0, in which each JumpReLU that is left is a ReLU.
"""

from random import Random

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from onnx_jumprelu import ProvenanceError, patch_model, revert_model
from onnx_jumprelu.activation.reading import set_to_relu
from onnx_jumprelu.errors import RunError
from onnx_jumprelu.names import LoweringName
from tests.models import f32, parse, run

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N] x) => (float[N] y) <float lo = {0}, float hi = {6}, float slope = {0}, float zero = {0}> {
    p = Neg(x)  a = Relu(p)  q = Sub(a, x)  b = Clip(q, lo, hi)  c = Add(b, p)  d = Max(zero, c)
    e = Sub(d, x)  f = PRelu(e, slope)  y = Add(f, b)
}"""
LOWERINGS: tuple[LoweringName, ...] = ("where", "cast-mul", "thresholded-relu")
OPERATORS = ("Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Mul", "Identity", "Neg", "Relu", "Max", "Min")
X = (np.random.default_rng(0).standard_normal(100) * 4).astype(np.float32)
ZEROS = ("lo", "slope", "zero")  # as a jump, a larger number would be right too, and the oracle would keep it
OURS = "jumprelu/"  # what the names of the constants of a patch begin with


def _change(model: ModelProto, rng: Random) -> None:
    nodes, kind = list(model.graph.node), rng.random()
    if kind < 0.5:
        node = rng.choice([node for node in nodes if node.input])
        tensors = [name for node in nodes for name in node.output if not name.startswith(OURS)]
        node.input[rng.randrange(len(node.input))] = rng.choice([*tensors, "x", *ZEROS])
    elif kind < 0.6:
        rng.choice(nodes).op_type = rng.choice(OPERATORS)
    elif kind < 0.8:
        held = rng.choice(model.graph.initializer)
        held.CopyFrom(numpy_helper.from_array(f32(rng.choice([0, -1])), held.name))
    else:
        one, other = rng.sample("abcdefpq", 2)
        exchanged = {one: other, other: one}
        for node in nodes:
            for names in (node.input, node.output):
                names[:] = [exchanged.get(name, name) for name in names]


def _outcome(seed: int) -> str:
    """`useless` for a change that makes the model invalid, else `refused`, `right` or `wrong`."""
    rng = Random(seed)  # noqa: S311 - nothing secret
    model = patch_model(parse(TEXT), 0.5, lowering=rng.choice(LOWERINGS)).model
    for _ in range(rng.randint(1, 2)):
        _change(model, rng)
    try:
        onnx.checker.check_model(model, full_check=True)
        run(model, {"x": X})
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RunError):
        return "useless"
    try:
        (y,) = run(revert_model(model), {"x": X})
    except ProvenanceError:
        return "refused"
    set_to_relu(
        node for node in model.graph.node if node.output[0].startswith(OURS) or node.op_type == "ThresholdedRelu"
    )
    return "right" if np.array_equal(y, run(model, {"x": X})[0], equal_nan=True) else "wrong"


def _outcomes(seeds: range) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {"useless": [], "refused": [], "right": [], "wrong": []}
    for seed in seeds:
        found[_outcome(seed)].append(seed)
    return found


def test_no_revert_is_wrong() -> None:
    found = _outcomes(range(60))
    assert not found["wrong"]
    assert len(found["right"]) > 5
    assert len(found["refused"]) > 5


@pytest.mark.slow
def test_no_revert_of_many_is_wrong() -> None:
    assert not _outcomes(range(60, 1500))["wrong"]
