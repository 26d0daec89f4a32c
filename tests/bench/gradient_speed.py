"""Time of a loss and its input gradient, against PyTorch and against onnxruntime's own forward pass.

    python -m tests.bench.gradient_speed [--lenet ../shared/models/mnist_lenet.onnx] [--compile] [--threads 2]

Same weights, same inputs, one process, interleaved; medians and their ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto, load
from torch import nn

from onnx_jumprelu import OnnxClassifier
from tests.bench.networks import exported, lenet, resnet20

Run = Callable[[], object]


def contestants(
    network: nn.Module, model: ModelProto, shape: tuple[int, ...], threads: int, *, compiled: bool
) -> dict[str, Run]:
    """What is timed, by name."""
    rng = np.random.default_rng(0)
    x, labels = rng.random(shape, dtype=np.float32), rng.integers(0, 10, shape[0])
    classifier = OnnxClassifier(model, threads=threads, batch_size=shape[0])
    network.requires_grad_(requires_grad=False)

    def gradient(forward: Callable[[torch.Tensor], torch.Tensor]) -> Run:
        def run() -> object:
            leaf = torch.from_numpy(x).requires_grad_()
            loss = nn.functional.cross_entropy(forward(leaf), torch.from_numpy(labels), reduction="none")
            (grad,) = torch.autograd.grad(loss.sum(), leaf)
            return loss.detach().numpy(), grad.numpy()

        return run

    runs: dict[str, Run] = {
        "onnxruntime forward": lambda: classifier.logits(x),
        "loss_and_grad": lambda: classifier.loss_and_grad(x, labels),
        "PyTorch eager": gradient(network),
    }
    if compiled:
        runs["torch.compile"] = gradient(torch.compile(network))
    expected, found = runs["PyTorch eager"](), runs["loss_and_grad"]()
    for one, other in zip(expected, found, strict=True):  # type: ignore[call-overload]
        assert np.allclose(one, other, rtol=1e-3, atol=1e-5), "the two gradients differ"
    return runs


def medians(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Median time of each run, in milliseconds, taken in turns after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 3):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number >= 3:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Time both networks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lenet", type=Path, default=Path("../shared/models/mnist_lenet.onnx"))
    parser.add_argument("--compile", action="store_true", help="torch.compile too (needs a C++ compiler)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # the exporter's own
    torch.set_num_threads(arguments.threads)
    resnet = resnet20()
    cases: list[tuple[str, nn.Module, ModelProto, tuple[int, ...]]] = [
        ("ResNet-20, batch 64", resnet, exported(resnet, (3, 32, 32)), (64, 3, 32, 32))
    ]
    if arguments.lenet.is_file():
        cases.insert(0, ("LeNet, batch 256", lenet(arguments.lenet), load(arguments.lenet), (256, 1, 28, 28)))
    for title, network, model, shape in cases:
        runs = contestants(network, model, shape, arguments.threads, compiled=arguments.compile)
        found = medians(runs, arguments.rounds)
        ours = found["loss_and_grad"]
        print(title)
        for name, value in found.items():
            print(f"  {name:<20} {value:8.2f} ms   {value / ours:5.2f} of loss_and_grad")
        print(f"  loss_and_grad is {ours / found['onnxruntime forward']:.2f} forward passes")


if __name__ == "__main__":
    main()
