"""The grid of a composite whose file gives corners and the size of a pixel, as ODIM and KNMI do.

Owns the pixel centres, and the check that projection, corners and pixel size agree: in many files
they do not.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pyproj

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid, check_earth, check_map_projection, is_rotated
from squall.datasets.radar.coordinates import SET_CRS, in_metres, units_per
from squall.datasets.radar.product import check_scan_shape

MAX_CRS_TEXT = 4096
# corner -> its distance from the lower left corner, in widths and heights of the grid
CORNERS = {"LL": (0, 0), "UL": (0, 1), "UR": (1, 1), "LR": (1, 0)}


@lru_cache(maxsize=64)
def corner_grid(
    projection: str,
    shape: tuple[int, int],
    pixel: tuple[float, float],
    corners: tuple[tuple[str, float, float], ...],
    lower_left: tuple[float, float] | None = None,
    units: str | None = None,
) -> Grid:
    """Make the north-up grid of pixel centres.

    The result is cached, because PROJ is slow and a network's files have the same grid.

    Parameters
    ----------
    projection : PROJ string, EPSG code or WKT.
    shape : (H, W).
    pixel : height and width of a pixel.
    corners : (name, longitude, latitude) of outer corners of the grid, names as in `CORNERS`.
    lower_left : x and y of the outer lower left corner, if the file gives it; otherwise it is
        computed from the first corner.
    units : of ``pixel`` and ``lower_left``; None = metres, or degrees where the projection is
        geographic.

    Raises
    ------
    DataError
        If PROJ cannot read the projection, or a corner lies more than half a pixel from its
        position by ``lower_left`` and the pixel size.
    """
    check_scan_shape(*shape)
    crs, metres_per_unit = _crs(projection)
    factor = 1.0 if units is None else _factor(units, crs)
    height, width = pixel = pixel[0] * factor, pixel[1] * factor
    if not (0 < height < np.inf and 0 < width < np.inf):
        raise DataError(
            f"has pixels of {width} × {height}, expected positive sizes; correct the files"
        )
    to_xy = _lonlat if crs.is_geographic and not is_rotated(crs) else _from_lonlat(crs)
    origins: dict[str, tuple[float, float]] = {}
    for name, longitude, latitude in corners:
        x, y = to_xy(longitude, latitude)
        if crs.is_geographic and x < origins.get("LL", (x, 0))[0] - 180:
            x += 360  # the grid crosses the 180th meridian
        if not np.isfinite([x, y]).all():
            raise DataError(
                f"corner {name} at longitude {longitude}, latitude {latitude} lies outside the "
                f"projection '{projection}'; if the projection is wrong, set 'crs' in the network "
                "configuration, for example 'crs: EPSG:3035', else correct the corner in the files"
            )
        across, up = CORNERS[name]
        origins[name] = (
            x * metres_per_unit - across * shape[1] * width,
            y * metres_per_unit - up * shape[0] * height,
        )
    if lower_left is None:
        if not origins:
            raise DataError(
                f"has none of the corners {', '.join(CORNERS)}, and no key of the configuration "
                "replaces them; add one to the files, as attributes LL_lon and LL_lat of /where"
            )
        lower_left = next(iter(origins.values()))
    else:
        lower_left = lower_left[0] * factor, lower_left[1] * factor
    _check_corners(origins, lower_left, pixel, projection)
    columns, rows = np.arange(shape[1]) + 0.5, shape[0] - 0.5 - np.arange(shape[0])
    try:
        return Grid(
            x=np.asarray(lower_left[0] + columns * width, dtype=np.float64),
            y=np.asarray(lower_left[1] + rows * height, dtype=np.float64),
            crs_wkt=in_metres(crs).to_wkt(),
        )
    except ValueError as error:
        raise DataError(f"coordinates: {error}") from error


def _lonlat(longitude: float, latitude: float) -> tuple[float, float]:
    return longitude, latitude


def _from_lonlat(crs: pyproj.CRS) -> Callable[[float, float], tuple[float, float]]:
    """Function of true longitude and latitude that gives x and y."""
    if not is_rotated(crs):
        return pyproj.Proj(crs)
    to_rotated = pyproj.Transformer.from_crs(crs.source_crs, crs, always_xy=True)
    return to_rotated.transform


def _factor(units: str, crs: pyproj.CRS) -> float:
    try:
        return units_per(units, crs)
    except DataError as error:
        raise DataError(f"its pixels have {error}") from error


def _check_corners(
    origins: dict[str, tuple[float, float]],
    lower_left: tuple[float, float],
    pixel: tuple[float, float],
    projection: str,
) -> None:
    """Reject corners that disagree: each corner gives an ``origins`` position of the lower left."""
    height, width = pixel
    for name, (x, y) in origins.items():
        off_x, off_y = (x - lower_left[0]) / width, (y - lower_left[1]) / height
        if max(abs(off_x), abs(off_y)) > 0.5:
            raise DataError(
                f"corner {name} lies {off_x:.2f} pixels in x and {off_y:.2f} in y from where the "
                f"projection '{projection}' and pixels of {width:g} × {height:g} put it; if the "
                "projection is wrong, set 'crs' in the network configuration, for example "
                "'crs: EPSG:3035'; if the pixel size is in kilometres, set 'coordinate_units: km'; "
                "if the corners are wrong, give the grid under 'grid'"
            )


def _crs(text: str) -> tuple[pyproj.CRS, float]:
    """Read a CRS; returns it with the length of its axis unit in metres, 1 for degrees."""
    if len(text) > MAX_CRS_TEXT:
        raise DataError(
            f"has a projection of {len(text)} characters, at most {MAX_CRS_TEXT} are read; "
            + SET_CRS
        )
    try:
        crs = pyproj.CRS.from_user_input(text)
    except pyproj.exceptions.CRSError as error:
        raise DataError(f"PROJ does not know the projection '{text}'; {SET_CRS}") from error
    if crs.is_geographic:
        return crs, 1.0
    try:
        check_map_projection(crs)
        check_earth(crs)
    except ValueError as error:
        raise DataError(f"projection '{text}': {error}; {SET_CRS}") from error
    return crs, float(crs.axis_info[0].unit_conversion_factor)
