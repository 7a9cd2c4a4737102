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

    A geographic grid gets an equirectangular projection in degrees that does not wrap, so that
    longitudes from 0 to 360 are drawn where the grid has them.
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
        If the CRS cannot be read, or is neither projected nor plain longitude and latitude.
    """
    try:
        crs = pyproj.CRS.from_user_input(crs_wkt)
    except pyproj.exceptions.CRSError as error:
        raise DataError(f"the CRS cannot be read: {error}. Expected WKT in crs_wkt.") from error
    is_rotated = crs.is_geographic and crs.is_derived
    if is_rotated or not (crs.is_geographic or crs.is_projected):
        raise DataError(
            f"the CRS {crs.name!r} is a {crs.type_name}, expected a projected CRS or plain "
            "longitude and latitude; regrid the data first."
        )
    return crs


def project(crs: pyproj.CRS, points: FloatArray, *, inverse: bool = False) -> FloatArray:
    """Transform longitude and latitude, (n, 2), to CRS units, or back if ``inverse``.

    Points that the projection cannot show are left out.
    """
    if crs.is_geographic:
        return points
    source, target = (crs, crs.geodetic_crs) if inverse else (crs.geodetic_crs, crs)
    transformer = pyproj.Transformer.from_crs(source, target, always_xy=True)
    images = np.column_stack(transformer.transform(points[:, 0], points[:, 1]))
    return images[np.isfinite(images).all(axis=1)]


def lonlat_box(crs: pyproj.CRS, extent: Extent) -> LonLatBox:
    """Longitudes and latitudes of a grid, with a margin; all longitudes if a pole is inside."""
    x, y = np.meshgrid(np.linspace(*extent[:2], 41), np.linspace(*extent[2:], 41))
    lonlat = project(crs, np.column_stack([x.ravel(), y.ravel()]), inverse=True)
    if not lonlat.size:
        raise DataError(f"the grid {extent} lies outside the CRS {crs.name!r}.")
    centre = lonlat[len(lonlat) // 2, 0]
    # Projections give -180 to 180 degrees: make the longitudes continuous around the centre.
    lon = lonlat[:, 0] if crs.is_geographic else centre + (lonlat[:, 0] - centre + 180) % 360 - 180
    west, east, south, north = lon.min(), lon.max(), lonlat[:, 1].min(), lonlat[:, 1].max()
    margin = 0.1 + 0.05 * (north - south)
    west, south, east, north = west - margin, south - margin, east + margin, north + margin
    if east - west > 270:  # around a pole the sampled points leave a gap opposite the centre
        west, east = centre - 180, centre + 180
    return LonLatBox(west, max(south, -90.0), east, min(north, 90.0))
