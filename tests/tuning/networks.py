"""Small classifiers whose right jumps are known, and data for them."""

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.data.reading import Data
from tests.models import parse

EPS = 0.1
FEATURES = 4

# Half the logits' difference is h0 - 0.5 + 3 (h1 - h2): h0 tells the classes apart, h1 and h2 hold small noise and are
# where an attack works. A jump above the noise and eps at the first site silences them; the fourth feature plays no
# part. The second site always gets about 5: a jump below that does nothing there.
GAINING = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 4] x) => (float[N, 2] logits)
<float[4, 2] w = {1.0, -1.0, 3.0, -3.0, -3.0, 3.0, 0.0, 0.0}, float[2] b = {4.5, 5.5}>
{
    first = Relu(x)
    mixed = MatMul(first, w)
    shifted = Add(mixed, b)
    logits = Relu(shifted)
}
"""
ONE_SITE = GAINING.replace("logits = Relu(shifted)", "logits = Identity(shifted)")

# The network with a gain once more, its signal on a smaller scale than the noise: the jump that silences the noise
# takes the signal too, unless each channel has its own.
SCALED = ONE_SITE.replace("first = Relu(x)", "scaled = Mul(x, scale) first = Relu(scaled)").replace(
    "float[4, 2] w = {1.0, -1.0,", "float[4] scale = {0.02, 1.0, 1.0, 1.0}, float[4, 2] w = {50.0, -50.0,"
)

# The class is the sign of x0 - 0.5, whatever the jump, unless the jump silences both units and so the near examples.
INDIFFERENT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 4] x) => (float[N, 2] logits)
<float[4, 2] w = {1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}, float[2] b = {0.5, 1.5}>
{
    mixed = MatMul(x, w)
    shifted = Add(mixed, b)
    logits = Relu(shifted)
}
"""

INSIDE_A_FUNCTION = """
<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
net (float[N, 4] x) => (float[N, 4] logits) { logits = my.Block(x) }
<domain: "my", opset_import: ["" : 17]>
Block (u) => (v) { v = Relu(u) }
"""


def examples(count: int, seed: int = 0, tag: float = 0.0) -> tuple[Floats, Labels]:
    """Inputs (N, 4) that both networks tell apart without error, and labels; `tag` is the feature without a part."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 2
    signal = np.where(labels == 0, rng.uniform(0.75, 0.95, count), rng.uniform(0.2, 0.35, count))
    noise = rng.uniform(0, 0.04, (2, count))
    x = np.stack([signal, noise[0], noise[1], np.full(count, tag)], axis=1)
    return x.astype(np.float32), labels


def data(count: int = 80, seed: int = 0, tag: float = 0.0) -> Data:
    x, labels = examples(count, seed, tag)
    return Data(x, labels, Path("validation.npz"))


def often_noisy(count: int = 120) -> Data:
    """Examples of which three in ten have large noise that cancels out, and nine in ten a signal that none needs."""
    x, _ = examples(count)
    rng = np.random.default_rng(3)
    labels = (np.arange(count) % 10 != 0).astype(np.int64)
    x[:, 0] = np.where(labels == 0, rng.uniform(0.75, 0.95, count), rng.uniform(0.2, 0.35, count))
    x[np.arange(count) % 10 > 6, 1:3] = 0.9
    x[:, 3] = 0.5
    return Data(x.astype(np.float32), labels, Path("validation.npz"))


def near_and_far(count: int = 80) -> Data:
    """Examples of which half lie so near to the border of INDIFFERENT that nothing can save them."""
    x, labels = examples(count)
    distance = np.where(np.arange(count) // 2 % 2, 0.01, 0.3)
    x[:, 0] = 0.5 + np.where(labels == 0, distance, -distance)
    return Data(x, labels, Path("validation.npz"))


def saved(folder: Path, text: str, name: str = "model.onnx") -> Path:
    """A model file."""
    model: ModelProto = parse(text)
    onnx.checker.check_model(model)
    onnx.save(model, folder / name)
    return folder / name
