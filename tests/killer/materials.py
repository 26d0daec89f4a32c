"""The models and data of the scenes, and the scenes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.killer.scene import CHECKPOINT, INCOMPLETE, ROOT, Scene

N_JOBS = 4
SAMPLES = ROOT / "sample_models"


def build(store: Path, megabytes: int = 24) -> None:
    """Write the models, with random weights, and the data.

    Args:
        store: The folder to write to.
        megabytes: The size of the largest model: large enough that a kill can come while it is written.
    """
    import numpy as np  # noqa: PLC0415 - see `scene.check_loads`
    import onnx  # noqa: PLC0415

    from onnx_jumprelu import patch_file  # noqa: PLC0415

    store.mkdir(parents=True)
    onnx.save(_network(megabytes), store / "model.onnx")
    patch_file(store / "model.onnx", store / "old.onnx", 0.25)
    external = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    (store / "external").mkdir()
    onnx.save(_network(megabytes), store / "external" / "model.onnx", **external)  # type: ignore[arg-type]
    for number in range(N_JOBS):
        onnx.save(_network(max(1, megabytes // 3), number), store / f"m{number}.onnx")
        patch_file(store / f"m{number}.onnx", store / f"old{number}.onnx", 0.25)
    patch_file(SAMPLES / "digits_cnn.onnx", store / "patched.onnx", 0.5)
    shutil.copyfile(SAMPLES / "digits_cnn.onnx", store / "original.onnx")
    with np.load(SAMPLES / "digits.npz") as data:
        np.savez(store / "data.npz", x=data["x"][:20], y=data["y"][:20])


def _network(megabytes: int, seed: int = 0) -> Any:  # noqa: ANN401 - onnx is not imported here
    import numpy as np  # noqa: PLC0415
    import onnx  # noqa: PLC0415

    layers = " ".join(
        f"m{layer} = MatMul(r{layer}, w{layer}) r{layer + 1} = Relu(m{layer})" for layer in range(megabytes)
    )
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        net (float[N, 512] x) => (float[N, 512] y) {{ r0 = Identity(x) {layers} y = Identity(r{megabytes}) }}"""
    )
    rng = np.random.default_rng(seed)
    for number in range(megabytes):  # of 1 MiB each
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.random((512, 512), np.float32), f"w{number}"))
    return model


def scenes(work: Path, store: Path) -> dict[str, Scene]:
    """The scenes by name, each with a folder of its own."""
    jobs = {f"in/m{number}.onnx": f"m{number}.onnx" for number in range(N_JOBS)}
    old = {f"out/m{number}.jumprelu.onnx": f"old{number}.onnx" for number in range(N_JOBS)}
    external = {"in/model.onnx": "external/model.onnx", "in/weights.bin": "external/weights.bin"}
    judged = {"original.onnx": "original.onnx", "patched.onnx": "patched.onnx", "data.npz": "data.npz"}
    attacks = "--eps 0.1 --attacks fgsm,pgd,pgd:smooth,apgd-ce --threads 1 --json verdict.json"
    validate = f"validate original.onnx patched.onnx --data data.npz {attacks}"
    found = [
        ("patch", "patch model.onnx --jump 1", {"model.onnx": "model.onnx"}),
        ("patch over", "patch model.onnx --jump 1 -o out.onnx", {"model.onnx": "model.onnx", "out.onnx": "old.onnx"}),
        ("patch with weights", "patch in/model.onnx --jump 1 --out-dir out", external),
        ("patch --in-place", "patch model.onnx --jump 1 --in-place", {"model.onnx": "model.onnx"}),
        ("patch --jobs", "patch in --jump 1 --out-dir out --jobs 2", {**jobs, **old}),
    ]
    made = {
        name: Scene(name, work / str(number), store, tuple(command.split()), before)
        for number, (name, command, before) in enumerate(found)
    }
    resume = Scene(
        "validate --resume",
        work / "resume",
        store,
        tuple(validate.split()),
        judged,
        resumed_by="patched.partial.json",
        passing={"patched.partial.json": frozenset({CHECKPOINT}), "verdict.json": frozenset({INCOMPLETE})},
    )
    return {**made, resume.name: resume}
