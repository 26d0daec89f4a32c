"""Exports made on the spot with both exporters of PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.corpus.subjects import Source, Subject, silence

TRACED = (9, 13, 17)
EXPORTED = 18
EXPORTED_AGAIN = ("resnet/export/20/fixed", "mobilenet_v2/export/20/fixed", "mobilenet_v3/export/20/fixed")
SHAPE = (2, 3, 32, 32)
UNSUPPORTED = ("transformer/trace/9/fixed", "transformer/trace/13/open")  # attention needs opset 14


def _names() -> list[str]:
    """`network/exporter/opset/batch`. The second exporter is slow, and exports most networks once."""
    from tests.corpus.architectures import NETWORKS, RECTIFIERS  # noqa: PLC0415 - PyTorch is slow to import

    every = (*NETWORKS, *RECTIFIERS)
    traced = [f"{network}/trace/{opset}/{_batch(opset)}" for network in every for opset in TRACED]
    exported = [f"{network}/export/{EXPORTED}/{_batch(EXPORTED)}" for network in every]
    return [*(name for name in traced if name not in UNSUPPORTED), *exported, *EXPORTED_AGAIN]


def _batch(opset: int) -> str:
    return "fixed" if opset == TRACED[0] else "open"


def _make(name: str, folder: Path) -> Subject:
    """Export a network, named as `_names` does; what is exported with an open batch also has external weights."""
    import torch  # noqa: PLC0415

    from tests.corpus.architectures import NETWORKS, rectifier  # noqa: PLC0415

    network, exporter, opset, batch = name.split("/")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = (NETWORKS[network]() if network in NETWORKS else rectifier(network)).eval()
    x, path, is_open = torch.randn(SHAPE), folder / "model.onnx", batch == "open"
    settings: dict[str, Any] = {"opset_version": int(opset), "input_names": ["x"], "output_names": ["y"]}
    if exporter == "trace":
        settings |= {"dynamo": False, "dynamic_axes": {"x": {0: "batch"}} if is_open else None}
    else:
        shapes = ({0: torch.export.Dim("batch")},) if is_open else None
        settings |= {"dynamo": True, "dynamic_shapes": shapes, "external_data": is_open}
    with silence():
        torch.onnx.export(model, (x,), str(path), **settings)
    return Subject(path, {"x": x.numpy()})


EXPORTS = Source(_names, _make, needs=("torch", "onnxscript"))
