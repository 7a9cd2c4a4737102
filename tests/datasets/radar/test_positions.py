"""Two-dimensional longitude and latitude: the grid they lie on, and what is refused."""

import numpy as np
import pyproj
import pytest

from squall.datasets.errors import DataError
from squall.datasets.radar.positions import fitted_axes

SWISS = pyproj.CRS.from_epsg(2056)
ROTATED = pyproj.CRS.from_user_input(
    "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18"
)
GEOS = pyproj.CRS.from_user_input("+proj=geos +h=35785863 +lon_0=0 +ellps=WGS84")
NAMES = "variables 'lat' and 'lon'"


def positions(x: np.ndarray, y: np.ndarray, crs: pyproj.CRS) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude (H, W) of a grid, on its own Earth."""
    lonlat = crs.source_crs if crs.is_derived and crs.is_geographic else crs.geodetic_crs
    back = pyproj.Transformer.from_crs(crs, lonlat, always_xy=True)
    lon, lat = back.transform(*np.meshgrid(x, y))
    return np.where(np.isfinite(lon), lon, np.nan), np.where(np.isfinite(lat), lat, np.nan)


@pytest.mark.parametrize(
    ("crs", "x", "y"),
    [
        (SWISS, 2.48e6 + 1000.0 * np.arange(40), 1.3e6 - 1000.0 * np.arange(30)),
        (SWISS, 2.52e6 - 1000.0 * np.arange(40), 1.2e6 + 500.0 * np.arange(30)),
        (ROTATED, -2 + 0.02 * np.arange(40), 1 + 0.02 * np.arange(30)),
        (GEOS, -5.5e6 + 1e5 * np.arange(111), 5.5e6 - 1e5 * np.arange(111)),  # corners in space
        (pyproj.CRS.from_epsg(4326), 179 + 0.1 * np.arange(30), 50 - 0.1 * np.arange(20)),
    ],
)
def test_the_axes_are_found_in_both_directions(
    crs: pyproj.CRS, x: np.ndarray, y: np.ndarray
) -> None:
    lon, lat = positions(x, y, crs)
    columns, rows = fitted_axes((lon + 180) % 360 - 180, lat, crs, NAMES)
    pixel = abs(x[1] - x[0])
    turn = 360 * np.round((columns[0] - x[0]) / 360) if crs.is_geographic else 0
    np.testing.assert_allclose(columns - turn, x, atol=0.01 * pixel)
    np.testing.assert_allclose(rows, y, atol=0.01 * pixel)


def test_single_precision_is_good_enough() -> None:
    x, y = 2.48e6 + 500.0 * np.arange(40), 1.3e6 - 500.0 * np.arange(30)
    lon, lat = (v.astype(np.float32).astype(float) for v in positions(x, y, SWISS))
    columns, rows = fitted_axes(lon, lat, SWISS, NAMES)
    np.testing.assert_allclose(columns, x, atol=2)
    np.testing.assert_allclose(rows, y, atol=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lon, lat: (lon, lat[::-1]), r"no regular grid in 'CH1903\+ / LV95'.*set 'crs'"),
        (lambda lon, lat: (lon.T, lat.T), "no regular grid"),
        (
            lambda lon, lat: (lon + (lon == lon[3, 4]) * 0.005, lat),
            r"row 3, column 4 lies 0\.3.*m\)",
        ),
        (lambda lon, lat: (lon * np.nan, lat), "fewer than 2 rows and columns"),
        (lambda lon, lat: (np.where(np.arange(30) == 1, lon, np.nan), lat), "fewer than 2"),
        (lambda lon, lat: (lon * 0 + 8, lat * 0 + 47), "no regular grid"),
    ],
)
def test_other_positions_are_refused_with_the_distance(change, message: str) -> None:
    x, y = 2.6e6 + 1000.0 * np.arange(30), 1.2e6 - 1000.0 * np.arange(30)
    lon, lat = change(*positions(x, y, SWISS))
    with pytest.raises(DataError, match=message):
        fitted_axes(lon, lat, SWISS, NAMES)


def test_another_projection_than_the_right_one_is_refused() -> None:
    lon, lat = positions(2.5e6 + 1000.0 * np.arange(200), 1.3e6 - 1000.0 * np.arange(200), SWISS)
    for wrong in (4326, 3035, 32632):
        with pytest.raises(DataError, match="no regular grid"):
            fitted_axes(lon, lat, pyproj.CRS.from_epsg(wrong), NAMES)
