"""JumpReLUs that another tool put into a model, and the rectifiers that belong to them: neither is patched."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import NodeProto

from onnx_jumprelu.activation.finder import JumpReLU, find_jumprelus
from onnx_jumprelu.graphs.scopes import Scope

NOT_OURS = "not added by this tool"


class ForeignJumpReLUs:
    """The JumpReLUs of one scope of a model that this tool has not patched."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._sites: Mapping[str, JumpReLU] = find_jumprelus(scope)
        # (pre-activation, input of the last node) of each: a ReLU from the one to the other is part of the JumpReLU.
        self._inside = {
            (self._sites[output].x, name)
            for node in (scope.nodes if self._sites else ())
            for output in node.output
            if output in self._sites
            for name in node.input
        }

    def ends_at(self, node: NodeProto) -> tuple[str, str] | None:
        """For the last node of a JumpReLU, why it is not patched and its pre-activation; None for any other node."""
        site = next((self._sites[output] for output in node.output if output in self._sites), None)
        return None if site is None else (f"is already a JumpReLU ({site.shown(self._scope)}), {NOT_OURS}", site.x)

    def contain(self, node: NodeProto) -> tuple[str, str] | None:
        """For a rectifier inside or right after a JumpReLU, why it is not patched and its input; None for any other."""
        if not node.input:
            return None
        x = node.input[0]
        if x in self._sites:
            return f"follows a JumpReLU ({self._sites[x].shown(self._scope)}) that was {NOT_OURS}", x
        if any((x, output) in self._inside for output in node.output):
            return f"is part of a JumpReLU that was {NOT_OURS}", x
        return None
