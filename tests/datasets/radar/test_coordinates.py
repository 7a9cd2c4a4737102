"""Coordinates, directions and projections of files, turned into a grid in metres."""

from typing import Any

import numpy as np
import pyproj
import pytest
import xarray as xr

from squall.datasets.errors import DataError
from squall.datasets.grid import proj_parameters
from squall.datasets.radar.coordinates import crs_of, harmonised_grid, in_metres

METRES = pyproj.CRS.from_epsg(3067)
DEGREES = pyproj.CRS.from_epsg(4326)


def axis(name: str, values: Any, units: str | None = "m") -> xr.DataArray:
    attributes = {} if units is None else {"units": units}
    return xr.DataArray(np.asarray(values), dims=name, name=name, attrs=attributes)


@pytest.mark.parametrize("unit", ["km", "kilometer", "Kilometres"])
def test_kilometres_become_metres(unit: str) -> None:
    grid, *_ = harmonised_grid(
        axis("x", [-0.5, 0.5, 1.5], unit), axis("y", [2, 1, 0], unit), METRES
    )
    np.testing.assert_array_equal(grid.x, [-500, 500, 1500])
    np.testing.assert_array_equal(grid.y, [2000, 1000, 0])


@pytest.mark.parametrize("unit", ["m", "metre", "meters", " M "])
def test_metres_stay(unit: str) -> None:
    grid, *_ = harmonised_grid(axis("x", [0, 10], unit), axis("y", [10, 0], unit), METRES)
    np.testing.assert_array_equal(grid.x, [0, 10])


@pytest.mark.parametrize("rows_up", [False, True])
@pytest.mark.parametrize("columns_reversed", [False, True])
def test_any_direction_becomes_north_up_and_eastward(rows_up: bool, columns_reversed: bool) -> None:
    x, y = np.arange(4) * 1000.0, np.arange(3)[::-1] * 1000.0
    grid, flip_rows, flip_columns = harmonised_grid(
        axis("x", x[::-1] if columns_reversed else x), axis("y", y[::-1] if rows_up else y), METRES
    )
    assert (flip_rows, flip_columns) == (rows_up, columns_reversed)
    np.testing.assert_array_equal(grid.x, x)
    np.testing.assert_array_equal(grid.y, y)


@pytest.mark.parametrize("units", [None, "", "1", "pixel", "mi", "cm"])
def test_coordinates_without_a_known_unit_are_rejected(units: str | None) -> None:
    with pytest.raises(DataError, match=r"'x' has units .*expected m or km") as caught:
        harmonised_grid(axis("x", [0, 1], units), axis("y", [1, 0]), METRES)
    assert "set 'coordinate_units: m' or 'coordinate_units: km'" in str(caught.value)


def test_degrees_on_a_geographic_grid() -> None:
    x, y = axis("lon", [10.0, 10.1], "degrees_east"), axis("lat", [50.0, 50.1], "degrees_north")
    grid, flip_rows, flip_columns = harmonised_grid(x, y, DEGREES)
    assert (flip_rows, flip_columns) == (True, False)
    np.testing.assert_array_equal(grid.y, [50.1, 50.0])


def test_metres_on_a_geographic_grid_are_rejected() -> None:
    with pytest.raises(DataError, match="'lat' has units 'm', expected degrees"):
        harmonised_grid(axis("lon", [0, 1], "degrees"), axis("lat", [1, 0]), DEGREES)


def test_irregular_coordinates_are_rejected() -> None:
    with pytest.raises(DataError, match="coordinates x, y: y is not regular"):
        harmonised_grid(axis("x", [0, 1]), axis("y", [3.0, 2.5, 0.0]), METRES)


# --- projections -------------------------------------------------------------------------------

KNMI_KM = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378140 +b=6356750 +units=km"


@pytest.mark.parametrize(
    "text",
    [
        "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752 +units=km",
        "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80 +units=km",
        "+proj=tmerc +lat_0=0 +lon_0=27 +x_0=500000 +ellps=GRS80 +to_meter=1000",
        "+proj=utm +zone=33 +ellps=WGS84 +units=us-ft",
    ],
)
def test_a_projection_in_kilometres_or_feet_becomes_the_same_in_metres(text: str) -> None:
    crs = pyproj.CRS.from_proj4(text)
    factor = crs.axis_info[0].unit_conversion_factor
    metres = in_metres(crs)
    assert [a.unit_conversion_factor for a in metres.axis_info] == [1.0, 1.0]
    in_units = pyproj.Transformer.from_crs(DEGREES, crs, always_xy=True).transform(12.0, 53.0)
    in_m = pyproj.Transformer.from_crs(DEGREES, metres, always_xy=True).transform(12.0, 53.0)
    np.testing.assert_allclose(in_m, np.array(in_units) * factor, rtol=0, atol=0.01)


@pytest.mark.parametrize("crs", [METRES, DEGREES])
def test_a_projection_in_metres_or_degrees_is_unchanged(crs: pyproj.CRS) -> None:
    assert in_metres(crs) is crs


def dataset(mapping: str | None, attributes: dict[str, Any], units: str = "m") -> xr.Dataset:
    rain = xr.DataArray(np.zeros((2, 2)), dims=("y", "x"), attrs={"units": "mm/h"})
    if mapping:
        rain.attrs["grid_mapping"] = mapping
    coords = {n: axis(n, [0.0, 1.0], units) for n in ("x", "y")}
    return xr.Dataset({"rain": rain, "crs": ((), 0, attributes)}, coords=coords)


def crs_of_rain(data: xr.Dataset) -> pyproj.CRS:
    return crs_of(data, data["rain"], data["x"], data["y"])


@pytest.mark.parametrize("mapping", ["crs", "crs: x y", " crs : x y"])
def test_the_grid_mapping_that_the_variable_names(mapping: str) -> None:
    assert crs_of_rain(dataset(mapping, {"crs_wkt": METRES.to_wkt()})).equals(METRES)


def test_the_grid_mapping_that_xarray_moved_into_the_encoding() -> None:
    data = dataset(None, {"spatial_ref": METRES.to_wkt()})
    data["rain"].encoding["grid_mapping"] = "crs"
    assert crs_of_rain(data).equals(METRES)


def test_a_mapping_in_kilometres_is_brought_to_metres() -> None:
    crs = pyproj.CRS.from_proj4(KNMI_KM)
    parameters = proj_parameters(crs_of_rain(dataset("crs", {"crs_wkt": crs.to_wkt()})))
    assert (parameters["units"], parameters["a"]) == ("m", 6378140)


def test_longitude_and_latitude_without_a_mapping_are_wgs_84() -> None:
    assert crs_of_rain(dataset(None, {}, units="degrees_east")).to_epsg() == 4326


@pytest.mark.parametrize(
    ("mapping", "attributes", "message"),
    [
        (None, {}, "has no grid_mapping; set 'crs'.*EPSG:3035"),
        ("projection", {}, "variable 'projection' is missing; set 'crs'"),
        (
            "crs",
            {},
            "grid mapping 'crs'.*for example 'crs: EPSG:3035'",
        ),
        (
            "crs",
            {"crs_wkt": "PROJCRS["},
            "'crs_wkt' is no valid CRS.*for example 'crs: EPSG:3035'",
        ),
        (
            "crs",
            {"grid_mapping_name": "flat"},
            "for example 'crs: EPSG:3035'",
        ),
    ],
)
def test_an_unusable_projection_is_rejected(
    mapping: str | None, attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        crs_of_rain(dataset(mapping, attributes))
