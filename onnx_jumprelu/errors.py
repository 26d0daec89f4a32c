"""What can go wrong, as exceptions whose message is one line: the file, the node, the way out."""

from __future__ import annotations


class JumpReLUError(Exception):
    """Base of every error that this package raises on purpose."""


class ModelFileError(JumpReLUError):
    """A file that cannot be read, is not a usable ONNX model, or cannot be written."""


class DataError(JumpReLUError):
    """Input data that do not fit the model or the documented layout."""


class OptionError(JumpReLUError, ValueError):
    """Options that are out of range, contradict each other, or name something that does not exist."""


class PatchError(JumpReLUError):
    """A model in which nothing can be patched."""


class ProvenanceError(JumpReLUError):
    """The record of an earlier patch is absent, damaged, or no longer fits the graph."""


class VerificationError(JumpReLUError):
    """A rewrite that could not be proved right."""


class GradientError(JumpReLUError):
    """A model whose gradient cannot be built: an operator without a rule, a shape that must be known."""
