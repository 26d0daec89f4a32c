"""Stand-ins for onnxruntime's own operators, so that onnx's type inference does not stop at them.

onnx infers nothing behind an operator that it does not know. A stand-in is a standard operator whose output has the
same element type, and the same shape where that is easily had.
"""

from __future__ import annotations

from onnx import ModelProto, NodeProto, TensorProto, helper

from onnx_jumprelu.graphs.fused_kernels import CONTRIB_DOMAIN, take_activation_out
from onnx_jumprelu.graphs.scopes import function_key, walk_scopes

ANY_SHAPE = "onnx_jumprelu/any_shape"
WITHOUT_ACTIVATION = {"FusedConv": "Conv", "FusedGemm": "Gemm"}
N_INPUTS = 3  # of Conv and Gemm; FusedConv may have a fourth, which it adds
# Which input has the element type of the first output.
TYPE_OF_INPUT = {
    **dict.fromkeys(
        [
            ("com.microsoft", name)
            for name in (
                "Attention", "BiasGelu", "BiasSplitGelu", "DynamicQuantizeMatMul", "FastGelu", "FusedMatMul",
                "FusedMatMulActivation", "Gelu", "GroupNorm", "GroupQueryAttention", "Inverse", "LayerNormalization",
                "MatMulNBits", "MultiHeadAttention", "NhwcFusedConv", "NhwcMaxPool", "QLinearAdd",
                "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid",
                "QuickGelu", "RotaryEmbedding", "SkipGroupNorm", "SkipLayerNormalization", "TransposeMatMul", "Trilu",
            )
        ],
        0,
    ),
    **dict.fromkeys(
        [
            ("com.microsoft.nchwc", name)
            for name in (
                "AveragePool", "Conv", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReorderInput",
                "ReorderOutput", "Upsample",
            )
        ],
        0,
    ),
    ("com.microsoft", "DequantizeLinear"): 1,
    ("com.microsoft", "QuantizeLinear"): 2,
    ("com.microsoft", "MatMulIntegerToFloat"): 2,
    ("", "SimplifiedLayerNormalization"): 0,  # onnxruntime has it in the standard domain
}  # fmt: skip


def stand_in_for_contrib_operators(model: ModelProto) -> None:
    """Put stand-ins in the place of onnxruntime's operators; for a copy of a model whose types are to be inferred."""
    needs_shape = False
    functions = {function_key(function) for function in model.functions}
    for scope in walk_scopes(model):
        for node in (node for node in scope.nodes if function_key(node) not in functions):
            standard = WITHOUT_ACTIVATION.get(node.op_type) if node.domain == CONTRIB_DOMAIN else None
            source = TYPE_OF_INPUT.get((node.domain, node.op_type), len(node.input))
            if standard is not None:
                take_activation_out(node, standard, "")
                del node.input[N_INPUTS:]
            elif source < len(node.input) and node.output:
                inputs = [node.input[source], ANY_SHAPE]
                node.CopyFrom(NodeProto(op_type="Reshape", name=node.name, input=inputs, output=node.output[:1]))
                needs_shape = True
    if needs_shape:
        model.graph.input.append(helper.make_tensor_value_info(ANY_SHAPE, TensorProto.INT64, [None]))
