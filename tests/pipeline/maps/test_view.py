"""Which part of the grid is shown: what the radar sees, or the box that the user gives."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from squall.datasets.errors import ConfigError
from squall.pipeline.maps.config import MapsConfig
from squall.pipeline.maps.run import maps
from squall.pipeline.maps.view import view_of
from tests.pipeline.maps.map_examples import forecast_dataset, load

pytestmark = pytest.mark.usefixtures("gshhg_only")
WHOLE = (slice(None), slice(None))


def test_the_map_shows_what_the_radar_sees() -> None:
    forecast = forecast_dataset(1)
    for name in ("rain_rate", "observed_rain_rate"):
        forecast[name][:, :40] = np.nan
        forecast[name][:, :, :10] = np.nan
    assert view_of(forecast) == (slice(38, 64), slice(8, 61))
    # Rain that is forecast where nothing was observed is shown.
    forecast["rain_rate"][0, 20, 30] = 1
    assert view_of(forecast).rows == slice(18, 64)


def test_the_whole_grid_is_shown_if_little_or_all_of_it_is_unseen() -> None:
    forecast = forecast_dataset(1)
    assert view_of(forecast) == WHOLE  # 5 of 64 columns are not observed
    for name in ("rain_rate", "observed_rain_rate"):
        forecast[name][:] = np.nan
    assert view_of(forecast) == WHOLE


@pytest.mark.parametrize("shift", [0, 360])
def test_a_box_is_cut_out_of_a_geographic_grid(shift: float) -> None:
    forecast = forecast_dataset(1, grid="geographic")  # 3 to 6.78 east, 54 to 50.22 north
    forecast = forecast.assign_coords(x=forecast["x"] + shift)
    view = view_of(forecast, (4.0, 5.0, 51.0, 52.5))
    shown = forecast.isel(y=view.rows, x=view.columns)
    assert shown["x"].values[[0, -1]] - shift == pytest.approx([4.0, 5.0], abs=0.06)
    assert shown["y"].values[[0, -1]] == pytest.approx([52.5, 51.0], abs=0.06)


def test_a_box_is_cut_out_of_a_projected_grid() -> None:
    forecast = forecast_dataset(1)
    view = view_of(forecast, (4.0, 6.0, 51.0, 53.0))
    assert 12 < view.rows.stop - view.rows.start < 40
    assert 12 < view.columns.stop - view.columns.start < 40


def test_a_box_outside_of_the_grid_is_refused() -> None:
    for box in ((100.0, 110.0, 51.0, 53.0), (4.0, 4.1, 51.0, 51.1)):
        with pytest.raises(ConfigError, match=r"--extent .* grid, which reaches from -?\d"):
            view_of(forecast_dataset(1), box)


@pytest.mark.parametrize("words", [("4", "6", "51", "53"), ("4,6,51,53",), "4, 6, 51, 53"])
def test_numbers_may_stand_between_commas(words: object) -> None:
    config = MapsConfig(forecast="f.nc", out="out", extent=words, levels=["1,5", "20"])
    assert config.extent == (4, 6, 51, 53)
    assert config.levels == (1, 5, 20)


def test_an_extent_may_cross_the_date_line() -> None:
    assert MapsConfig(forecast="f.nc", out="o", extent=(170, -170, -10, 5)).extent[:2] == (170, 190)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("extent", (4, 6, 51)),
        ("extent", (4, 6, 53, 51)),
        ("extent", (4, 6, 51, 99)),
        ("extent", "west"),
        ("levels", (1,)),
        ("levels", (5, 1)),
        ("levels", (0, 1)),
        ("levels", (1, float("nan"))),
        ("levels", (1, float("inf"))),
        ("timezone", "Rome"),
        ("timezone", "../UTC"),
        ("timezone", ""),
        ("animation_format", "mp4"),
        ("dpi", 5000),
    ],
)
def test_wrong_values_are_refused(option: str, value: object) -> None:
    with pytest.raises(ValidationError, match=option):
        MapsConfig(forecast="f.nc", out="out", **{option: value})


def test_the_extent_changes_the_map(write: Callable[[xr.Dataset], MapsConfig]) -> None:
    config = write(forecast_dataset(1))
    whole = load(maps(config).maps[0])
    part = load(maps(config.model_copy(update={"extent": (3.0, 6.0, 51.0, 53.0)})).maps[0])
    assert whole.shape != part.shape or (whole != part).any()
    rain = [(p == p[0, 0]).all(-1).mean() for p in (whole, part)]
    assert rain[0] != rain[1]
