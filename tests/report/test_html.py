"""The HTML report: one file that needs nothing, holds everything, and takes no name for markup."""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import resources
from itertools import pairwise
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from onnx_jumprelu import OptionError
from onnx_jumprelu.activation.values import Jump
from onnx_jumprelu.report import charts, dependencies, formatting, html, phrases, svg, verdict_rows
from onnx_jumprelu.tuning.result import TrialPoint
from onnx_jumprelu.verdict.findings import Example, is_image
from onnx_jumprelu.verdict.result import Verdict
from tests.report.contrast import LEGIBLE, VISIBLE, contrast, luminance
from tests.report.page import Page
from tests.report.tunings import RECORD, by_site
from tests.report.verdicts import (
    ALL,
    CURVE,
    FAILING,
    GAIN,
    HOSTILE,
    HOSTILE_VERDICT,
    INCOMPLETE,
    NO_GAIN,
    SMALLER,
    example,
)

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

LOADING = {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}
JUMPS: dict[str, Jump] = {"conv1": 1.5, "fc": 0.0}


def requests(text: str) -> Iterator[str]:
    """What would make a browser ask someone for something, or run something."""
    for tag, attributes in Page(text).tags:
        if tag in {"script", "iframe", "object", "embed", "base", "form"}:
            yield tag
        for name, value in attributes.items():
            if name.startswith("on"):
                yield name
            if name in LOADING and not (value or "").startswith(("data:", "#")):
                yield f"{tag} {name}={value}"
    yield from re.findall(r"@import|url\((?!#)[^)]*\)", text)


def full(verdict: Verdict) -> str:
    return html.render(verdict, [example(), example(3, 8)], RECORD, by_site(JUMPS))


@pytest.fixture(scope="module", params=ALL)
def page(request: pytest.FixtureRequest) -> tuple[Verdict, str]:
    verdict = ALL[request.param]
    return verdict, full(verdict)


def test_it_parses_and_asks_for_nothing(page: tuple[Verdict, str]) -> None:
    _, text = page
    assert list(requests(text)) == []
    assert "default-src 'none'" in text


def test_it_names_no_address_on_the_net() -> None:
    assert re.findall(r"\w+://", full(FAILING)) == []


@pytest.mark.parametrize(
    "planted",
    [
        "<script>1</script>",
        '<img alt="" src="https://e.example/x.png">',
        '<p onclick="x()"></p>',
        "<style>@import 'x.css';</style>",
        '<p style="background: url(x.png)"></p>',
    ],
)
def test_the_check_of_requests_can_fail(planted: str) -> None:
    assert list(requests(html.render(GAIN).replace("<main>", "<main>" + planted)))


def test_the_verdict_comes_first_and_is_right(page: tuple[Verdict, str]) -> None:
    verdict, text = page
    first = Page(text[text.index("<h1>") : text.index("</h1>") + 5]).text
    assert first == phrases.TITLES[verdict.outcome]
    assert f'<div class="answer {verdict.outcome}">' in text
    assert [title in text for title in phrases.TITLES.values()].count(True) == 1


def test_every_number_gate_and_flag_is_in_it(page: tuple[Verdict, str]) -> None:
    verdict, text = page
    found = Page(text).text
    for main in verdict_rows.summary(verdict):
        assert " ".join((main.what, *main.values)) in found
    for row in verdict.own_rows:
        assert formatting.percent(row.robust_accuracy) in found
        assert " ".join(formatting.printable(row.label).split()) in found
    for gate in verdict.gates:
        assert " ".join(formatting.printable(f"{gate.name} {phrases.passed(gate)} {gate.detail}").split()) in found
    for flag in verdict.flags:
        assert (
            " ".join(formatting.printable(f"{phrases.flag_title(flag)} {phrases.flag_meaning(flag)}").split()) in found
        )
    for name, value in verdict.about.items():
        assert " ".join(formatting.printable(value).split()) in found, name


def test_hostile_names_are_text() -> None:
    points = tuple(TrialPoint(by_site({HOSTILE: jump}), 0.9, 0.8, bool(jump), HOSTILE) for jump in (0.0, 1.0))
    tuning = replace(RECORD, model=HOSTILE, data=HOSTILE, norm=HOSTILE, trials=points, finalists=points)
    text = html.render(HOSTILE_VERDICT, [replace(example(), attack=HOSTILE)], tuning, by_site({HOSTILE: 1.0}))
    assert list(requests(text)) == []
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 8
    text.encode()  # no half of a surrogate pair is left


def test_a_template_that_does_not_escape_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import jinja2  # noqa: PLC0415 - after the check that it is there

    escaping = jinja2.Environment

    def careless(**settings: object) -> jinja2.Environment:
        return escaping(**{**settings, "autoescape": False})  # type: ignore[arg-type]

    monkeypatch.setattr(jinja2, "Environment", careless)
    assert "script" in list(requests(html.render(HOSTILE_VERDICT)))


def test_headings_go_down_one_level_at_a_time(page: tuple[Verdict, str]) -> None:
    levels = Page(page[1]).headings
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_pictures_have_a_text_and_parse(page: tuple[Verdict, str]) -> None:
    _, text = page
    for drawing in re.findall("<svg.*?</svg>", text, flags=re.DOTALL):
        root = ET.fromstring(drawing)  # noqa: S314 - our own output
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert "#1b2431" not in drawing  # the page's colors, which change in the dark
        assert "var(--ink)" in drawing
    for tag, attributes in Page(text).tags:
        assert tag != "img" or attributes.get("alt")


def test_ids_are_unique_on_the_page() -> None:
    found = re.findall(r' id="([^"]+)"', full(GAIN))
    assert found
    assert len(found) == len(set(found))


def test_what_was_not_given_is_left_out() -> None:
    bare = html.render(NO_GAIN)
    everything = full(GAIN)
    for title in ("Examples", "Jump of each site", "What tuning tried", "Robust accuracy against eps"):
        assert f">{title}</h" in everything
        assert f">{title}</h" not in bare
    assert (bare.count("<svg"), everything.count("<svg")) == (1, 5)


def test_the_curve_and_the_front_are_there_as_numbers() -> None:
    found = Page(full(GAIN)).text
    assert "0.2 0.0% 0.5% 0.0% 11.0% 23.5% 19.5%" in found
    assert "2 60.0% 15.0%" in found
    assert "original 99.0% 70.0% front 0 everywhere" in found
    assert "uniform 98.0% 80.0% 1 everywhere" in found
    assert "sites 98.5% 83.0% chosen conv1 1.5; elsewhere 0" in found
    assert "channels 97.0% 76.0% 0 to 1.5, per channel everywhere" in found


def titles(text: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", text)


def test_the_sections_come_in_the_order_in_which_they_are_asked_for() -> None:
    assert titles(full(GAIN)) == [
        "Numbers",
        "What tuning tried",
        "Jump of each site",
        "Examples",
        "Flags",
        "Gates",
        "Every attack",
        "How to repeat it",
    ]


def test_the_command_can_be_copied() -> None:
    text = full(GAIN)
    pre = text[text.index("<pre>") : text.index("</pre>") + 6]
    page = Page(pre)
    assert "".join(page.words) == GAIN.about["command"]


def test_an_incomplete_verdict_says_so() -> None:
    assert "INCOMPLETE" in html.render(INCOMPLETE)
    assert "INCOMPLETE" not in html.render(GAIN)


def test_the_gallery_shows_both_predictions_and_three_pictures() -> None:
    text = html.render(GAIN, [example()])
    found = Page(text).text
    assert "Example 7, class 3, pgd on the original" in found
    assert "original 3 (right) 5 (wrong) patched 3 (right) 3 (right)" in found
    assert "perturbation, at most 0.1" in found
    assert text.count('src="data:image/png;base64,') == 3


def test_inputs_that_are_no_image_are_not_shown() -> None:
    flat = np.zeros(4, np.float32)
    assert "data:image" not in html.render(GAIN, [Example(0, flat, flat, 1, {"original": (1, 1)})])
    assert [is_image(shape) for shape in [(1, 8, 8), (3, 8, 8), (2, 8, 8), (8, 8), (784,), (1, 1, 8)]] == [
        *(True, True),
        *(False, False, False, False),
    ]


def test_it_is_the_same_each_time() -> None:
    assert full(GAIN) == full(replace(GAIN, curve=tuple(CURVE)))


def palettes() -> list[dict[str, str]]:
    template = resources.files("onnx_jumprelu.report").joinpath(html.TEMPLATE).read_text(encoding="utf-8")
    return [
        dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", template, re.DOTALL)
    ]


def test_colors_stand_out_in_light_in_the_dark_and_on_paper() -> None:
    light, dark, paper = palettes()
    assert light == paper
    assert {name: light[name] for name in svg.COLORS} == svg.COLORS
    assert luminance(dark["page"]) < luminance(dark["ink"])
    for palette in (light, dark):
        for name in ("ink", "muted", "bad", "good"):
            assert min(contrast(palette[name], palette[ground]) for ground in ("page", "box")) >= LEGIBLE
        for name in ("original", "patched", "third", "fourth"):
            assert contrast(palette[name], palette["page"]) >= VISIBLE


@pytest.mark.parametrize("package", dependencies.PACKAGES)
@pytest.mark.parametrize("ask", [lambda: html.render(GAIN), lambda: charts.curve(CURVE)], ids=["html", "picture"])
def test_without_the_extra_it_says_what_to_install(
    package: str, ask: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(OptionError, match=r"need the extra 'report': pip install 'onnx-jumprelu\[report\]'"):
        ask()


def test_attacks_within_smaller_budgets_count_and_are_not_listed() -> None:
    text = Page(html.render(SMALLER)).text
    assert "on 82.5% of 200 examples, and the original on 69.5%" in text
    assert "Examples that an attack fooled within a smaller eps of the curve count too." in text
    assert "fab-t" not in text
    assert "smaller eps" not in Page(html.render(GAIN)).text
