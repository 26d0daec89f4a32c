"""Imports point to a lower floor only; packages on one floor do not import each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "onnx_jumprelu"
# From the ground up: floor by floor, a name is a module or a package. What lies in one package may import each other.
FLOORS = [
    {"arrays", "content", "errors", "names", "version"},
    {"arguments", "graphs", "rendering", "runtime", "statistics"},
    {"files"},
    {"activation"},
    {"rewrite", "gradient"},
    {"classifier"},
    {"attacks"},
    {"data"},
    {"verification", "verdict", "tuning"},
    {"paper"},
    {"report", "integrations"},
    {"cli"},
    {"__init__", "__main__"},
]
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}


def room(path: Path) -> str:
    """The module or package directly below the top that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            top, _, rest = name.partition(".")
            if top == PACKAGE.name and rest:
                yield rest.split(".")[0]


def violations(path: Path, source: str) -> list[str]:
    here = room(path)
    return [
        f"{here} imports {there}"
        for there in imported_rooms(source)
        if there in FLOOR_OF and there != here and FLOOR_OF[there] >= FLOOR_OF[here]
    ]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    assert room(path) in FLOOR_OF, "a new module or package needs a floor"
    assert violations(path, path.read_text(encoding="utf-8")) == []


def test_the_check_can_fail() -> None:
    assert violations(PACKAGE / "runtime.py", "from onnx_jumprelu.rewrite.patch import patch_model")
    assert violations(PACKAGE / "report" / "tables.py", "import onnx_jumprelu.integrations.surgeon")
    assert violations(PACKAGE / "graphs" / "scopes.py", "from onnx_jumprelu import rewrite")
    assert not violations(PACKAGE / "rewrite" / "patch.py", "from onnx_jumprelu.rewrite.recipe import Recipe")
