"""One site at a time: the nodes that stand for an activation against JumpReLU written in NumPy, bit for bit.

Equal means the same bits, with two exceptions. A zero's sign does not count: onnxruntime's own Relu returns -0 for -0,
LeakyRelu with alpha 0 returns -0 for every negative number, and -0 == 0. One NaN is as good as another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import FunctionProto, ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu.activation.lowerings import DOMAIN
from onnx_jumprelu.activation.parameters import Jump, shaped
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.constants import NotConstantError, attribute, constant_node_value, numpy_dtype
from onnx_jumprelu.graphs.scopes import FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS
from onnx_jumprelu.verification.structure import Region, StructureError

N_RANDOM = 4096
# Where the file does not tell the element type, a site must be right for each that onnxruntime computes with.
POSSIBLE_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)


@dataclass(frozen=True)
class Difference:
    """How two arrays differ: how many values, and the first of them."""

    count: int
    size: int
    first: str

    def __str__(self) -> str:
        return f"{self.count} of {self.size} values differ, first {self.first}"


def difference(actual: Array, expected: Array) -> Difference | None:
    """Where two arrays of one shape and type differ, None where they do not; see the module for what equal means."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        described = f"{actual.dtype}{list(actual.shape)} against {expected.dtype}{list(expected.shape)}"
        return Difference(max(actual.size, expected.size), max(actual.size, expected.size), described)
    with np.errstate(invalid="ignore"):  # NaN
        same = np.asarray(actual == expected, dtype=bool) | (_is_nan(actual) & _is_nan(expected))
    if same.all():
        return None
    wrong = np.flatnonzero(~same.ravel())
    pair = f"{actual.ravel()[wrong[0]]!s} instead of {expected.ravel()[wrong[0]]!s}"
    return Difference(len(wrong), actual.size, pair)


def _is_nan(array: Array) -> Array:
    if array.dtype.kind in "biuSUO":
        return np.zeros(array.shape, bool)
    return np.asarray(array != array, dtype=bool)  # noqa: PLR0124 - only NaN differs from itself


def has_nan(output: object) -> bool:
    """Whether an output, an array or a sequence of them, holds a NaN."""
    return any(_is_nan(array).any() for array in arrays(output))


def arrays(output: object) -> list[Array]:
    """The arrays of an output: one for a tensor, several for a sequence, none for an empty optional."""
    if isinstance(output, (list, tuple)):
        return [array for entry in output for array in arrays(entry)]
    return [] if output is None else [np.asarray(output)]


def jumprelu(x: Array, jump: Jump, cap: float | None = None, *, keep_nan: bool = False) -> Array:
    """`x if x > jump else 0`, capped: the definition, in NumPy and in the type of x.

    Args:
        x: Pre-activations of any shape and floating-point type.
        jump: The jump, a number of that type, or one per channel (axis 1).
        cap: Upper bound (6 for ReLU6), None for none.
        keep_nan: NaN stays NaN; otherwise it becomes 0, as no NaN is greater than the jump.
    """
    zero = x.dtype.type(0)
    with np.errstate(invalid="ignore"):  # NaN
        y: Array = np.where(x > shaped(jump, x.ndim).astype(x.dtype), x, zero)
        if cap is not None:
            y = np.minimum(y, x.dtype.type(cap))
        return np.where(np.isnan(x), x, y) if keep_nan else y


def probes(elem_type: int, jump: Jump, cap: float | None, seed: int, rank: int = 1) -> Array:
    """Values that tell JumpReLU from its look-alikes, of shape (N,), or (N, C, 1, ...) for a jump per channel.

    Every number of a 16-bit type; else edge cases (around the jump, the cap and zero, infinities, NaN) and seeded
    random numbers on the jump's scale.
    """
    if not isinstance(jump, tuple):
        return _probes(elem_type, jump, cap, seed)
    channels = [_probes(elem_type, value, cap, seed + place) for place, value in enumerate(jump)]
    stacked = np.stack(channels, axis=1)
    return stacked.reshape(*stacked.shape, *[1] * (rank - 2))


def _probes(elem_type: int, jump: float, cap: float | None, seed: int) -> Array:
    dtype = numpy_dtype(elem_type)
    if dtype.itemsize == 2:  # noqa: PLR2004
        return np.arange(2**16, dtype=np.uint16).view(dtype)
    info = np.finfo(np.float64 if dtype == np.float64 else np.float32)
    centres = np.asarray([jump, 0.0, info.tiny, 1.0, *([] if cap is None else [cap])], dtype)
    around = [np.nextafter(centres, dtype.type(towards)) for towards in (-np.inf, np.inf)]
    special = np.asarray([-0.0, info.max, info.min, np.inf, -np.inf, np.nan], dtype)
    rng = np.random.default_rng(seed)
    random = (rng.standard_normal(N_RANDOM) * (1.0 + jump)).astype(dtype)
    return np.concatenate([centres, *around, -centres, special, random])


def jump_in_graph(region: Region, defaults: dict[str, Array]) -> Jump:
    """The jump that a site's nodes hold: the largest of their constants, of which the only other one is 0.

    Args:
        region: The site.
        defaults: Default values of the jump inputs, by name.

    Raises:
        StructureError: a number is negative or not finite, or several do not lie along the site's channels.
    """
    site = region.found.site
    values = [np.zeros(())]
    for node in region.nodes:
        values += [defaults[name] for name in node.input if name in defaults]
        if node.op_type == "Constant":
            values.append(constant_node_value(node).astype(np.float64))
        elif node.op_type == "ThresholdedRelu":
            values.append(np.asarray(attribute(node, "alpha", 1.0)))
    for value in values:
        if not (np.isfinite(value) & (value >= 0)).all():
            raise StructureError(f"site '{site.name}' holds a jump that is not a finite number of at least 0")
    largest = max(values, key=lambda value: (value.max(initial=0.0), value.size))
    if largest.size == 1:
        return float(largest.item())
    jump = tuple(largest.ravel().tolist())
    shape: tuple[int, ...] = largest.shape
    if len(shape) == site.rank and shape[0] == 1:
        shape = shape[1:]  # broadcasts as it does without
    if site.n_channels != len(jump) or shaped(jump, site.rank).shape != shape:
        raise StructureError(
            f"site '{site.name}' holds jumps of shape {list(largest.shape)}, which do not lie along its channels"
        )
    return jump


def site_model(
    region: Region, elem_type: int, shape: tuple[int, ...], patched: ModelProto, jumps: set[str]
) -> ModelProto:
    """A site's nodes as a model of their own, from pre-activation to activation, both of this shape but for axis 0."""
    site, proto = region.found.site, _root(region)
    dims: list[str | int | None] = ["N", *shape[1:]]
    graph = helper.make_graph(
        list(region.nodes),
        "site",
        [helper.make_tensor_value_info(site.input, elem_type, dims)],
        [helper.make_tensor_value_info(site.tensor, elem_type, dims)],
        [tensor for tensor in patched.graph.initializer if tensor.name in jumps],
    )
    for name in region.found.node.input:
        if name not in (site.input, ""):
            graph.initializer.append(_bound(region, name, elem_type))
    imports = proto.opset_import if isinstance(proto, FunctionProto) else patched.opset_import
    functions = [function for function in patched.functions if function.domain == DOMAIN]
    # Before IR 4 every initializer had to be an input too; the nodes mean the same in either.
    ir_version = max(patched.ir_version, FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS)
    return helper.make_model(graph, opset_imports=list(imports), functions=functions, ir_version=ir_version)


def _root(region: Region) -> object:
    scope = region.scope
    while scope.parent is not None:
        scope = scope.parent
    return scope.proto


def _bound(region: Region, name: str, elem_type: int) -> TensorProto:
    try:
        return numpy_helper.from_array(region.found.scope.constant(name), name)
    except NotConstantError:  # a slope that lies outside is not read any more
        return numpy_helper.from_array(np.zeros((), numpy_dtype(elem_type)), name)
