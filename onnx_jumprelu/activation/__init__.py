"""JumpReLU: its definition, parameters, ONNX nodes, recognition in a graph, and derivatives."""
