"""Coordinates and projection of a file, turned into a `Grid`: north up, in metres.

Owns the table of length units, the directions of rows and columns, and CF grid mappings. Knows
nothing of rain: units of rain are in `squall.datasets.radar.units`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import xarray as xr

from squall.datasets.errors import DataError
from squall.datasets.grid import (
    Grid,
    all_crs_from_attributes,
    is_rotated,
    lonlat_crs,
    proj_parameters,
)
from squall.datasets.radar.regular_axis import without_rounding
from squall.datasets.radar.units import UNIT_WORDS

SET_CRS = "set 'crs' in the network configuration, for example 'crs: EPSG:3035' or a PROJ string"
LENGTHS_M = {"m": 1.0, "km": 1000.0}  # unit of length -> metres
DEGREES, RADIANS = "degrees", "radians"
MAX_SAID = 200  # letters of an attribute in a message
_ROTATED_NAMES = ("grid_longitude", "grid_latitude", "rlon", "rlat")


def harmonised_grid(x: xr.DataArray, y: xr.DataArray, crs: pyproj.CRS) -> tuple[Grid, bool, bool]:
    """Make the north-up grid of a file's coordinates, in metres.

    Parameters
    ----------
    x, y : one-dimensional pixel centres with a ``units`` attribute, in either direction.

    Returns
    -------
    The grid, whether the rows must be reversed to lie on it, and whether the columns must.

    Raises
    ------
    DataError
        If the unit of the coordinates is unknown, the coordinates are not regular, or they are
        those of a rotated pole and the CRS is not.
    """
    for axis in (x, y):
        if {axis.attrs.get("standard_name"), axis.name} & set(_ROTATED_NAMES):
            _check_rotated(axis, crs)
    columns, rows = (np.asarray(axis.values, dtype=np.float64) for axis in (x, y))
    if crs.is_geographic:
        columns = _continuous(columns)
    columns = without_rounding(columns, x.dtype) * _factor(x, crs)
    rows = without_rounding(rows, y.dtype) * _factor(y, crs)
    if crs.is_geographic and np.abs(rows).max(initial=0) > 90.0 + 1e-6:
        raise DataError(
            f"coordinate '{y.name}' has latitudes up to {np.abs(rows).max():g} degrees; "
            f"if they are lengths, {SET_CRS}"
        )
    flip_columns = columns.size > 1 and columns[0] > columns[-1]
    flip_rows = rows.size > 1 and rows[0] < rows[-1]
    try:
        grid = Grid(
            x=columns[::-1].copy() if flip_columns else columns,
            y=rows[::-1].copy() if flip_rows else rows,
            crs_wkt=crs.to_wkt(),
        )
    except ValueError as error:
        raise DataError(
            f"coordinates {x.name}, {y.name}: {error}; no key of the configuration helps: put the "
            "files on a regular grid first"
        ) from error
    return grid, bool(flip_rows), bool(flip_columns)


def coordinate_unit(text: str) -> str | None:
    """The unit of coordinates, ``m``, ``km``, ``degrees`` or ``radians``; None if it is another."""
    unit = text.strip().lower()
    unit = UNIT_WORDS.get(unit, unit)
    if unit in LENGTHS_M:
        return unit
    if unit == "deg" or unit.startswith("degree"):
        return DEGREES
    return RADIANS if unit in ("rad", "radian", "radians") else None


def units_per(text: str, crs: pyproj.CRS) -> float:
    """Factor from a unit of coordinates to that of a grid: metres, or degrees if geographic.

    On a map, radians are scanning angles of a geostationary satellite: times its height they are
    metres.

    Raises
    ------
    DataError
        If the unit is unknown, or another than the CRS needs; the message says what to set.
    """
    unit = coordinate_unit(text)
    if crs.is_geographic:
        if unit in (DEGREES, RADIANS):
            return 1.0 if unit == DEGREES else float(np.degrees(1.0))
        raise DataError(
            f"units '{text}', expected degrees on a grid of longitude and latitude; if the numbers "
            "are lengths, set 'crs' to their projection; if they are degrees, set "
            "'coordinate_units: degrees' in the network configuration"
        )
    if unit in LENGTHS_M:
        return LENGTHS_M[unit]
    height_m = proj_parameters(crs).get("h")
    if unit == RADIANS and height_m:
        return float(height_m)
    if unit in (DEGREES, RADIANS):
        raise DataError(
            f"units '{text}', expected m or km in the projection '{crs.name}'; if the numbers are "
            "longitude and latitude, set 'crs: EPSG:4326' in the network configuration"
        )
    raise DataError(
        f"units '{text}', expected m or km; if the attribute is missing or wrong, set "
        "'coordinate_units: m' or 'coordinate_units: km' in the network configuration; files in "
        "other units must be converted"
    )


def _factor(axis: xr.DataArray, crs: pyproj.CRS) -> float:
    """Factor from the coordinate's unit to that of the grid."""
    try:
        return units_per(str(axis.attrs.get("units", "")), crs)
    except DataError as error:
        raise DataError(f"coordinate '{axis.name}' has {error}") from error


def _in_grid_units(axis: xr.DataArray, crs: pyproj.CRS) -> npt.NDArray[np.float64]:
    """Coordinates in metres; in degrees on a geographic grid."""
    return np.asarray(axis.values, dtype=np.float64) * _factor(axis, crs)


def _continuous(longitudes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Longitudes that do not jump from 180 to -180 or from 360 to 0; from -180 on if they did."""
    unwrapped = np.unwrap(longitudes, period=360.0)
    if np.array_equal(unwrapped, longitudes) or not np.isfinite(unwrapped).all():
        return longitudes
    jumps = np.rint((unwrapped - longitudes) / 360)
    whole = longitudes + 360 * jumps  # without the rounding errors of the sums in unwrap
    return np.asarray(whole - 360 * np.floor((whole.min() + 180) / 360))


def _check_rotated(axis: xr.DataArray, crs: pyproj.CRS) -> None:
    if not is_rotated(crs):
        raise DataError(
            f"coordinate '{axis.name}' is one of a rotated pole, but the CRS '{crs.name}' has "
            "none; set 'crs' in the network configuration to the rotated pole, like "
            "'+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18'"
        )


def crs_of(
    dataset: xr.Dataset,
    variable: xr.DataArray,
    x: xr.DataArray,
    y: xr.DataArray,
    mapping: str | None = None,
) -> pyproj.CRS:
    """Read the CRS that the ``grid_mapping`` of a CF variable names, with metres on its axes.

    Coordinates ``x`` and ``y`` in degrees without a grid mapping mean WGS 84.

    Parameters
    ----------
    mapping : the grid mapping variable of the file where the variable names none.

    Raises
    ------
    DataError
        If there is no grid mapping, or PROJ cannot use it.
    """
    named = variable.attrs.get("grid_mapping") or variable.encoding.get("grid_mapping")
    # the CF form "crs: x y" names the coordinates too
    name = str(named).split(":")[0].strip() if named else mapping
    is_in_degrees = {str(axis.attrs.get("units", ""))[:6] for axis in (x, y)} == {"degree"}
    if name is not None:
        described = described_crs(dataset, name, x)
        crs = next(iter(described.values()))
        if named or crs.is_geographic or not is_in_degrees:
            check_agreement(name, described, x, y)
            return crs
    if is_in_degrees:
        return pyproj.CRS.from_epsg(4326)
    raise DataError(f"variable '{variable.name}' has no grid_mapping; {SET_CRS}{_said(dataset)}")


def described_crs(dataset: xr.Dataset, name: str, x: xr.DataArray) -> dict[str, pyproj.CRS]:
    """All descriptions of a grid mapping variable, with metres on their axes; the best one first.

    Raises
    ------
    DataError
        If there is no such variable, or PROJ cannot use it.
    """
    if name not in dataset.variables:
        raise DataError(f"grid mapping variable '{name}' is missing; {SET_CRS}")
    try:
        attributes = _offsets_in_metres(dict(dataset[name].attrs), x)
        return {key: in_metres(crs) for key, crs in all_crs_from_attributes(attributes).items()}
    except ValueError as error:
        raise DataError(f"grid mapping '{name}': {error}; {SET_CRS}") from error


def _said(dataset: xr.Dataset) -> str:
    """Projections in attributes of the file, for the user to judge."""
    said = [
        f"'{name}' says '{str(value)[:MAX_SAID]}'"
        for name, value in dataset.attrs.items()
        if "+proj=" in str(value)[:MAX_SAID]
    ]
    return f"; of the file's attributes {', '.join(said[:3])}" if said else ""


def _offsets_in_metres(attributes: dict[str, Any], x: xr.DataArray) -> dict[str, Any]:
    """CF gives false easting and northing in the unit of the coordinates, PROJ wants metres."""
    unit = coordinate_unit(str(x.attrs.get("units", "")))
    metres = LENGTHS_M.get(unit or "", 1.0)
    for key in ("false_easting", "false_northing"):
        value = attributes.get(key)
        if value is not None and metres != 1.0:
            offset_m = float(np.ravel(value)[0]) * metres
            if abs(offset_m) > 4e7:  # once around the Earth
                raise ValueError(
                    f"{key} {np.ravel(value)[0]:g} is in {unit} as the coordinates are, and larger "
                    "than the Earth"
                )
            attributes[key] = offset_m
    return attributes


def check_agreement(
    name: str, described: dict[str, pyproj.CRS], x: xr.DataArray, y: xr.DataArray
) -> None:
    """Refuse a grid mapping whose WKT and parameters put the grid at different places."""
    (first, crs), *others = described.items()
    if not others:
        return
    columns, rows = (_in_grid_units(axis, crs)[[0, -1]] for axis in (x, y))
    pixel = max(np.ptp(columns) / max(x.size - 1, 1), np.ptp(rows) / max(y.size - 1, 1))
    pixel_m = pixel * (111_195.0 if crs.is_geographic else 1.0)
    points = [axis.ravel() for axis in np.meshgrid(columns, rows)]
    lon, lat = _on_its_earth(crs, points)
    for other_name, other in others:
        if other.is_geographic != crs.is_geographic:
            distance_m = np.inf
        else:
            other_lon, other_lat = _on_its_earth(other, points)
            degrees = np.hypot(
                ((other_lon - lon + 180) % 360 - 180) * np.cos(np.radians(lat)), other_lat - lat
            )
            if not np.isfinite(degrees).any():
                continue  # all corners are off the disc of a satellite
            distance_m = float(np.nanmax(np.where(np.isfinite(degrees), degrees, np.nan)) * 111_195)
        if distance_m > max(pixel_m, 100.0):
            raise DataError(
                f"grid mapping '{name}': its {first} and its {other_name} put the grid's corners "
                f"{distance_m / 1000:.3g} km apart; set 'crs' in the network configuration to the "
                "right one"
            )


def _on_its_earth(
    crs: pyproj.CRS, points: list[npt.NDArray[np.float64]]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Longitude and latitude on the CRS's own ellipsoid, without a shift of the datum; inf: none.

    A rotated pole is turned back.
    """
    if crs.is_geographic and not is_rotated(crs):
        return points[0], points[1]
    transformer = pyproj.Transformer.from_crs(crs, lonlat_crs(crs), always_xy=True)
    lon, lat = transformer.transform(points[0], points[1])
    return np.asarray(lon), np.asarray(lat)


def in_metres(crs: pyproj.CRS) -> pyproj.CRS:
    """Return the same projection with metres on its axes; KNMI and others write kilometres."""
    if crs.is_geographic or all(axis.unit_conversion_factor == 1.0 for axis in crs.axis_info):
        return crs
    parameters = proj_parameters(crs)
    parameters.pop("to_meter", None)
    return pyproj.CRS.from_dict(parameters | {"units": "m"})
