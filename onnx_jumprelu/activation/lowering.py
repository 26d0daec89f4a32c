"""What a lowering is: the site that it sees, and what it says about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from onnx import TensorProto

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.values import shaped
from onnx_jumprelu.arrays import Array
from onnx_jumprelu.graphs.builder import GraphBuilder


@dataclass(frozen=True)
class LoweringSite:
    """One activation as a lowering sees it.

    Attributes:
        x: Name of the pre-activation.
        parameters: The parameters, rounded to the element type where that is known.
        rank: Number of dimensions, None where it is not known (then no parameter is per channel).
        inputs: Names of the graph inputs that hold parameters, by the parameter's name; empty where all are constants.
        elem_type: Element type, None where it is known only at run time (then CastLike makes the constants).
        opset: Version of the standard domain in the site's scope.
        ir_version: The model's IR version.
        keep_nan: Whether NaN stays NaN, as in Relu.
        base: Prefix of new names: the name of the activation's output.
        function: Name of the model-local function for the site's opset.
        typed_inputs: Whether `inputs` have the site's element type, as the operands of a function do.
        main_opset: Version of the standard domain in the main graph, which may differ from that of a function.
    """

    x: str
    parameters: Parameters
    rank: int | None
    inputs: Mapping[str, str]
    elem_type: int | None
    opset: int
    ir_version: int
    keep_nan: bool
    base: str
    function: str = "JumpReLU"
    main_opset: int | None = None
    typed_inputs: bool = False

    def constant(self, values: float | Array, what: str, to: GraphBuilder) -> str:
        """A constant of the site's element type."""
        if self.elem_type is not None:
            return to.constant(self.elem_type, values, f"jumprelu/{what}")
        double = to.constant(TensorProto.DOUBLE, values, f"jumprelu/{what}_double")
        return to.op("CastLike", [double, self.x], f"{self.base}/{what}")

    def operand(self, name: str, to: GraphBuilder) -> str:
        """Name of the tensor that holds a parameter in the site's element type: a scalar, or one number per channel."""
        given = self.inputs.get(name)
        if given is None:
            return self.constant(shaped(getattr(self.parameters, name), self.rank), name, to)
        if self.elem_type is None and not self.typed_inputs:
            return to.op("CastLike", [given, self.x], f"{self.base}/{name}")
        return given

    def oldest(self, opset: int, bfloat16: int) -> str | None:
        """A refusal where the opset is too low for a lowering, else None; most operators accept bfloat16 only later."""
        needed = bfloat16 if self.elem_type == TensorProto.BFLOAT16 else opset
        return f"needs opset {needed}, the model has {self.opset}; use auto" if self.opset < needed else None


@dataclass(frozen=True)
class Lowering:
    """One way to write JumpReLU as nodes.

    Attributes:
        emit: Appends the nodes and returns the output's name.
        refuse: Says why the lowering does not fit a site, None where it does.
        nan: What becomes of NaN: `kept`, `dropped` (it becomes 0), or kept `on request` and dropped otherwise.
        inputs: Whether the parameters can be graph inputs.
        form: Which form of JumpReLU it writes: `hard`, `soft` or `both`.
    """

    emit: Callable[[LoweringSite, GraphBuilder], str]
    refuse: Callable[[LoweringSite], str | None]
    nan: Literal["kept", "dropped", "on request"] = "on request"
    inputs: bool = True
    form: Literal["hard", "soft", "both"] = "hard"

    def writes(self, parameters: Parameters) -> bool:
        """Whether it can write the form that these parameters have."""
        return self.form in ("both", "soft" if parameters.is_soft else "hard")

    def lacks(self, *, keep_nan: bool, inputs: bool) -> str | None:
        """Which of these options it does not have, None where it has all that are asked for."""
        if keep_nan and self.nan == "dropped":
            return "NaN-keeping form"
        return "jump input" if inputs and not self.inputs else None
