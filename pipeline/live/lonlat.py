"""Shapes on the grid of a radar as GeoJSON has them: longitude and latitude (RFC 7946).

Public: `LonLat`, `NoLonLatError`, `bounds`, `geojson`.
"""

from __future__ import annotations

import math

import numpy as np
import shapely  # type: ignore[import-untyped]
from pyproj import Transformer

from squall.datasets.grid import Grid, lonlat_crs

# A straight line on the map is curved in longitude and latitude. Over 50 pixels it departs by less
# than a quarter of a pixel, for pixels up to 4 km and latitudes up to 60 degrees.
_LONGEST_LINE = 50.0  # pixels


class NoLonLatError(Exception):
    """A grid has no edge in longitude and latitude; the message says why."""


class LonLat:
    """Brings shapes on a grid to longitude and latitude.

    Raises
    ------
    NoLonLatError
        If the grid holds a pole, or a part of its edge has no longitude: GeoJSON has no polygons
        for it.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._to_lonlat = Transformer.from_crs(grid.crs, lonlat_crs(grid.crs), always_xy=True)
        self._middle, _ = self._to_lonlat.transform(grid.x.mean(), grid.y.mean())
        self._resolution = 10.0 ** -math.ceil(math.log10(5 * 111_195 / grid.pixel_size_m))
        if any(grid.pixel_at(latitude, 0) is not None for latitude in (-90, 90)):
            raise NoLonLatError("the grid holds a pole")
        rows, columns = grid.shape
        self.footprint = self.polygons(shapely.box(-0.5, -0.5, columns - 0.5, rows - 0.5))
        """The area that the pixels cover."""

    def polygons(self, shape: shapely.Geometry) -> shapely.MultiPolygon:
        """A shape in pixels as polygons in longitude and latitude.

        They are valid, outer rings run counterclockwise, and they end at 180° where they cross it.

        Parameters
        ----------
        shape : polygons; x is the column and y the row, whole numbers are pixel centres.

        Returns
        -------
        Degrees east and north, rounded to about a tenth of a pixel.
        """
        grid = self._grid
        height, width = grid.pixel_size
        shape = shapely.segmentize(shape, _LONGEST_LINE)
        columns, rows = shapely.get_coordinates(shape).T
        lon, lat = self._to_lonlat.transform(grid.x[0] + columns * width, grid.y[0] - rows * height)
        if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
            raise NoLonLatError("a part of the grid has no longitude and latitude")
        lon = self._middle + (lon - self._middle + 180) % 360 - 180  # without a jump at 180°
        shape = shapely.set_coordinates(shape, np.stack([lon, lat], axis=1))
        if lon.size and (lon.min() < -180 or lon.max() > 180):
            shape = _cut(shape)
        return _polygons(shapely.set_precision(_valid(shape), self._resolution))


def bounds(shape: shapely.MultiPolygon) -> list[float]:
    """West, south, east and north edge; west is greater than east across 180° (RFC 7946, 5.2)."""
    west, south, east, north = shapely.bounds(shape).tolist()
    if (west, east) == (-180, 180):
        boxes = shapely.bounds(shapely.get_parts(shape))
        west = float(boxes[boxes[:, 2] == 180, 0].min())
        east = float(boxes[boxes[:, 0] == -180, 2].max())
    return [west, south, east, north]


def geojson(shape: shapely.MultiPolygon) -> str:
    """The geometry as GeoJSON text; a Polygon where there is but one."""
    parts = shapely.get_parts(shape)
    return str(shapely.to_geojson(parts[0] if len(parts) == 1 else shape))


def _cut(shape: shapely.Geometry) -> shapely.Geometry:
    """Cut at 180°, and bring all longitudes between -180 and 180."""
    turns = (-360, 0, 360)
    parts = [
        shapely.transform(
            shapely.intersection(_valid(shape), shapely.box(turn - 180, -90, turn + 180, 90)),
            lambda points, turn=turn: points - [turn, 0],
        )
        for turn in turns
    ]
    return _polygons(shapely.GeometryCollection(parts))


def _valid(shape: shapely.Geometry) -> shapely.Geometry:
    if shapely.is_valid(shape):
        return shape
    return shapely.make_valid(shape, method="structure", keep_collapsed=False)


def _polygons(shape: shapely.Geometry) -> shapely.MultiPolygon:
    """The polygons of any geometry, with outer rings counterclockwise."""
    parts = [shape]
    while any(part.geom_type in ("MultiPolygon", "GeometryCollection") for part in parts):
        parts = list(shapely.get_parts(parts))
    parts = [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]
    polygons: shapely.MultiPolygon = shapely.orient_polygons(shapely.MultiPolygon(parts))
    return polygons
