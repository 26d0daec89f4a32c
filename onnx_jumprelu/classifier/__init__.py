"""A classifier in an ONNX file: sessions, normalization, logits and gradients."""
