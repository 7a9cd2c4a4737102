"""The projection of a map: the grid's own CRS for cartopy, and its longitudes and latitudes.

Public: `Extent`, `grid_extent`, `NativeProjection`, `read_crs`, `project`, `lonlat_box`.
"""

import math
from typing import NamedTuple

import cartopy.crs as ccrs
import numpy as np
import pyproj
from numpy.typing import NDArray

from squall.datasets.errors import DataError
from squall.datasets.grid import check_map_projection, is_rotated, lonlat_crs
from squall.pipeline.maps.geodata import LonLatBox

FloatArray = NDArray[np.float64]


class Extent(NamedTuple):
    """Outer edges of a grid in CRS units (metres; degrees if geographic)."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float


def grid_extent(x: FloatArray, y: FloatArray) -> Extent:
    """Outer pixel edges of a regular grid.

    Parameters
    ----------
    x, y : coordinates of pixel centres, at least two of each, evenly spaced, in any order.

    Raises
    ------
    DataError
        If there are too few coordinates, or they are not evenly spaced.
    """
    edges: list[float] = []
    for name, centres in (("x", np.asarray(x, float)), ("y", np.asarray(y, float))):
        if centres.size < 2:
            raise DataError(f"{name} has {centres.size} value(s), expected at least 2.")
        steps = np.diff(centres)
        # Float32 coordinates in metres are exact to some decimetres: allow 1 % of a pixel.
        uneven = np.abs(steps - steps.mean()) > 0.01 * abs(steps.mean())
        if uneven.any() or steps.mean() == 0:
            raise DataError(
                f"{name} is not evenly spaced: steps from {steps.min():g} to {steps.max():g}. "
                "Maps need a regular grid; regrid the data first."
            )
        half = abs(steps.mean()) / 2
        edges += [float(centres.min() - half), float(centres.max() + half)]
    return Extent(*edges)


class NativeProjection(ccrs.Projection):
    """A grid's own CRS as a projection of cartopy, with the bounds of the map.

    A grid in degrees, of longitude and latitude or of a rotated pole, gets an equirectangular
    projection in these degrees that does not wrap, so that longitudes from 0 to 360 are drawn where
    the grid has them. Shapes are projected by `project`, not by cartopy.
    """

    def __init__(self, crs: pyproj.CRS, extent: Extent) -> None:
        degree_m = math.radians(1.0) * 6378137.0
        eqc = f"+proj=eqc +R=6378137 +to_meter={degree_m!r} +over +no_defs +type=crs"
        super().__init__(eqc if crs.is_geographic else crs.to_wkt())
        self.bounds = tuple(extent)
        self.threshold = min(extent.x_max - extent.x_min, extent.y_max - extent.y_min) / 100


def read_crs(crs_wkt: str) -> pyproj.CRS:
    """Read a CRS and check that a map can be drawn in it.

    Raises
    ------
    DataError
        If the CRS cannot be read, or is neither projected nor longitude and latitude, plain or of a
        rotated pole.
    """
    try:
        crs = pyproj.CRS.from_user_input(crs_wkt)
    except pyproj.exceptions.CRSError as error:
        raise DataError(f"the CRS cannot be read: {error}. Expected WKT in crs_wkt.") from error
    check_map_projection(crs)
    return crs


def is_plain(crs: pyproj.CRS) -> bool:
    """Whether the coordinates are longitude and latitude themselves, of no rotated pole."""
    return bool(crs.is_geographic and not is_rotated(crs))


def project(
    crs: pyproj.CRS, points: FloatArray, *, inverse: bool = False, x_centre: float | None = None
) -> FloatArray:
    """Transform longitude and latitude, (n, 2), to CRS units, or back if ``inverse``.

    Points that the projection cannot show are left out.

    Parameters
    ----------
    x_centre : x of the middle of the map. If x is in degrees, each point is turned by whole
        circles to the side of the Earth around it: grids may count from 0 to 360.
    """
    if not is_plain(crs):
        lonlat = lonlat_crs(crs)
        source, target = (crs, lonlat) if inverse else (lonlat, crs)
        transformer = pyproj.Transformer.from_crs(source, target, always_xy=True)
        points = np.column_stack(transformer.transform(points[:, 0], points[:, 1]))
        points = points[np.isfinite(points).all(axis=1)]
    if crs.is_geographic and x_centre is not None:
        turns = np.round((x_centre - points[:, 0]) / 360)
        points = points + np.column_stack([360 * turns, np.zeros(len(points))])
    return points


def inside(
    points: FloatArray, extent: Extent, margin_x: float = 0.0, margin_y: float = 0.0
) -> bool:
    """Whether the first of some points is on the map, at least the margins from its edges."""
    if not len(points):
        return False
    x, y = points[0]
    is_within_x = extent.x_min + margin_x < x < extent.x_max - margin_x
    return bool(is_within_x and extent.y_min + margin_y < y < extent.y_max - margin_y)


def lonlat_box(crs: pyproj.CRS, extent: Extent) -> LonLatBox:
    """Longitudes and latitudes of a grid, with a margin; all longitudes if a pole is inside."""
    x, y = np.meshgrid(np.linspace(*extent[:2], 41), np.linspace(*extent[2:], 41))
    lonlat = project(crs, np.column_stack([x.ravel(), y.ravel()]), inverse=True)
    if not lonlat.size:
        raise DataError(f"the grid {extent} lies outside the CRS {crs.name!r}.")
    centre = lonlat[len(lonlat) // 2, 0]
    # Projections give -180 to 180 degrees: make the longitudes continuous around the centre.
    lon = lonlat[:, 0] if is_plain(crs) else centre + (lonlat[:, 0] - centre + 180) % 360 - 180
    west, east, south, north = lon.min(), lon.max(), lonlat[:, 1].min(), lonlat[:, 1].max()
    margin = 0.1 + 0.05 * (north - south)
    west, south, east, north = west - margin, south - margin, east + margin, north + margin
    if east - west > 270:  # around a pole the sampled points leave a gap opposite the centre
        west, east = centre - 180, centre + 180
    return LonLatBox(west, max(south, -90.0), east, min(north, 90.0))
