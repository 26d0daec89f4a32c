"""JumpReLUs that another tool put into a model, and the rectifiers that belong to them: they are left alone."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import NodeProto

from onnx_jumprelu.activation.finder import JumpReLU, find_jumprelus
from onnx_jumprelu.graphs.constants import NotConstantError
from onnx_jumprelu.graphs.scopes import Scope

NOT_OURS = "not put there by this tool"


class Elsewhere:
    """What one scope holds of them."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._sites: Mapping[str, JumpReLU] = find_jumprelus(scope)
        # What a JumpReLU's last node reads, with its pre-activation: a ReLU in between is a part of it.
        self._inside = {
            (self._sites[output].x, name)
            for node in (scope.nodes if self._sites else ())
            for output in node.output
            if output in self._sites
            for name in node.input
        }

    def jumprelu(self, node: NodeProto) -> tuple[str, str] | None:
        """The reason why a node that ends a JumpReLU is left alone, and its pre-activation; None for any other node."""
        site = next((self._sites[output] for output in node.output if output in self._sites), None)
        return None if site is None else (f"is a JumpReLU already ({self._jump(site)}), {NOT_OURS}", site.x)

    def belongs(self, node: NodeProto) -> tuple[str, str] | None:
        """The reason why a rectifier is left alone that is part of a JumpReLU, or comes right behind one."""
        if not node.input:
            return None
        x = node.input[0]
        if x in self._sites:
            return f"is behind a JumpReLU ({self._jump(self._sites[x])}) that was {NOT_OURS}", x
        if any((x, output) in self._inside for output in node.output):
            return f"is part of a JumpReLU that was {NOT_OURS}", x
        return None

    def _jump(self, site: JumpReLU) -> str:
        if isinstance(site.jump, float):
            return f"jump {site.jump:g}"
        try:
            values = self._scope.constant(site.jump)
        except NotConstantError:
            return f"jump from '{site.jump}'"
        low, high = float(values.min()), float(values.max())
        return f"jump {low:g}" if low == high else f"jumps {low:g} to {high:g}"
