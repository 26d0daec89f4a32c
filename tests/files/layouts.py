"""Folders with a model and its external weights: everything that users, package managers and strangers leave there.

Each function fills a folder and returns the path of the model.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, TensorProto

from tests.models import f32, parse

NAME = "model.onnx"
X = f32([[1, -1, 2, 0]])
NET = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[N, 4] x) => (float[N, 4] y) { a = Mul(x, w)  y = Relu(a) }"""


def refers_to(location: str, **entries: object) -> ModelProto:
    """`Relu(x * w)`, where four numbers `w` are in another file."""
    model = parse(NET)
    tensor = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return model


def write_model(path: Path, location: str = "w.bin", **entries: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(refers_to(location, **entries).SerializeToString())
    return path


def write_weights(path: Path, value: float = 2, count: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.full(count, value, np.float32).tobytes())
    return path


def link(path: Path, to: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(to)


def in_onnxruntime(path: Path) -> bytes | None:
    """The output of a model file in onnxruntime alone, None where it does not load."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - onnxruntime's have no common base
        return None
    output: bytes = session.run(None, {"x": X})[0].tobytes()
    return output


def in_onnx(path: Path) -> None:
    """Load a model file with onnx alone, weights included, and check it."""
    (tensor,) = onnx.load(path).graph.initializer
    assert onnx.numpy_helper.to_array(tensor).shape == (4,)
    onnx.checker.check_model(str(path))


def cache(folder: Path) -> Path:
    """A model in a package cache, as that of Hugging Face: it and its weights are links into a folder of blobs."""
    write_model(folder / "blobs" / "g1")
    write_weights(folder / "blobs" / "g2")
    link(folder / "snapshots" / "v1" / NAME, "../../blobs/g1")
    link(folder / "snapshots" / "v1" / "w.bin", "../../blobs/g2")
    return folder / "snapshots" / "v1" / NAME


def two_folders(folder: Path) -> Path:
    """The same graph in two folders with other weights; one model is a link to the other."""
    write_weights(folder / "a" / "w.bin", 2)
    write_weights(folder / "b" / "w.bin", 3)
    write_model(folder / "a" / NAME)
    link(folder / "b" / NAME, "../a/" + NAME)
    return folder / "b" / NAME


def weights_beside_the_target(folder: Path) -> Path:
    model = two_folders(folder)
    (folder / "b" / "w.bin").unlink()
    return model


def link_in_the_folder(folder: Path) -> Path:
    write_weights(folder / "v.bin")
    link(folder / "w.bin", "v.bin")
    return write_model(folder / NAME)


def link_out_of_the_folder(folder: Path) -> Path:
    write_weights(folder / "secret" / "v.bin")
    link(folder / "m" / "w.bin", "../secret/v.bin")
    return write_model(folder / "m" / NAME)


def system_file(folder: Path) -> Path:
    link(folder / "w.bin", "/etc/passwd")
    return write_model(folder / NAME)


def sibling_with_a_longer_name(folder: Path) -> Path:
    write_weights(folder / "mm" / "w.bin")
    link(folder / "m" / "w.bin", "../mm/w.bin")
    return write_model(folder / "m" / NAME)


def chain_of_links(folder: Path, blob: str = "c") -> Path:
    """The model is a link to a link; only the last folder counts."""
    write_model(folder / "c" / "g1")
    write_weights(folder / blob / "v")
    link(folder / "b" / "g1", "../c/g1")
    link(folder / "a" / NAME, "../b/g1")
    link(folder / "a" / "w.bin", f"../{blob}/v")
    return folder / "a" / NAME


def chain_with_weights_in_the_middle(folder: Path) -> Path:
    return chain_of_links(folder, "b")


def linked_model_folder(folder: Path) -> Path:
    write_weights(folder / "m" / "w.bin")
    write_model(folder / "m" / NAME)
    link(folder / "l", "m")
    return folder / "l" / NAME


def cache_by_a_linked_folder(folder: Path) -> Path:
    cache(folder)
    link(folder / "latest", "snapshots/v1")
    return folder / "latest" / NAME


def linked_subfolder(folder: Path, of: str = "m/o") -> Path:
    write_weights(folder / of / "w.bin")
    link(folder / "m" / "sub", os.path.relpath(folder / of, folder / "m"))
    return write_model(folder / "m" / NAME, "sub/w.bin")


def linked_subfolder_outside(folder: Path) -> Path:
    return linked_subfolder(folder, "o")


def parent(folder: Path) -> Path:
    write_weights(folder / "w.bin")
    return write_model(folder / "m" / NAME, "../w.bin")


def there_and_back(folder: Path) -> Path:
    write_weights(folder / "m" / "w.bin")
    return write_model(folder / "m" / NAME, "../m/w.bin")


def through_a_subfolder(folder: Path) -> Path:
    (folder / "a").mkdir()
    write_weights(folder / "w.bin")
    return write_model(folder / NAME, "a/../w.bin")


def through_no_subfolder(folder: Path) -> Path:
    write_weights(folder / "w.bin")
    return write_model(folder / NAME, "none/../w.bin")


def back_through_a_link(folder: Path) -> Path:
    """The system follows the link first: not the file that the text of the path suggests."""
    write_weights(folder / "w.bin", 2)
    write_weights(folder / "o" / "w.bin", 3)
    (folder / "o" / "x").mkdir()
    link(folder / "sub", "o/x")
    return write_model(folder / NAME, "sub/../w.bin")


def absolute(folder: Path) -> Path:
    return write_model(folder / NAME, str(write_weights(folder / "w.bin")))


def hard_link(folder: Path) -> Path:
    os.link(write_weights(folder / "v.bin"), folder / "w.bin")
    return write_model(folder / NAME)


def model_is_a_hard_link(folder: Path) -> Path:
    write_weights(folder / "w.bin")
    os.link(write_model(folder / "other.onnx"), folder / NAME)
    return folder / NAME


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "w.bin")
    return write_model(folder / NAME)


def device(folder: Path) -> Path:
    link(folder / "w.bin", "/dev/zero")
    return write_model(folder / NAME)


def subfolder_for_weights(folder: Path) -> Path:
    (folder / "w.bin").mkdir()
    return write_model(folder / NAME)


def circle_of_links(folder: Path) -> Path:
    link(folder / "w.bin", "w.bin")
    return write_model(folder / NAME)


def dangling(folder: Path) -> Path:
    link(folder / "w.bin", "none")
    return write_model(folder / NAME)


def memory(folder: Path) -> Path:
    """The location by which onnxruntime refers to its own memory."""
    write_weights(folder / "*" / "_ORT_MEM_ADDR_" / "*")
    return write_model(folder / NAME, "*/_ORT_MEM_ADDR_/*", offset=4096, length=16)


LAYOUTS: list[Callable[[Path], Path]] = [
    cache,
    two_folders,
    weights_beside_the_target,
    link_in_the_folder,
    link_out_of_the_folder,
    system_file,
    sibling_with_a_longer_name,
    chain_of_links,
    chain_with_weights_in_the_middle,
    linked_model_folder,
    cache_by_a_linked_folder,
    linked_subfolder,
    linked_subfolder_outside,
    parent,
    there_and_back,
    through_a_subfolder,
    through_no_subfolder,
    back_through_a_link,
    absolute,
    hard_link,
    model_is_a_hard_link,
    pipe,
    device,
    subfolder_for_weights,
    circle_of_links,
    dangling,
    memory,
]
PLAIN = [linked_model_folder, two_folders, model_is_a_hard_link]
LINKED = [cache, cache_by_a_linked_folder, chain_of_links, link_in_the_folder, linked_subfolder, hard_link]
# Where an output can be written, of the layouts that onnxruntime reads. onnx's loader refuses links as weights.
DOTTED = [through_a_subfolder, there_and_back, back_through_a_link]
WRITTEN = {"beside": [*PLAIN, through_a_subfolder], "elsewhere": [*PLAIN, *LINKED], "link": []}


def state(folder: Path) -> dict[str, object]:
    """All paths below a folder, with their kinds, contents and numbers of links."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(path)] = (status.st_mode, status.st_nlink if content is not None else 0, content)
    return found
