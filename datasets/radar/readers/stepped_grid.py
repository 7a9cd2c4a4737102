"""The grid of a file that gives the place of its first pixel and its steps, as GeoTIFF does.

Owns the check that such numbers make a map. The key ``grid`` of the configuration owns the
directions of rows and columns.
"""

import math
from functools import lru_cache

import numpy as np
import pyproj

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid, check_earth, check_map_projection
from squall.datasets.radar.coordinates import SET_CRS, in_metres
from squall.datasets.radar.grid_key import GridKey
from squall.datasets.radar.product import check_scan_shape


@lru_cache(maxsize=64)
def stepped_grid(
    projection: str,
    shape: tuple[int, int],
    corner: tuple[float, float],
    step: tuple[float, float],
) -> tuple[Grid, bool, bool]:
    """Make the north-up grid of pixel centres.

    The result is cached, because PROJ is slow and a network's files have the same grid.

    Parameters
    ----------
    projection : PROJ string, EPSG code or WKT.
    shape : (H, W).
    corner : x and y of the outer corner of the first stored pixel, in the units of the projection.
    step : from a column to the next one, and from a row to the next one; y falls if it is negative.

    Returns
    -------
    The grid, whether the rows must be reversed to lie on it, and the columns.

    Raises
    ------
    DataError
        If PROJ cannot read the projection, or the numbers are no grid.
    """
    check_scan_shape(*shape)
    if min(shape) < 2:
        raise DataError(f"has {shape[0]} × {shape[1]} pixels, expected a map")
    if not np.isfinite([*corner, *step]).all() or 0 in step:
        raise DataError(f"has pixels of {step} from {corner}, expected finite numbers")
    crs = _crs(projection)
    factor = 1.0
    if not crs.is_geographic:
        factor = crs.axis_info[0].unit_conversion_factor
    elif not math.isclose(crs.axis_info[0].unit_conversion_factor, math.pi / 180, rel_tol=1e-6):
        raise DataError("has longitude and latitude in other units than degrees; " + SET_CRS)
    (x0, y0), (dx, dy) = ([value * factor for value in pair] for pair in (corner, step))
    key = GridKey(crs=in_metres(crs).to_wkt(), nx=shape[1], ny=shape[0], x0=x0, y0=y0, dx=dx, dy=dy)
    grid, flip_rows, flip_columns = key.harmonised(shape)
    if crs.is_geographic and np.abs(grid.y).max() > 90:
        raise DataError(f"has latitudes up to {np.abs(grid.y).max():g} degrees; {SET_CRS}")
    return grid, flip_rows, flip_columns


def _crs(projection: str) -> pyproj.CRS:
    try:
        crs = pyproj.CRS.from_user_input(projection)
        check_map_projection(crs)
        check_earth(crs)
    except DataError as error:
        raise DataError(f"{error}; {SET_CRS}") from error
    except (pyproj.exceptions.CRSError, ValueError) as error:
        raise DataError(f"has a CRS that cannot be used: {error}; {SET_CRS}") from error
    return crs
