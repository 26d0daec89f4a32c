"""JumpReLUs that no record of this tool describes, and the rectifiers that belong to them: neither is patched."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping

from onnx import NodeProto

from onnx_jumprelu.activation.finder import JumpReLU, find_jumprelus
from onnx_jumprelu.activation.tensors import KEEPING, Tensors
from onnx_jumprelu.graphs.scopes import Scope
from onnx_jumprelu.graphs.uses import tensors_used
from onnx_jumprelu.rewrite.record import mentions_patch

FOREIGN = "not added by this tool"
MOST_NODES = 32  # of one JumpReLU


class ForeignJumpReLUs:
    """The JumpReLUs of one scope of a model that this tool has not patched."""

    def __init__(self, scope: Scope) -> None:
        self._tensors = Tensors(scope)
        self._sites: Mapping[str, JumpReLU] = find_jumprelus(scope)
        self._ours = mentions_patch(scope.model)  # then they may well be those of an earlier patch
        self._parts: set[str] = set()  # outputs of the nodes between a pre-activation and its JumpReLU's last node
        self._only_jump: set[str] = set()  # pre-activations that nothing but their JumpReLU uses
        if self._sites:
            self._collect(scope)

    def _collect(self, scope: Scope) -> None:
        makers = {output: node for node in scope.nodes for output in node.output if output}
        users: dict[str, set[str]] = defaultdict(set)
        for node in scope.nodes:
            for name in tensors_used(node):
                users[name].add(next(iter(node.output), ""))
        for name in scope.outputs:
            users[name].add("")
        for site in self._sites.values():
            parts = _between(site, makers)
            self._parts |= parts | site.through
            if not site.is_soft and users[site.x] <= parts | {site.y}:
                self._only_jump.add(site.x)

    def ends_at(self, node: NodeProto) -> tuple[str, str] | None:
        """For the last node of a JumpReLU, why it is not patched and its pre-activation; None for any other node."""
        site = next((self._sites[output] for output in node.output if output in self._sites), None)
        return None if site is None else (self._unless_ours(f"is already a {_shown(site)}", ", "), site.x)

    def contain(self, node: NodeProto) -> tuple[str, str] | None:
        """For a rectifier before, inside or after a JumpReLU, why it is not patched and its input; None for others."""
        if not self._sites or not node.input:
            return None
        x = node.input[0]
        before = next((name for name in self._tensors.behind(x, KEEPING) if name in self._sites), None)
        if before is not None:
            return self._unless_ours(f"follows a {_shown(self._sites[before])}", " that was "), x
        if any(output in self._parts or output in self._only_jump for output in node.output):
            return self._unless_ours("is part of a JumpReLU", " that was "), x
        return None

    def _unless_ours(self, reason: str, joint: str) -> str:
        return reason if self._ours else f"{reason}{joint}{FOREIGN}"


def _shown(site: JumpReLU) -> str:
    return f"{'soft ' if site.is_soft else ''}JumpReLU ({site.shown()})"


def _between(site: JumpReLU, makers: Mapping[str, NodeProto]) -> set[str]:
    """Outputs of the nodes through which a JumpReLU's last node depends on its pre-activation."""
    read: dict[str, list[str]] = {}  # inputs of the nodes near the last one, by output
    todo = deque(makers[site.y].input)
    while todo and len(read) < MOST_NODES:
        name = todo.popleft()
        if name != site.x and name in makers and name not in read:
            read[name] = list(makers[name].input)
            todo.extend(read[name])
    found: set[str] = set()
    grown = True
    while grown:
        more = {name for name, inputs in read.items() if site.x in inputs or not found.isdisjoint(inputs)}
        grown, found = more > found, found | more
    return found
