"""Models that other tools rewrote: quantizers, the float16 converter, optimizers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from onnx_jumprelu.arrays import Array
from tests.corpus import given_models, sklearn_exports, torch_exports
from tests.corpus.subjects import Feeds, MissingError, Source, Subject, random_feeds, silence

Tool = Callable[[Path, Path, Feeds], None]  # rewrites a file into another, with inputs to calibrate on

# Models to rewrite, by a short name: the source, and the name there.
BASES: dict[str, tuple[Source, str]] = {
    "digits_cnn": (given_models.SAMPLES, "digits_cnn.onnx"),
    "digits_relu6": (given_models.SAMPLES, "digits_relu6.onnx"),
    "mnist_lenet": (given_models.NETWORKS, "mnist_lenet.onnx"),
    "cifar_resnet20": (given_models.NETWORKS, "cifar_resnet20.onnx"),
    "mobilenet_v2": (torch_exports.EXPORTS, "mobilenet_v2/trace/17/open"),
    "mobilenet_v3": (torch_exports.EXPORTS, "mobilenet_v3/trace/13/open"),
    "densenet": (torch_exports.EXPORTS, "densenet/trace/17/open"),
    "mlp": (sklearn_exports.EXPORTS, "mlp/15"),
}


class _Calibration:
    """One batch, as onnxruntime's static quantizer reads it."""

    def __init__(self, feeds: Feeds) -> None:
        self._rest = [dict(feeds)]

    def get_next(self) -> dict[str, Array] | None:
        return self._rest.pop() if self._rest else None


def _quantize_dynamic(source: Path, target: Path, feeds: Feeds) -> None:
    del feeds
    from onnxruntime.quantization import quantize_dynamic  # noqa: PLC0415 - slow to import

    quantize_dynamic(source, target)


def _quantize_static(form: str) -> Tool:
    def tool(source: Path, target: Path, feeds: Feeds) -> None:
        from onnxruntime.quantization import QuantFormat, quantize_static  # noqa: PLC0415

        quantize_static(source, target, _Calibration(feeds), quant_format=QuantFormat[form])

    return tool


def _float16(*, keep_types: bool) -> Tool:
    def tool(source: Path, target: Path, feeds: Feeds) -> None:
        del feeds
        from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415

        onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=keep_types), target)

    return tool


def _optimized(level: str) -> Tool:
    def tool(source: Path, target: Path, feeds: Feeds) -> None:
        del feeds
        import onnxruntime as ort  # noqa: PLC0415

        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(target)
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])

    return tool


def _onnxsim(source: Path, target: Path, feeds: Feeds) -> None:
    del feeds
    import onnxsim  # noqa: PLC0415

    onnx.save(onnxsim.simplify(onnx.load(source))[0], target)


def _onnxslim(source: Path, target: Path, feeds: Feeds) -> None:
    del feeds
    import onnxslim  # noqa: PLC0415

    onnx.save(onnxslim.slim(onnx.load(source)), target)


def _onnxscript(source: Path, target: Path, feeds: Feeds) -> None:
    del feeds
    from onnxscript import optimizer  # noqa: PLC0415

    onnx.save(optimizer.optimize(onnx.load(source)), target)


def _newer_opset(source: Path, target: Path, feeds: Feeds) -> None:
    del feeds
    onnx.save(onnx.version_converter.convert_version(onnx.load(source), onnx.defs.onnx_opset_version() - 2), target)


TOOLS: dict[str, Tool] = {
    "quantize_dynamic": _quantize_dynamic,
    "quantize_qdq": _quantize_static("QDQ"),
    "quantize_qoperator": _quantize_static("QOperator"),
    "float16": _float16(keep_types=False),
    "float16_inside": _float16(keep_types=True),
    "optimized_basic": _optimized("ORT_ENABLE_BASIC"),
    "optimized_extended": _optimized("ORT_ENABLE_EXTENDED"),
    "optimized_all": _optimized("ORT_ENABLE_ALL"),
    "onnxsim": _onnxsim,
    "onnxslim": _onnxslim,
    "onnxscript": _onnxscript,
    "newer_opset": _newer_opset,
}
# The package of a tool that may be missing, where it is not the tool's own name.
OPTIONAL = ("onnxsim", "onnxslim", "onnxscript")


def _names() -> list[str]:
    return [f"{base}/{tool}" for base in BASES for tool in TOOLS]


def _make(name: str, folder: Path) -> Subject:
    """Rewrite a base with a tool, named as `_names` does."""
    base, tool = name.split("/")
    source, inner = BASES[base]
    missing = [*source.missing(), *Source(list, _make, (tool,) if tool in OPTIONAL else ()).missing()]
    if missing:
        raise MissingError(f"{', '.join(missing)} is not installed")
    (folder / "base").mkdir()
    subject = source.make(inner, folder / "base")
    feeds = subject.feeds or random_feeds(onnx.load(subject.path))[0]
    with silence():
        TOOLS[tool](subject.path, folder / "model.onnx", feeds)
    return Subject(folder / "model.onnx", None if tool == "float16" else feeds)


REWRITTEN = Source(_names, _make)
