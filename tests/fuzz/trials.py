"""What is tried on a malformed input, and what must hold whatever becomes of it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from random import Random

from onnx import ModelProto

from onnx_jumprelu import JumpReLUError, build_gradient_model, find_activations, patch_model, revert_model, verify
from onnx_jumprelu.classifier.classifier import OnnxClassifier
from onnx_jumprelu.cli import main
from onnx_jumprelu.data.reading import load_data, load_inputs
from onnx_jumprelu.data.splits import load_validation
from onnx_jumprelu.files.models import load
from onnx_jumprelu.rewrite.batch import find_in_file, patch_file, revert_file
from onnx_jumprelu.rewrite.recipe import Recipe
from onnx_jumprelu.tuning.record_file import read_search_record
from onnx_jumprelu.verdict.checkpoint import Checkpoint
from onnx_jumprelu.verdict.gates import read_policy
from tests.fuzz.models import base_models
from tests.fuzz.mutations import KINDS, drawn

Trial = Callable[[Path], object]
LONGEST_LINE = 5000


class BrokenPromiseError(Exception):
    """Something was written after a refusal, an input was changed, or a message is not one line."""


def try_input(seed: int, index: int, kinds: tuple[str, ...], folder: Path) -> str:
    """Make an input and try everything on it that reads such a file; returns its kind.

    Raises:
        Exception: what the package raised that is not its own, or BrokenPromiseError.
    """
    kind, content = drawn(seed, index, kinds)
    for left in folder.iterdir():
        left.unlink()
    path = folder / KINDS[kind][1]
    path.write_bytes(content)
    rng = Random(f"{seed}/{index}/trials")  # noqa: S311 - not for secrets
    (folder / "good.onnx").write_bytes(base_models()[2])
    before = _files(folder)
    for trial in TRIALS[kind](rng):
        try:
            trial(path)
        except JumpReLUError as error:
            _check_line(str(error))
            _check(_files(folder) == before, "something was written, or changed, after a refusal")
        _check(path.read_bytes() == content, "the input was changed")
        for other in folder.iterdir():
            if other.name not in before:
                other.unlink()
    return kind


def _files(folder: Path) -> dict[str, int]:
    return {entry.name: entry.stat().st_size for entry in folder.iterdir()}


def _check(holds: object, promise: str) -> None:
    if not holds:
        raise BrokenPromiseError(promise)


def _check_line(text: str) -> None:
    _check(text and len(text) < LONGEST_LINE, f"a message has {len(text)} characters")


def _model_trials(rng: Random) -> list[Trial]:
    """Reading and patching for each model; of what costs more, some for each."""
    costly: list[Trial] = [
        lambda path: revert_file(path, path.parent / "reverted.onnx"),
        build_gradient_model,
        OnnxClassifier,
        lambda path: verify(path.parent / "good.onnx", path),
        _in_memory,
        lambda path: _command("inspect", str(path)),
        lambda path: _command("patch", str(path), "--jump", "0.5", "-o", str(path.parent / "out.onnx")),
        lambda path: _command("revert", str(path), "-o", str(path.parent / "out.onnx")),
    ]
    return [find_in_file, _patch, rng.choice(costly)]


def _patch(path: Path) -> None:
    """Patch a file; an output is a model that can be patched again and reverted."""
    output = patch_file(path, path.parent / "out.onnx", 0.5).output
    if output is not None:
        load(output)
        revert_file(output, path.parent / "reverted.onnx")


def _in_memory(path: Path) -> None:
    """The functions that take a model in memory, which they must not change."""
    try:
        model = ModelProto.FromString(path.read_bytes())
    except Exception as error:  # protobuf's, and no business of this package
        raise JumpReLUError("not protobuf") from error
    before = model.SerializeToString()
    for function in (find_activations, lambda given: patch_model(given, 0.5), revert_model, build_gradient_model):
        with contextlib.suppress(JumpReLUError):
            function(model)
        _check(model.SerializeToString() == before, "an argument was changed")


def _command(*arguments: str) -> None:
    """A command in this process: exit code, one line of error, and nothing else."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    _check(code in (0, 1, 2), f"exit code {code}")
    if code == 2:
        lines = err.getvalue().splitlines()
        _check(len(lines) == 1 and not out.getvalue(), f"{len(lines)} lines of error: {err.getvalue()[:200]}")
        raise JumpReLUError(err.getvalue())


def _data_trials(rng: Random) -> list[Trial]:
    attack = ("attack", "good.onnx", "--eps", "0.1", "--attack", "fgsm")
    command: Trial = lambda path: _command(attack[0], str(path.parent / attack[1]), str(path), *attack[2:])  # noqa: E731
    every: list[Trial] = [load_data, load_validation, lambda path: load_inputs(path, ["x"])]
    return [*every, command] if rng.random() < 0.05 else every


def _recipe_trials(_: Random) -> list[Trial]:
    model = ModelProto.FromString(base_models()[2])
    return [lambda path: patch_model(model, recipe=Recipe.read(path))]


def _record_trials(_: Random) -> list[Trial]:
    return [
        lambda path: Checkpoint(path, resume=True).open({"examples": "4"}),
        lambda path: read_search_record(path, path.parent / "good.onnx"),
    ]


# By kind: what is tried, of which a generator may choose a part.
TRIALS: dict[str, Callable[[Random], list[Trial]]] = {
    "bytes": _model_trials,
    "fields": _model_trials,
    "npz": _data_trials,
    "recipe": _recipe_trials,
    "policy": lambda _: [read_policy],
    "record": _record_trials,
}
