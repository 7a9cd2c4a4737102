"""The figure of a case: the order of its panels, and the colours of all maps."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pyproj
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from squall.datasets.grid import Grid
from squall.pipeline.pictures import RAIN_SCALE
from squall.pipeline.report.case_figure import ForecastCase, draw_case

UTM = pyproj.CRS("EPSG:32631").to_wkt()
# A rotated CRS, which cartopy cannot draw.
ROTATED = pyproj.CRS("+proj=ob_tran +o_proj=longlat +o_lat_p=30 +lon_0=10").to_wkt()
LEADS = np.array([5, 15, 30, 60], "m8[m]")


def grid(crs_wkt: str = UTM) -> Grid:
    return Grid(x=4e5 + 1e3 * np.arange(60), y=5.8e6 - 1e3 * np.arange(40), crs_wkt=crs_wkt)


def case(crs_wkt: str = UTM) -> ForecastCase:
    """Observed 3 mm/h in the left third, not observed elsewhere; all forecasts 30 mm/h."""
    observed = np.full((4, 40, 60), np.nan, np.float32)
    observed[:, :, :20] = 3
    forecast = np.full_like(observed, 30)
    start = pd.Timestamp("2020-06-01 23:50")
    forecasts = {"a": forecast, "b": forecast}
    return ForecastCase("Here: heaviest", start, LEADS, observed, forecasts, grid(crs_wkt))


def image(figure: Figure) -> np.ndarray:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100)
    return np.asarray(Image.open(png).convert("RGB"))


def colour_in(figure: Figure, pixels: np.ndarray, panel: int, x: float, y: float) -> np.ndarray:
    """Colour in a panel; x and y are 0 at its lower left and 1 at its upper right."""
    box = figure.axes[panel].get_position()
    height, width, _ = pixels.shape
    return pixels[
        int(height * (1 - box.y0 - y * box.height)), int(width * (box.x0 + x * box.width))
    ]


def test_rows_are_methods_and_columns_are_15_30_60_min() -> None:
    figure = draw_case(case())
    assert len(figure.axes) == 3 * 3
    texts = [text.get_text() for text in figure.texts]
    assert [text for text in texts if text in ("observed", "a", "b")] == ["observed", "a", "b"]
    assert [text for text in texts if text.startswith("+")] == [
        "+15 min   02 Jun 00:05 UTC", "+30 min   02 Jun 00:20 UTC", "+60 min   02 Jun 00:50 UTC",
    ]  # fmt: skip
    assert "Here: heaviest" in texts
    assert "from 2020-06-01 23:50 UTC" in texts


@pytest.mark.parametrize("crs_wkt", [UTM, ROTATED])
def test_rain_has_the_colours_of_the_maps(crs_wkt: str) -> None:
    figure = draw_case(case(crs_wkt))
    pixels = image(figure)
    observed, forecast = RAIN_SCALE.rgba(np.array([3.0, 30.0]))[:, :3]
    assert np.array_equal(colour_in(figure, pixels, 0, 0.3, 0.5), observed)
    assert np.array_equal(colour_in(figure, pixels, 3, 0.3, 0.5), forecast)
    assert np.array_equal(colour_in(figure, pixels, 8, 0.3, 0.5), forecast)


def test_only_the_observed_area_is_shown_with_a_grey_margin() -> None:
    figure = draw_case(case())
    x_min, x_max = figure.axes[0].get_xlim()
    assert x_min == pytest.approx(4e5 - 500)
    assert 4e5 + 20e3 < x_max < 4e5 + 25e3  # of 60 km
    grey = RAIN_SCALE.rgba(np.array([np.nan]))[0, :3]
    assert np.array_equal(colour_in(figure, image(figure), 0, 0.97, 0.5), grey)


def test_a_long_title_stays_within_the_picture() -> None:
    figure = draw_case(
        replace(case(), title="A network with a long name: a rainy case in summer " * 3)
    )
    title = next(text for text in figure.texts if text.get_text().startswith("A network"))
    assert title.get_window_extent().x1 <= figure.bbox.x1


def test_nothing_observed_shows_the_whole_domain() -> None:
    empty = replace(case(), observed=case().observed * np.nan, forecasts={})
    assert draw_case(empty).axes[0].get_xlim() == pytest.approx((4e5 - 500, 4e5 + 59.5e3))


def test_a_wrong_shape_is_refused() -> None:
    right = case()
    with pytest.raises(ValueError, match=r"'a' has shape \(3, 40, 60\), expected \(4, 40, 60\)"):
        replace(right, forecasts={"a": right.observed[:3]})


def test_not_observed_and_not_forecast_have_two_colours_and_two_words() -> None:
    example = case()
    forecast = example.forecasts["a"].copy()
    forecast[:, :, :10] = np.nan
    forecast[:, :, 20:] = np.nan
    figure = draw_case(replace(example, forecasts={"a": forecast}))
    pixels = image(figure)
    for panel, x, expected in (
        (0, 0.97, RAIN_SCALE.no_radar),
        (3, 0.2, RAIN_SCALE.no_forecast),
        (3, 0.97, RAIN_SCALE.no_radar),
    ):
        colour = colour_in(figure, pixels, panel, x, 0.3)
        assert np.abs(colour - 255 * np.array(to_rgb(expected))).max() < 3, (panel, x)
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words[-2:] == ["no radar", "no forecast"]
