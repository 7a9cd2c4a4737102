"""Large grids: maps read and keep no more pixels than a picture shows."""

import tracemalloc
from collections.abc import Callable

import dask
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from squall.pipeline.forecast.forecast_file import open_forecast
from squall.pipeline.maps import run as maps_module
from squall.pipeline.maps.config import MapsConfig
from squall.pipeline.maps.projection import grid_extent
from squall.pipeline.maps.run import maps
from squall.pipeline.maps.sampling import sampled, sampled_axis, sampled_forecast, samples
from squall.pipeline.maps.view import view_of
from tests.pipeline.maps.map_examples import forecast_dataset, load, panels_of

pytestmark = pytest.mark.usefixtures("gshhg_only")


def large_forecast(size: int, leads: int = 2) -> xr.Dataset:
    """Smooth waves of rain on a square grid, with a corner that no radar observes."""
    forecast = forecast_dataset(leads, size=64)
    x, y = (np.linspace(first, last, size) for first, last in ((100e3, 604e3), (-3.9e6, -4.404e6)))
    waves = np.sin(np.arange(size) / size * 12)
    rain = (6 * np.maximum(waves[:, None] * waves, 0)).astype(np.float32)
    rain[: size // 10, : size // 10] = np.nan
    fields = {
        name: (dims, np.stack([rain] * count), {"units": "mm h-1", "grid_mapping": "spatial_ref"})
        for name, dims, count in (
            ("rain_rate", ("lead_time", "y", "x"), leads),
            ("observed_rain_rate", ("context_time", "y", "x"), 2),
        )
    }
    return forecast.drop_dims(["x", "y"]).assign(fields).assign_coords(x=x, y=y)


def test_samples_are_pixels_in_the_middle_of_equal_parts() -> None:
    field = np.arange(8 * 12, dtype=np.float32).reshape(8, 12)
    np.testing.assert_array_equal(
        sampled(field, (4, 3)), np.where(field[1::2, 2::4] == 94, 95, field[1::2, 2::4])
    )
    codes = field.astype(np.uint8)
    np.testing.assert_array_equal(sampled(codes, (4, 3)), codes[1::2, 2::4])
    assert sampled(field, (8, 12)) is field
    np.testing.assert_array_equal(sampled(np.stack([field] * 2), (4, 3))[1], sampled(field, (4, 3)))


def test_the_highest_rate_is_kept_where_no_sample_has_it() -> None:
    field = np.full((30, 40), np.nan, np.float32)
    field[:, :20] = 0
    field[21, 13] = 7
    few = sampled(field, (3, 4))
    assert few[2, 1] == 7
    assert np.count_nonzero(few == 0) == 5
    assert np.isnan(sampled(np.full((30, 40), np.nan, np.float32), (3, 4))).all()


@pytest.mark.parametrize("count", [5, 16, 64])
def test_the_outer_edges_of_an_axis_stay(count: int) -> None:
    x = 1000.0 + 250.0 * np.arange(64)
    few = sampled_axis(x, count)
    assert few.shape == (count,)
    np.testing.assert_allclose(grid_extent(few, -few), grid_extent(x, -x))


def test_a_grid_that_fits_is_not_touched() -> None:
    forecast = forecast_dataset(2)
    assert sampled_forecast(forecast, (64, 64)) is forecast
    assert samples(64, 7.6, 110) == 64
    assert samples(7000, 7.6, 110) == 1672


def test_chances_and_fields_of_members_are_sampled_one_by_one() -> None:
    forecast = forecast_dataset(2)
    chances = np.random.default_rng(1).random((3, 2, 64, 64)).astype(np.float32)
    forecast["chances"] = (("threshold", "lead_time", "y", "x"), chances)
    few = sampled_forecast(forecast, (16, 32))
    assert few["chances"].chunks == ((1, 1, 1), (1, 1), (16,), (32,))
    np.testing.assert_array_equal(few["chances"].values, sampled(chances, (16, 32)))
    assert dict(few.sizes) == dict(forecast.sizes) | {"y": 16, "x": 32, "threshold": 3}
    assert few.attrs == forecast.attrs


def test_maps_of_a_large_grid_look_as_with_all_pixels(
    write: Callable[[xr.Dataset], MapsConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(large_forecast(1300, leads=1))
    few = maps(config)
    pictures = [load(path) for path in (*few.maps, few.overview)]
    monkeypatch.setattr(maps_module, "samples", lambda size, inches, dpi: size)
    whole = maps(config)
    for path, picture in zip((*whole.maps, whole.overview), pictures, strict=True):
        expected = load(path)
        assert picture.shape == expected.shape
        # colours change at most along the edges of their areas
        assert (picture != expected).any(-1).mean() < 0.02


def test_the_panels_of_a_large_grid_are_small(
    write: Callable[[xr.Dataset], MapsConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(large_forecast(1300))
    rain = large_forecast(1300)["rain_rate"]
    observed = rain.swap_dims(lead_time="time").drop_vars("lead_time")
    monkeypatch.setattr(maps_module, "draw_map", lambda *args, **options: Figure((1, 1)))
    panels = panels_of(monkeypatch, config, observed)
    assert {panel.rain_rate_mm_h.shape for panel in panels} == {(576, 608)}


def test_reading_holds_no_more_than_a_few_fields_of_the_grid(
    write: Callable[[xr.Dataset], MapsConfig],
) -> None:
    config = write(large_forecast(1500, leads=10))
    tracemalloc.start()
    try:
        with open_forecast(config.forecast) as opened, dask.config.set(scheduler="synchronous"):
            view_of(opened)
            sampled_forecast(opened, (576, 608))[["rain_rate", "observed_rain_rate"]].load()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 10 lead times and 2 scans at a sixth of the pixels, and what reads one field
    assert peak < (12 / 6 + 3.5) * 1500 * 1500 * 4
