"""Rotated poles, jumps of longitude, scanning angles, and descriptions that contradict."""

from typing import Any

import numpy as np
import pyproj
import pytest
import xarray as xr
from pydantic import ValidationError

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid, grid_mapping_attributes, is_rotated, proj_parameters
from squall.datasets.mlcast.metadata import _coordinates
from squall.datasets.radar.coordinates import crs_of, harmonised_grid
from tests.datasets.radar.radar_files import config

DEGREES = pyproj.CRS.from_epsg(4326)
ROTATED = {
    "grid_mapping_name": "rotated_latitude_longitude",
    "grid_north_pole_latitude": 39.25,
    "grid_north_pole_longitude": -162.0,
}
GEOS = pyproj.CRS.from_user_input("+proj=geos +h=35785831 +lon_0=0 +sweep=y +ellps=WGS84")
LCC = "+proj=lcc +lat_0=45 +lon_0=10 +lat_1=45 +x_0=500000 +ellps=WGS84"


def axis(name: str, values: Any, units: str, **attributes: str) -> xr.DataArray:
    return xr.DataArray(
        np.asarray(values, float), dims=name, name=name, attrs={"units": units, **attributes}
    )


def crs_of_file(attributes: dict[str, Any], x: xr.DataArray, y: xr.DataArray) -> pyproj.CRS:
    rain = xr.DataArray(np.zeros((y.size, x.size)), dims=("y", "x"), attrs={"grid_mapping": "crs"})
    data = xr.Dataset({"rain": rain, "crs": ((), 0, attributes)})
    return crs_of(data, data["rain"], x, y)


def rotated_axes(units: str = "degrees") -> tuple[xr.DataArray, xr.DataArray]:
    return (
        axis("rlon", [-1.0, 0.0, 1.0], units, standard_name="grid_longitude"),
        axis("rlat", [0.0, 1.0, 2.0], units, standard_name="grid_latitude"),
    )


def test_a_rotated_pole_is_not_written_as_longitude_and_latitude() -> None:
    x, y = rotated_axes()
    grid, flip_rows, _ = harmonised_grid(x, y, crs_of_file(ROTATED, x, y))
    assert is_rotated(grid.crs)
    assert flip_rows
    assert grid.projection_name == "rotated latitude and longitude"
    coords = grid.coords()
    assert coords["x"][2]["standard_name"] == "grid_longitude"
    assert coords["y"][2]["standard_name"] == "grid_latitude"
    mapping = coords["spatial_ref"][2]
    assert mapping["grid_mapping_name"] == "rotated_latitude_longitude"
    exported = _coordinates(grid)
    # the rotated origin is opposite the pole's meridian, 90° from the pole
    assert exported["lat"].values[2, 1] == pytest.approx(50.75)
    assert exported["lon"].values[2, 1] == pytest.approx(18.0)


def test_the_corners_of_a_rotated_grid_by_the_formula_of_the_rotation() -> None:
    x, y = rotated_axes()
    grid, *_ = harmonised_grid(x, y, crs_of_file(ROTATED, x, y))
    to_lonlat = pyproj.Transformer.from_crs(grid.crs, 4326, always_xy=True)
    pole = np.radians(ROTATED["grid_north_pole_latitude"])
    for column, row in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        rlon, rlat = np.radians([grid.x[column], grid.y[row]])
        sine = np.cos(pole) * np.cos(rlat) * np.cos(rlon) + np.sin(pole) * np.sin(rlat)
        east = np.cos(rlat) * np.sin(rlon)
        north = np.sin(pole) * np.cos(rlat) * np.cos(rlon) - np.cos(pole) * np.sin(rlat)
        lon = np.degrees(np.arctan2(east, north)) + ROTATED["grid_north_pole_longitude"] + 180
        expected = lon, np.degrees(np.arcsin(sine))
        np.testing.assert_allclose(to_lonlat.transform(grid.x[column], grid.y[row]), expected)


def test_rotated_coordinates_without_a_rotated_pole_are_refused() -> None:
    x, y = rotated_axes()
    with pytest.raises(DataError, match="one of a rotated pole, but the CRS 'WGS 84' has none"):
        harmonised_grid(x, y, DEGREES)
    advised = "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18"
    assert config(crs=advised).crs == advised
    grid, *_ = harmonised_grid(x, y, pyproj.CRS.from_user_input(advised))
    lonlat = pyproj.Transformer.from_crs(grid.crs, 4326, always_xy=True).transform(0, 0)
    np.testing.assert_allclose(lonlat, (18.0, 50.75))


@pytest.mark.parametrize(
    ("longitudes", "expected"),
    [
        ([178.5, 179.5, -179.5], [178.5, 179.5, 180.5]),
        ([358.5, 359.5, 0.5], [-1.5, -0.5, 0.5]),
        ([-179.5, 179.5, 178.5], [178.5, 179.5, 180.5]),  # from east to west
        ([179.5, 180.5, 181.5], [179.5, 180.5, 181.5]),
        ([230.0, 231.0, 232.0], [230.0, 231.0, 232.0]),
    ],
)
def test_longitudes_that_jump_are_one_grid(longitudes: list[float], expected: list[float]) -> None:
    x = axis("lon", longitudes, "degrees_east")
    grid, *_ = harmonised_grid(x, axis("lat", [1.0, 0.0], "degrees_north"), DEGREES)
    np.testing.assert_array_equal(grid.x, expected)
    other = Grid(grid.x - 360, grid.y, grid.crs_wkt)
    assert grid.difference(other) is None
    assert "x coordinates differ" in str(grid.difference(Grid(grid.x - 359, grid.y, grid.crs_wkt)))


def test_the_area_of_a_grid_across_180_degrees() -> None:
    grid = Grid(np.array([179.0, 180, 181]), np.array([1.0, 0]), DEGREES.to_wkt())
    text = str(_coordinates(grid)["crs"].attrs["crs_wkt"])
    assert "BBOX[0,179,1,-179]" in text


def test_an_export_of_corners_off_the_disc_has_no_longitude_there() -> None:
    numbers = np.arange(-5.4e6, 5.5e6, 1.08e6)
    exported = _coordinates(Grid(numbers, numbers[::-1].copy(), GEOS.to_wkt()))
    lon = exported["lon"].values
    assert np.isnan(lon[0, 0])
    assert lon[5, 5] == pytest.approx(0, abs=1)
    assert not np.isinf(exported["lat"].values).any()


@pytest.mark.parametrize("units", ["rad", "radian", "radians"])
def test_scanning_angles_become_metres(units: str) -> None:
    x, y = axis("x", [-0.001, 0, 0.001], units), axis("y", [0.001, 0], units)
    grid, *_ = harmonised_grid(x, y, GEOS)
    np.testing.assert_allclose(grid.x, [-35785.831, 0, 35785.831])
    with pytest.raises(DataError, match="expected m or km"):
        harmonised_grid(x, y, pyproj.CRS.from_user_input(LCC))


def test_wkt_and_parameters_that_contradict_are_refused() -> None:
    x, y = axis("x", [5e5, 5.01e5], "m"), axis("y", [1e3, 0], "m")
    right = pyproj.CRS.from_user_input(LCC)
    parameters = grid_mapping_attributes(right)
    assert crs_of_file(parameters, x, y).equals(right)
    for key, value in (
        ("longitude_of_central_meridian", 11.0),
        ("false_easting", 0.0),
        ("spatial_ref", pyproj.CRS.from_epsg(3035).to_wkt()),
        ("grid_mapping_name", "latitude_longitude"),
    ):
        with pytest.raises(DataError, match=r"put the grid's corners .* apart; set 'crs'"):
            crs_of_file(parameters | {key: value}, x, y)
    # parameters without the Earth's shape leave it to the WKT
    shape = {"semi_major_axis", "semi_minor_axis", "inverse_flattening", "reference_ellipsoid_name"}
    bare = {key: value for key, value in parameters.items() if key not in shape}
    assert crs_of_file(bare, x, y).equals(right)


def test_false_easting_is_in_the_unit_of_the_coordinates() -> None:
    x, y = axis("x", [500, 501], "km"), axis("y", [100, 99], "km")
    named = {
        "grid_mapping_name": "lambert_conformal_conic", "standard_parallel": 45.0,
        "latitude_of_projection_origin": 45.0, "longitude_of_central_meridian": 10.0,
    }  # fmt: skip
    crs = crs_of_file(named | {"false_easting": 500.0}, x, y)
    assert proj_parameters(crs)["x_0"] == 500_000
    with pytest.raises(DataError, match="larger than the Earth"):
        crs_of_file(named | {"false_easting": 500_000.0}, x, y)


def test_an_earth_in_kilometres_is_refused() -> None:
    x, y = axis("x", [0, 1], "km"), axis("y", [1, 0], "km")
    named = {"grid_mapping_name": "polar_stereographic", "earth_radius": 6378.1}
    polar = {"straight_vertical_longitude_from_pole": 0.0, "standard_parallel": 60.0}
    with pytest.raises(DataError, match=r"radius of 6378.1 m.*in metres"):
        crs_of_file(named | polar, x, y)


@pytest.mark.parametrize("units", ["metres", "kilometers", "Degrees", "radian"])
def test_words_for_coordinate_units(units: str) -> None:
    assert config(coordinate_units=units).coordinate_units in ("m", "km", "degrees", "radians")


@pytest.mark.parametrize("units", ["miles", "cm", "pixel", ""])
def test_unknown_coordinate_units_are_refused_in_the_configuration(units: str) -> None:
    with pytest.raises(ValidationError, match="is not one of m, km, degrees, radians"):
        config(coordinate_units=units)


def test_swiss_grids_give_no_warning() -> None:
    for code in (21781, 2056):
        grid = Grid(
            np.array([0.0, 1000]), np.array([1000.0, 0]), pyproj.CRS.from_epsg(code).to_wkt()
        )
        assert grid.coords()["spatial_ref"][2]["crs_wkt"]
        assert grid.projection_name
