"""Grids of GRIB2 messages: latitude and longitude, and map projections with a first point.

Owns the directions in which a message stores rows and columns. Longitudes become -180 … 180.
Latitude and longitude are on WGS 84, not on the header's sphere: the radars' positions do not refer
to that sphere. Projections are those of ecCodes' key ``projString``, on the message's Earth.
"""

from functools import lru_cache

import numpy as np
import pyproj

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.grid import Grid, check_earth, is_rotated
from squall.datasets.radar.coordinates import SET_CRS
from squall.datasets.radar.readers.grib_values import Header

LATLON = "regular_ll"
PROJECTED = ("lambert", "polar_stereographic", "mercator", "lambert_azimuthal_equal_area")


def grid_of(header: Header, shape: tuple[int, int], crs: str | None) -> tuple[Grid, bool, bool]:
    """Make the north-up grid of a message.

    Parameters
    ----------
    crs : that of the configuration, in place of the message's.

    Returns
    -------
    The grid, whether the rows must be reversed to lie on it, and whether the columns must.

    Raises
    ------
    DataError
        If the grid is of another type, or its keys make no sense.
    """
    south_first, east_first = bool(header["jScansPositively"]), bool(header["iScansNegatively"])
    first = tuple(header[f"{axis}OfFirstGridPointInDegrees"] for axis in ("longitude", "latitude"))
    if header["gridType"] == LATLON:
        last = tuple(header[f"{ax}OfLastGridPointInDegrees"] for ax in ("longitude", "latitude"))
        grid = _latlon(shape, (first[1], last[1]), (first[0], last[0]), east_first, crs)
    elif header["gridType"] in PROJECTED:
        if not south_first or east_first:
            # ecCodes and the specification then disagree on where the first point lies
            raise DataError(
                f"has scanning mode {header['scanningMode']} on a map projection, expected 64: "
                "rows from the south, columns from the west; convert it to CF netCDF first"
            )
        pixel = header["DyInMetres"], header["DxInMetres"]
        grid = _projected(crs or header["projString"], shape, (first[0], first[1]), pixel)
    else:
        raise DataError(
            f"has a grid of type {header['gridType']}, expected one of {LATLON}, "
            f"{', '.join(PROJECTED)}; convert it to CF netCDF first"
        )
    return grid, south_first, east_first


def check_scanning(header: Header) -> None:
    """Refuse a message whose pixels do not follow each other row by row, in one direction.

    Raises
    ------
    DataError
        If it stores columns, or rows in turns from west and from east.
    """
    if header["jPointsAreConsecutive"] or header["alternativeRowScanning"]:
        raise DataError(f"has scanning mode {header['scanningMode']}, expected rows one by one")


@lru_cache(maxsize=64)
def _projected(
    text: str,
    shape: tuple[int, int],
    first: tuple[float, float],
    pixel: tuple[float, float],
) -> Grid:
    """The grid from the longitude and latitude of the south-western pixel's centre."""
    if not (0 < pixel[0] < np.inf and 0 < pixel[1] < np.inf):
        raise DataError(f"has pixels of {pixel[1]} × {pixel[0]} m, expected positive sizes")
    try:
        crs = pyproj.CRS.from_user_input(text)
        check_earth(crs)
    except (pyproj.exceptions.CRSError, ValueError) as error:
        raise DataError(f"its projection '{text}' cannot be used: {error}; {SET_CRS}") from error
    if not crs.is_projected:
        raise ConfigError(f"crs '{text}' is no map projection, which the files have")
    x, y = pyproj.Proj(crs)(*first)
    if not np.isfinite([x, y]).all():
        raise DataError(f"has its first pixel at {first}, outside the projection '{text}'")
    columns, rows = np.arange(shape[1]) * pixel[1], np.arange(shape[0]) * pixel[0]
    try:
        return Grid(x=x + columns, y=y + rows[::-1], crs_wkt=crs.to_wkt())
    except ValueError as error:
        raise DataError(f"coordinates: {error}") from error


@lru_cache(maxsize=64)
def _latlon(
    shape: tuple[int, int],
    latitudes: tuple[float, float],
    longitudes: tuple[float, float],
    east_first: bool,
    crs: str | None,
) -> Grid:
    """The grid from the first and last latitude and longitude of the message."""
    west, east = longitudes[::-1] if east_first else longitudes
    if not (-90 <= min(latitudes) < max(latitudes) <= 90 and -360 <= west <= 360):
        raise DataError(f"has latitudes {latitudes} and longitudes {longitudes}")
    width = (east - west) % 360
    if west >= 180:
        west -= 360
    system = pyproj.CRS.from_user_input(crs or "EPSG:4326")
    if not system.is_geographic or is_rotated(system):
        raise ConfigError(f"crs '{crs}' is not longitude and latitude, which the files have")
    try:
        return Grid(
            x=np.linspace(west, west + width, shape[1]),
            y=np.linspace(max(latitudes), min(latitudes), shape[0]),
            crs_wkt=system.to_wkt(),
        )
    except ValueError as error:
        raise DataError(f"coordinates: {error}") from error
