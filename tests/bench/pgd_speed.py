"""PGD of 40 steps on 1,000 MNIST images: this package against ART with its PyTorch estimator.

    python -m tests.bench.pgd_speed [--shared ../shared] [--threads 2]

Same weights, same images, same steps, one process, in turns. PGD here stops work on an image that is fooled.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from onnx_jumprelu import OnnxClassifier
from onnx_jumprelu.attacks import PGD
from onnx_jumprelu.data.reading import load_data
from tests.bench.networks import lenet

EPS, STEPS, MEAN, STD = 0.1, 40, 0.1307, 0.3081


class Normalized(nn.Module):
    """A network on inputs in data space."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.network((x - MEAN) / STD)
        return logits


def main() -> None:
    """Time both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # ART imports what is deprecated elsewhere
    from art.attacks.evasion import ProjectedGradientDescent  # noqa: PLC0415
    from art.estimators.classification import PyTorchClassifier  # noqa: PLC0415

    torch.set_num_threads(arguments.threads)
    model = arguments.shared / "models" / "mnist_lenet.onnx"
    data = load_data(arguments.shared / "data" / "mnist_test.npz").first(arguments.images)
    x, labels = data.x, data.required_labels()
    network = Normalized(lenet(model)).eval()
    theirs = PyTorchClassifier(network, nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=(0.0, 1.0))
    ours = OnnxClassifier(model, mean=[MEAN], std=[STD], threads=arguments.threads)
    step = 2.5 * EPS / STEPS
    attack = ProjectedGradientDescent(
        theirs, eps=EPS, eps_step=step, max_iter=STEPS, num_random_init=1, batch_size=256, verbose=False
    )
    times: dict[str, list[float]] = {"ART": [], "onnx-jumprelu": []}
    robust: dict[str, float] = {}
    for number in range(arguments.rounds):
        start = time.perf_counter()
        x_art = attack.generate(x, np.eye(10, dtype=np.float32)[labels])
        times["ART"].append(time.perf_counter() - start)
        result = PGD(eps=EPS, n_iter=STEPS)(ours, x, labels, rng=np.random.default_rng(number))
        times["onnx-jumprelu"].append(result.seconds)
        robust = {"ART": float((ours.predict(x_art) == labels).mean()), "onnx-jumprelu": result.robust_accuracy}
    found = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in found.items():
        print(f"{name:<15} {seconds:7.2f} s   robust accuracy {robust[name]:.3f}")
    print(f"{found['ART'] / found['onnx-jumprelu']:.2f} times as fast")


if __name__ == "__main__":
    main()
