"""Files without CF coordinates: groups, GeoTransform, key grid, two-dimensional positions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pyproj
import pytest

from squall.datasets.grid import Grid
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import read_file
from tests.datasets.radar.radar_files import (
    NAME,
    NAMED,
    RATE,
    assert_rate,
    config,
    rejection_of,
    scan_of,
)

LAEA = pyproj.CRS.from_epsg(3035)
X, Y = 4.1e6 + 1000.0 * np.arange(3), np.array([3.2e6, 3.199e6])
WEST, NORTH = 4.0995e6, 3.2005e6
GRID = {"crs": "EPSG:3035", "x0": WEST, "y0": NORTH, "dx": 1000, "dy": -1000, "nx": 3, "ny": 2}
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Function of (variables, dims) that writes a map of `RATE` and other variables."""

    def write_file(
        others: dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]],
        dims: tuple[str, str] = ("rows", "columns"),
        numbers: Any = RATE,
        **attributes: Any,
    ) -> str:
        path = tmp_path / NAME
        with netCDF4.Dataset(path, "w") as file:
            for dim, size in zip(dims, np.shape(numbers), strict=True):
                file.createDimension(dim, size)
            rain = file.createVariable("rain", "f4", dims)
            rain[:] = numbers
            rain.setncatts({"units": "mm h-1", **attributes})
            for name, (of, values, described) in others.items():
                variable = file.createVariable(name, "f8", of)
                variable[...] = values
                variable.setncatts(described)
        return str(path)

    return write_file


def assert_placed(path: str, settings: RadarNetworkConfig) -> None:
    """The file holds `RATE` on `X` and `Y`."""
    assert_rate(scan_of(path, settings), RATE)
    grid = read_file(path, settings).grid
    assert grid is not None
    assert Grid(X, Y, LAEA.to_wkt()).difference(grid) is None


# --- GeoTransform ------------------------------------------------------------------------------


def mapping(transform: Any, crs: pyproj.CRS = LAEA) -> dict[str, Any]:
    return {"crs": ((), 0, {"spatial_ref": crs.to_wkt("WKT1_GDAL"), "GeoTransform": transform})}


@pytest.mark.parametrize("named", [{"grid_mapping": "crs"}, {}], ids=["named", "the only one"])
@pytest.mark.parametrize("rows_up", [False, True])
def test_the_geotransform_of_gdal(write: Write, named: dict[str, str], rows_up: bool) -> None:
    first, step = (NORTH - 2000, 1000) if rows_up else (NORTH, -1000)
    numbers = RATE[::-1] if rows_up else RATE
    for transform in (
        f"{WEST} 1000 0 {first} 0 {step} ",
        np.array([WEST, 1000, 0, first, 0, step]),
    ):
        path = write(mapping(transform), numbers=numbers, **named)
        assert_placed(path, config(**NAMED))


def test_gdal_itself_reads_the_same(write: Write) -> None:
    rasterio = pytest.importorskip("rasterio")
    if "netCDF" not in rasterio.drivers.raster_driver_extensions().values():
        pytest.skip("this GDAL reads no netCDF")
    path = write(
        mapping(f"{WEST} 1000 0 {NORTH} 0 -1000 "), grid_mapping="crs", Conventions="CF-1.5"
    )
    with rasterio.open(path) as raster:
        assert_rate(scan_of(path, config(**NAMED)), raster.read(1))
        grid = read_file(path, config(**NAMED)).grid
        for column, row in ((0, 0), (2, 1)):
            place = raster.xy(row, column)
            np.testing.assert_allclose(place, (grid.x[column], grid.y[row]))


def test_a_geotransform_in_kilometres(write: Write) -> None:
    km = pyproj.CRS.from_user_input("+proj=laea +lat_0=52 +lon_0=10 +ellps=GRS80 +units=km")
    grid = read_file(write(mapping("-1.5 1 0 20 0 -1", km)), config(**NAMED)).grid
    assert grid is not None
    np.testing.assert_array_equal(grid.x, [-1000, 0, 1000])
    np.testing.assert_array_equal(grid.y, [19500, 18500])


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ("0 1000 10 0 0 -1000", "a grid that is turned"),
        ("0 1000 0 0 0 0", "or has no size"),
        ("0 1000 0", "expected six numbers; set 'grid'"),
        ("no numbers at all in this text", "expected six numbers"),
        ("0 nan 0 0 0 1", "must rise"),
    ],
)
def test_an_unusable_geotransform_is_refused(write: Write, transform: str, message: str) -> None:
    assert message in rejection_of(write(mapping(transform)), config(**NAMED))


def test_coordinates_count_before_the_geotransform(write: Write) -> None:
    axes = {
        name: ((name,), values, {"units": "m", "standard_name": f"projection_{name}_coordinate"})
        for name, values in (("x", X), ("y", Y))
    }
    path = write(axes | mapping("7 7 0 7 0 7"), dims=("y", "x"), grid_mapping="crs")
    assert_placed(path, config(**NAMED))


# --- the key grid ------------------------------------------------------------------------------


def test_the_key_grid_places_a_bare_map(write: Write) -> None:
    bare = write({})
    assert "else set 'grid' in the network configuration" in rejection_of(bare, config(**NAMED))
    assert_placed(bare, config(**NAMED, grid=GRID))
    edges = {"west": WEST, "east": WEST + 3000, "south": NORTH - 2000, "north": NORTH}
    from_edges = {"crs": "EPSG:3035", "nx": 3, "ny": 2, **edges}
    assert_placed(bare, config(**NAMED, grid=from_edges))
    south = write({}, numbers=RATE[::-1])
    assert_placed(south, config(**NAMED, grid=from_edges | {"first_row": "south"}))


def test_the_key_grid_overrules_wrong_coordinates(write: Write) -> None:
    axes = {name: ((name,), np.arange(n), {"units": "m"}) for name, n in (("x", 3), ("y", 2))}
    assert_placed(write(axes, dims=("y", "x")), config(**NAMED, grid=GRID))


def test_maps_of_another_shape_are_not_read_with_the_layout_before(write: Write) -> None:
    settings = config(**NAMED, grid=GRID)
    assert_placed(write({}), settings)
    reason = rejection_of(write({}, numbers=np.ones((4, 3))), settings)
    assert "has 4 rows and 3 columns, but 'grid'" in reason


def test_transposed_maps_by_the_names_of_their_dimensions(write: Write) -> None:
    path = write({}, dims=("nx", "ny"), numbers=RATE.T)
    assert_placed(path, config(**NAMED, grid=GRID))


# --- coordinates under other names -------------------------------------------------------------


def test_coordinates_that_are_not_named_as_their_dimensions(write: Write) -> None:
    described = {"units": "m", "standard_name": "projection_x_coordinate"}
    axes = {
        "easting": (("columns",), X, described),
        "northing": (("rows",), Y, described | {"standard_name": "projection_y_coordinate"}),
    }
    assert_placed(write(axes), config(**NAMED, crs="EPSG:3035"))


# --- latitude and longitude of each pixel ------------------------------------------------------


def positions(x: Any = X, y: Any = Y) -> dict[str, Any]:
    back = pyproj.Transformer.from_crs(LAEA, LAEA.geodetic_crs, always_xy=True)
    lon, lat = back.transform(*np.meshgrid(x, y))
    dims = ("rows", "columns")
    return {
        "lat": (dims, lat, {"units": "degrees_north"}),
        "lon": (dims, lon, {"units": "degrees_east"}),
    }


WIDE = np.ones((40, 40))


def wide_positions() -> dict[str, Any]:
    """Of more pixels than a wrong projection could fit."""
    return positions(X[0] + 1000.0 * np.arange(40), Y[0] - 1000.0 * np.arange(40))


def test_positions_in_a_known_projection(write: Write) -> None:
    assert_placed(write(positions(), coordinates="lon lat"), config(**NAMED, crs="EPSG:3035"))
    described = {"crs": ((), 0, {"crs_wkt": LAEA.to_wkt()})}
    assert_placed(write(positions() | described, grid_mapping="crs"), config(**NAMED))


def test_positions_in_radians(write: Write) -> None:
    radians = {
        name: (dims, np.radians(values), {"units": "rad"})
        for name, (dims, values, _) in positions().items()
    }
    assert_placed(write(radians), config(**NAMED, crs="EPSG:3035"))


def test_positions_of_another_projection_are_refused_with_the_distance(write: Write) -> None:
    path = write(wide_positions(), numbers=WIDE)
    for settings in (config(**NAMED), config(**NAMED, crs="EPSG:32632")):
        reason = rejection_of(path, settings)
        assert "variables 'lat' and 'lon' are no regular grid" in reason
        assert "pixels (" in reason
        assert "set 'crs' in the network configuration" in reason


def test_other_positions_are_not_read_with_the_layout_before(write: Write) -> None:
    settings = config(**NAMED, crs="EPSG:3035")
    assert_placed(write(positions()), settings)
    grid = read_file(write(positions(X + 500)), settings).grid
    assert grid is not None
    np.testing.assert_allclose(grid.x, X + 500, atol=1e-3)


def test_positions_along_meridians_and_parallels_need_no_projection(write: Write) -> None:
    lon, lat = np.meshgrid([179.5, 180.0, -179.5], [50.0, 49.5])
    dims = ("rows", "columns")
    grid = read_file(
        write({"lats": (dims, lat, {}), "lons": (dims, lon, {})}), config(**NAMED)
    ).grid
    assert grid is not None
    assert grid.crs.to_epsg() == 4326
    np.testing.assert_allclose(grid.x, [179.5, 180, 180.5])
    np.testing.assert_allclose(grid.y, [50.0, 49.5])


def test_indices_are_no_coordinates_but_positions_are(write: Write) -> None:
    indices = {name: ((name,), np.arange(n), {}) for name, n in (("columns", 3), ("rows", 2))}
    assert_placed(write(positions() | indices), config(**NAMED, crs="EPSG:3035"))
    # coordinates without a unit that contradict the positions: neither is trusted
    wrong = wide_positions()
    wrong["lat"] = (*wrong["lat"][:1], wrong["lat"][1][::-1], {})
    wrong |= {name: ((name,), np.arange(40), {}) for name in indices}
    reason = rejection_of(write(wrong, numbers=WIDE), config(**NAMED, crs="EPSG:3035"))
    assert "'rows' and 'columns' have no unit of length" in reason
    assert "set 'coordinate_units'" in reason


# --- groups ------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [True, False], ids=["all in the group", "time and x above"])
def test_a_variable_in_a_group_sees_its_parents(tmp_path: Path, inner: bool) -> None:
    path = tmp_path / "a.nc"
    with netCDF4.Dataset(path, "w") as file:
        group = file.createGroup("level/rain")
        above = group if inner else file
        for dim, size in (("time", 1), ("y", 2), ("x", 3)):
            (group if dim == "y" else above).createDimension(dim, size)
        if inner:  # another grid above is not the variable's
            file.createDimension("x", 5)
            file.createVariable("x", "f8", ("x",))[:] = np.arange(5)
        file.createVariable("crs", "i4").setncatts({"crs_wkt": LAEA.to_wkt()})
        for name, values, units in (("y", Y, "m"), ("x", X, "m"), ("time", 1717243200, None)):
            owner = group if name == "y" else above
            variable = owner.createVariable(name, "f8", (name,))
            variable[:] = values
            variable.units = units or "seconds since 1970-01-01"
        above["time"].standard_name = "time"
        rain = group.createVariable("rate", "f4", ("time", "y", "x"))
        rain[:] = RATE
        rain.setncatts({"units": "mm h-1", "grid_mapping": "crs"})
        file.createGroup("other").createVariable("time", "f8").units = "days since 1900-01-01"
    for variable in ("level/rain/rate", "/level/rain/rate"):
        assert_placed(str(path), config(variable=variable))
    assert_placed(str(path), config(variable="level/rain/rate", time_variable="time"))
    reason = rejection_of(str(path), config(variable="rate"))
    assert "has no variable 'rate'" in reason
    assert "level/rain/rate" in reason
