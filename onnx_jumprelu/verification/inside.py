"""Each site of the main graph inside the running model: its output must be JumpReLU of its input.

The values of all sites together may be many times the size of the model. The sites are watched in groups whose values
fit in a fixed number of bytes, each group in a session of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ModelProto, ValueInfoProto, helper

from onnx_jumprelu.activation.definition import activate, at_discontinuity, tolerance
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.constants import numpy_dtype
from onnx_jumprelu.graphs.tensor_types import TensorType, infer_types
from onnx_jumprelu.runtime import Feeds, Runner
from onnx_jumprelu.verification.comparison import FailedError, difference
from onnx_jumprelu.verification.pair import Pair
from onnx_jumprelu.verification.structure import Region

LARGEST_GROUP = 2**27  # bytes of the values of one group in one run
UNKNOWN_SIZE = LARGEST_GROUP // 32  # bytes of a tensor whose size is not known
LARGEST_PIECE = 2**20  # values that are compared at once


@dataclass(frozen=True)
class _Watched:
    """A site, and the parameters that its nodes hold."""

    region: Region
    parameters: Parameters

    @property
    def names(self) -> tuple[str, str]:
        """The names of its pre-activation and of its activation."""
        return self.region.x, self.region.found.site.tensor


def check_inside(pair: Pair) -> tuple[int, int]:
    """Compare input and output of each site of the main graph; returns how many sites and how many values agreed.

    Raises:
        FailedError: a site is not JumpReLU of its input; the message names it.
        UndecidedError: there are no inputs on which the original runs.
        RunError: the patched model does not run on them.
    """
    regions = [region for region in pair.regions if region.scope.path == "main"]
    sites = [_Watched(region, pair.parameters(region)) for region in regions]
    runs: Sequence[Feeds] = pair.trial.runs
    groups = _groups(sites, _sizes(pair, sites, runs[0]))
    if len(groups) > 1:
        runs = pair.example_runs()
        groups = _groups(sites, _sizes(pair, sites, runs[0]))
        # Every group runs the whole model. The groups share the runs, so that a large model does not take longer.
        runs = runs[: max(1, len(runs) // len(groups))]
    n_values = sum(_check_group(pair, group, runs) for group in groups)
    return len(sites), n_values


def _check_group(pair: Pair, group: Sequence[_Watched], runs: Sequence[Feeds]) -> int:
    """Run the patched model with the tensors of these sites as outputs; returns how many values agreed."""
    names = dict.fromkeys(name for site in group for name in site.names)
    wanted = [name for name in names if name not in runs[0]]
    runner = pair.runner(_with_outputs(pair.patched.model, wanted), pair.patched) if wanted else None
    return sum(_check_run(runner, wanted, feeds, group, pair.trial.source) for feeds in runs)


def _check_run(
    runner: Runner | None, wanted: Sequence[str], feeds: Feeds, group: Sequence[_Watched], source: str
) -> int:
    """Compare these sites in one run, whose values are gone before the next run begins."""
    made = [] if runner is None else runner.run(wanted, feeds)
    values = {**feeds, **dict(zip(wanted, made, strict=True))}
    return sum(_compare(site, values[site.names[0]], values[site.names[1]], source) for site in group)


def _groups(sites: Sequence[_Watched], sizes: Sequence[int]) -> list[list[_Watched]]:
    """The sites in order, in groups of at most `LARGEST_GROUP` bytes, or of one site."""
    groups: list[list[_Watched]] = []
    total = 0
    for site, size in zip(sites, sizes, strict=True):
        total += size
        if not groups or total > LARGEST_GROUP:
            groups.append([])
            total = size
        groups[-1].append(site)
    return groups


def _sizes(pair: Pair, sites: Sequence[_Watched], feeds: Feeds) -> list[int]:
    """Bytes of each site's input and output in one run, as far as shape inference knows them."""
    model = _with_outputs(pair.patched.model, ())
    for value in model.graph.input:
        given = feeds.get(value.name)
        if isinstance(given, np.ndarray) and value.type.HasField("tensor_type"):
            value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, given.shape))
    types = infer_types(model)["main"]
    return [sum(_bytes(types.get(name, TensorType())) for name in site.names) for site in sites]


def _bytes(tensor: TensorType) -> int:
    if tensor.elem_type is None or tensor.shape is None or not all(isinstance(size, int) for size in tensor.shape):
        return UNKNOWN_SIZE
    return math.prod(size for size in tensor.shape if isinstance(size, int)) * numpy_dtype(tensor.elem_type).itemsize


def _with_outputs(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """A copy of a model with other outputs, and without the types that it declares for inner tensors."""
    graph = GraphProto(name=model.graph.name)
    for field in ("node", "input", "initializer", "sparse_initializer"):
        getattr(graph, field).extend(getattr(model.graph, field))
    known = {value.name: value for value in model.graph.output}
    graph.output.extend(known.get(name, ValueInfoProto(name=name)) for name in names)
    copy = ModelProto(ir_version=model.ir_version, graph=graph)
    copy.opset_import.extend(model.opset_import)
    copy.functions.extend(model.functions)
    return copy


def _compare(site: _Watched, x: Array, y: Array, source: str) -> int:
    """How many values of a site's output were compared. Raises FailedError where one is wrong."""
    found = site.region.found
    if x.shape != y.shape:
        shapes = f"{list(x.shape)} becomes {list(y.shape)}"
        raise FailedError(f"site '{found.site.name}' changes its input's shape on {source}: {shapes}")
    parameters = site.parameters.rounded(helper.np_dtype_to_tensor_dtype(x.dtype))
    n_values = 0
    for before, after in _pieces(x, y):
        decided = ~np.isnan(before)
        if x.dtype == np.float16:
            # On the CPU, onnxruntime computes float16 in float32 and merges casts, so it may compare before it rounds.
            decided &= ~at_discontinuity(before, parameters)
        expected = activate(before, parameters, found.cap)
        wrong = difference(after[decided], expected[decided], tolerance(before, parameters)[decided])
        if wrong:
            raise FailedError(f"site '{found.site.name}' is not JumpReLU of its input on {source}: {wrong}")
        n_values += int(decided.sum())
    return n_values


def _pieces(x: Array, y: Array) -> Iterator[tuple[Array, Array]]:
    """The same parts of two arrays of one shape, along an axis that is not that of the channels."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    if x.size <= LARGEST_PIECE or not axes:
        yield x, y
        return
    axis = max(axes, key=lambda each: int(x.shape[each]))
    count = -(-x.size // LARGEST_PIECE)
    yield from zip(np.array_split(x, count, axis), np.array_split(y, count, axis), strict=True)
