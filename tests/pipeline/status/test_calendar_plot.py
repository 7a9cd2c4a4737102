"""The calendar picture: the cells, their colours and labels, from one day to thirty years."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex, to_rgb

from squall.datasets.archive.records import MISSING, OK, REJECTED
from squall.pipeline.pictures import COVERAGE_SCALE
from squall.pipeline.status.calendar_panels import DAYS_OF_HOURS
from squall.pipeline.status.calendar_plot import draw_coverage

FIVE = pd.Timedelta("5min")


def cells(figure, panel=0):
    """Colour of each cell by (column, row), and the cells with a mark."""
    collections = [c for c in figure.axes[panel].collections if isinstance(c, PolyCollection)]

    def places(collection):
        return [
            tuple(np.floor(p.vertices.mean(axis=0)).astype(int)) for p in collection.get_paths()
        ]

    colours = [to_hex(colour) for colour in collections[0].get_facecolor()]
    marked = places(collections[1]) if len(collections) > 1 else []
    return dict(zip(places(collections[0]), colours, strict=True)), set(marked)


def texts(figure):
    return [t.get_text() for t in figure.texts] + [
        t.get_text() for a in figure.axes for t in a.texts
    ]


def test_a_day_is_in_its_week_and_has_the_colour_of_its_share():
    # Wednesday 2024-05-29 to Friday 2024-06-28, one panel
    flags = np.full(31 * 288, OK, dtype=np.uint8)
    flags[288 : 2 * 288] = MISSING  # Thursday
    flags[2 * 288 : 2 * 288 + 200] = MISSING  # Friday: 30 %
    flags[5 * 288] = REJECTED  # Monday: one scan
    figure = draw_coverage(flags, pd.Timestamp("2024-05-29"), FIVE, "Radar")
    colours, marked = cells(figure)
    assert len(colours) == 31
    assert colours[0, 2] == COVERAGE_SCALE.colours[-1]
    assert colours[0, 3] == COVERAGE_SCALE.empty
    assert colours[0, 4] == COVERAGE_SCALE.colours[0]
    assert colours[1, 0] == COVERAGE_SCALE.colours[3]
    assert marked == {(1, 0)}
    assert (0, 1) not in colours  # before the first scan
    assert (2, 1) in colours
    written = texts(figure)
    assert "Radar: coverage" in written
    assert any("2024-05-29 00:00 to 2024-06-28 23:55 UTC" in text for text in written)
    assert any("94.5 % of 8,928 present, 1 rejected" in text for text in written)
    assert "Scans present in the day (UTC):" in written


def test_a_short_archive_shows_hours():
    flags = np.full(24, OK, dtype=np.uint8)
    flags[12:] = MISSING  # 01:30 to 02:25
    flags[-1] = OK
    figure = draw_coverage(flags, pd.Timestamp("2024-06-01 00:30"), FIVE, "Radar")
    colours, marked = cells(figure)
    assert set(colours) == {(0, 0), (1, 0), (2, 0)}
    assert colours[0, 0] == COVERAGE_SCALE.colours[-1]  # all scans of this half hour are present
    assert colours[1, 0] == COVERAGE_SCALE.colours[1]
    assert colours[2, 0] == COVERAGE_SCALE.colours[0]
    assert not marked
    assert {"Sat 01 Jun 2024", "00", "21"} <= set(texts(figure))


@pytest.mark.parametrize(
    ("days", "panels"),
    [(0, 0), (1, 1), (9, 1), (30, 1), (31, 1), (92, 1), (400, 2), (6 * 365, 7), (30 * 365, 31)],
)
def test_all_text_fits_on_the_figure(days, panels):
    flags = np.full(days * 24, OK, dtype=np.uint8)
    flags[1::50] = REJECTED
    start = pd.Timestamp("1994-11-18")
    figure = draw_coverage(
        flags, start, pd.Timedelta("1h"), "A network with a rather long name " * 4
    )
    figure.canvas.draw()
    assert len(figure.axes) == panels
    width, height = figure.canvas.get_width_height()
    assert max(width, height) < 3000
    for text in [*figure.texts, *(t for axes in figure.axes for t in axes.texts)]:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= width + 1
        assert box.y0 >= 0
        assert box.y1 <= height
    cell_count = sum(len(cells(figure, i)[0]) for i in range(panels))
    assert cell_count == (days * 24 if days < DAYS_OF_HOURS else days)


def test_labels_of_a_panel_do_not_overlap():
    flags = np.full(150 * 24, OK, dtype=np.uint8)
    figure = draw_coverage(flags, pd.Timestamp("2023-10-29"), pd.Timedelta("1h"), "Radar")
    boxes = [t.get_window_extent() for t in figure.axes[0].texts]
    assert len(boxes) > 6
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_marks_grow_with_the_share_of_rejected_scans():
    sizes = COVERAGE_SCALE.mark(np.array([0.001, 0.05, 0.06, 0.25, 0.3, 1.0]))
    assert sizes.tolist() == [0.45, 0.45, 0.7, 0.7, 1.0, 1.0]


def test_only_a_full_day_has_the_colour_of_a_full_day():
    fills = COVERAGE_SCALE.fill(np.array([0.0, 1e-6, 0.5, 0.8, 0.95, 287 / 288, 1.0]))
    assert fills == [COVERAGE_SCALE.empty, *COVERAGE_SCALE.colours[:4], *COVERAGE_SCALE.colours[3:]]


# Machado, Oliveira and Fernandes (2009, doi:10.1109/TVCG.2009.113), severity 1.0
DEFICIENCY = {
    "protanopia": [(0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
                   (-0.003882, -0.048116, 1.051998)],
    "deuteranopia": [(0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
                     (-0.011820, 0.042940, 0.968881)],
    "tritanopia": [(1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602),
                   (0.004733, 0.691367, 0.303900)],
}  # fmt: skip


def linear(colour):
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* (D65) of linear sRGB."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", [None, *DEFICIENCY])
def test_colour_blind_readers_can_distinguish_the_colours(kind):
    matrix = np.eye(3) if kind is None else np.array(DEFICIENCY[kind])
    scale = COVERAGE_SCALE
    perceived = [lab(matrix @ linear(c)) for c in (scale.empty, *scale.colours)]
    lightness = [colour[0] for colour in perceived]
    assert all(a - b > 6 for a, b in pairwise(lightness))
    mark = lab(matrix @ linear(scale.rejected))
    assert min(np.linalg.norm(mark - colour) for colour in perceived) > 20
