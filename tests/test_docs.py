"""The documents are true of the program: links, commands, snippets, and the tables that list what there is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pytest
import typer

import onnx_jumprelu as oj
from onnx_jumprelu.activation.derivatives import SURROGATES
from onnx_jumprelu.activation.lowerings import AUTO, LOWERINGS
from onnx_jumprelu.attacks import ATTACKS
from onnx_jumprelu.cli import app
from onnx_jumprelu.gradient.core.losses import LOSSES
from onnx_jumprelu.names import Kind
from onnx_jumprelu.report.schemas import schema_names
from onnx_jumprelu.tuning.search import FAMILIES
from onnx_jumprelu.verdict.flags import FLAGS
from onnx_jumprelu.verdict.gates import Policy
from tests.test_layers import FLOORS

ROOT = Path(__file__).parent.parent
PROGRAM = "onnx-jumprelu"
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "sample_models" / "README.md",
    ]
)
MOST_LINES = 200  # of the README
USAGE_ERROR = cast(
    "type[Exception]", typer.BadParameter.__mro__[1]
)  # the base of all of them; typer does not export it

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
INLINE_CODE = re.compile(r"`([^`\n]+)`")


def text_of(page: Path | str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose_of(page: Path | str) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", text_of(page))


def slugs(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    broken = []
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists():
            broken.append(f"{target}: there is no such file")
        elif anchor and anchor not in slugs(text if file == page else file.read_text(encoding="utf-8")):
            broken.append(f"{target}: the page has no such heading")
    return broken


def blocks(page: Path | str, *languages: str) -> Iterator[str]:
    for language, block in FENCE.findall(text_of(page)):
        if language in languages:
            yield block


def commands() -> Iterator[tuple[str, str]]:
    """Every call of the program in a document, with the page it is on."""
    for page in PAGES:
        lines = [line for block in blocks(page, "sh", "console") for line in block.splitlines()]
        for part in [part for line in [*lines, *INLINE_CODE.findall(prose_of(page))] for part in line.split(" && ")]:
            command = part.removeprefix("$ ").partition(" # ")[0].strip()
            if command.startswith(f"{PROGRAM} "):
                yield page.name, command


def problem_of(command: str) -> str | None:
    """Why the program would refuse a command line before it looks at any file, None where it would not."""
    group: Any = typer.main.get_command(app)
    name, *arguments = shlex.split(command)[1:]
    if name.startswith("-"):
        return None if name in options_of_all_commands() else f"there is no option {name}"
    if name not in group.commands:
        return f"there is no command {name}"
    try:
        group.commands[name].make_context(name, arguments)
    except USAGE_ERROR as error:
        return str(error)
    return None


def table(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without the table's head; cells without backticks."""
    text = text_of(page)
    match = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    assert match, f"{page} has no heading {heading}"
    lines = iter(text[match.end() :].splitlines())
    rows = []
    for line in lines:
        if line.lstrip().startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            break
    return rows[2:]


def names_in(rows: list[list[str]], column: int = 0) -> list[str]:
    """The names in backticks in a column."""
    return [name for row in rows for name in INLINE_CODE.findall(row[column])]


def test_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, text_of(page)) == []


def test_a_broken_link_is_found() -> None:
    assert broken_links(ROOT / "README.md", "[a](docs/nowhere.md) [b](docs/README.md#no-such) [c](#none)\n# One")
    assert not broken_links(ROOT / "README.md", "[a](docs/README.md#manual) [c](#one) [d](https://x.example)\n# One")


def test_every_page_of_the_manual_is_in_both_indexes() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {target.partition("#")[0] for target in LINK.findall(text_of("docs/README.md"))} >= pages
    assert {Path(target).name for target in LINK.findall(text_of("README.md"))} >= pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_in_the_repository_exist(page: Path) -> None:
    folders = "onnx_jumprelu|tests|sample_models|docs|examples"
    named = re.findall(rf"(?<![\w/.-])((?:{folders})/[\w./*-]*)", text_of(page))
    assert [path for path in named if not list(ROOT.glob(path.rstrip("./")))] == []


@pytest.mark.parametrize("which", ["first", "second"])
def test_marked_commands_are_where_ci_reads_them(which: str) -> None:
    lines = text_of("README.md").splitlines()
    place = lines.index(f"<!-- {which} command -->")
    assert lines[place + 1] == "```sh"
    assert lines[place + 2].startswith("pip install ")
    assert lines[place + 3] == "```"


@pytest.mark.parametrize(("page", "command"), sorted(set(commands())))
def test_commands_are_understood(page: str, command: str) -> None:
    del page
    assert problem_of(command) is None


def test_a_wrong_command_is_found() -> None:
    assert problem_of(f"{PROGRAM} repair model.onnx")
    assert problem_of(f"{PROGRAM} patch model.onnx --jmp 0.5")
    assert problem_of(f"{PROGRAM} verify model.onnx")
    assert problem_of(f"{PROGRAM} attack m.onnx --data d.npz --surrogate loud")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_compiles(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


@pytest.fixture
def workplace(tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that snippets name, and quick settings where a snippet leaves the default."""
    (tmp_path / "model.onnx").write_bytes((samples / "digits_cnn.onnx").read_bytes())
    oj.patch_file(str(tmp_path / "model.onnx"), str(tmp_path / "patched.onnx"), jump=0.25)
    with np.load(samples / "digits.npz") as digits:
        np.savez(tmp_path / "val.npz", x_val=digits["x_val"][:20], y_val=digits["y_val"][:20])
        np.savez(tmp_path / "test.npz", x=digits["x"][:12], y=digits["y"][:12])
    monkeypatch.chdir(tmp_path)
    quick: dict[str, Callable[..., Any]] = {
        "tune": partial(oj.tune, n_trials=1, families=["uniform"]),
        "evaluate": partial(oj.evaluate, attacks="pgd,apgd-ce:smooth"),
    }
    for name, function in quick.items():
        monkeypatch.setattr(oj, name, function, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "page",
    [pytest.param("README.md", marks=pytest.mark.slow), "docs/python.md", "docs/gradient-models.md", "docs/json.md"],
)
@pytest.mark.usefixtures("workplace")
def test_python_runs(page: str) -> None:
    names: dict[str, Any] = {}
    ran = [block for block in blocks(page, "python") if "import art" not in block and "from art" not in block]
    assert ran
    for block in ran:
        exec(compile(block, f"<{page}>", "exec"), names)  # noqa: S102 - the documents are ours


def test_flags_page_has_every_flag() -> None:
    headings = re.findall(r"^## (.+)$", text_of("docs/flags.md"), re.MULTILINE)
    assert headings == list(FLAGS)


def test_each_flag_says_when_what_and_what_to_do() -> None:
    for section in text_of("docs/flags.md").split("\n## ")[1:]:
        assert [part in section for part in ("**Raised when**", "**What it means**", "**What to do**")] == [True] * 3


TABLES: dict[str, tuple[str, str, list[str]]] = {
    "attacks": ("docs/attacking.md", "Attacks", list(ATTACKS)),
    "surrogates": ("docs/attacking.md", "Surrogate gradients", list(SURROGATES)),
    "lowerings": ("docs/patching.md", "Lowerings", [AUTO, *LOWERINGS]),
    "losses": ("docs/gradient-models.md", "Losses", list(LOSSES)),
    "families": ("docs/tuning.md", "How it searches", [*FAMILIES, "--per-channel"]),
    "gates": (
        "docs/judging.md",
        "Gates",
        [f"--{field.replace('_', '-')}" for field in Policy.__dataclass_fields__],
    ),
}


@pytest.mark.parametrize("what", TABLES)
def test_tables_list_what_is_registered(what: str) -> None:
    page, heading, expected = TABLES[what]
    assert [name.split()[0] for name in names_in(table(page, heading))] == expected


def test_kinds_of_attacks_are_explained() -> None:
    assert {row[0] for row in table("docs/judging.md", "What it runs")} == set(get_args(Kind))


def test_losses_have_the_classes_and_targets_that_the_table_says() -> None:
    rows = table("docs/gradient-models.md", "Losses")
    said = {names_in([row])[0]: (int(row[2]), row[3] == "yes") for row in rows}
    assert said == {name: (loss.n_classes, loss.targeted) for name, loss in LOSSES.items()}


def options_of_all_commands() -> set[str]:
    group: Any = typer.main.get_command(app)
    return {name for each in [group, *group.commands.values()] for option in each.params for name in option.opts}


# Options of other programs.
FOREIGN = {"--help", "--table", "--out"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_in_the_text_exist(page: Path) -> None:
    named = re.findall(r"(?<![\w-])--[a-z][a-z-]*", prose_of(page))
    assert set(named) - FOREIGN - options_of_all_commands() == set()


def test_every_option_is_in_the_manual() -> None:
    group: Any = typer.main.get_command(app)
    manual = " ".join(text_of(page) for page in PAGES)
    for command in group.commands.values():
        options = [option for option in command.params if not getattr(option, "hidden", False)]
        names = {name for option in options for name in option.opts if name.startswith("--")}
        assert [name for name in sorted(names) if not re.search(rf"{name}(?![\w-])", manual)] == []


def test_changes_of_extending_name_places_that_exist() -> None:
    rows = [row for row in table("docs/extending.md", "Extending it") if row[0].startswith("[")]
    places = {path for path in names_in(rows, 1) if "/" in path or path.endswith(".py")}
    assert len(rows) == 12
    assert [path for path in sorted(places) if not (ROOT / "onnx_jumprelu" / path).exists()] == []


def test_every_package_has_its_floor_in_the_manual() -> None:
    rows = table("docs/architecture.md", "Floors")
    said = {name: int(row[0]) for row in rows for name in names_in([row], 1)}
    floors = {name: number for number, names in enumerate(FLOORS[:-1]) for name in names}
    assert said == floors


def test_every_exception_is_in_the_manual() -> None:
    exceptions = [name for name in oj.__all__ if name.endswith("Error") and name != "JumpReLUError"]
    assert sorted(names_in(table("docs/python.md", "Errors"))) == sorted(exceptions)


def test_every_schema_is_in_the_manual() -> None:
    assert set(names_in([[row[0]] for row in table("docs/json.md", "JSON results")])) >= set(schema_names())


def test_every_public_name_is_in_the_manual() -> None:
    manual = " ".join(text_of(page) for page in PAGES)
    missing = [name for name in oj.__all__ if not re.search(rf"(?<!\w){name}(?!\w)", manual)]
    assert missing == ["__version__"]
