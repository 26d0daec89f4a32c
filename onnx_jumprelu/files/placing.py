"""Bringing external weights along, so that onnxruntime and onnx's own loader read them beside the output."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from onnx_jumprelu.errors import ModelFileError
from onnx_jumprelu.files.atomic import os_errors
from onnx_jumprelu.files.external_data import WeightsFile, refusal, shown, weights_path
from onnx_jumprelu.files.status import PIECE, open_regular
from onnx_jumprelu.files.temporary import finish, remove_abandoned, temporary, wait_for_copy
from onnx_jumprelu.names import ExternalDataMode


def place_weights(file: WeightsFile, target: Path, mode: ExternalDataMode, made: list[Path]) -> None:
    """Bring a weights file to where a model will look for it, and make sure that it can be read there.

    What is there already must have the same content. Nothing is written through a link.

    Args:
        file: The weights.
        target: The model that will refer to them by the same location.
        mode: `copy`, or `link` for a hard link.
        made: The files and folders that this function makes are added.

    Raises:
        ModelFileError: they cannot be brought there, or onnxruntime or onnx's own loader would refuse them there.
    """
    folder, place = target.parent, target.parent / file.location
    way_out = "give an output in another folder (-o, --out-dir), into which the weights are copied"
    with os_errors(place):
        remove_abandoned(place.parent)  # one may be a second name of weights that a killed run had just copied
        if not folder.samefile(file.model.parent) and _bring(file, folder, mode, made) and mode == "link":
            way_out = "use --external-data copy"
        problem = refusal(folder, file.location)
        # onnx takes `..` out of a path before it looks; onnxruntime follows links first.
        if problem is None and not weights_path(target, file.location).samefile(os.path.normpath(place)):
            problem = "are reached through a link and '..'"
    if problem is not None:
        raise ModelFileError(
            f"{target}: cannot be written, because its weights {shown(str(place))} {problem}, and onnx's own loader "
            f"refuses them; {way_out}"
        )


def _bring(file: WeightsFile, folder: Path, mode: ExternalDataMode, made: list[Path]) -> bool:
    """Bring weights to a folder. False where they were there already. Raises ModelFileError and OSError."""
    location, place = Path(file.location), folder / file.location
    if ".." in location.parts:
        raise ModelFileError(
            f"{file.model}: refers to its weights by a path with '..' ({shown(file.location)}), which another folder "
            "may not have; give an output next to the model"
        )
    for parent in reversed([folder / parent for parent in location.parents][:-1]):
        if not parent.exists():
            parent.mkdir(exist_ok=True)
            made.append(parent)
        _refuse_link(parent)
    _refuse_link(place)
    if not place.exists():
        with contextlib.suppress(FileExistsError):  # another job may have been faster
            _link(file, place) if mode == "link" else _copy(file, place)
            made.append(place)
            return True
    wait_for_copy(place)
    with open_regular(place) as existing, open_regular(file.path) as origin:
        if not _same_content(existing, origin):
            raise ModelFileError(
                f"{place}: another file has the name that the weights {file.path} need; give another folder"
            )
    return False


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise ModelFileError(f"{path}: is a link, and weights are not written through links; give another folder")


def _link(file: WeightsFile, place: Path) -> None:
    try:
        os.link(file.path, place)
    except FileExistsError:
        raise
    except OSError as error:
        raise ModelFileError(f"{place}: cannot be linked ({error.strerror}); use --external-data copy") from error


def _copy(file: WeightsFile, place: Path) -> None:
    """Copy to a temporary file, then link it: unlike a move, a link never replaces a file that appeared in between."""
    mode = stat.S_IMODE(file.path.stat().st_mode)
    with open_regular(file.path) as origin, temporary(place.parent, mode) as copied:
        shutil.copyfileobj(origin, copied, PIECE)
        finish(copied)
        with open_regular(Path(copied.name)) as written:
            unchanged = _same_content(origin, written)
        file.check_unchanged(origin)
        if not unchanged:  # a program that writes through mapped memory changes no time at once
            raise ModelFileError(f"{file.path}: was changed by another program while it was copied; try again")
        try:
            os.link(copied.name, place)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            Path(copied.name).replace(place)


def _same_content(one: BinaryIO, other: BinaryIO) -> bool:
    """Whether two open files hold the same, read from their beginnings."""
    one.seek(0)
    other.seek(0)
    while piece := one.read(PIECE):
        if piece != other.read(PIECE):
            return False
    return not other.read(1)
