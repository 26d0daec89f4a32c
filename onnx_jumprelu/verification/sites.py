"""One site as a model of its own, and the comparison of its output with the definition, bit for bit.

Equal means the same bits, with two exceptions. The sign of zero is ignored: onnxruntime's Relu returns -0 for -0, and
LeakyRelu with alpha 0 returns -0 for every negative number. All NaNs are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import FunctionProto, ModelProto, TensorProto, helper, numpy_helper

from onnx_jumprelu.activation.lowerings import DOMAIN
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.reading import NotParametersError, parameters_in
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.constants import NotConstantError, numpy_dtype
from onnx_jumprelu.graphs.scopes import FIRST_IR_WITH_OVERRIDABLE_INITIALIZERS
from onnx_jumprelu.verification.structure import Region, StructureError

# A site whose element type is unknown must be right for each type that onnxruntime computes with.
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
    """How two arrays differ, None where they are equal; the module says what equal means."""
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


def parameters_in_graph(region: Region, defaults: Mapping[str, Array]) -> Parameters:
    """The parameters that a site's nodes hold.

    Args:
        region: The site.
        defaults: Default values of the parameter inputs, by name.

    Raises:
        StructureError: they are not the parameters of a JumpReLU.
    """
    site = region.found.site
    try:
        return parameters_in(region.nodes, defaults, site.rank, site.n_channels)
    except NotParametersError as error:
        raise StructureError(f"site '{site.name}' {error}") from error


def site_model(
    region: Region, elem_type: int, shape: tuple[int, ...], patched: ModelProto, inputs: set[str]
) -> ModelProto:
    """A site's nodes as a model, from pre-activation to activation, both of this shape with any size of axis 0."""
    site, proto = region.found.site, _root(region)
    dims: list[str | int | None] = ["N", *shape[1:]]
    graph = helper.make_graph(
        list(region.nodes),
        "site",
        [helper.make_tensor_value_info(site.input, elem_type, dims)],
        [helper.make_tensor_value_info(site.tensor, elem_type, dims)],
        [tensor for tensor in patched.graph.initializer if tensor.name in inputs],
    )
    for name in region.found.node.input:
        if name not in (site.input, ""):
            graph.initializer.append(_bound(region, name, elem_type))
    imports = proto.opset_import if isinstance(proto, FunctionProto) else patched.opset_import
    functions = [function for function in patched.functions if function.domain == DOMAIN]
    # Before IR 4 every initializer had to be an input too; the nodes mean the same in both versions.
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
    except NotConstantError:  # a slope in an external file, which the patched nodes do not read
        return numpy_helper.from_array(np.zeros((), numpy_dtype(elem_type)), name)
