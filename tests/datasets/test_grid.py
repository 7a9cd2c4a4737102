"""The grid: what is refused, when two grids are the same, and the round trip through CF files."""

from dataclasses import replace

import numpy as np
import pyproj
import pytest
import xarray as xr

from squall.datasets.errors import DataError
from squall.datasets.grid import (
    GRID_MAPPING,
    Grid,
    crs_from_attributes,
    grid_from_attributes,
    grid_mapping_attributes,
    lonlat_crs,
    proj_parameters,
)

ASCENDING = np.arange(5) * 1000.0
DESCENDING = ASCENDING[::-1].copy()


def wkt(name: str = "EPSG:3067") -> str:
    return pyproj.CRS.from_user_input(name).to_wkt()


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (DESCENDING, DESCENDING, "x must rise"),
        (ASCENDING, ASCENDING, "y must fall"),
        (np.array([0.0, 1, 1, 2, 3]), DESCENDING, "x must rise"),
        (np.array([0.0, 1000, np.nan, 3000, 4000]), DESCENDING, "x must rise"),
        (ASCENDING, np.full(5, np.nan), "y must fall"),
        (np.array([0.0, 1000, 2050, 3000]), DESCENDING, "x is not regular: spacing from 950"),
        (ASCENDING[:1], DESCENDING, "x must be one-dimensional with 2 or more"),
        (ASCENDING, np.zeros((2, 2)), "y must be one-dimensional"),
    ],
)
def test_coordinates_that_are_refused(x: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid(x, y, wkt())


def test_shape_and_pixel_size(grid: Grid) -> None:
    oblong = Grid(x=np.arange(4) * 2000.0, y=np.array([3000.0, 0.0]), crs_wkt=wkt())
    assert grid.shape == (48, 64)
    assert oblong.pixel_size == (3000.0, 2000.0)
    assert oblong.pixel_size_m == 2500.0


def test_pixels_of_a_geographic_grid_in_metres() -> None:
    # at 60° N a degree of longitude is half as long as a degree of latitude: (1112 + 556) / 2
    degrees = Grid(
        x=10 + np.arange(3) * 0.01, y=60.01 - np.arange(3) * 0.01, crs_wkt=wkt("EPSG:4326")
    )
    assert degrees.pixel_size_m == pytest.approx(834, abs=1)
    assert degrees.projection_name == "latitude and longitude"


def test_the_projection_has_a_name(grid: Grid) -> None:
    assert grid.projection_name == "polar stereographic"


def test_single_precision_coordinates_are_the_same_grid(grid: Grid) -> None:
    single = replace(grid, x=(grid.x + 100 / 3).astype(np.float32).astype(np.float64))
    assert replace(grid, x=grid.x + 100 / 3).difference(single) is None
    assert (replace(grid, x=grid.x + 100 / 3).x != single.x).any()


@pytest.mark.parametrize(("axis", "shift"), [("x", 1000.0), ("x", -30.0), ("y", 25.0)])
def test_a_shifted_grid_is_another(grid: Grid, axis: str, shift: float) -> None:
    moved = replace(grid, **{axis: getattr(grid, axis) + shift})
    difference = grid.difference(moved)
    assert difference is not None
    assert f"{axis} coordinates differ by up to {abs(shift):g} (a pixel is 1000)" in difference


def test_a_shift_of_a_hundredth_pixel_is_the_same_grid(grid: Grid) -> None:
    assert grid.difference(replace(grid, x=grid.x + 10.0)) is None


def test_another_shape_is_described_in_pixels(grid: Grid) -> None:
    smaller = replace(grid, x=grid.x[:-4])
    assert grid.difference(smaller) == "48×60 pixels instead of 48×64"


def test_another_projection_on_the_same_coordinates(grid: Grid) -> None:
    assert grid.difference(replace(grid, crs_wkt=wkt())) == "another map projection"
    sphere = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=0 +R=6371000 +units=m"
    assert grid.difference(replace(grid, crs_wkt=wkt(sphere))) == "another map projection"


def test_other_names_in_the_wkt_are_the_same_projection(grid: Grid) -> None:
    renamed = grid.crs_wkt.replace("unknown", "radar composite").replace("undefined", "radar")
    assert renamed != grid.crs_wkt
    assert grid.difference(replace(grid, crs_wkt=renamed)) is None


@pytest.mark.parametrize("name", ["EPSG:3067", "EPSG:4326", "EPSG:28992", "EPSG:3035"])
def test_round_trip_of_the_crs_through_cf_attributes(name: str) -> None:
    crs = pyproj.CRS.from_user_input(name)
    attributes = grid_mapping_attributes(crs)
    assert crs_from_attributes(attributes).equals(crs)
    assert not any(isinstance(value, tuple) for value in attributes.values())


def test_the_crs_of_cf_attributes_without_wkt(grid: Grid) -> None:
    attributes = grid_mapping_attributes(grid.crs)
    named = {k: v for k, v in attributes.items() if k not in ("crs_wkt", "spatial_ref")}
    other = replace(grid, crs_wkt=crs_from_attributes(named).to_wkt())
    assert grid.difference(other) is None


def test_numpy_attributes_as_netcdf_gives_them() -> None:
    attributes = {
        "grid_mapping_name": "albers_conical_equal_area",
        "standard_parallel": np.array([-18.0, -36.0]),
        "longitude_of_central_meridian": np.float64(144.752),
        "latitude_of_projection_origin": np.float32(-37.5),
        "semi_major_axis": np.float64(6378137.0),
        "inverse_flattening": np.float64(298.257222101),
    }
    parameters = proj_parameters(crs_from_attributes(attributes))
    assert (parameters["proj"], parameters["lat_1"], parameters["lat_2"]) == ("aea", -18, -36)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"crs_wkt": "PROJCRS[broken"}, "'crs_wkt' is no valid CRS"),
        ({"spatial_ref": "nonsense"}, "'spatial_ref' is no valid CRS"),
        ({"grid_mapping_name": "flat_earth"}, "give no CRS"),
        ({}, "give no CRS"),
    ],
)
def test_attributes_that_describe_no_crs(attributes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crs_from_attributes(attributes)


def test_coordinates_round_trip(grid: Grid) -> None:
    field = xr.DataArray(np.zeros(grid.shape), dims=("y", "x"), coords=grid.coords())
    assert field.x.attrs["standard_name"] == "projection_x_coordinate"
    assert field.y.attrs["units"] == "m"
    again = grid_from_attributes(
        field.x.values, field.y.values, field[GRID_MAPPING].attrs["crs_wkt"]
    )
    assert grid.difference(again) is None


def test_geographic_coordinates_have_their_names() -> None:
    degrees = Grid(x=np.array([1.0, 2.0]), y=np.array([2.0, 1.0]), crs_wkt=wkt("EPSG:4326"))
    assert degrees.coords()["y"][2]["units"] == "degrees_north"
    assert degrees.coords()["x"][2]["standard_name"] == "longitude"


@pytest.mark.parametrize(("parallel", "pole"), [(60.0, 90.0), (-71.0, -90.0)])
def test_a_polar_grid_names_its_pole_as_cf_requires(parallel: float, pole: float) -> None:
    crs = pyproj.CRS.from_proj4(f"+proj=stere +lat_0={pole} +lat_ts={parallel} +lon_0=0 +R=6371288")
    attributes = grid_mapping_attributes(crs)
    assert attributes["latitude_of_projection_origin"] == pole
    assert crs_from_attributes(attributes).equals(crs)


@pytest.mark.parametrize(
    ("crs", "message"),
    [
        (
            'LOCAL_CS["site",UNIT["metre",1],AXIS["X",EAST],AXIS["Y",NORTH]]',
            r"'site' is no map projection \(Engineering CRS\)",
        ),
        ("EPSG:4978", r"'WGS 84' is no map projection \(Geocentric CRS\).*like EPSG:3035"),
        ("EPSG:5773", r"is no map projection \(Vertical CRS\)"),
    ],
)
def test_a_crs_without_a_place_on_the_earth_has_no_longitude(crs: str, message: str) -> None:
    """Three-dimensional coordinates from the Earth's centre were taken for map coordinates."""
    grid = Grid(ASCENDING, DESCENDING, wkt(crs))
    for longitude_of in (
        lambda: lonlat_crs(grid.crs),
        lambda: grid.pixel_at(0, 0),
        grid.row_pixel_sizes_m,
    ):
        with pytest.raises(DataError, match=message):
            longitude_of()


def test_pixels_of_many_places_are_those_of_each() -> None:
    degrees = Grid(np.arange(350.0, 360), np.arange(55.0, 45, -1), wkt("EPSG:4326"))
    for grid in (Grid(ASCENDING + 3e5, DESCENDING + 6.7e6, wkt()), degrees):
        to_lonlat = pyproj.Transformer.from_crs(grid.crs, lonlat_crs(grid.crs), always_xy=True)
        height, width = grid.pixel_size
        # places in all pixels and around the grid, off the centres
        x = grid.x[0] + width * (np.arange(-2, grid.x.size + 2) + 0.4)
        y = grid.y[0] - height * (np.arange(-2, grid.y.size + 2) - 0.4)
        lon, lat = to_lonlat.transform(*np.meshgrid(x, y))
        rows, columns = grid.pixels_at(lat, (lon + 180) % 360 - 180)
        inner = (slice(2, -2), slice(2, -2))
        expected = np.full((2, *rows.shape), -1)
        expected[(slice(None), *inner)] = np.indices(grid.shape)
        np.testing.assert_array_equal([rows, columns], expected)
        for i, j in ((0, 0), (2, 3), (-3, -3)):
            pixel = grid.pixel_at(lat[i, j], lon[i, j])
            assert pixel == (None if rows[i, j] < 0 else (rows[i, j], columns[i, j]))
    assert degrees.pixel_at(90.5, float("inf")) is None
