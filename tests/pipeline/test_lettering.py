"""Texts from files on pictures: no formulas, no warnings, fonts that have the characters."""

import io
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from squall.datasets.archive.records import OK
from squall.datasets.grid import Grid
from squall.pipeline import lettering
from squall.pipeline.lettering import readable, write
from squall.pipeline.maps.basemap import basemap_for_grid
from squall.pipeline.maps.drawing import Caption, Panel, draw_map, draw_overview
from squall.pipeline.maps.projection import grid_extent
from squall.pipeline.report.case_figure import ForecastCase, draw_case
from squall.pipeline.report.plots import score_figures
from squall.pipeline.status.calendar_plot import draw_coverage
from tests.pipeline.scores.score_examples import example_scores

pytestmark = pytest.mark.usefixtures("gshhg_only", "fresh_warnings")

TEXTS = {
    "formula": "Radar of $5_a^b$ \\frac{ $",
    "Japanese": "日本のレーダー",
    "right to left": "رادار הרדאר",
    "line breaks": "first\r\nsecond\x00third\x1b[31m",
    "half a pair": "radar \ud800 5",
    "emoji": "🌧️ rain",
    "empty": "",
    "blank": " \n\t ",
    "hidden": "_method",
    "long": "composite " * 800,
}
hostile = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


@pytest.fixture
def fresh_warnings() -> None:
    lettering._warn_once.cache_clear()
    lettering._families_with.cache_clear()


def drawn(figure: Figure) -> list[str]:
    """Save a figure, and return its texts, which lie inside it."""
    figure.savefig(io.BytesIO(), format="png")
    box = figure.bbox
    for text in figure.texts:
        if text.get_text():
            extent = text.get_window_extent()
            assert box.x0 - 1 <= extent.x0 <= extent.x1 <= box.x1 + 1, text
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    return [text.get_text() for text in [*figure.texts, *legends]]


def grid() -> Grid:
    crs_wkt = pyproj.CRS("EPSG:32631").to_wkt()
    return Grid(x=4e5 + 4e3 * np.arange(60), y=5.8e6 - 4e3 * np.arange(40), crs_wkt=crs_wkt)


@hostile
def test_maps_take_any_title_origin_and_credit(text: str) -> None:
    place, time = grid(), pd.Timestamp("2024-06-01 12:00")
    basemap = basemap_for_grid(place.crs_wkt, grid_extent(place.x, place.y))
    rain = np.ones(place.shape, np.float32)
    caption = Caption("forecast", text, time, time, f"Forecast by {text}", (text, text))
    drawn(draw_map(rain, basemap, caption, dpi=50))
    drawn(draw_overview([Panel(0, 0, rain, caption)], basemap, dpi=50))


@hostile
def test_the_case_and_the_plots_take_any_title_and_method(text: str) -> None:
    leads = np.array([5, 10], "m8[m]")
    rain = np.ones((2, *grid().shape), np.float32)
    time = pd.Timestamp("2024-06-01 12:00")
    drawn(draw_case(ForecastCase(text, time, leads, rain, {text: rain}, grid())))
    for figure in score_figures(example_scores((text, "persistence"), (0.1,))).values():
        names = drawn(figure)
        assert any(readable(text)[:10] in name for name in names) or "□" in "".join(names)
        assert figure.axes[0].get_position().width > 0.05  # the legend leaves room for the panels


@hostile
def test_the_calendar_takes_any_title(text: str) -> None:
    flags = np.full(300, OK, dtype=np.uint8)
    texts = drawn(draw_coverage(flags, pd.Timestamp("2024-06-01"), pd.Timedelta("5min"), text))
    assert texts[0].endswith(("coverage", "…"))


def test_dollars_backslashes_and_underscores_are_drawn_as_they_are() -> None:
    figure = Figure((6, 1))
    FigureCanvasAgg(figure)
    text = r"$a_b^c$ \alpha _x"
    assert write(figure, 0.1, 0.5, text, 5.8).get_text() == text
    assert drawn(figure) == [text]


def test_one_warning_says_that_characters_have_no_font(caplog: pytest.LogCaptureFixture) -> None:
    figure = Figure((6, 1))
    FigureCanvasAgg(figure)
    with caplog.at_level(logging.WARNING):
        for size in range(5, 15):
            write(figure, 0.1, 0.5, "\U00013000 \U00013001 radar", 5.8, size=size, weight="bold")
        texts = drawn(figure)
    assert set(texts) == {"□ □ radar"}
    assert [record.name for record in caplog.records] == ["squall.pictures"]
    assert "install a font" in caplog.text


def test_an_installed_font_draws_what_the_first_font_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The font is installed after matplotlib made its list."""
    build_font(tmp_path / "hieroglyphs.ttf", "\U00013000")
    monkeypatch.setattr(fontManager, "ttflist", list(fontManager.ttflist))
    monkeypatch.setattr(
        lettering.font_manager, "findSystemFonts", lambda: [str(tmp_path / "hieroglyphs.ttf")]
    )
    figure = Figure((6, 1))
    FigureCanvasAgg(figure)
    written = write(figure, 0.1, 0.5, "\U00013000 radar", 5.8, weight="bold")
    assert written.get_fontfamily()[-1] == "Squall Test"
    assert drawn(figure) == ["\U00013000 radar"]
    assert not caplog.records


def build_font(path: Path, character: str) -> None:
    """Write a font with a square for one character."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(character): "square"})
    builder.setupGlyf({".notdef": square, "square": square})
    builder.setupHorizontalMetrics({".notdef": (800, 0), "square": (800, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squall Test", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWeightClass=400)
    builder.setupPost()
    builder.save(path)


def test_long_lines_get_smaller_and_are_then_cut() -> None:
    figure = Figure((3, 1), dpi=100)
    FigureCanvasAgg(figure)
    short = write(figure, 0.1, 0.5, "radar", 2.8, size=10)
    longer = write(figure, 0.1, 0.5, "a radar composite of the whole region now", 2.8, size=10)
    longest = write(figure, 0.1, 0.5, "composite " * 50, 2.8, size=10)
    assert short.get_fontsize() == 10
    assert 8 <= longer.get_fontsize() < 10
    assert not longer.get_text().endswith("…")
    assert longest.get_fontsize() == pytest.approx(8)
    assert longest.get_text().endswith("…")
    assert longest.get_window_extent().width <= 280
