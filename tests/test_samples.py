"""The sample models are what their README says."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_jumprelu import find_activations, patch_model
from onnx_jumprelu.data.reading import load_data
from tests.models import clean_accuracy

NAMES = ["digits_cnn.onnx", "digits_cnn_adv.onnx", "digits_relu6.onnx"]
MEBIBYTE = 2**20


def table(samples: Path) -> dict[tuple[str, str], dict[float, float]]:
    """The README's table: accuracy in percent by (model, split), then by jump."""
    lines = [line for line in (samples / "README.md").read_text(encoding="utf-8").splitlines() if "|" in line]
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    start = next(index for index, row in enumerate(rows) if row[:2] == ["Model", "Split"])
    jumps = [float(cell) for cell in rows[start][2:]]
    found = {}
    for row in rows[start + 2 :]:
        if row[0] not in NAMES or len(row) != len(jumps) + 2:
            break
        found[row[0], row[1]] = dict(zip(jumps, map(float, row[2:]), strict=True))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_small_valid_and_patchable(samples: Path, name: str) -> None:
    assert (samples / name).stat().st_size < MEBIBYTE
    content = (samples / name).read_bytes()
    model = onnx.load(samples / name)
    onnx.checker.check_model(model, full_check=True)
    assert model.SerializeToString() == content
    sites = find_activations(model)
    assert len(sites) == 5
    assert all(site.patchable for site in sites)


def test_the_networks_are_what_they_should_be(samples: Path) -> None:
    ops = {node.op_type for node in onnx.load(samples / "digits_cnn.onnx").graph.node}
    assert {"Conv", "BatchNormalization", "MaxPool", "Add", "Relu"} <= ops
    assert {site.form for site in find_activations(onnx.load(samples / "digits_relu6.onnx"))} == {"Clip"}


def test_the_splits_are_apart(samples: Path) -> None:
    test, validation = (
        load_data(samples / "digits.npz"),
        load_data(samples / "digits.npz", x_key="x_val", y_key="y_val"),
    )
    images = {image.tobytes() for image in test.x}
    assert len(images) == len(test.x) == 500
    assert not images & {image.tobytes() for image in validation.x}
    assert set(test.required_labels()) == set(validation.required_labels()) == set(range(10))


@pytest.mark.parametrize("name", NAMES)
def test_the_measured_accuracy_is_the_readmes(samples: Path, name: str) -> None:
    model = onnx.load(samples / name)
    for split, keys in (("test", ("x", "y")), ("validation", ("x_val", "y_val"))):
        data = load_data(samples / "digits.npz", x_key=keys[0], y_key=keys[1])
        for jump, stated in table(samples)[name, split].items():
            measured = clean_accuracy(patch_model(model, jump).model, data.x, data.required_labels())
            # One image apart at most: another processor may round another way.
            assert 100 * measured == pytest.approx(stated, abs=100 / len(data.x) + 0.006), (split, jump)


@pytest.mark.parametrize("name", NAMES)
def test_the_demos_jump_is_the_one_that_the_readme_justifies(samples: Path, name: str) -> None:
    accuracies = table(samples)[name, "validation"]
    allowed = [jump for jump, accuracy in accuracies.items() if accuracy >= accuracies[0.0] - 1]
    leading = [jump for jump, given in zip(sorted(accuracies), sorted(allowed), strict=False) if jump == given]
    assert json.loads((samples / "jumps.json").read_text(encoding="utf-8"))[name] == max(leading)


def test_nothing_of_the_machine_that_built_them(samples: Path) -> None:
    for name in NAMES:
        model = onnx.load(samples / name)
        assert not model.metadata_props
        assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
        assert b"/home" not in (samples / name).read_bytes()
        assert b".py" not in (samples / name).read_bytes()


def test_the_training_split_is_not_shipped(samples: Path) -> None:
    with np.load(samples / "digits.npz") as arrays:
        assert set(arrays.files) == {"x", "y", "x_val", "y_val"}
