"""The tables of the manual's page on deployment tools are what is measured; see `tests.rewrite.deployment`."""

import importlib

import pytest

from tests.conftest import REPOSITORY
from tests.rewrite.deployment import HEADINGS, TOOLS, cells, row

PAGE = REPOSITORY / "docs" / "deployment-tools.md"
# These take about a second; the others, and those that are not always installed, are slow.
QUICK = {"onnxruntime, saved at level basic", "onnx, shape inference", "onnx, names with a prefix"}


def documented() -> dict[str, list[str]]:
    lines = (line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| "))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {cells[0]: cells for cells in rows if len(cells) == len(HEADINGS)}


def test_every_tool_has_a_row() -> None:
    headings, *rows = documented().values()
    assert headings == HEADINGS
    assert [name for name, *_ in rows] == list(TOOLS)
    assert "wrong" not in " ".join(" ".join(cells) for cells in rows)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TOOLS]
)
def test_the_row_is_what_deployment_tools_do(name: str) -> None:
    module, _ = TOOLS[name]
    try:
        importlib.import_module(module)
    except ImportError as error:
        pytest.skip(f"{name} cannot be measured: {error}; the extra 'dev' brings it")
    assert cells(name, row(name)) == documented()[name]
