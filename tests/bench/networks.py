"""Networks for benchmarks: the same weights in PyTorch and as ONNX."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn

STAGES = ((16, 1), (32, 2), (64, 2))  # channels and first stride of the three stages
BLOCKS = 3


class LeNet(nn.Module):
    """The MNIST network of the JumpReLU paper's authors: input (N, 1, 28, 28), 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(320, 120), nn.Linear(120, 90), nn.Linear(90, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(torch.max_pool2d(self.conv1(x), 2))
        x = torch.relu(torch.max_pool2d(self.conv2(x), 2))
        x = torch.relu(self.fc1(x.flatten(1)))
        logits: Tensor = self.fc3(torch.relu(self.fc2(x)))
        return logits


class Block(nn.Module):
    """A basic residual block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape, or half the size."""
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class ResNet20(nn.Module):
    """The CIFAR network of He et al. 2015 (arXiv:1512.03385): input (N, 3, 32, 32), 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        blocks: list[nn.Module] = []
        inputs = 16
        for outputs, stride in STAGES:
            for number in range(BLOCKS):
                blocks.append(Block(inputs, outputs, stride if number == 0 else 1))
                inputs = outputs
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.blocks(self.stem(x)).mean((2, 3)))
        return logits


def resnet20(seed: int = 0) -> nn.Module:
    """ResNet-20 with random weights and running statistics that fit them."""
    torch.manual_seed(seed)
    network = ResNet20().train()
    with torch.no_grad():
        for _ in range(20):
            network(torch.rand(32, 3, 32, 32))
    return network.eval()


def lenet(path: Path) -> nn.Module:
    """The LeNet of an ONNX file, in PyTorch."""
    network = LeNet().eval()
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    network.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    return network


def exported(network: nn.Module, shape: Sequence[int], opset: int = 18) -> ModelProto:
    """A network as an ONNX model with a dynamic batch; `shape` is that of one example."""
    buffer = io.BytesIO()
    torch.onnx.export(
        network,
        (torch.rand(2, *shape),),
        buffer,  # type: ignore[arg-type]  # a file object is taken too
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=opset,
        dynamo=False,
    )
    return onnx.load_from_string(buffer.getvalue())
