"""Rounded coordinates become the regular line they stand for; irregular ones stay irregular."""

import numpy as np
import pyproj
import pytest
import xarray as xr

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.datasets.radar.coordinates import harmonised_grid
from squall.datasets.radar.regular_axis import without_rounding

DOUBLE, SINGLE = np.dtype(np.float64), np.dtype(np.float32)


@pytest.mark.parametrize(
    ("step", "decimals"), [(0.0126, 3), (0.009, 3), (0.00265, 4), (0.0833333, 2), (1.045, 1)]
)
@pytest.mark.parametrize("count", [8, 373])
def test_decimals_are_no_irregular_steps(step: float, decimals: int, count: int) -> None:
    exact = 8.5 + step * np.arange(count)
    rounded = np.round(exact, decimals)
    line = without_rounding(rounded, DOUBLE)
    assert np.abs(line - exact).max() < 0.5 * 10.0**-decimals
    steps = np.diff(line)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    if count > 100:
        assert np.abs(line - exact).max() < 0.02 * step  # as far as `Grid.difference` tolerates


def test_single_precision_of_small_pixels() -> None:
    exact = 170 + 0.0005 * np.arange(500)
    stored = exact.astype(np.float32).astype(np.float64)
    assert np.ptp(np.diff(stored)) > 0.01 * 0.0005
    line = without_rounding(stored, SINGLE)
    assert np.ptp(np.diff(line)) < 1e-9
    assert np.abs(line - exact).max() < 0.02 * 0.0005
    # the same numbers in double precision have no reason to be irregular
    np.testing.assert_array_equal(without_rounding(stored, DOUBLE), stored)


def test_regular_coordinates_stay_as_they_are() -> None:
    exact = 0.1 * np.arange(50)
    assert without_rounding(exact, DOUBLE) is exact


@pytest.mark.parametrize(
    "irregular",
    [
        [0.0, 1, 3, 4],
        [3.0, 2.5, 0.0],
        np.delete(np.arange(100.0), 50),  # a column is missing
        np.sinh(np.linspace(0, 2, 30)),
        np.round(10 * np.sinh(np.linspace(0, 2, 30)), 1),
        # steps of one or two units of the last digit: too coarse to tell what they stand for
        np.round(8.5 + 0.0126 * np.arange(100), 2),
    ],
)
def test_irregular_coordinates_are_refused(irregular: list[float]) -> None:
    x = xr.DataArray(np.asarray(irregular, float), dims="x", name="x", attrs={"units": "m"})
    y = xr.DataArray([1.0, 0.0], dims="y", name="y", attrs={"units": "m"})
    with pytest.raises(DataError, match="x is not regular"):
        harmonised_grid(x, y, pyproj.CRS.from_epsg(3067))


def test_small_differences_of_steps_must_not_add_up() -> None:
    """Each step is within 1 %, but pixels in the middle lie one pixel off."""
    steps = np.linspace(0.996, 1.004, 1000)
    x = np.concatenate([[0.0], np.cumsum(steps)])
    with pytest.raises(ValueError, match=r"x is not regular: pixels lie up to 1 pixels"):
        Grid(x, np.array([1.0, 0.0]), pyproj.CRS.from_epsg(3067).to_wkt())


def test_rounded_longitudes_across_180_degrees() -> None:
    exact = 179.0 + 0.0126 * np.arange(200)
    written = np.round((exact + 180) % 360 - 180, 3)
    x = xr.DataArray(written, dims="lon", name="lon", attrs={"units": "degrees_east"})
    y = xr.DataArray([1.0, 0.0], dims="lat", name="lat", attrs={"units": "degrees_north"})
    grid, *_ = harmonised_grid(x, y, pyproj.CRS.from_epsg(4326))
    assert np.abs(grid.x - exact).max() < 0.0005
