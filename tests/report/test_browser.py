"""The HTML report in a real browser: quiet, drawn, legible, no wider than its window, and whole on paper."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from onnx_jumprelu.activation.values import Jump
from onnx_jumprelu.report import html
from onnx_jumprelu.tuning.result import TrialPoint
from tests.report.browsing import DESK, Opened, Scheme, hidden, illegible, opened, too_wide, undrawn
from tests.report.contrast import luminance
from tests.report.tunings import RECORD, by_site
from tests.report.verdicts import ABOUT, BARE, FAILING, FLAGS, HOSTILE, HOSTILE_VERDICT, INCOMPLETE, example

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (it is in the extra 'dev')")

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOUND = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(FOUND is None, reason=f"no browser on the PATH ({', '.join(BROWSERS)})")

PHONE, PAPER = 400, 680  # pixels; an A4 page within margins of 15 mm
DARK = 0.05  # luminance

SITES = [f"/features/stage{number // 8}/block{number % 8}/activation/Relu_{number}" for number in range(50)]
LONG = tuple(
    TrialPoint(
        by_site({site: jump * place / 50 for place, site in enumerate(SITES)}), 0.9, 0.8 + jump, jump > 0, "sites"
    )
    for jump in (0.0, 0.1)
)
# A model with many sites, and names that leave no place to break a line.
LARGE = replace(
    FAILING,
    flags=FLAGS,
    about={**ABOUT, "command": "onnx-jumprelu validate " + "/folder" * 40 + ".onnx", "n" * 90: "s" * 300},
)


def everything() -> str:
    jumps: dict[str, Jump] = {"conv1": 1.5, "block/relu": (0.0, 0.25, 1.0), "fc": 0.0}
    return html.render(replace(FAILING, flags=FLAGS), [example(), example(3, 8)], RECORD, by_site(jumps))


PAGES: dict[str, Callable[[], str]] = {
    "everything": everything,
    "large": lambda: html.render(
        LARGE, [example()], replace(RECORD, trials=LONG, finalists=LONG), by_site(dict.fromkeys(SITES, 0.5))
    ),
    "hostile": lambda: html.render(
        HOSTILE_VERDICT, [replace(example(), attack=HOSTILE)], None, by_site({HOSTILE: 1.0})
    ),
    "incomplete": lambda: html.render(INCOMPLETE),
    "bare": lambda: html.render(BARE),
}


@pytest.fixture(scope="module")
def context() -> Iterator["BrowserContext"]:
    with (
        sync_api.sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=FOUND) as browser,
        browser.new_context() as context,
    ):
        yield context


@pytest.fixture(scope="module", params=PAGES)
def shown(
    request: pytest.FixtureRequest, context: "BrowserContext", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Opened]:
    """Each page, opened once."""
    file = tmp_path_factory.mktemp("pages") / "page.html"
    file.write_text(PAGES[request.param](), encoding="utf-8")
    with opened(context, file) as page:
        yield page


def test_it_is_quiet_and_every_picture_is_drawn(shown: Opened) -> None:
    shown.look()
    assert shown.ask("document.querySelectorAll('svg').length") >= 1
    assert undrawn(shown) == []
    assert shown.messages == []


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_it_fits_its_window(shown: Opened, width: int) -> None:
    shown.look(width)
    for unfolded in (False, True):
        shown.ask(f"document.querySelectorAll('details').forEach(each => each.open = {str(unfolded).lower()})")
        assert too_wide(shown) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_legible(shown: Opened, scheme: Scheme) -> None:
    shown.look(scheme=scheme)
    assert illegible(shown) == []
    assert (luminance(shown.background) < DARK) == (scheme == "dark")


def test_nothing_is_lost_on_paper(shown: Opened) -> None:
    shown.look(PAPER, "dark", "print")
    shown.ask("document.querySelectorAll('details').forEach(each => each.open = false)")
    assert hidden(shown) == []
    assert too_wide(shown) == []
    assert illegible(shown) == []
    assert shown.background == "#ffffff"


def test_the_page_with_everything_has_pictures_and_a_command_to_copy(context: "BrowserContext", tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(everything(), encoding="utf-8")
    with opened(context, file) as shown:
        assert shown.ask("['svg', 'img'].map(kind => document.querySelectorAll(kind).length)") == [5, 6]
        shown.look(PHONE)
        shown.ask("getSelection().selectAllChildren(document.querySelector('pre'))")
        assert shown.ask("getSelection().toString()") == ABOUT["command"]


FAULTS: dict[str, tuple[Callable[[Opened], list[str]], str]] = {
    "an error on the console": (lambda shown: shown.messages, "<script>console.error('planted')</script>"),
    "a warning on the console": (lambda shown: shown.messages, "<script>console.warn('planted')</script>"),
    "a script that fails": (lambda shown: shown.messages, "<script>throw new Error('planted')</script>"),
    "a request": (lambda shown: shown.messages, "<img alt='planted' src='planted.png'>"),
    "a broken image": (undrawn, "<img alt='planted' src='data:image/png;base64,AAAA'>"),
    "an image that is not shown": (
        undrawn,
        "<img alt='planted' hidden src='data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=='>",
    ),
    "an empty drawing": (undrawn, "<svg aria-label='planted' width='300' height='200'></svg>"),
    "a drawing without height": (undrawn, "<style>svg { height: 0 !important }</style>"),
    "a drawing that is not shown": (undrawn, "<style>figure { display: none }</style>"),
    "a wide table": (too_wide, "<table style='width: 900px'><tr><td>planted</td></tr></table>"),
    "a long word": (too_wide, f"<p style='white-space: nowrap'>{'planted' * 30}</p>"),
    "pale letters": (illegible, "<p style='color: #999'>planted</p>"),
    "letters like the page": (illegible, "<style>svg text { fill: var(--page) !important }</style>"),
    "a hidden paragraph": (hidden, "<p style='display: none'>planted</p>"),
    "a closed box": (hidden, "<div style='content-visibility: hidden'><p>planted</p></div>"),
    "a transparent paragraph": (hidden, "<p style='opacity: 0'>planted</p>"),
}


@pytest.fixture(scope="module")
def text() -> str:
    """A page that lets scripts run."""
    strict = html.render(BARE)
    allowing = re.sub('<meta http-equiv="Content-Security-Policy".*?>', "", strict)
    assert allowing != strict
    return allowing


@pytest.mark.parametrize("fault", FAULTS)
def test_each_check_can_fail(fault: str, text: str, context: "BrowserContext", tmp_path: Path) -> None:
    check, planted = FAULTS[fault]
    file = tmp_path / "page.html"
    file.write_text(text.replace("<main>", "<main>" + planted), encoding="utf-8")
    with opened(context, file) as shown:
        shown.look(PHONE)
        assert check(shown)


def test_without_a_fault_no_check_fails(text: str, context: "BrowserContext", tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(text, encoding="utf-8")
    with opened(context, file) as shown:
        shown.look(PHONE)
        assert [fault for check, _ in FAULTS.values() for fault in check(shown)] == []
