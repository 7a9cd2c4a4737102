"""How rain is drawn: the place and colour of each pixel, and captions that fit."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure

from squall.pipeline.maps.basemap import Basemap, basemap_for_grid
from squall.pipeline.maps.drawing import Caption, Panel, draw_map, draw_overview
from squall.pipeline.maps.projection import grid_extent
from squall.pipeline.pictures import CHANCE_SCALE, MAP_STYLE, RAIN_SCALE, RainScale
from tests.pipeline.maps.map_examples import (
    GRIDS,
    START,
    caption,
    drawn_text,
    pixels,
    rgb,
)

pytestmark = pytest.mark.usefixtures("gshhg_only")


def axes_of(grid: str = "knmi") -> tuple[np.ndarray, np.ndarray, Basemap]:
    """Pixel centres of 64×64 pixels, north up, and the map under them."""
    crs, first_x, first_y, step = GRIDS[grid]
    x, y = first_x + np.arange(64) * step, first_y - np.arange(64) * step
    return x, y, basemap_for_grid(crs, grid_extent(x, y))


def showers() -> np.ndarray:
    """64×64 pixels, mm/h: a square of 3, and no radar in the east."""
    rain = np.zeros((64, 64), np.float32)
    rain[20:30, 10:20] = 3.0
    rain[:, -5:] = np.nan
    return rain


def pixel_at(figure: Figure, x: float, y: float) -> tuple[int, int]:
    """Row and column of the picture of CRS coordinates."""
    column, from_below = figure.axes[0].transData.transform((x, y))
    return int(figure.bbox.height - from_below), int(column)


# Colours


def test_each_level_starts_a_colour() -> None:
    levels = np.array(RAIN_SCALE.levels_mm_h, np.float32)
    expected = np.round(to_rgba_array(RAIN_SCALE.colours) * 255)
    assert len(RAIN_SCALE.colours) == len(levels)
    np.testing.assert_array_equal(RAIN_SCALE.rgba(levels), expected)
    below = np.nextafter(levels, np.float32(0))
    np.testing.assert_array_equal(RAIN_SCALE.rgba(below)[1:], expected[:-1])
    assert RAIN_SCALE.rgba(below)[0, 3] == 0
    assert RAIN_SCALE.rgba(np.array([0.0]))[0, 3] == 0
    assert tuple(RAIN_SCALE.rgba(np.array([1e6]))[0]) == tuple(expected[-1])
    assert tuple(RAIN_SCALE.rgba(np.array([np.nan]))[0]) == (*rgb(RAIN_SCALE.no_radar), 255)


# Machado et al. (2009), doi:10.1109/TVCG.2009.113, severity 1, linear RGB.
SIGHT = {
    "full": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize("scale", [RAIN_SCALE, CHANCE_SCALE], ids=["rain", "chances"])
@pytest.mark.parametrize("sight", SIGHT)
def test_colour_blind_readers_can_distinguish_the_colours(sight: str, scale: RainScale) -> None:
    unknown = [scale.no_radar, scale.no_forecast]
    names = [*scale.colours, *unknown, MAP_STYLE.land, MAP_STYLE.water]
    srgb = to_rgba_array(names)[:, :3]
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(SIGHT[sight]), 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = seen @ np.transpose(to_xyz) / (0.9505, 1.0, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lab = np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )
    rain = range(len(scale.colours))
    pairs = [
        (i, j)
        for i, j in itertools.combinations(range(len(names)), 2)
        if i in rain or names[i] == scale.no_radar
    ]
    # A CIE 1976 difference of about 2 is just noticeable side by side.
    nearest = min(pairs, key=lambda pair: np.linalg.norm(lab[pair[0]] - lab[pair[1]]))
    difference = np.linalg.norm(lab[nearest[0]] - lab[nearest[1]])
    assert difference > 10, [names[i] for i in nearest]


# One map


@pytest.mark.parametrize("grid", GRIDS)
def test_a_pixel_is_drawn_at_its_coordinates(grid: str) -> None:
    x, y, basemap = axes_of(grid)
    step = x[1] - x[0]
    rain = np.zeros((2, 64, 64), np.float32)
    rain[:, 2, 2] = 30.0  # without it the first map has the note that it is dry
    rain[1, 40, 17] = 30.0
    without, figure = (draw_map(scan, basemap, caption(), dpi=110) for scan in rain)
    picture = pixels(figure)
    rows, columns = np.nonzero((picture != pixels(without)).any(-1))
    top, left = pixel_at(figure, x[17] - step / 2, y[40] + step / 2)
    bottom, right = pixel_at(figure, x[17] + step / 2, y[40] - step / 2)
    assert bottom - top > 5
    bounds = [rows.min(), rows.max() + 1, columns.min(), columns.max() + 1]
    np.testing.assert_allclose(bounds, [top, bottom, left, right], atol=1)
    inside = picture[top + 1 : bottom - 1, left + 1 : right - 1]
    assert (inside == rgb(RAIN_SCALE.colours[7])).all(-1).mean() > 0.1


def test_rain_is_never_warped(monkeypatch: pytest.MonkeyPatch) -> None:
    import cartopy.img_transform

    monkeypatch.setattr(cartopy.img_transform, "warp_array", None)
    _, _, basemap = axes_of()
    figure = draw_map(showers(), basemap, caption(), dpi=40)
    (image,) = figure.axes[0].images
    assert image.get_array().shape == (64, 64, 4)
    assert tuple(image.get_extent()) == tuple(basemap.extent)


def test_a_map_has_title_times_and_origin() -> None:
    _, _, basemap = axes_of()
    figure = draw_map(showers(), basemap, caption())
    for text in (
        "Test radar",
        "FORECAST",
        "valid 2010-08-26 06:35 UTC",
        "+35 min from 06:00 UTC",
        "Forecast by test-model",
    ):
        assert text in drawn_text(figure)
    bar = figure.axes[1]
    assert bar.get_ylabel() == "Rain rate [mm h⁻¹]"
    assert [t.get_text() for t in bar.get_yticklabels()][:3] == ["0.1", "0.2", "0.5"]
    assert "OBSERVED" in drawn_text(draw_map(np.zeros((64, 64)), basemap, caption("observed", -5)))


@pytest.mark.parametrize(
    ("kind", "lead_min", "expected"),
    [
        ("forecast", 2.5, "+2.5 min from 06:00 UTC"),
        ("forecast", 18 * 60, "+1080 min from 26 Aug 06:00 UTC"),
        ("observed", -10, "10 min before 06:00 UTC"),
        ("observed", 0, "latest scan"),
        ("observed", 10, "+10 min from 06:00 UTC"),
    ],
)
def test_captions_give_the_time_from_the_reference_time(
    kind: str, lead_min: float, expected: str
) -> None:
    assert caption(kind, lead_min).since == expected


def test_a_scan_without_a_forecast_is_not_compared_with_one() -> None:
    _, _, basemap = axes_of()
    alone = replace(caption("observed", 0), has_forecast=False)
    for figure in (
        draw_map(showers(), basemap, alone, dpi=40),
        draw_overview([Panel(0, 0, showers(), alone)], basemap, dpi=40),
    ):
        text = drawn_text(figure)
        assert "2010-08-26 06:00" in text or "26 Aug 06:00" in text
        assert "latest scan" not in text
        assert " from " not in text
        assert "not observed" in text


def test_long_titles_stay_on_the_map() -> None:
    _, _, basemap = axes_of()
    long = Caption(
        "forecast", "A radar of a long name " * 9, START, START, "by " * 99, ("f" * 400,)
    )
    figure = draw_map(np.zeros((64, 64)), basemap, long, dpi=60)
    pixels(figure)
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width, text.get_text()


def test_no_radar_is_hatched_and_dry_is_not() -> None:
    x, y, basemap = axes_of()
    rain = np.ones((64, 64), np.float32)
    rain[10:30, 10:30] = np.nan
    scale = replace(RAIN_SCALE, no_radar="#ffffff", no_radar_hatch="#ff0000")
    figure = draw_map(rain, basemap, caption(), scale=scale, dpi=110)
    top, left = pixel_at(figure, x[10], y[10])
    bottom, right = pixel_at(figure, x[29], y[29])
    colours = pixels(figure).astype(int)
    hatched = colours[..., 0] - colours[..., 1] > 50
    assert hatched[top:bottom, left:right].any(axis=1).all()
    hatched[top - 10 : bottom + 10, left - 10 : right + 10] = False
    assert not hatched[:, : pixel_at(figure, x[-1], y[0])[1]].any()


def test_a_missing_scan_has_a_note() -> None:
    _, _, basemap = axes_of()
    panel = Panel(0, 0, None, caption("observed"))
    figure = draw_overview([panel], basemap)
    assert "no scan" in drawn_text(figure)
    assert "OBSERVED  26 Aug 06:35 UTC" in drawn_text(figure)
