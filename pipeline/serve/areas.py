"""Which pixels of a grid lie in a polygon.

Public: `pixels_in`, `Pixels`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyproj
import shapely  # type: ignore[import-untyped]

from squall.datasets.grid import Grid, lonlat_crs
from squall.pipeline.serve.answers import ClientError

_SHORTEST_PIECE_DEG = 0.05  # of an edge, which is a curve on the grid
_MOST_PIECES = 10_000
_MARGIN = 2  # pixels around what the edges reach
_MOST_LOOKED_AT = 2_000_000  # pixels of the box around a polygon


class Pixels(NamedTuple):
    """Pixels from north to south, each array of shape (N,)."""

    row: npt.NDArray[np.intp]
    column: npt.NDArray[np.intp]
    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]


def pixels_in(grid: Grid, polygon: Any) -> Pixels:
    """Pixels whose centre lies in a polygon of longitudes and latitudes.

    Raises
    ------
    ClientError
        If no centre lies in it (404), or the box around it is too large.
    """
    to_lonlat = _to_lonlat(grid.crs_wkt)
    rows, columns = _box(grid, polygon, to_lonlat)
    if rows.size * columns.size > _MOST_LOOKED_AT:
        raise ClientError("coords: the polygon is too large; ask for a smaller one")
    if rows.size and columns.size:
        lon, lat = to_lonlat.transform(*np.meshgrid(grid.x[columns], grid.y[rows]))
        # longitudes of the polygon may count from 0 to 360
        is_in = shapely.contains_xy(polygon, lon, lat) | shapely.contains_xy(
            polygon, lon + 360, lat
        )
        row, column = np.nonzero(is_in)
        if row.size:
            return Pixels(rows[row], columns[column], lon[is_in], lat[is_in])
    raise ClientError(
        "coords: the centre of no pixel of the grid lies in the polygon; ask for a larger one "
        "within the grid, or for a position",
        404,
    )


def _box(
    grid: Grid, polygon: Any, to_lonlat: pyproj.Transformer
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns that the edges of a polygon reach, with a margin."""
    piece = max(_SHORTEST_PIECE_DEG, shapely.length(polygon) / _MOST_PIECES)
    lon, lat = shapely.get_coordinates(shapely.segmentize(polygon, piece)).T
    x, y = to_lonlat.transform(lon, lat, direction=pyproj.enums.TransformDirection.INVERSE)
    if grid.crs.is_geographic:
        x = x + 360 * np.round((grid.x.mean() - x) / 360)
    is_finite = np.isfinite(x) & np.isfinite(y)
    if not is_finite.any():
        return np.arange(0), np.arange(0)
    height, width = grid.pixel_size
    row, column = (grid.y[0] - y[is_finite]) / height, (x[is_finite] - grid.x[0]) / width
    return _span(row, grid.y.size), _span(column, grid.x.size)


def _span(places: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.intp]:
    low, high = np.clip([places.min() - _MARGIN, places.max() + _MARGIN], -1, size)
    return np.arange(max(0, int(low)), min(size, int(high) + 1))


@lru_cache(maxsize=4)
def _to_lonlat(crs_wkt: str) -> pyproj.Transformer:
    crs = pyproj.CRS.from_wkt(crs_wkt)
    return pyproj.Transformer.from_crs(crs, lonlat_crs(crs), always_xy=True)
