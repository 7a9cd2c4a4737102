"""The picture for the trackers: colours, panels, and the time to draw it."""

import time

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from squall.pipeline.pictures import RAIN_SCALE
from squall.pipeline.train.forecast_picture import forecast_picture

DRY, GREY = (255, 255, 255), RAIN_SCALE.no_radar


def share(picture: NDArray[np.uint8], colour: str | tuple[int, int, int]) -> float:
    """Share of the picture's pixels that have exactly this colour."""
    rgb = [round(255 * v) for v in to_rgb(colour)] if isinstance(colour, str) else colour
    return float((picture == np.array(rgb)).all(axis=2).mean())


def fields(rate_mm_h: float, leads: int = 2, side: int = 32) -> NDArray[np.float32]:
    return np.full((leads, side, side), rate_mm_h, np.float32)


def test_rain_has_the_colours_of_the_maps() -> None:
    """One panel of seven is the last scan, two each are observed, forecast and error."""
    observed, forecast, last = fields(0.3), fields(3.0), fields(30.0, 1)
    picture = forecast_picture(observed, forecast, last)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    light, heavy, heaviest = (share(picture, RAIN_SCALE.colours[i]) for i in (1, 4, 7))
    assert heaviest > 0.05
    assert light == pytest.approx(2 * heaviest, rel=0.1)
    assert heavy == pytest.approx(2 * heaviest, rel=0.1)
    assert share(picture, GREY) == 0


def test_missing_areas_are_grey_in_observation_and_error_alone() -> None:
    observed = fields(0.3)
    share_of_panel = share(
        forecast_picture(observed, fields(3.0), fields(30.0, 1)), RAIN_SCALE.colours[7]
    )
    observed[:] = np.nan
    picture = forecast_picture(observed, fields(3.0), fields(30.0, 1))
    assert share(picture, GREY) == pytest.approx(4 * share_of_panel, rel=0.1)
    assert share(picture, RAIN_SCALE.colours[4]) == pytest.approx(2 * share_of_panel, rel=0.1)


def test_observed_and_not_forecast_is_not_the_grey_of_no_radar() -> None:
    observed, forecast = fields(0.3), fields(np.nan)
    picture = forecast_picture(observed, forecast, fields(30.0, 1))
    panel = share(picture, RAIN_SCALE.colours[7])
    assert share(picture, RAIN_SCALE.no_forecast) == pytest.approx(4 * panel, rel=0.1)
    assert share(picture, GREY) == 0


def row_means(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean colour of the middle of the lowest row of panels."""
    height, width, _ = picture.shape
    lowest = picture[round(0.75 * height) : round(0.9 * height), round(0.5 * width)]
    return lowest.mean(axis=0)


def test_too_wet_is_green_too_dry_brown_and_drizzle_no_error() -> None:
    last = fields(0.0, 1)
    wet, dry, same, drizzle = (
        row_means(forecast_picture(fields(a), fields(b), last))
        for a, b in ((0.0, 1.0), (1.0, 0.0), (2.0, 2.0), (0.05, 0.0))
    )
    assert wet[1] > wet[0] + 30
    assert dry[0] > dry[2] + 50
    assert np.ptp(same) < 2
    assert np.array_equal(same, drizzle)


@pytest.mark.parametrize(("leads", "columns"), [(1, 1), (6, 6), (12, 6), (13, 5), (24, 6)])
def test_at_most_six_lead_times_with_the_last(leads: int, columns: int) -> None:
    observed = fields(0.0, leads)
    observed[-1] = 30.0
    only = forecast_picture(fields(0.0, columns), fields(0.0, columns), fields(0.0, 1))
    picture = forecast_picture(observed, fields(0.0, leads), fields(0.0, 1))
    assert picture.shape == only.shape
    assert share(picture, RAIN_SCALE.colours[7]) > share(only, RAIN_SCALE.colours[7]) + 0.02


def test_lead_times_are_written_in_minutes_where_the_step_is_known() -> None:
    numbered = forecast_picture(fields(0.0), fields(0.0), fields(0.0, 1))
    five, ten = (forecast_picture(fields(0.0), fields(0.0), fields(0.0, 1), m) for m in (5, 10))
    assert numbered.shape == five.shape == ten.shape
    assert not np.array_equal(numbered, five)
    assert not np.array_equal(five, ten)


def test_drawn_in_a_moment_without_windows_left_behind() -> None:
    rain = np.random.default_rng(0).gamma(0.2, 5.0, (12, 512, 384)).astype(np.float32)
    start = time.process_time()
    picture = forecast_picture(rain, rain, rain[0], 5)
    assert time.process_time() - start < 3  # 0.4 s; room for a busy machine
    assert picture.shape[0] < 1000
    assert not plt.get_fignums()
