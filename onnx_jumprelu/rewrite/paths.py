"""Resolves model files from paths, globs and folders, and names their outputs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path

from onnx_jumprelu.errors import ModelFileError

SUFFIX = ".jumprelu.onnx"
REVERTED = ".reverted.onnx"
OUTPUTS = (SUFFIX, REVERTED)


def default_output(path: Path, out_dir: Path | None = None) -> Path:
    """`model.onnx` becomes `model.jumprelu.onnx`, next to it or in another folder; names of outputs are kept."""
    name = path.name if path.name.endswith(SUFFIX) else path.name.removesuffix(".onnx") + SUFFIX
    return (out_dir or path.parent) / name


def default_outputs(paths: Sequence[Path], out_dir: Path | None = None) -> list[Path]:
    """`default_output` for many models, which keep their folders (relative to their common folder) in `out_dir`."""
    if out_dir is None or not paths:
        return [default_output(path) for path in paths]
    folders = [path.absolute().parent for path in paths]
    common = Path(os.path.commonpath(folders))
    return [
        default_output(path, out_dir / folder.relative_to(common)) for path, folder in zip(paths, folders, strict=True)
    ]


def default_reverted(path: Path) -> Path:
    """`model.jumprelu.onnx` becomes `model.reverted.onnx`, next to it."""
    return path.parent / (path.name.removesuffix(SUFFIX).removesuffix(".onnx") + REVERTED)


def expand(arguments: Iterable[str | Path], *, in_place: bool = False) -> list[Path]:
    """The model files that paths, globs and folders select, each once, in a stable order.

    A folder selects every `.onnx` file below it. Folders and globs skip outputs of this tool (`*.jumprelu.onnx`,
    `*.reverted.onnx`), except a glob with that ending. An output is always skipped if the model that it came from is
    selected too, since both would be written to one file, unless `in_place` is set.

    Raises:
        ModelFileError: a glob or a folder matches no model.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        path, text = Path(argument), str(argument)
        if not text:
            raise ModelFileError("'': an empty name is not a model")
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
            raise ModelFileError(f"{argument}: no model found (files that end with .onnx)")
        found.update(dict.fromkeys(matches))
    return [path for path in found if in_place or _model_of(path) not in found]


def _model_of(output: Path) -> Path | None:
    """The model whose default output has this name, None for any other name."""
    for suffix in OUTPUTS:
        if output.name.endswith(suffix):
            return output.with_name(output.name.removesuffix(suffix) + ".onnx")
    return None


def _holds(test: Callable[[], bool]) -> bool:
    """The result of a test on a path, False if the system refuses it (`load` will then explain)."""
    try:
        return test()
    except OSError:
        return False


@contextlib.contextmanager
def made_folder(path: Path) -> Iterator[None]:
    """Create a folder as `make_folder` does; if the block fails, what it created and is empty is removed again."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    make_folder(path)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in missing:
                folder.rmdir()
        raise


def make_folder(path: Path) -> None:
    """Create a folder for outputs if it is missing.

    Raises:
        ModelFileError: it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot create the folder ({error.strerror})") from error
