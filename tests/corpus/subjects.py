"""One model of the corpus: a file in a folder of its own, and inputs on which it runs."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper

from onnx_jumprelu.arrays import Array

Feeds = Mapping[str, Array]
FIRST_SIZES = (2, 1)  # to try for an open first axis
OTHER_SIZES = (8, 32, 224, 1)  # to try for every other open axis


class MissingError(Exception):
    """A model that is not here, or whose tool is not installed; the message says which."""


@dataclass(frozen=True)
class Subject:
    """A model.

    Attributes:
        path: Its file, in a folder of its own.
        feeds: Inputs by name; without them random ones are tried.
        is_large: Whether running it takes seconds: then only the first way of patching it is run and proved.
        is_broken: Whether a refusal is right. Then onnxruntime, which may hang, is not asked about it.
    """

    path: Path
    feeds: Feeds | None = None
    is_large: bool = False
    is_broken: bool = False


@dataclass(frozen=True)
class Source:
    """A kind of models.

    Attributes:
        names: Names of its models; takes no longer than a listing should.
        make: Puts the model of a name into a folder.
        needs: Packages without which all of its models are skipped.
    """

    names: Callable[[], Sequence[str]]
    make: Callable[[str, Path], Subject]
    needs: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """The packages it needs that are not installed."""
        return [package for package in self.needs if importlib.util.find_spec(package) is None]


def written(model: ModelProto | bytes, folder: Path, feeds: Feeds | None = None) -> Subject:
    """A subject from a model in memory."""
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return Subject(path, feeds)


def random_feeds(model: ModelProto) -> list[Feeds]:
    """Random inputs, one guess after the other at the sizes of open axes; none for inputs that are not tensors."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    if not all(value.type.HasField("tensor_type") for value in inputs):
        return []
    guesses: list[Feeds] = []
    for first in FIRST_SIZES:
        for other in OTHER_SIZES:
            rng = np.random.default_rng(0)
            guesses.append({value.name: _random(value, (first, other), rng) for value in inputs})
    return guesses


def _random(value: onnx.ValueInfoProto, sizes: tuple[int, int], rng: np.random.Generator) -> Array:
    tensor = value.type.tensor_type
    dims = [dim.dim_value if dim.dim_value > 0 else sizes[axis > 0] for axis, dim in enumerate(tensor.shape.dim)]
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    if dtype.kind in "biu":
        return rng.integers(0, 2, dims).astype(dtype)
    return rng.standard_normal(dims).astype(dtype)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep what a tool prints and logs off the screen."""
    nowhere = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
