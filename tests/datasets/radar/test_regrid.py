"""Nearest-pixel regridding against a search among all pixels."""

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.datasets.coding import RAIN_CODE
from squall.datasets.grid import Grid
from squall.datasets.radar.regrid import nearest

LAEA = pyproj.CRS.from_epsg(3035).to_wkt()
UTM = pyproj.CRS.from_epsg(3067).to_wkt()
WGS84 = pyproj.CRS.from_epsg(4326).to_wkt()


def grid(x: float, y: float, shape: tuple[int, int], spacing: float, crs: str) -> Grid:
    height, width = shape
    return Grid(x + np.arange(width) * spacing, y - np.arange(height) * spacing, crs)


def nearest_by_search(
    codes: np.ndarray, source: Grid, target: Grid
) -> tuple[np.ndarray, np.ndarray]:
    """The code of the nearest source pixel (by axis), and where it is not midway between two."""
    height, width = source.pixel_size
    regridded = np.full(target.shape, RAIN_CODE.NOT_OBSERVED, np.uint8)
    is_clear = np.ones(target.shape, bool)
    to_source = pyproj.Transformer.from_crs(target.crs, source.crs, always_xy=True)
    for row, y in enumerate(target.y):
        for column, x in enumerate(target.x):
            source_x, source_y = to_source.transform(x, y)
            off_x, off_y = np.abs(source.x - source_x) / width, np.abs(source.y - source_y) / height
            is_clear[row, column] = min(abs(off_x.min() - 0.5), abs(off_y.min() - 0.5)) > 1e-6
            if off_x.min() <= 0.5 and off_y.min() <= 0.5:
                regridded[row, column] = codes[off_y.argmin(), off_x.argmin()]
    return regridded, is_clear


def assert_nearest(source: Grid, target: Grid) -> None:
    codes = (np.arange(np.prod(source.shape)) % 251).astype(np.uint8).reshape(source.shape)
    regridded = nearest(codes, source, target)
    expected, is_clear = nearest_by_search(codes, source, target)
    assert regridded.dtype == np.uint8
    assert regridded.shape == target.shape
    np.testing.assert_array_equal(regridded[is_clear], expected[is_clear])
    assert (regridded != RAIN_CODE.NOT_OBSERVED).any()


def test_regridding_to_the_same_grid_changes_nothing() -> None:
    same_grid = grid(0, 0, (7, 9), 1000, LAEA)
    codes = np.arange(63, dtype=np.uint8).reshape(7, 9)
    np.testing.assert_array_equal(nearest(codes, same_grid, same_grid), codes)


@given(
    st.floats(-4000, 4000),
    st.floats(-4000, 4000),
    st.sampled_from([400.0, 1000.0, 1700.0, 2500.0]),
)
@settings(max_examples=40)
def test_any_shift_and_spacing(x: float, y: float, spacing: float) -> None:
    source, target = grid(0, 0, (7, 9), 1000, LAEA), grid(x, y, (6, 5), spacing, LAEA)
    codes = (np.arange(63) + 1).astype(np.uint8).reshape(7, 9)
    expected, is_clear = nearest_by_search(codes, source, target)
    np.testing.assert_array_equal(nearest(codes, source, target)[is_clear], expected[is_clear])


@pytest.mark.parametrize("factor", [2, 3])
def test_a_finer_grid_repeats_the_pixels(factor: int) -> None:
    source = grid(0, 0, (4, 5), 1000, LAEA)
    fine = 1000 / factor
    edge = -500 + fine / 2
    target = grid(edge, -edge, (4 * factor, 5 * factor), fine, LAEA)
    codes = np.arange(20, dtype=np.uint8).reshape(4, 5)
    expected = codes.repeat(factor, axis=0).repeat(factor, axis=1)
    np.testing.assert_array_equal(nearest(codes, source, target), expected)


def test_from_one_projection_to_another() -> None:
    target = grid(290_000, 6_900_000, (40, 30), 1500, UTM)
    x, y = pyproj.Transformer.from_crs(UTM, LAEA, always_xy=True).transform(320_000, 6_870_000)
    assert_nearest(grid(round(x) - 30_000, round(y) + 30_000, (30, 30), 2000, LAEA), target)


def test_from_degrees_to_metres_and_back() -> None:
    degrees = grid(24.0, 62.5, (80, 90), 0.02, WGS84)
    metres = grid(380_000, 6_900_000, (30, 40), 2000, UTM)
    assert_nearest(degrees, metres)
    assert_nearest(metres, degrees)


def test_longitudes_that_count_to_360() -> None:
    west = grid(-100.0, 40.0, (20, 20), 0.1, WGS84)
    east = grid(260.0, 40.0, (20, 20), 0.1, WGS84)
    codes = np.arange(400).reshape(20, 20).astype(np.uint8)
    np.testing.assert_array_equal(nearest(codes, east, west), codes)
    np.testing.assert_array_equal(nearest(codes, west, east), codes)


def test_pixels_outside_the_source_are_not_observed() -> None:
    source = grid(0, 0, (4, 5), 1000, LAEA)
    codes = np.zeros((4, 5), np.uint8)
    apart = nearest(codes, source, grid(9e5, 9e5, (3, 3), 1000, LAEA))
    assert (apart == RAIN_CODE.NOT_OBSERVED).all()
    around = nearest(codes, source, grid(-1000, 1000, (6, 7), 1000, LAEA))
    assert (around[1:-1, 1:-1] == 0).all()
    frame = around.copy()
    frame[1:-1, 1:-1] = RAIN_CODE.NOT_OBSERVED
    assert (frame == RAIN_CODE.NOT_OBSERVED).all()


def test_the_other_side_of_the_earth_is_not_observed() -> None:
    """PROJ returns infinity for a point outside the projection."""
    source = grid(200_000, 7_000_000, (10, 10), 10_000, UTM)
    target = grid(-180.0, 80.0, (9, 18), 20.0, WGS84)
    regridded = nearest(np.zeros((10, 10), np.uint8), source, target)
    assert (regridded == RAIN_CODE.NOT_OBSERVED).all()
