"""An ONNX classifier as it is attacked: sessions, normalization, logits and gradients."""
