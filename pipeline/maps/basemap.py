"""The basemap: land, water, borders and grid lines under the rain, in the grid's own projection.

Public: `Basemap`, `basemap_for_grid`, `add_map_axes`.

A basemap is cut to the grid and projected once, then drawn under any number of scans. The shapes
come from `geodata.py`, the projection from `projection.py`. This module does not draw rain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cartopy.crs as ccrs
import numpy as np
import shapely  # type: ignore[import-untyped]
from cartopy.mpl.geoaxes import GeoAxes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from squall.pipeline.maps.geodata import LonLatBox, shapes_in, turns
from squall.pipeline.maps.grid_lines import Tick, edge_ticks, meridians_and_parallels
from squall.pipeline.maps.projection import (
    Extent,
    NativeProjection,
    is_plain,
    lonlat_box,
    project,
    read_crs,
)
from squall.pipeline.pictures import MAP_STYLE, MapStyle

FloatArray = NDArray[np.float64]

# A straight edge in longitude and latitude is a curve on the map, so long edges are divided.
_LONGEST_EDGE_DEG = 0.25


@dataclass(frozen=True, eq=False)
class Basemap:
    """Shapes and lines of the map of one grid, cut to the grid; coordinates are in CRS units.

    Parameters
    ----------
    land, lakes, islands : filled shapes, drawn in this order (islands lie in lakes).
    coastlines, shores, borders, grid_lines : lines of shape (n, 2); shores are those of lakes.
    x_ticks, y_ticks : labels of the grid lines along the lower and the left edge.
    aspect : length of a y unit divided by the length of an x unit on the map; 1 if projected.
    credit : sources of the shapes, as text.
    """

    crs_wkt: str
    projection: ccrs.Projection
    extent: Extent
    aspect: float
    land: Outline | None
    lakes: Outline | None
    islands: Outline | None
    coastlines: tuple[FloatArray, ...]
    shores: tuple[FloatArray, ...]
    borders: tuple[FloatArray, ...]
    grid_lines: tuple[FloatArray, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    credit: str


@lru_cache(maxsize=4)
def basemap_for_grid(crs_wkt: str, extent: Extent, style: MapStyle = MAP_STYLE) -> Basemap:
    """Cut the geodata to a grid and project them; the last four results are cached.

    Parameters
    ----------
    crs_wkt : the grid's CRS, projected, geographic or of a rotated pole, in any form that pyproj
        reads.
    extent : outer edges of the grid, CRS units.

    Raises
    ------
    DataError
        If the CRS cannot be read, or is neither projected nor longitude and latitude.
    """
    crs = read_crs(crs_wkt)
    box = lonlat_box(crs, extent)
    shapes = shapes_in(box, style.smallest_shape * box.area_km2)
    # shapes of a plain grid are turned as a whole, by _cut
    x_centre = None if is_plain(crs) else (extent.x_min + extent.x_max) / 2

    def outline(polygons: list[shapely.Geometry]) -> Outline | None:
        valid = [p if shapely.is_valid(p) else shapely.make_valid(p) for p in polygons]
        cut = shapely.orient_polygons(_cut(valid, box, shapely.GeometryType.POLYGON))
        rings = [ring for polygon in cut for ring in (polygon.exterior, *polygon.interiors)]
        coordinates = [shapely.get_coordinates(ring) for ring in rings]
        projected = [project(crs, ring, x_centre=x_centre) for ring in coordinates]
        paths = [Outline(points, closed=True) for points in projected if len(points) > 2]
        # matplotlib fills by winding number, so that interior rings stay holes
        return Outline.make_compound_path(*paths) if paths else None

    def lines(geometries: list[shapely.Geometry]) -> tuple[FloatArray, ...]:
        cut = _cut(geometries, box, shapely.GeometryType.LINESTRING)
        pieces = (p for line in cut for p in _without_seam(shapely.get_coordinates(line)))
        return tuple(project(crs, piece, x_centre=x_centre) for piece in pieces)

    meridians, parallels = meridians_and_parallels(crs, box, style, x_centre)
    mid_latitude = np.radians((extent.y_min + extent.y_max) / 2)
    return Basemap(
        crs_wkt=crs_wkt,
        projection=NativeProjection(crs, extent),
        extent=extent,
        aspect=1 / max(float(np.cos(mid_latitude)), 0.1) if crs.is_geographic else 1.0,
        land=outline(shapes.land),
        lakes=outline(shapes.lakes),
        islands=outline(shapes.islands),
        coastlines=lines(shapes.coastlines),
        shores=lines([shapely.boundary(shape) for shape in shapes.lakes + shapes.islands]),
        borders=lines(shapes.borders),
        grid_lines=tuple(line for _, line in meridians + parallels),
        x_ticks=edge_ticks(meridians, 1, extent.y_min, extent.x_min, extent.x_max),
        y_ticks=edge_ticks(parallels, 0, extent.x_min, extent.y_min, extent.y_max),
        credit=shapes.credit,
    )


def add_map_axes(
    figure: Figure,
    position: tuple[float, float, float, float],
    basemap: Basemap,
    *,
    labels: bool = True,
    style: MapStyle = MAP_STYLE,
) -> GeoAxes:
    """Add axes that show the basemap. The zorders from 2 to 3, above land, are free for rain.

    Parameters
    ----------
    position : left, bottom, width, height as fractions of the figure.
    labels : whether degrees are written at the lower and the left edge.
    """
    axes = figure.add_axes(position, projection=basemap.projection)
    axes.set_xlim(basemap.extent.x_min, basemap.extent.x_max)
    axes.set_ylim(basemap.extent.y_min, basemap.extent.y_max)
    axes.set_aspect(basemap.aspect)
    axes.set_facecolor(style.water)
    _add_fills(axes, basemap, style)
    _add_lines(axes, basemap, style)
    if labels:
        axes.set_xticks([tick.position for tick in basemap.x_ticks])
        axes.set_yticks([tick.position for tick in basemap.y_ticks])
        axes.set_xticklabels([tick.label for tick in basemap.x_ticks])
        axes.set_yticklabels([tick.label for tick in basemap.y_ticks])
        axes.tick_params(length=2.5, width=0.5, labelsize=8, labelcolor=style.quiet_text, pad=2)
    axes.spines["geo"].set(lw=0.6, edgecolor=style.quiet_text, zorder=5)
    return axes


def _add_fills(axes: GeoAxes, basemap: Basemap, style: MapStyle) -> None:
    """Land, the lakes in it, and the islands in the lakes."""
    fills = (basemap.land, style.land), (basemap.lakes, style.water), (basemap.islands, style.land)
    for order, (shape, colour) in enumerate(fills):
        if shape is not None:
            zorder = 1 + order / 10
            patch = PathPatch(shape, fc=colour, lw=0, zorder=zorder, transform=axes.transData)
            axes.add_artist(patch)


def _add_lines(axes: GeoAxes, basemap: Basemap, style: MapStyle) -> None:
    """Grid lines, shores, borders and coastlines, above the rain."""
    for lines, colour, width, dashes, zorder in (
        (basemap.grid_lines, style.grid, style.grid_pt, "-", 3.0),
        (basemap.shores, style.shore, style.shore_pt, "-", 3.1),
        (basemap.borders, style.border, style.border_pt, (0, (5, 2)), 3.1),
        (basemap.coastlines, style.halo, style.coastline_pt + 1.2, "-", 3.2),
        (basemap.coastlines, style.coastline, style.coastline_pt, "-", 3.3),
    ):
        collection = LineCollection(
            lines, colors=colour, lw=width, ls=[dashes], transform=axes.transData
        )
        axes.add_artist(collection).set_zorder(zorder)


def _cut(
    geometries: Sequence[shapely.Geometry], box: LonLatBox, kind: shapely.GeometryType
) -> NDArray[np.object_]:
    """Parts of a kind (polygon, line) within a box, with long edges divided.

    Shapes are turned by whole circles where the longitudes of the box leave -180 to 180 degrees.
    """
    shapes = np.array(geometries, dtype=object)
    cuts = [shapes[:0]]
    west, _, east, _ = shapely.bounds(shapes).reshape(-1, 4).T
    for turn, inside in turns(west, east, box):
        turned = shapely.transform(shapes[inside], lambda lonlat, t=turn: lonlat + np.array([t, 0]))
        inside_box = shapely.intersection(turned, shapely.box(*box))
        cuts.append(shapely.segmentize(inside_box, _LONGEST_EDGE_DEG))
    parts = shapely.get_parts(shapely.get_parts(np.concatenate(cuts)))
    return parts[(shapely.get_type_id(parts) == kind) & ~shapely.is_empty(parts)]


def _without_seam(lonlat: FloatArray) -> list[FloatArray]:
    """Remove the parts of a line along 180 degrees: shapes are split there, coasts are not."""
    on_seam = np.isclose(np.abs(lonlat[:, 0]) % 360, 180)
    breaks = np.flatnonzero(on_seam[1:] & on_seam[:-1]) + 1
    return [piece for piece in np.split(lonlat, breaks) if len(piece) > 1]
