"""The highest value within 10 km: which pixels count, on projected and geographic grids."""

import numpy as np
import pyproj
import pytest

from squall.datasets.grid import grid_from_attributes
from squall.pipeline.forecast.neighbourhood import Neighbourhood

LAEA = pyproj.CRS("+proj=laea +lat_0=52 +lon_0=5").to_wkt()


def grid(crs_wkt=LAEA, spacing=1000.0, size=60, x=0.0, y=0.0):
    steps = np.arange(size) * spacing
    return grid_from_attributes(x + steps, y - steps, crs_wkt)


def highest_by_brute_force(values, height_km, width_km):
    rows, columns = np.indices(values.shape)
    result = np.empty_like(values)
    for i, j in np.ndindex(values.shape):
        distance = np.hypot((rows - i) * height_km, (columns - j) * width_km)
        result[i, j] = values[distance <= 10.0001].max()
    return result


@pytest.mark.parametrize("spacing", [500.0, 1000.0, 1500.0, 4000.0, 12000.0])
def test_it_is_the_maximum_over_a_disc(spacing):
    random = np.random.default_rng(0)
    values = np.where(random.random((60, 60)) < 0.02, random.integers(1, 7, (60, 60)), 0)
    values = values.astype(np.uint8)
    actual = Neighbourhood.on(grid(spacing=spacing), 10_000).highest(values)
    np.testing.assert_array_equal(
        actual, highest_by_brute_force(values, spacing / 1000, spacing / 1000)
    )


@pytest.mark.parametrize("pixels", [[], [(0, 59)], [(30, 2), (35, 20)], [(59, 0), (58, 30)]])
def test_the_part_of_the_grid_without_rain_is_skipped_rightly(pixels):
    values = np.zeros((60, 60), np.uint8)
    for number, pixel in enumerate(pixels):
        values[pixel] = 3 + number
    actual = Neighbourhood.on(grid(), 10_000).highest(values)
    np.testing.assert_array_equal(actual, highest_by_brute_force(values, 1, 1))


def test_on_a_geographic_grid_it_is_wider_in_pixels_near_the_pole():
    degrees = grid(pyproj.CRS("EPSG:4326").to_wkt(), 0.02, 1500, x=5.0, y=70.0)
    values = np.zeros(degrees.shape, np.uint8)
    rows = {70.0 - 0.02 * row: row for row in (20, 750, 1400)}
    for row in rows.values():
        values[row, 300] = 1
    reached = Neighbourhood.on(degrees, 10_000).highest(values)
    geod = pyproj.Geod(ellps="WGS84")
    for lat, row in rows.items():
        columns = np.flatnonzero(reached[row])
        ends = degrees.x[columns[[0, -1]]]
        assert 8_800 < geod.inv(ends[0], lat, ends[1], lat)[2] / 2 <= 10_001
        height = np.flatnonzero(reached[max(0, row - 30) : row + 30, 300])
        assert 7_800 < (len(height) - 1) / 2 * 0.02 * 111_200 < 10_100


def test_a_mercator_map_is_measured_on_the_ground():
    x, y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(5.0, 59.5)
    mercator = grid(pyproj.CRS(3857).to_wkt(), 1000.0, 60, x, y)
    values = np.zeros((60, 60), np.uint8)
    values[30, 30] = 1
    width = Neighbourhood.on(mercator, 10_000).highest(values)[30].sum()
    assert width == 39  # a pixel is 511 m wide, not 1 km


def test_pixel_of_a_place():
    laea = grid(x=-30_000.0, y=30_000.0)
    assert laea.pixel_at(52.0, 5.0) == (30, 30)
    assert laea.pixel_at(40.0, 5.0) is None
    degrees = grid(pyproj.CRS("EPSG:4326").to_wkt(), 0.5, 40, x=170.0, y=10.0)
    assert degrees.pixel_at(10.0, -180.0) == (0, 20)
    assert degrees.pixel_at(10.2, 180.2) == (0, 20)
    assert degrees.pixel_at(0.0, -170.5) == (20, 39)
    assert degrees.pixel_at(0.0, -169.5) is None
    counted = grid(pyproj.CRS("EPSG:4326").to_wkt(), 0.5, 40, x=185.0, y=10.0)
    assert counted.pixel_at(10.0, -175.0) == (0, 0)
