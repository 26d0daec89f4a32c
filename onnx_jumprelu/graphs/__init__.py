"""ONNX graphs: scopes, constants, fresh names, new nodes, element types and shapes."""
