"""Which dimensions of a netCDF variable are the rows and columns of its map, and what places them.

Owns the order in which coordinates are looked for: the key ``grid`` of the configuration,
one-dimensional coordinates, GDAL's ``GeoTransform``, and two-dimensional latitude and longitude.
Reads names and attributes only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import netCDF4

from squall.datasets.errors import DataError
from squall.datasets.radar.coordinates import coordinate_unit
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.readers.cf_scope import Scope

STANDARD_NAMES = {
    "X": (
        "projection_x_coordinate", "longitude", "grid_longitude", "projection_x_angular_coordinate",
    ),
    "Y": (
        "projection_y_coordinate", "latitude", "grid_latitude", "projection_y_angular_coordinate",
    ),
}  # fmt: skip
PLAIN_NAMES = {
    "X": ("x", "lon", "longitude", "rlon", "nx"),
    "Y": ("y", "lat", "latitude", "rlat", "ny"),
}
# words at the start of the names of two-dimensional positions
POSITIONS = {"X": ("lon", "xlon", "nav_lon"), "Y": ("lat", "xlat", "nav_lat")}
MAPPING_ATTRIBUTES = ("grid_mapping_name", "crs_wkt", "spatial_ref")


@dataclass(frozen=True)
class MapAxes:
    """Rows and columns of a map.

    Parameters
    ----------
    placed_by : what gives the places of the pixels.
    y, x : names of the coordinate variables: one-dimensional for ``coordinates``, latitude and
        longitude (rows and columns, in either order) for ``positions``, else None.
    mapping : name of the grid mapping variable; None if the file has none for this variable.
    """

    y_dim: str
    x_dim: str
    placed_by: Literal["grid", "coordinates", "geotransform", "positions"]
    y: str | None
    x: str | None
    mapping: str | None


def map_axes(scope: Scope, config: RadarNetworkConfig) -> MapAxes:
    """Find the axes of the configured variable.

    Raises
    ------
    DataError
        If the variable is no map, x and y cannot be told apart, or nothing places the pixels.
    """
    dims = scope.rain.dimensions
    if len(dims) < 2:
        raise DataError(f"variable '{config.variable}' has dimensions {dims}, no map")
    y_dim = config.y or _dimension(scope, "Y", -2)
    x_dim = config.x or _dimension(scope, "X", -1)
    if x_dim == y_dim:
        raise DataError(
            f"cannot tell x from y among the dimensions {dims} of '{config.variable}'; "
            + _advice_on_axes(scope)
        )
    for dim in (x_dim, y_dim):
        if dim not in dims:
            raise _no_coordinate(scope, config, dim)
    mapping = _mapping(scope)
    if config.grid is not None:
        return MapAxes(y_dim, x_dim, "grid", None, None, mapping)
    y, x = _coordinate(scope, y_dim, "Y"), _coordinate(scope, x_dim, "X")
    positions = _position(scope, {y_dim, x_dim}, "Y"), _position(scope, {y_dim, x_dim}, "X")
    has_positions = None not in positions
    if y is not None and x is not None:
        units = [str(getattr(scope.variables[name], "units", "")) for name in (y, x)]
        is_unit_known = config.coordinate_units or None not in map(coordinate_unit, units)
        if is_unit_known or not has_positions:
            return MapAxes(y_dim, x_dim, "coordinates", y, x, mapping)
    elif mapping is not None and "GeoTransform" in scope.variables[mapping].ncattrs():
        return MapAxes(y_dim, x_dim, "geotransform", None, None, mapping)
    if has_positions:
        return MapAxes(y_dim, x_dim, "positions", *positions, mapping)
    raise _no_coordinate(scope, config, x_dim if x is None else y_dim)


def _no_coordinate(scope: Scope, config: RadarNetworkConfig, dim: str) -> DataError:
    return DataError(
        f"variable '{config.variable}' has no coordinate '{dim}' among its dimensions "
        f"{scope.rain.dimensions}; {_advice_on_axes(scope)}"
    )


def _advice_on_axes(scope: Scope) -> str:
    """What helps: other dimensions as axes if the file has two, else the key ``grid``."""
    names = [
        f"'{dim}'"
        for dim in scope.rain.dimensions
        if _is_along(scope, dim, dim)
        and " since " not in str(_attributes(scope, dim).get("units", ""))  # no time
    ]
    if len(names) > 1:
        return f"set 'x' and 'y' in the network configuration; {', '.join(names)} have coordinates"
    return (
        "x and y need a coordinate variable each, of one dimension and the dimension's name, or "
        "two of latitude and longitude over both; else set 'grid' in the network configuration, "
        "like 'grid: {crs: EPSG:3035, west: 4e6, south: 3e6, east: 4.5e6, north: 3.5e6, nx: 500, "
        "ny: 500}'"
    )


def _is_along(scope: Scope, name: str, dim: str) -> bool:
    """Whether a variable holds numbers along one dimension."""
    variable = scope.variables.get(name)
    return variable is not None and variable.dimensions == (dim,) and _is_number(variable)


def _is_number(variable: netCDF4.Variable) -> bool:
    return getattr(variable.dtype, "kind", "O") in "iuf"


def _coordinate(scope: Scope, dim: str, axis: str) -> str | None:
    """The coordinate of a dimension: of its name, else the only one along it for this axis."""
    if _is_along(scope, dim, dim):
        return dim
    names = [
        name
        for name in scope.variables
        if _is_along(scope, name, dim)
        and (_is_axis(_attributes(scope, name), axis) or name.lower() in PLAIN_NAMES[axis])
    ]
    return names[0] if len(names) == 1 else None


def _dimension(scope: Scope, axis: str, position: int) -> str:
    """The dimension of an axis by its CF attributes, else by its name, else by its position."""
    dims = scope.rain.dimensions
    for dim in dims:
        if _is_axis(_attributes(scope, dim), axis):
            return str(dim)
    for dim in dims:
        if dim.lower() in PLAIN_NAMES[axis]:
            return str(dim)
    return str(dims[position])


def _is_axis(attributes: Mapping[str, Any], axis: str) -> bool:
    return attributes.get("standard_name") in STANDARD_NAMES[axis] or attributes.get("axis") == axis


def _attributes(scope: Scope, name: str) -> dict[str, Any]:
    variable = scope.variables.get(name)
    return {} if variable is None else {key: variable.getncattr(key) for key in variable.ncattrs()}


def _position(scope: Scope, dims: set[str], axis: str) -> str | None:
    """The latitude (Y) or longitude (X) of each pixel; one that the variable names counts first."""
    word = {"X": "longitude", "Y": "latitude"}[axis]
    named = str(_attributes(scope, scope.rain.name).get("coordinates", "")).split()
    for name in [*(n for n in named if n in scope.variables), *scope.variables]:
        variable = scope.variables[name]
        if len(variable.dimensions) != 2 or set(variable.dimensions) != dims:
            continue
        standard_name = str(getattr(variable, "standard_name", word))
        if (
            standard_name == word
            and _is_number(variable)
            and ("standard_name" in variable.ncattrs() or name.lower().startswith(POSITIONS[axis]))
        ):
            return str(name)
    return None


def _mapping(scope: Scope) -> str | None:
    """The grid mapping that the variable names; else the only one in the file."""
    named = getattr(scope.rain, "grid_mapping", None)
    if named:
        return str(named).split(":")[0].strip()  # the CF form "crs: x y" names the coordinates too
    names = [
        name
        for name, variable in scope.variables.items()
        if not set(MAPPING_ATTRIBUTES).isdisjoint(variable.ncattrs())
    ]
    return names[0] if len(names) == 1 else None
