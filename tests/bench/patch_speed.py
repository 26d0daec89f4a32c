"""How long patching a large file takes, against copying it: medians of interleaved runs in one process.

python tests/bench/patch_speed.py [MEGABYTES]
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx_jumprelu import FileOptions, patch_file

N_RUNS = 5
N_LAYERS = 8


def large_model(path: Path, megabytes: int) -> None:
    """A chain of matrix products and ReLUs, its random weights inside the file."""
    size = int((megabytes * 1e6 / 4 / N_LAYERS) ** 0.5)
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for layer in range(N_LAYERS):
        weights.append(numpy_helper.from_array(rng.standard_normal((size, size), np.float32), f"w{layer}"))
        nodes += [
            helper.make_node("MatMul", [last, f"w{layer}"], [f"a{layer}"]),
            helper.make_node("Relu", [f"a{layer}"], [f"b{layer}"]),
        ]
        last = f"b{layer}"
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name in ("x", last))
    graph = helper.make_graph(nodes, "net", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def copy_safely(source: Path, target: Path) -> None:
    """A copy as safe as a patched file: written beside the target, flushed to the disk, moved."""
    staging = target.with_suffix(".tmp")
    shutil.copyfile(source, staging)
    with staging.open("rb+") as file:
        os.fsync(file.fileno())
    staging.replace(target)


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main(megabytes: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, target = folder / "model.onnx", folder / "out.onnx"
        large_model(source, megabytes)
        times: dict[str, list[float]] = {"copy": [], "patch": []}
        for _ in range(N_RUNS):
            times["copy"].append(seconds(lambda: copy_safely(source, target)))
            times["patch"].append(seconds(lambda: patch_file(source, target, 0.5, files=FileOptions())))
        ratio = statistics.median(p / c for p, c in zip(times["patch"], times["copy"], strict=True))
        print(f"{source.stat().st_size / 1e6:.0f} MB, {N_LAYERS} ReLUs, median of {N_RUNS}:")
        for what, values in times.items():
            print(f"  {what:5} {statistics.median(values):.3f} s")
        print(f"  patch / copy {ratio:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
