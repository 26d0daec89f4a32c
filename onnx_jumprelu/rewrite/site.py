"""An activation site: what is known of a rectifier, for people and for the rewrite."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_jumprelu.activation.parameters import Jump
from onnx_jumprelu.graphs.tensor_types import Dimension


@dataclass(frozen=True)
class ActivationSite:
    """One rectifier of a model.

    Attributes:
        name: Unique in the model; recipes and globs pick sites by it.
        scope: Where it stands: `main`, `main/if_1.then_branch`, `function my.domain::Block`.
        form: `Relu`, `Clip`, `Max`, `LeakyRelu`, `PRelu`; where it is refused, the op as it stands.
        tensor: Name of the activation's output, which a rewrite keeps.
        input: Name of the pre-activation ('' where there is none of its own).
        dtype: Element type by NumPy's name (`float32`), None where it cannot be inferred.
        shape: Shape of the output: int, symbolic name or None per dimension; None where it cannot be inferred.
        reason: Why it cannot be patched; None where it can.
        jump: The jump in force in a model that was patched before, one or one per channel, else None.
    """

    name: str
    scope: str
    form: str
    tensor: str
    input: str
    dtype: str | None
    shape: tuple[Dimension, ...] | None
    reason: str | None = None
    jump: Jump | None = None

    @property
    def rank(self) -> int | None:
        """Number of dimensions, None where the file does not tell."""
        return None if self.shape is None else len(self.shape)

    @property
    def n_channels(self) -> int | None:
        """Size of axis 1, None where the file does not tell, or there is no such axis."""
        count = self.shape[1] if self.shape is not None and len(self.shape) > 1 else None
        return count if isinstance(count, int) else None

    @property
    def patchable(self) -> bool:
        """Whether some lowering can rewrite it."""
        return self.reason is None
