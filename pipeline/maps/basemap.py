"""The land, water, borders and lat/lon grid under a rain map, in the grid's own projection.

Public: `Extent`, `grid_extent`, `Basemap`, `Tick`, `basemap_for_grid`, `add_map_axes`, `MapStyle`,
`MAP_STYLE`.

Owns how the shapes of `pipeline.maps.geodata` get onto a map. A basemap is cut to the grid and
projected
once, then drawn under any number of scans. It knows nothing of rain.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cartopy.crs as ccrs
import numpy as np
import pyproj
import shapely  # type: ignore[import-untyped]
from cartopy.mpl.geoaxes import GeoAxes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from squall.datasets.errors import DataError
from squall.pipeline.maps.geodata import LonLatBox, shapes_in, turns
from squall.pipeline.pictures import MAP_STYLE, MapStyle

FloatArray = NDArray[np.float64]

# Degrees between grid lines: the first that gives at most `MapStyle.grid_lines` lines is taken.
_GRID_STEPS_DEG = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
# Straight edges in lon/lat are curves on the map, so that no edge may be longer than this.
_LONGEST_EDGE_DEG = 0.25


class Extent(NamedTuple):
    """Outer edges of a grid in CRS units (metres; degrees if geographic)."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float


class Tick(NamedTuple):
    """Where a grid line leaves the map [CRS units] and what is written there."""

    position: float
    label: str


@dataclass(frozen=True, eq=False)
class Basemap:
    """What one grid has under its rain; coordinates are in CRS units, cut to the grid.

    land, lakes, islands : filled shapes, drawn in this order (islands lie in lakes).
    coastlines, shores, borders, grid_lines : lines of shape (n, 2); shores are those of lakes.
    x_ticks, y_ticks : labels of the lat/lon grid along the lower and the left edge.
    aspect : length of a y unit over length of an x unit on the map; 1 if projected.
    credit : where the shapes come from, for people to read.
    """

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


class _NativeProjection(ccrs.Projection):
    """A grid's own CRS as cartopy wants it, with bounds that are just those of the map.

    Geographic grids become an equirectangular projection whose unit is the degree and which
    does not wrap, so that longitudes from 0 to 360 are drawn where the grid has them.
    """

    def __init__(self, crs: pyproj.CRS, extent: Extent) -> None:
        degree_m = math.radians(1.0) * 6378137.0
        eqc = f"+proj=eqc +R=6378137 +to_meter={degree_m!r} +over +no_defs +type=crs"
        super().__init__(eqc if crs.is_geographic else crs.to_wkt())
        self.bounds = tuple(extent)
        self.threshold = min(extent.x_max - extent.x_min, extent.y_max - extent.y_min) / 100


def grid_extent(x: FloatArray, y: FloatArray) -> Extent:
    """Outer pixel edges of a regular grid.

    Parameters
    ----------
    x, y : coordinates of pixel centres, at least two of each, evenly spaced, in any order.

    Raises
    ------
    DataError
        The coordinates are too few or not evenly spaced.
    """
    edges: list[float] = []
    for name, centres in (("x", np.asarray(x, float)), ("y", np.asarray(y, float))):
        if centres.size < 2:
            raise DataError(f"{name} has {centres.size} value(s), expected at least 2.")
        steps = np.diff(centres)
        # Float32 coordinates in metres are good to some decimetres, hence 1 % of a pixel.
        uneven = np.abs(steps - steps.mean()) > 0.01 * abs(steps.mean())
        if uneven.any() or steps.mean() == 0:
            raise DataError(
                f"{name} is not evenly spaced: steps from {steps.min():g} to {steps.max():g}. "
                "Maps need a regular grid; regrid the data first."
            )
        half = abs(steps.mean()) / 2
        edges += [float(centres.min() - half), float(centres.max() + half)]
    return Extent(*edges)


@lru_cache(maxsize=4)
def basemap_for_grid(crs_wkt: str, extent: Extent, style: MapStyle = MAP_STYLE) -> Basemap:
    """Cut the geodata to a grid and project them; the last few results are kept.

    Parameters
    ----------
    crs_wkt : the grid's CRS, projected or geographic, in any form that pyproj reads.
    extent : outer edges of the grid, CRS units.

    Raises
    ------
    DataError
        The CRS cannot be read, or is of a kind that has no map.
    """
    crs = _read_crs(crs_wkt)
    box = _lonlat_box(crs, extent)
    shapes = shapes_in(box, style.smallest_shape * box.area_km2)

    def outline(polygons: list[shapely.Geometry]) -> Outline | None:
        fixed = [p if shapely.is_valid(p) else shapely.make_valid(p) for p in polygons]
        parts = shapely.orient_polygons(_cut(fixed, box, shapely.GeometryType.POLYGON))
        rings = [ring for part in parts for ring in (part.exterior, *part.interiors)]
        projected = [_project(crs, shapely.get_coordinates(ring)) for ring in rings]
        paths = [Outline(points, closed=True) for points in projected if len(points) > 2]
        return Outline.make_compound_path(*paths) if paths else None  # filled by winding number

    def lines(geometries: list[shapely.Geometry]) -> tuple[FloatArray, ...]:
        parts = _cut(geometries, box, shapely.GeometryType.LINESTRING)
        pieces = (p for part in parts for p in _without_seam(shapely.get_coordinates(part)))
        return tuple(_project(crs, piece) for piece in pieces)

    meridians, parallels = _grid_lines(crs, box, style)
    mid_latitude = np.radians((extent.y_min + extent.y_max) / 2)
    return Basemap(
        projection=_NativeProjection(crs, extent),
        extent=extent,
        aspect=1 / max(float(np.cos(mid_latitude)), 0.1) if crs.is_geographic else 1.0,
        land=outline(shapes.land),
        lakes=outline(shapes.lakes),
        islands=outline(shapes.islands),
        coastlines=lines(shapes.coastlines),
        shores=lines([shapely.boundary(shape) for shape in shapes.lakes + shapes.islands]),
        borders=lines(shapes.borders),
        grid_lines=tuple(line for _, line in meridians + parallels),
        x_ticks=_edge_ticks(meridians, 1, extent.y_min, extent.x_min, extent.x_max),
        y_ticks=_edge_ticks(parallels, 0, extent.x_min, extent.y_min, extent.y_max),
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
    """Add axes that show the basemap; leave zorder 2 to 3 between land and lines to the rain.

    Parameters
    ----------
    position : left, bottom, width, height as parts of the figure.
    labels : whether degrees are written outside the lower and the left edge.
    """
    axes = figure.add_axes(position, projection=basemap.projection)
    axes.set_xlim(basemap.extent.x_min, basemap.extent.x_max)
    axes.set_ylim(basemap.extent.y_min, basemap.extent.y_max)
    axes.set_aspect(basemap.aspect)
    axes.set_facecolor(style.water)
    native = axes.transData
    fills = (basemap.land, style.land), (basemap.lakes, style.water), (basemap.islands, style.land)
    for order, (shape, colour) in enumerate(fills):
        if shape is not None:
            zorder = 1 + order / 10
            axes.add_artist(PathPatch(shape, fc=colour, lw=0, zorder=zorder, transform=native))
    for segments, colour, width, dashes, zorder in (
        (basemap.grid_lines, style.grid, style.grid_pt, "-", 3.0),
        (basemap.shores, style.shore, style.shore_pt, "-", 3.1),
        (basemap.borders, style.border, style.border_pt, (0, (5, 2)), 3.1),
        (basemap.coastlines, style.halo, style.coastline_pt + 1.2, "-", 3.2),
        (basemap.coastlines, style.coastline, style.coastline_pt, "-", 3.3),
    ):
        look = LineCollection(segments, colors=colour, lw=width, ls=[dashes], transform=native)
        axes.add_artist(look).set_zorder(zorder)
    if labels:
        axes.set_xticks([tick.position for tick in basemap.x_ticks])
        axes.set_yticks([tick.position for tick in basemap.y_ticks])
        axes.set_xticklabels([tick.label for tick in basemap.x_ticks])
        axes.set_yticklabels([tick.label for tick in basemap.y_ticks])
        axes.tick_params(length=2.5, width=0.5, labelsize=8, labelcolor=style.quiet_text, pad=2)
    axes.spines["geo"].set(lw=0.6, edgecolor=style.quiet_text, zorder=5)
    return axes


def _read_crs(crs_wkt: str) -> pyproj.CRS:
    try:
        crs = pyproj.CRS.from_user_input(crs_wkt)
    except pyproj.exceptions.CRSError as error:
        raise DataError(f"the CRS cannot be read: {error}. Expected WKT in crs_wkt.") from error
    rotated = crs.is_geographic and crs.is_derived
    if rotated or not (crs.is_geographic or crs.is_projected):
        raise DataError(
            f"the CRS {crs.name!r} is a {crs.type_name}, expected a projected CRS or plain "
            "longitude and latitude; regrid the data first."
        )
    return crs


def _project(crs: pyproj.CRS, points: FloatArray, *, inverse: bool = False) -> FloatArray:
    """Longitude and latitude to CRS units, points in rows; what has no image is left out."""
    if crs.is_geographic:
        return points
    source, target = (crs, crs.geodetic_crs) if inverse else (crs.geodetic_crs, crs)
    transformer = pyproj.Transformer.from_crs(source, target, always_xy=True)
    images = np.column_stack(transformer.transform(points[:, 0], points[:, 1]))
    return images[np.isfinite(images).all(axis=1)]


def _lonlat_box(crs: pyproj.CRS, extent: Extent) -> LonLatBox:
    """Longitudes and latitudes of a grid, with a margin; whole circles if it holds a pole."""
    x, y = np.meshgrid(np.linspace(*extent[:2], 41), np.linspace(*extent[2:], 41))
    lonlat = _project(crs, np.column_stack([x.ravel(), y.ravel()]), inverse=True)
    if not lonlat.size:
        raise DataError(f"the grid {extent} lies outside the CRS {crs.name!r}.")
    centre = lonlat[len(lonlat) // 2, 0]
    # Projections answer from -180 to 180; around the centre the longitudes are continuous.
    lon = lonlat[:, 0] if crs.is_geographic else centre + (lonlat[:, 0] - centre + 180) % 360 - 180
    west, east, south, north = lon.min(), lon.max(), lonlat[:, 1].min(), lonlat[:, 1].max()
    margin = 0.1 + 0.05 * (north - south)
    west, south, east, north = west - margin, south - margin, east + margin, north + margin
    if east - west > 270:  # around a pole; samples leave a gap opposite the centre
        west, east = centre - 180, centre + 180
    return LonLatBox(west, max(south, -90.0), east, min(north, 90.0))


def _cut(
    geometries: Sequence[shapely.Geometry], box: LonLatBox, kind: shapely.GeometryType
) -> NDArray[np.object_]:
    """Simple parts within a box, brought there by whole turns, with no long edge left."""
    shapes = np.array(geometries, dtype=object)
    cuts = [shapes[:0]]
    west, _, east, _ = shapely.bounds(shapes).reshape(-1, 4).T
    for turn, inside in turns(west, east, box):
        turned = shapely.transform(shapes[inside], lambda lonlat, t=turn: lonlat + np.array([t, 0]))
        found = shapely.intersection(turned, shapely.box(*box))
        cuts.append(shapely.segmentize(found, _LONGEST_EDGE_DEG))
    parts = shapely.get_parts(shapely.get_parts(np.concatenate(cuts)))
    return parts[(shapely.get_type_id(parts) == kind) & ~shapely.is_empty(parts)]


def _without_seam(lonlat: FloatArray) -> list[FloatArray]:
    """Break a line where it follows 180 degrees: shapes are split there, coasts are not."""
    on_seam = np.isclose(np.abs(lonlat[:, 0]) % 360, 180)
    breaks = np.flatnonzero(on_seam[1:] & on_seam[:-1]) + 1
    return [piece for piece in np.split(lonlat, breaks) if len(piece) > 1]


def _grid_lines(
    crs: pyproj.CRS, box: LonLatBox, style: MapStyle
) -> tuple[list[tuple[str, FloatArray]], list[tuple[str, FloatArray]]]:
    """Labelled meridians and parallels of a box, projected."""
    lons, lats = np.linspace(box.west, box.east, 181), np.linspace(box.south, box.north, 181)
    meridians, parallels = [], []
    for lon in _round_values(box.west, box.east, style.grid_lines):
        line = _project(crs, np.column_stack([np.full(181, lon), lats]))
        meridians.append((_degrees((lon + 180) % 360 - 180, "E", "W"), line))
    for lat in _round_values(box.south, box.north, style.grid_lines):
        line = _project(crs, np.column_stack([lons, np.full(181, lat)]))
        parallels.append((_degrees(lat, "N", "S"), line))
    return meridians, parallels


def _round_values(low: float, high: float, most: int) -> FloatArray:
    step = next((s for s in _GRID_STEPS_DEG if (high - low) / s <= most + 1), _GRID_STEPS_DEG[-1])
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step


def _degrees(value: float, positive: str, negative: str) -> str:
    hemisphere = "" if round(value, 6) in (0, -180) else positive if value > 0 else negative
    return f"{abs(value):.4g}°{hemisphere}"


def _edge_ticks(
    lines: Sequence[tuple[str, FloatArray]], axis: int, edge: float, low: float, high: float
) -> tuple[Tick, ...]:
    """Where lines cross the map edge on which coordinate `axis` equals `edge`."""
    ticks = []
    for label, line in lines:
        across, along = line[:, axis] - edge, line[:, 1 - axis]
        for i in np.flatnonzero(np.signbit(across[1:]) != np.signbit(across[:-1])):
            part = across[i] / (across[i] - across[i + 1])
            at = along[i] + part * (along[i + 1] - along[i])
            if np.isfinite(at) and low <= at <= high:
                ticks.append(Tick(float(at), label))
    apart: list[Tick] = []
    for tick in sorted(ticks):
        if not apart or tick.position - apart[-1].position > 0.07 * (high - low):
            apart.append(tick)
    return tuple(apart)
