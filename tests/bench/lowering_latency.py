"""What each lowering costs at inference time: latency against the original's, interleaved runs, medians.

python tests/bench/lowering_latency.py [MODEL.onnx] [BATCH ...]
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnx

from onnx_jumprelu import patch_model
from onnx_jumprelu.activation.lowerings import LOWERINGS
from onnx_jumprelu.runtime import OrtRunner

SAMPLE = Path(__file__).parents[2] / "sample_models" / "digits_cnn.onnx"
N_RUNS = 101
JUMP = 0.5


def main(path: Path, batches: list[int]) -> None:
    """Measure and print; open dimensions behind the first become 1."""
    model = onnx.load(path)
    runners = {"original": OrtRunner(model, path.parent, optimize=True)}
    for lowering in LOWERINGS:
        patched = patch_model(model, JUMP, lowering=lowering).model  # type: ignore[arg-type]
        runners[lowering] = OrtRunner(patched, path.parent, optimize=True)
    value = model.graph.input[0]
    dims = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
    print(f"{path.name}: median latency against the original's, {N_RUNS} interleaved runs")
    for batch in batches:
        x = np.random.default_rng(0).standard_normal([batch, *dims[1:]]).astype(np.float32)
        times: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(N_RUNS):
            for name, runner in runners.items():
                start = time.perf_counter()
                runner.run(None, {value.name: x})
                times[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(values) for name, values in times.items()}
        ratios = ", ".join(f"{name} {medians[name] / medians['original']:.2f}" for name in LOWERINGS)
        print(f"  batch {batch}: original {1000 * medians['original']:.3f} ms; {ratios}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE, [int(size) for size in sys.argv[2:]] or [1, 64])
