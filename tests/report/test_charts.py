"""Pictures: SVG that parses, says what it shows, and is the same each time."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from onnx_jumprelu.report import charts, svg, tuning_picture
from onnx_jumprelu.tuning.result import TrialPoint
from tests.models import single
from tests.report.tunings import RECORD, by_site, tuning
from tests.report.verdicts import BARE, CURVE, GAIN, HOSTILE, HOSTILE_VERDICT, N, example, first

matplotlib = pytest.importorskip("matplotlib")

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE_POINTS = tuple(
    TrialPoint(by_site({"a": jump, "模型": jump}), 0.9, 0.8, jump == 1, HOSTILE + "模型") for jump in (0.0, 1.0)
)
HOSTILE_RECORD = replace(RECORD, trials=HOSTILE_POINTS, finalists=HOSTILE_POINTS)
DRAWINGS: dict[str, Callable[[], str]] = {
    "accuracies": lambda: charts.accuracies(GAIN),
    "accuracies without an attack": lambda: charts.accuracies(BARE),
    "accuracies, hostile": lambda: charts.accuracies(HOSTILE_VERDICT),
    "curve": lambda: charts.curve(CURVE),
    "curve of one point": lambda: charts.curve(CURVE[:1]),
    "kinds": lambda: charts.kinds(CURVE),
    "trade-off": lambda: tuning_picture.trade_off(RECORD),
    "trade-off, hostile": lambda: tuning_picture.trade_off(HOSTILE_RECORD),
    "single jumps": lambda: tuning_picture.single_jumps(RECORD),
}


def texts(svg: str) -> list[str]:
    """The words of a picture; fails where it is no XML."""
    root = ET.fromstring(svg.encode())  # noqa: S314 - our own output
    assert root.tag == SVG + "svg"
    return ["".join(element.itertext()).strip() for element in root.iter(SVG + "text")]


@pytest.mark.parametrize("name", DRAWINGS)
def test_it_is_xml_and_the_same_each_time(name: str) -> None:
    svg = DRAWINGS[name]()
    assert texts(svg)
    assert svg == DRAWINGS[name]()


def test_the_style_of_the_reader_changes_nothing_and_is_left_alone() -> None:
    plain = charts.curve(CURVE)
    with matplotlib.rc_context({"axes.linewidth": 9, "font.size": 30}):
        assert charts.curve(CURVE) == plain
        assert matplotlib.rcParams["axes.linewidth"] == 9


def test_no_global_figure_is_left_behind() -> None:
    import matplotlib.pyplot as plt  # noqa: PLC0415 - only to look whether anything was registered there

    tuning_picture.trade_off(RECORD)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_id_stands_twice_and_none_is_unused(name: str) -> None:
    svg = DRAWINGS[name]()
    ids = re.findall(r' id="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert all(f"#{found}" in svg for found in ids)


def test_every_color_is_one_that_a_page_can_replace() -> None:
    for draw in DRAWINGS.values():
        assert set(re.findall("#[0-9a-f]{6}", draw())) <= set(svg.COLORS.values())


def test_the_bars_are_labelled_with_the_numbers_of_the_verdict() -> None:
    found = texts(charts.accuracies(GAIN))
    assert {"99.0%", "98.0%", "72.0%", "85.0%", "70.0%", "83.0%", "original", "patched"} <= set(found)
    assert "-" in texts(charts.accuracies(BARE))  # no naive claim
    everything = replace(GAIN, correct={"original": first(N), "patched": first(N - 1)})
    assert {"100%", "99.5%"} <= set(texts(charts.accuracies(everything)))


def test_the_bars_are_as_high_as_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    heights: list[float] = []
    bar = matplotlib.axes.Axes.bar

    def watched(axes: object, x: float, height: float, *args: object, **settings: object) -> object:
        heights.append(height)
        return bar(axes, x, height, *args, **settings)

    monkeypatch.setattr(matplotlib.axes.Axes, "bar", watched)
    charts.accuracies(GAIN)
    assert heights == pytest.approx([0.99, 0.72, 0.70, 0.98, 0.85, 0.83])


def test_names_are_shown_as_they_are() -> None:
    found = texts(tuning_picture.trade_off(HOSTILE_RECORD))
    assert any("<script>" in text and "$\\alpha$" in text and "模型" in text for text in found)


class Drawn:
    """What is drawn on the axes: points by the label of their line or cloud."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.points: dict[str, list[tuple[float, float]]] = {}
        self.upright: list[float] = []
        for name in ("plot", "scatter", "step"):
            self._watch(name, monkeypatch)
        axvline = matplotlib.axes.Axes.axvline

        def upright(axes: object, x: float, *args: object, **settings: object) -> object:
            self.upright.append(x)
            return axvline(axes, x, *args, **settings)

        monkeypatch.setattr(matplotlib.axes.Axes, "axvline", upright)

    def _watch(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        draw = getattr(matplotlib.axes.Axes, name)

        def watched(axes: object, x: list[float], y: list[float], *args: object, **settings: object) -> object:
            if "label" in settings:  # `step` itself draws by `plot`
                self.points[str(settings["label"])] = list(zip(x, y, strict=True))
            return draw(axes, x, y, *args, **settings)

        monkeypatch.setattr(matplotlib.axes.Axes, name, watched)


def test_the_trade_off_is_of_the_finalists(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Drawn(monkeypatch)
    tuning_picture.trade_off(RECORD)
    assert drawn.points == {
        "front": [(0.99, 0.70), (0.985, 0.83)],
        "original": [(0.99, 0.70)],
        "uniform": [(0.98, 0.80)],
        "sites": [(0.985, 0.83)],
        "channels": [(0.97, 0.76)],
        "chosen": [(0.985, 0.83)],
    }
    assert drawn.upright == [pytest.approx(0.98)]


def test_accuracy_against_jump_is_of_the_candidates_with_one_jump_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Drawn(monkeypatch)
    tuning_picture.single_jumps(RECORD)
    assert drawn.points == {
        "clean accuracy": [(0.0, 0.99), (0.5, 0.99), (1.0, 0.98), (2.0, 0.60)],
        "worst case, quick attacks": [(0.0, 0.75), (0.5, 0.78), (1.0, 0.84), (2.0, 0.15)],
    }


def test_a_file_of_its_own_shows_the_same(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(single("Relu").SerializeToString())
    assert tuning(model).to_svg() == tuning_picture.trade_off(RECORD)


def pixels(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    from matplotlib.image import imread  # noqa: PLC0415 - after the check that it is there

    found: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = imread(io.BytesIO(png))
    return found[:, :, :3]


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_has_the_gray_levels_of_the_input(channels: int) -> None:
    shown = example(channels)
    expected = np.broadcast_to(shown.clean, (3, 8, 8)).transpose(1, 2, 0)
    assert np.abs(pixels(charts.image(shown.clean, (0.0, 1.0))) - expected).max() < 1 / 255
    assert np.abs(pixels(charts.image(2 * shown.clean - 1, (-1.0, 1.0))) - expected).max() < 1 / 255


def test_colors_are_not_swapped() -> None:
    x = np.zeros((3, 2, 2), np.float32)
    x[0] = 1.0
    assert pixels(charts.image(x, (0.0, 1.0)))[0, 0].tolist() == [1.0, 0.0, 0.0]


def test_a_perturbation_is_gray_where_nothing_changed_and_stretched_elsewhere() -> None:
    shown = example()
    found = pixels(charts.perturbation(shown.clean, shown.perturbed))
    assert found[0, 0, 0] == 1.0
    assert np.abs(found.reshape(-1, 3)[1:] - 0.5).max() < 0.01
    assert np.abs(pixels(charts.perturbation(shown.clean, shown.clean)) - 0.5).max() < 0.01


def test_what_is_no_number_is_drawn_as_black_within_the_rest() -> None:
    x = np.array([[[np.nan, 1.0], [2.0, -1.0]]], np.float32)
    assert pixels(charts.image(x, (0.0, 1.0)))[:, :, 0].tolist() == [[0.0, 1.0], [1.0, 0.0]]
