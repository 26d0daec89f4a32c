"""The driver: walks the nodes backwards, applies the rule of each, sums cotangents and undoes broadcasting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from onnx import NodeProto, TensorProto

from onnx_jumprelu.activation.derivatives import SURROGATES
from onnx_jumprelu.activation.finder import JumpReLU, find_jumprelus
from onnx_jumprelu.errors import GradientError
from onnx_jumprelu.gradient.core.registry import RULES, Node, Rule, is_differentiable, label, rule_for
from onnx_jumprelu.gradient.core.values import Emitter, Value, total
from onnx_jumprelu.gradient.prepare.control_flow import is_if
from onnx_jumprelu.gradient.rules import activations as activation_ops
from onnx_jumprelu.gradient.rules import convolution as conv_ops
from onnx_jumprelu.gradient.rules import elementwise as math_ops
from onnx_jumprelu.gradient.rules import normalization as norm_ops
from onnx_jumprelu.gradient.rules import pooling as pool_ops
from onnx_jumprelu.gradient.rules import reductions as reduction_ops
from onnx_jumprelu.gradient.rules import tensors as tensor_ops
from onnx_jumprelu.gradient.rules.branches import through_if
from onnx_jumprelu.graphs.scopes import STANDARD_DOMAIN, Scope, domain_of
from onnx_jumprelu.graphs.tensor_types import DISCRETE, Dimension, TensorType
from onnx_jumprelu.graphs.uses import tensors_used

# Imported because they register rules.
RULE_MODULES = (activation_ops, conv_ops, math_ops, norm_ops, pool_ops, reduction_ops, tensor_ops)


def pull_back(
    scope: Scope,
    types: Mapping[str, TensorType],
    cotangents: Mapping[str, Value],
    source: str,
    surrogate: str,
    to: Emitter,
) -> Value | None:
    """Append the nodes that compute the gradient with respect to one tensor.

    Args:
        scope: The nodes of the forward pass, in topological order.
        types: What is known of its tensors.
        cotangents: The gradient with respect to some tensors of the scope, to start from.
        source: Name of the tensor whose gradient is wanted.
        surrogate: The derivative at JumpReLU sites: `exact`, `relu` or `smooth`.
        to: Where the nodes go.

    Returns:
        The gradient, of the shape of `source`, or None where nothing depends on `source` differentiably.

    Raises:
        GradientError: a node has no rule, or its rule needs a shape or a value that is unknown.
    """
    return _Walk(scope, types, [source], surrogate, to).gradients(cotangents)[source]


def reached_from(source: str, nodes: Sequence[NodeProto], types: Mapping[str, TensorType]) -> frozenset[str]:
    """Tensors that may depend on `source` differentiably: not through integers or comparisons."""
    return _reached([source], nodes, types)


def _reached(sources: Sequence[str], nodes: Sequence[NodeProto], types: Mapping[str, TensorType]) -> frozenset[str]:
    active = set(sources)
    for node in nodes:
        if is_differentiable(node) and active.intersection(tensors_used(node)):
            # Outputs of an operator without a rule stay active whatever their type, so that a gradient that reaches
            # them is an error: quantized numbers are integers and still depend on the input.
            known = node.op_type in RULES and domain_of(node.domain) == STANDARD_DOMAIN
            active.update(name for name in node.output if name and not (known and _is_discrete(types.get(name))))
    return frozenset(active)


def _is_discrete(known: TensorType | None) -> bool:
    """Whether a tensor is known to hold integers or booleans."""
    return known is not None and known.elem_type in DISCRETE


class _Walk:
    def __init__(
        self, scope: Scope, types: Mapping[str, TensorType], sources: Sequence[str], surrogate: str, to: Emitter
    ) -> None:
        self._scope, self._types, self._sources, self._to = scope, types, sources, to
        self._active = _reached(sources, scope.nodes, types)
        self._sites = find_jumprelus(scope)
        self._surrogate = surrogate
        self._elem_type = types.get(sources[0], TensorType()).elem_type or TensorProto.FLOAT
        self._pending: dict[str, list[Value]] = {}

    def gradients(self, cotangents: Mapping[str, Value]) -> dict[str, Value | None]:
        for name, value in cotangents.items():
            self._add(name, value)
        for node in reversed(self._scope.nodes):
            if self._active.intersection(node.output):
                self._step(node)
        return {source: self._take(source) for source in self._sources}

    def _step(self, node: NodeProto) -> None:
        """Pull the cotangents of a node's outputs back to its inputs."""
        self._to.base = f"grad/{node.name or node.output[0]}"
        gs = [self._take(name) for name in node.output]
        if all(g is None for g in gs):
            return
        site = self._sites.get(node.output[0])
        if site is not None and gs[0] is not None:
            self._add(site.x, self._at_site(site, gs[0]))
            return
        at = Node(node, self._scope, self._types, self._active, self._to, self._elem_type)
        if is_if(node):
            for name, value in through_if(at, gs, self._in_branch).items():
                self._add(name, value)
            return
        rule = rule_for(node, self._to.opset)
        for index, cotangent in enumerate(_asked(rule, at, gs)):
            if not at.is_active(index) or index in rule.types_only:
                continue
            if cotangent is None:
                raise at.error(f"input {index} depends on the model's input, and its rule has no derivative for it")
            if index in rule.broadcasts:
                cotangent = _unbroadcast_input(rule, at, index, cotangent)  # noqa: PLW2901
            self._add(node.input[index], cotangent)

    def _in_branch(
        self,
        scope: Scope,
        types: Mapping[str, TensorType],
        cotangents: Mapping[str, Value],
        sources: Sequence[str],
        to: Emitter,
    ) -> Mapping[str, Value | None]:
        return _Walk(scope, types, sources, self._surrogate, to).gradients(cotangents)

    def _at_site(self, site: JumpReLU, g: Value) -> Value:
        x, y = Value(site.x, g.elem_type, self._to), Value(site.y, g.elem_type, self._to)
        operands = {
            name: self._held(held, g) if isinstance(held, str) else g.like(held) for name, held in site.operands.items()
        }
        cotangent: Value = SURROGATES[self._surrogate](x, y, operands, g)
        before, after = (self._types.get(name, TensorType()).shape for name in (site.x, site.y))
        if before is None or after is None or not site.inputs:
            return cotangent
        return _unbroadcast(x, cotangent, before, after)  # a parameter per channel may be larger than x

    def _held(self, name: str, g: Value) -> Value:
        """A tensor in the element type of `g`, which it may not have: a mask can be computed in another one."""
        known = self._types.get(name, TensorType()).elem_type
        return Value(name, known or g.elem_type, self._to).cast(g.elem_type)

    def _add(self, name: str, cotangent: Value) -> None:
        if name in self._active:
            self._pending.setdefault(name, []).append(cotangent)

    def _take(self, name: str) -> Value | None:
        """The sum of the cotangents that a tensor has received, None where it has received none."""
        values = self._pending.pop(name, None)
        return total(values) if values else None


def _asked(rule: Rule, at: Node, gs: Sequence[Value | None]) -> Sequence[Value | None]:
    """What a rule returns, as one cotangent per input."""
    answer = rule.function(at, *gs)
    if isinstance(answer, Value):
        return [answer, *[None] * (at.n_inputs - 1)]
    if len(answer) < at.n_inputs:
        raise GradientError(f"{label(at.proto)}: its rule gave {len(answer)} cotangents for {at.n_inputs} inputs")
    return answer[: at.n_inputs]


def _unbroadcast_input(rule: Rule, at: Node, index: int, g: Value) -> Value:
    """A cotangent summed over the axes along which a node's input was repeated."""
    ranks = [at.rank(number) for number in range(at.n_inputs) if at.has(number)]
    if rule.core and min(ranks) < rule.core:
        return g  # a product with a vector: the rule undoes the broadcasting itself
    given = at.shape(index)[: at.rank(index) - rule.core]
    whole = at.output_shape()[: len(at.output_shape()) - rule.core]
    return _unbroadcast(at.x(index), g, given, whole, rule.core)


def _unbroadcast(x: Value, g: Value, given: Sequence[Dimension], whole: Sequence[Dimension], core: int = 0) -> Value:
    """A cotangent summed over the axes along which `x` was repeated; the last `core` axes are not among the shapes."""
    new = len(whole) - len(given)
    g = g.sum(list(range(new)), keepdims=False)
    repeated = [
        axis for axis, (small, large) in enumerate(zip(given, whole[new:], strict=True)) if _was_one(small, large)
    ]
    unclear = [
        axis for axis, (small, large) in enumerate(zip(given, whole[new:], strict=True)) if _may_be_one(small, large)
    ]
    g = g.sum(repeated)
    if unclear and g.to.opset >= 13:
        return _sum_over_ones(x, g)
    for axis in unclear:
        g = _sum_if_one(x, g, axis, len(given) + core)
    return g


def _was_one(small: Dimension, large: Dimension) -> bool:
    return small == 1 and large != 1


def _may_be_one(small: Dimension, large: Dimension) -> bool:
    """Whether it is known only at run time if a dimension was 1 and repeated."""
    return not isinstance(small, int) and large != 1 and (small is None or small != large)


def _sum_over_ones(x: Value, g: Value) -> Value:
    """The sum over all axes that have size 1 in `x` at run time. Needs opset 13, where the axes are an input."""
    ones = replace(x.shape().op("Equal", g.to.ints([1])), elem_type=TensorProto.BOOL)
    axes = replace(ones.op("NonZero"), elem_type=TensorProto.INT64).reshape([-1])
    return g.op("ReduceSum", axes, keepdims=1, noop_with_empty_axes=1)


def _sum_if_one(x: Value, g: Value, axis: int, rank: int) -> Value:
    """The sum over an axis if it has size 1 in `x`, else the same cotangent: a product with ones or the identity."""
    to = g.to
    sizes = [value.shape().slice([axis], [axis + 1], [0]) for value in (g, x)]
    zeros = to.full(sizes[0].op("Concat", sizes[1], axis=0), 0.0, g.elem_type)
    identity = zeros.op("EyeLike")
    is_one = replace(sizes[1].op("Equal", to.ints([1])), elem_type=TensorProto.BOOL)
    return g.along(axis, rank, is_one.where(zeros + 1, identity))
