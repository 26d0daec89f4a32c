"""An activation site: what is known about one rectifier."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.values import Jump
from onnx_jumprelu.graphs.tensor_types import Dimension


@dataclass(frozen=True)
class SkippedSite:
    """A site that is not patched, and why.

    Attributes:
        name: The site's name.
        reason: Why it is left as it is.
        by_choice: Whether the options or the recipe leave it out.
    """

    name: str
    reason: str
    by_choice: bool = False


@dataclass(frozen=True)
class ActivationSite:
    """One rectifier of a model.

    Attributes:
        name: Unique in the model; recipes and globs pick sites by it.
        scope: The graph that it is in: `main`, `main/if_1.then_branch`, `function my.domain::Block`.
        form: `Relu`, `Clip`, `Max`, `LeakyRelu`, `Elu`, `PRelu`; for a refused site, the node's operator.
        tensor: Name of the activation's output, which a rewrite keeps.
        input: Name of the pre-activation, '' where it has no tensor of its own.
        dtype: Element type by NumPy's name (`float32`), None where it cannot be inferred.
        shape: Shape of the output: int, symbolic name or None per dimension; None where it cannot be inferred.
        cap: Upper bound of its output, by itself or by the node after it (ReLU6); None for none.
        reason: Why it cannot be patched; None where it can.
        parameters: The JumpReLU's parameters in a patched model; None for an activation that is not patched.
    """

    name: str
    scope: str
    form: str
    tensor: str
    input: str
    dtype: str | None
    shape: tuple[Dimension, ...] | None
    cap: float | None = None
    reason: str | None = None
    parameters: Parameters | None = None

    @property
    def jump(self) -> Jump | None:
        """The jump in a patched model, one number or one per channel; None for an activation that is not patched."""
        return None if self.parameters is None else self.parameters.jump

    @property
    def rank(self) -> int | None:
        """Number of dimensions, None where the file does not say."""
        return None if self.shape is None else len(self.shape)

    @property
    def n_channels(self) -> int | None:
        """Size of axis 1, None where the file does not say or there is no such axis."""
        count = self.shape[1] if self.shape is not None and len(self.shape) > 1 else None
        return count if isinstance(count, int) else None

    @property
    def patchable(self) -> bool:
        """Whether some lowering can rewrite it."""
        return self.reason is None
