"""Rebuild the sample models: train on the UCI digits, export to ONNX, choose the jumps, tabulate accuracy.

Needs PyTorch (with onnxscript) and scikit-learn. It writes digits.npz, the .onnx files and jumps.json, which README.md
describes.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import onnx_jumprelu as oj

Images: TypeAlias = NDArray[np.uint8]
Labels: TypeAlias = NDArray[np.int64]
Split: TypeAlias = tuple[Images, Labels]

SEED = 0
N_VAL, N_TEST = 297, 500  # the other 1000 images are for training
WIDTH = 32
EPOCHS = 40
BATCH = 50  # a divisor of 1000
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-3
PGD_STEPS = 10
OPSET = 18
LOGIT_TOLERANCE = 1e-4
JUMPS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5)
ALLOWED_LOSS_PERCENT = 1

# The nodes of the file in the exporter's order, by part of the network. A batch normalisation that follows a
# convolution is not among them: the exporter folds it in. Those after a MaxPool and after an Add stay.
PARTS = {
    "stem": ("conv", "relu", "pool"),
    "block1": ("bn1", "relu1", "conv1", "relu2", "conv2", "add"),
    "neck": ("bn", "relu", "pool"),
    "head": ("flatten", "fc1", "relu", "fc2"),
}
NODE_NAMES = [f"{part}/{layer}" for part, layers in PARTS.items() for layer in layers]

# Activation of each model, and the Linf radius of its adversarial training (0: trained on clean images).
RECIPES: dict[str, tuple[type[nn.Module], float]] = {
    "digits_cnn.onnx": (nn.ReLU, 0.0),
    "digits_cnn_adv.onnx": (nn.ReLU, 0.1),
    "digits_relu6.onnx": (nn.ReLU6, 0.0),
}


class Residual(nn.Sequential):
    """Layers with a skip connection around them."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        out: Tensor = x + super().forward(x)  # type: ignore[no-untyped-call]
        return out


class DigitNet(nn.Module):
    """Small residual CNN for 8x8 digits."""

    def __init__(self, activation: type[nn.Module]) -> None:
        """Create the layers, the ReLUs as modules of the class `activation`."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), activation(), nn.MaxPool2d(2)
        )
        self.block1 = Residual(
            nn.BatchNorm2d(WIDTH),
            activation(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTH),
            activation(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
        )
        self.neck = nn.Sequential(nn.BatchNorm2d(WIDTH), activation(), nn.MaxPool2d(2))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(WIDTH * 2 * 2, 64), activation(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 1, 8, 8) in [0, 1] to logits (B, 10)."""
        logits: Tensor = self.head(self.neck(self.block1(self.stem(x))))
        return logits


def load_splits() -> tuple[Split, Split, Split]:
    """Return training, validation and test, stratified: each images (N, 1, 8, 8) in 0..255 and labels (N,)."""
    digits = load_digits()
    x = np.round(digits.images[:, None] * 255 / 16).astype(np.uint8)
    y = digits.target.astype(np.int64)
    x, x_test, y, y_test = train_test_split(x, y, test_size=N_TEST, stratify=y, random_state=SEED)
    x, x_val, y, y_val = train_test_split(x, y, test_size=N_VAL, stratify=y, random_state=SEED)
    return (x, y), (x_val, y_val), (x_test, y_test)


def to_unit(x: Images) -> NDArray[np.float32]:
    """Scale pixels 0..255 to the [0, 1] the models take; the shape stays."""
    unit: NDArray[np.float32] = x.astype(np.float32) / np.float32(255)
    return unit


def attack(net: nn.Module, x: Tensor, y: Tensor, epsilon: float) -> Tensor:
    """Perturb images by projected gradient descent from a random start.

    Args:
        net: The classifier.
        x: Images (B, 1, 8, 8) in [0, 1].
        y: Labels (B,).
        epsilon: Linf radius.

    Returns:
        Images (B, 1, 8, 8) in [0, 1], within `epsilon` of `x`.
    """
    step = 2.5 * epsilon / PGD_STEPS
    low, high = (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=1)
    adversarial = low + torch.rand_like(x) * (high - low)
    for _ in range(PGD_STEPS):
        adversarial.requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(net(adversarial), y), adversarial)
        adversarial = (adversarial.detach() + step * gradient.sign()).clamp(low, high)
    return adversarial


def train(activation: type[nn.Module], epsilon: float, split: Split) -> DigitNet:
    """Train one network from its own seed, so that no model depends on the ones before it.

    Args:
        activation: The module class of the ReLUs.
        epsilon: Linf radius of the adversarial training; 0 trains on clean images.
        split: Images (N, 1, 8, 8) and labels (N,).

    Returns:
        The network in evaluation mode.
    """
    torch.manual_seed(SEED)
    x, y = torch.from_numpy(to_unit(split[0])), torch.from_numpy(split[1])
    net = DigitNet(activation)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(x)).view(-1, BATCH):
            x_batch, y_batch = x[index], y[index]
            if epsilon:
                # In evaluation mode, so that the steps of the attack do not move the running statistics.
                x_batch = attack(net.eval(), x_batch, y_batch, epsilon)
            loss = nn.functional.cross_entropy(net.train()(x_batch), y_batch)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    return net.eval()


def readable_names(graph: onnx.GraphProto) -> dict[str, str]:
    """Map each tensor of an exported graph to a readable name: its node's, or that of its first use as a parameter."""
    names = {"input": "input", "logits": "logits"}
    for node, name in zip(graph.node, NODE_NAMES, strict=True):
        arguments = onnx.defs.get_schema(node.op_type, OPSET).inputs
        for argument, source in zip(arguments, node.input, strict=False):
            names.setdefault(source, f"{name}/{argument.name}")
        names.setdefault(node.output[0], name)
    return names


def rebuild(exported: onnx.ModelProto) -> onnx.ModelProto:
    """Copy an exported model under readable names, without what the exporter notes besides: stack traces, paths.

    Args:
        exported: The exporter's model, with input (batch, 1, 8, 8) and output (batch, 10).

    Returns:
        The same computation.
    """
    names = readable_names(exported.graph)
    nodes = []
    for node, name in zip(exported.graph.node, NODE_NAMES, strict=True):
        inputs = [names[source] for source in node.input]
        nodes.append(helper.make_node(node.op_type, inputs, [names[node.output[0]]], name=name))
        nodes[-1].attribute.extend(node.attribute)
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(numpy_helper.to_array(t), names[t.name]) for t in exported.graph.initializer],
    )
    return helper.make_model(graph, opset_imports=exported.opset_import, ir_version=exported.ir_version)


def export(net: nn.Module) -> onnx.ModelProto:
    """Export a network with input (batch, 1, 8, 8) and logits (batch, 10)."""
    program = torch.onnx.export(
        net,
        (torch.zeros(2, 1, 8, 8),),
        input_names=["input"],
        output_names=["logits"],
        opset_version=OPSET,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    return rebuild(program.model_proto)  # type: ignore[union-attr]  # None only where it is given a file name


def infer(model: onnx.ModelProto, x: Images) -> NDArray[np.float32]:
    """Run a model in onnxruntime on images (N, 1, 8, 8) in 0..255; returns logits (N, 10)."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits: NDArray[np.float32] = session.run(["logits"], {"input": to_unit(x)})[0]
    return logits


def check(data: bytes, net: nn.Module, x: Images) -> None:
    """Raise unless a model file is valid, stable and computes what `net` does on images (N, 1, 8, 8) in 0..255."""
    model = onnx.ModelProto.FromString(data)
    onnx.checker.check_model(model, full_check=True)
    if model.SerializeToString() != data:
        message = "the model changes when it is read and written again"
        raise ValueError(message)
    with torch.no_grad():
        expected = net(torch.from_numpy(to_unit(x))).numpy()
    np.testing.assert_allclose(infer(model, x), expected, rtol=0, atol=LOGIT_TOLERANCE)


def count_correct(model: onnx.ModelProto, split: Split) -> list[int]:
    """Count the images a model gets right at each of JUMPS; the split is images (N, 1, 8, 8) and labels (N,)."""
    x, y = split
    patched = (oj.patch_model(model, jump=jump).model for jump in JUMPS)
    return [int((infer(variant, x).argmax(axis=1) == y).sum()) for variant in patched]


def choose_jump(correct: list[int]) -> float:
    """Return the largest jump that, like every smaller one, loses at most ALLOWED_LOSS_PERCENT on validation.

    Args:
        correct: Number of correct validation images for each of JUMPS.
    """
    chosen = JUMPS[0]
    for jump, count in zip(JUMPS, correct, strict=True):
        if (correct[0] - count) * 100 > ALLOWED_LOSS_PERCENT * N_VAL:
            break
        chosen = jump
    return chosen


def table(folder: Path) -> Iterator[str]:
    """Yield the lines of a Markdown table: accuracy in percent of each model in a folder, split by jump."""
    with np.load(folder / "digits.npz") as data:
        splits = {"validation": (data["x_val"], data["y_val"]), "test": (data["x"], data["y"])}
    yield "| Model | Split | " + " | ".join(f"{jump:g}" for jump in JUMPS) + " |"
    yield "| --- | --- |" + " ---: |" * len(JUMPS)
    for file in RECIPES:
        model = onnx.load(folder / file)
        for name, split in splits.items():
            cells = (f"{100 * count / len(split[1]):.2f}" for count in count_correct(model, split))
            yield f"| `{file}` | {name} | " + " | ".join(cells) + " |"


def build(folder: Path) -> None:
    """Write the data, the models and the jumps into a folder, made if it is not there."""
    torch.set_num_threads(1)  # the order of a parallel sum would depend on the machine
    torch.use_deterministic_algorithms(mode=True)
    training, validation, test = load_splits()
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "digits.npz", x=test[0], y=test[1], x_val=validation[0], y_val=validation[1])
    jumps = {}
    for file, (activation, epsilon) in RECIPES.items():
        net = train(activation, epsilon, training)
        model = export(net)
        data = model.SerializeToString()
        check(data, net, test[0])
        (folder / file).write_bytes(data)
        jumps[file] = choose_jump(count_correct(model, validation))
    (folder / "jumps.json").write_text(json.dumps(jumps, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Rebuild the folder, or print the table of what it holds."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to use (default: this one)")
    parser.add_argument("--table", action="store_true", help="train nothing; print the accuracy of the models in it")
    arguments = parser.parse_args()
    if not arguments.table:
        build(arguments.out)
    sys.stdout.writelines(f"{line}\n" for line in table(arguments.out))


if __name__ == "__main__":
    main()
