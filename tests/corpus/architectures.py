"""Small networks built like torchvision's, and ways to write a rectifier in PyTorch. Needs PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 10
WIDTH = 8


class Sum(nn.Module):
    """The sum of branches, and a ReLU after it if asked for."""

    def __init__(self, *branches: nn.Module, relu: bool = False) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        total = self.branches[0](x)
        for branch in self.branches[1:]:
            total = total + branch(x)
        out: Tensor = self.relu(total)
        return out


class Concat(nn.Module):
    """The outputs of branches side by side along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: nn.Module | None = None
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True) if act is None else act)


def _head(width: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


def lenet() -> nn.Module:
    """LeNet: two convolutions, two dense layers."""
    features = (nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 12, 5), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(300, 32), nn.ReLU(), nn.Linear(32, CLASSES))


def alexnet() -> nn.Module:
    """AlexNet: a large stride, adaptive pooling, dropout."""
    features = (nn.Conv2d(3, WIDTH, 7, 2, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2), nn.Conv2d(WIDTH, 12, 3))
    pooled = (nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Dropout(), nn.Linear(12, 16))
    return nn.Sequential(*features, *pooled, nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(16, CLASSES))


def vgg() -> nn.Module:
    """VGG with batch normalization."""
    blocks = (_conv(3, WIDTH), nn.MaxPool2d(2), _conv(WIDTH, 16), _conv(16, 16), nn.MaxPool2d(2), nn.Flatten())
    return nn.Sequential(*blocks, nn.Linear(1024, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, CLASSES))


def resnet() -> nn.Module:
    """ResNet: a basic block, a bottleneck, a shortcut with a convolution."""
    plain = nn.Sequential(_conv(WIDTH, WIDTH), _conv(WIDTH, WIDTH, act=nn.Identity()))
    bottleneck = nn.Sequential(_conv(WIDTH, 4, 1), _conv(4, 4, 3, 2), _conv(4, 16, 1, act=nn.Identity()))
    shortcut = _conv(WIDTH, 16, 1, 2, act=nn.Identity())
    blocks = (Sum(nn.Identity(), plain, relu=True), Sum(shortcut, bottleneck, relu=True))
    return nn.Sequential(_conv(3, WIDTH, 7, 2), nn.MaxPool2d(3, 2, 1), *blocks, _head(16))


def mobilenet_v2() -> nn.Module:
    """MobileNetV2: depthwise convolutions, ReLU6, linear bottlenecks."""

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        wide = 2 * inputs
        body = nn.Sequential(
            _conv(inputs, wide, 1, act=nn.ReLU6(inplace=True)),
            _conv(wide, wide, 3, stride, groups=wide, act=nn.ReLU6(inplace=True)),
            _conv(wide, outputs, 1, act=nn.Identity()),
        )
        return Sum(nn.Identity(), body) if inputs == outputs and stride == 1 else body

    return nn.Sequential(_conv(3, WIDTH, act=nn.ReLU6()), block(WIDTH, WIDTH, 1), block(WIDTH, 12, 2), _head(12))


def _squeeze_and_excite(width: int) -> nn.Module:
    layers = (nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 4, 1), nn.ReLU(), nn.Conv2d(4, width, 1), nn.Hardsigmoid())
    return _Gated(nn.Sequential(*layers))


class _Gated(nn.Module):
    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.gate(x)
        return out


def mobilenet_v3() -> nn.Module:
    """MobileNetV3: hard swish, squeeze and excite, ReLU."""
    body = (_conv(WIDTH, 16, 1), _conv(16, 16, 3, groups=16, act=nn.Hardswish()), _squeeze_and_excite(16))
    return nn.Sequential(_conv(3, WIDTH, 3, 2, act=nn.Hardswish()), *body, _conv(16, WIDTH, 1), _head(WIDTH))


def squeezenet() -> nn.Module:
    """SqueezeNet: fire modules, and a convolution as classifier."""

    def fire(inputs: int) -> nn.Module:
        one = nn.Sequential(nn.Conv2d(4, WIDTH, 1), nn.ReLU(inplace=True))
        three = nn.Sequential(nn.Conv2d(4, WIDTH, 3, padding=1), nn.ReLU(inplace=True))
        return nn.Sequential(nn.Conv2d(inputs, 4, 1), nn.ReLU(inplace=True), Concat(one, three))

    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    head = (nn.Dropout(), nn.Conv2d(16, CLASSES, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten())
    return nn.Sequential(nn.Conv2d(3, WIDTH, 3, 2), nn.ReLU(inplace=True), pool, fire(WIDTH), fire(16), *head)


def densenet() -> nn.Module:
    """DenseNet: the batch normalization and the ReLU come before the convolution."""

    def before(inputs: int, outputs: int, kernel: int) -> nn.Module:
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=False), conv)

    def dense(inputs: int) -> nn.Module:
        return Concat(nn.Identity(), nn.Sequential(before(inputs, 16, 1), before(16, 4, 3)))

    transition = nn.Sequential(before(16, WIDTH, 1), nn.AvgPool2d(2))
    stem, end = _conv(3, WIDTH, 3, 2), (nn.BatchNorm2d(12), nn.ReLU())
    return nn.Sequential(stem, dense(WIDTH), dense(12), transition, dense(WIDTH), *end, _head(12))


class _Shuffle(nn.Module):
    """Half of the channels through convolutions, then the channels of both halves in turn."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        depthwise = _conv(half, half, 3, groups=half, act=nn.Identity())
        self.body = nn.Sequential(_conv(half, half, 1), depthwise, _conv(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, 1)
        both = torch.cat([kept, self.body(changed)], 1)
        batch, channels, height, width = both.shape
        return both.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, -1, height, width)


def shufflenet() -> nn.Module:
    """ShuffleNetV2: channel split and shuffle."""
    return nn.Sequential(_conv(3, WIDTH, 3, 2), nn.MaxPool2d(3, 2, 1), _Shuffle(WIDTH), _Shuffle(WIDTH), _head(WIDTH))


def inception() -> nn.Module:
    """GoogLeNet: four branches."""
    three = nn.Sequential(_conv(WIDTH, 4, 1), _conv(4, 6, 3))
    five = nn.Sequential(_conv(WIDTH, 4, 1), _conv(4, 4, 5))
    pool = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), _conv(WIDTH, 4, 1))
    return nn.Sequential(_conv(3, WIDTH, 3, 2), Concat(_conv(WIDTH, 4, 1), three, five, pool), _head(18))


def transformer() -> nn.Module:
    """A transformer encoder over the rows of an image, with ReLU in its dense layers."""
    layer = nn.TransformerEncoderLayer(96, 4, 32, activation="relu", batch_first=True)
    rows = Apply(_rows)
    return nn.Sequential(rows, layer, nn.Flatten(), nn.Linear(32 * 96, CLASSES))


def _rows(x: Tensor) -> Tensor:
    return x.permute(0, 2, 1, 3).flatten(2)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "lenet": lenet,
    "alexnet": alexnet,
    "vgg": vgg,
    "resnet": resnet,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3": mobilenet_v3,
    "squeezenet": squeezenet,
    "densenet": densenet,
    "shufflenet": shufflenet,
    "inception": inception,
    "transformer": transformer,
}

RECTIFIERS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "clamp": lambda x: x.clamp(min=0),
    "clamp_capped": lambda x: x.clamp(0, 6),
    "clamp_twice": lambda x: x.clamp(min=0).clamp(max=6),
    "hardtanh": lambda x: functional.hardtanh(x, 0.0, 6.0),
    "maximum_zeros_like": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "maximum_scalar": lambda x: torch.maximum(x, torch.tensor(0.0)),
    "where": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "where_scalar": lambda x: torch.where(x > 0, x, 0.0),
    "mask": lambda x: x * (x > 0),
    "abs": lambda x: (x + x.abs()) / 2,
    "threshold": lambda x: functional.threshold(x, 0.0, 0.0),
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.0),
    "elu": lambda x: functional.elu(x, 0.0),
    "prelu": lambda x: functional.prelu(x, torch.zeros(1)),
}


def rectifier(form: str) -> nn.Module:
    """Two convolutions with a rectifier written in the given way between them."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), Apply(RECTIFIERS[form]), nn.Conv2d(4, 4, 3))
