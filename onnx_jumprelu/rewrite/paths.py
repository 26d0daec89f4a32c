"""Which model files are meant, and where their outputs go."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from glob import glob, has_magic
from pathlib import Path

from onnx_jumprelu.errors import ModelFileError

SUFFIX = ".jumprelu.onnx"
REVERTED = ".reverted.onnx"
OUTPUTS = (SUFFIX, REVERTED)


def default_output(path: Path, out_dir: Path | None = None) -> Path:
    """`model.onnx` becomes `model.jumprelu.onnx`, beside it or in another folder; patched names stay as they are."""
    name = path.name if path.name.endswith(SUFFIX) else path.name.removesuffix(".onnx") + SUFFIX
    return (out_dir or path.parent) / name


def default_outputs(paths: Sequence[Path], out_dir: Path | None = None) -> list[Path]:
    """`default_output` for many: below `out_dir`, models keep the folders that they have below their common one."""
    if out_dir is None or not paths:
        return [default_output(path) for path in paths]
    folders = [path.absolute().parent for path in paths]
    common = Path(os.path.commonpath(folders))
    return [
        default_output(path, out_dir / folder.relative_to(common)) for path, folder in zip(paths, folders, strict=True)
    ]


def default_reverted(path: Path) -> Path:
    """`model.jumprelu.onnx` becomes `model.reverted.onnx`, beside it."""
    return path.parent / (path.name.removesuffix(SUFFIX).removesuffix(".onnx") + REVERTED)


def expand(arguments: Iterable[str | Path], *, in_place: bool = False) -> list[Path]:
    """The model files that paths, globs and folders name, each once, in a stable order.

    A folder stands for every `.onnx` file below it. Outputs of this tool are passed over (`*.jumprelu.onnx`,
    `*.reverted.onnx`) unless they, or a glob with that ending, are named; beside the model that they came from they are
    passed over even then, as both would be written to one file, unless that is `in_place`.

    Raises:
        ModelFileError: a glob or a folder holds no model.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        path, text = Path(argument), str(argument)
        if not text:
            raise ModelFileError("'': an empty name is no model")
        if _holds(path.is_dir):
            matches = [entry for entry in path.rglob("*.onnx") if not entry.name.endswith(OUTPUTS)]
        elif has_magic(text) and not _holds(path.exists):
            found_here = map(Path, glob(text, recursive=True))  # noqa: PTH207 - takes absolute patterns
            matches = [entry for entry in found_here if text.endswith(OUTPUTS) or not entry.name.endswith(OUTPUTS)]
        else:
            found[path] = None
            continue
        matches = sorted(entry for entry in matches if entry.is_file())
        if not matches:
            raise ModelFileError(f"{argument}: no model here (files that end with .onnx)")
        found.update(dict.fromkeys(matches))
    return [path for path in found if in_place or _model_of(path) not in found]


def _model_of(output: Path) -> Path | None:
    """The model whose default output has this name, None where the name is no such output's."""
    for suffix in OUTPUTS:
        if output.name.endswith(suffix):
            return output.with_name(output.name.removesuffix(suffix) + ".onnx")
    return None


def _holds(test: Callable[[], bool]) -> bool:
    """Whether a path is there; one that the system refuses to look at is left for `load` to explain."""
    try:
        return test()
    except OSError:
        return False


def make_folder(path: Path) -> None:
    """Make a folder for outputs where it is missing.

    Raises:
        ModelFileError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be made a folder ({error.strerror})") from error
