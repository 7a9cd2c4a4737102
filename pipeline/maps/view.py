"""Which part of the grid the maps show: what the radar sees, or a box of longitude and latitude.

Public: `View`, `view_of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from squall.datasets.errors import ConfigError
from squall.pipeline.maps.projection import (
    grid_extent,
    is_plain,
    lonlat_box,
    project,
    read_crs,
)

_MARGIN = 0.03  # around what the radar sees, as a share of the grid
_LEAST_SAVING = 0.12  # a view that leaves out less of both sides shows the whole grid
_LEAST_PIXELS = 8  # of each side


class View(NamedTuple):
    """Rows and columns of the grid, north up."""

    rows: slice
    columns: slice


def view_of(forecast: xr.Dataset, extent: Sequence[float] = ()) -> View:
    """Rows and columns to show.

    Parameters
    ----------
    forecast : as `squall.pipeline.forecast.forecast_file.open_forecast` gives it.
    extent : west, east, south, north in degrees. Empty: the pixels that are observed or forecast.

    Raises
    ------
    ConfigError
        If the box is not on the grid.
    """
    if extent:
        return _box_view(forecast, extent)
    is_seen = np.zeros((forecast.sizes["y"], forecast.sizes["x"]), dtype=bool)
    view = View(slice(None), slice(None))
    for name in ("observed_rain_rate", "rain_rate"):
        for index in range(len(forecast[name])):
            is_seen |= np.isfinite(forecast[name][index].values)
            if not is_seen.any():
                continue
            rows, columns = (_span(np.logical_or.reduce(is_seen, axis=axis)) for axis in (1, 0))
            shown = (
                (span.stop - span.start) / size
                for span, size in zip((rows, columns), is_seen.shape, strict=True)
            )
            if min(shown) > 1 - _LEAST_SAVING:  # further fields show no less
                return View(slice(None), slice(None))
            view = View(rows, columns)
    return view


def _span(is_seen: NDArray[np.bool_]) -> slice:
    """First to last index that is seen, and a margin."""
    seen = np.flatnonzero(is_seen)
    margin = max(1, round(_MARGIN * is_seen.size))
    return slice(max(0, int(seen[0]) - margin), min(is_seen.size, int(seen[-1]) + margin + 1))


def _box_view(forecast: xr.Dataset, extent: Sequence[float]) -> View:
    """The smallest rectangle of the grid around a box."""
    west, east, south, north = extent
    crs = read_crs(forecast["spatial_ref"].attrs["crs_wkt"])
    x, y = forecast["x"].values, forecast["y"].values
    lon, lat = np.meshgrid(np.linspace(west, east, 61), np.linspace(south, north, 61))
    lonlat = np.column_stack([lon.ravel(), lat.ravel()])
    if is_plain(crs):  # the grid may have its longitudes from 0 to 360; the box is not divided
        turn = 360 * np.round((x.mean() - (west + east) / 2) / 360)
        points = lonlat + np.array([turn, 0])
    else:
        points = project(crs, lonlat, x_centre=x.mean())
    columns, rows = (
        _inside(axis, points[:, i] if len(points) else points[:0, 0])
        for i, axis in enumerate((x, y))
    )
    if columns is None or rows is None:
        raise ConfigError(
            f"--extent {west:g} {east:g} {south:g} {north:g}: has fewer than {_LEAST_PIXELS} × "
            f"{_LEAST_PIXELS} pixels of the grid, which reaches {_reach(crs, x, y)}"
        )
    return View(rows, columns)


def _inside(axis: NDArray, values: NDArray) -> slice | None:
    """Indices of an axis between the smallest and the largest value; None if there are few."""
    if not values.size:
        return None
    half = abs(axis[1] - axis[0]) / 2
    is_inside = (axis >= values.min() - half) & (axis <= values.max() + half)
    if is_inside.sum() < _LEAST_PIXELS:
        return None
    inside = np.flatnonzero(is_inside)
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _reach(crs: pyproj.CRS, x: NDArray, y: NDArray) -> str:
    box = lonlat_box(crs, grid_extent(x, y))
    return (
        f"from {box.west:.1f} to {box.east:.1f} degrees east and from {box.south:.1f} to "
        f"{box.north:.1f} degrees north"
    )
