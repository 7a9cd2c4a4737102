"""The grid of a netCDF variable, from whatever places its pixels; see `cf_axes`."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyproj
import xarray as xr

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid, all_crs_from_attributes
from squall.datasets.radar.coordinates import (
    RADIANS,
    check_agreement,
    coordinate_unit,
    crs_of,
    described_crs,
    harmonised_grid,
    in_metres,
)
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.positions import MAX_POSITIONS, fitted_axes
from squall.datasets.radar.readers.cf_axes import MapAxes


def grid_of(
    dataset: xr.Dataset, variable: xr.DataArray, axes: MapAxes, config: RadarNetworkConfig
) -> tuple[Grid, bool, bool]:
    """Make the grid of a variable, north up, in metres.

    Returns
    -------
    The grid, whether the rows must be reversed to lie on it, and whether the columns must.

    Raises
    ------
    DataError
        If the file places its pixels on no regular grid in a known projection.
    """
    shape = variable.sizes[axes.y_dim], variable.sizes[axes.x_dim]
    if config.grid is not None:
        return config.grid.harmonised(shape)
    configured = None if config.crs is None else _configured_crs(config.crs)
    if axes.placed_by == "positions":
        return _grid_of_positions(dataset, axes, configured)
    if axes.placed_by == "geotransform":
        x, y = _axes_of_geotransform(dataset, shape, axes, config.crs)
    else:
        x, y = (_alone(dataset[name]) for name in (axes.x, axes.y))
    if config.coordinate_units is not None:
        for axis in (x, y):
            axis.attrs["units"] = config.coordinate_units
    crs = configured or crs_of(dataset, variable, x, y, axes.mapping)
    return harmonised_grid(x, y, crs)


def _alone(coordinate: xr.DataArray) -> xr.DataArray:
    """A coordinate without the others, whose attributes may be changed."""
    return xr.DataArray(
        coordinate.values, dims=coordinate.dims, name=coordinate.name, attrs=dict(coordinate.attrs)
    )


@lru_cache(maxsize=8)
def _configured_crs(text: str) -> pyproj.CRS:
    return in_metres(pyproj.CRS.from_user_input(text))


def _axes_of_geotransform(
    dataset: xr.Dataset, shape: tuple[int, int], axes: MapAxes, crs_text: str | None
) -> tuple[xr.DataArray, xr.DataArray]:
    """Pixel centres by GDAL's ``GeoTransform``, in the unit of the CRS.

    Its six numbers are x of the outer corner of the first pixel, step in x with the column and with
    the row, y of that corner, step in y with the column and with the row
    (https://gdal.org/en/stable/tutorials/geotransforms_tut.html). It holds for the rows in the
    order in which they are stored.
    """
    attributes = dataset[axes.mapping].attrs
    text = attributes["GeoTransform"]
    numbers = np.asarray(text.replace(",", " ").split() if isinstance(text, str) else text)
    try:
        x0, dx, x_turn, y0, y_turn, dy = numbers.astype(np.float64)
    except ValueError:
        raise DataError(
            f"grid mapping '{axes.mapping}' has GeoTransform {text!r}, expected six numbers; set "
            "'grid' in the network configuration"
        ) from None
    if x_turn or y_turn or not (dx and dy):
        raise DataError(
            f"grid mapping '{axes.mapping}' has GeoTransform {text!r}, a grid that is turned or "
            "has no size; put the files on a grid along x and y first, for example with gdalwarp"
        )
    try:
        crs = (
            pyproj.CRS.from_user_input(crs_text)
            if crs_text
            else next(iter(all_crs_from_attributes(dict(attributes)).values()))
        )
        unit = crs.axis_info[0].unit_name
    except (ValueError, IndexError):
        unit = "m"  # `crs_of` says what is wrong
    steps = (axes.x_dim, x0, dx, shape[1]), (axes.y_dim, y0, dy, shape[0])
    x, y = (
        xr.DataArray(first + (np.arange(n) + 0.5) * step, dims=dim, name=dim, attrs={"units": unit})
        for dim, first, step, n in steps
    )
    return x, y


def _grid_of_positions(
    dataset: xr.Dataset, axes: MapAxes, configured: pyproj.CRS | None
) -> tuple[Grid, bool, bool]:
    """The regular grid of two-dimensional latitude and longitude, in the projection that is known.

    Without a projection they can only be a grid along meridians and parallels (WGS 84).
    """
    lat, lon = (dataset[name].transpose(axes.y_dim, axes.x_dim) for name in (axes.y, axes.x))
    if lat.size > MAX_POSITIONS:
        raise DataError(
            f"variable '{axes.y}' has {lat.size:,} positions, at most {MAX_POSITIONS:,} are read; "
            "set 'grid' in the network configuration"
        )
    described: dict[str, pyproj.CRS] = {}
    if configured is None and axes.mapping is not None:
        described = described_crs(dataset, axes.mapping, xr.DataArray(attrs={"units": "m"}))
    crs = configured or next(iter(described.values()), pyproj.CRS.from_epsg(4326))
    values = [
        np.degrees(v.values.astype(np.float64))
        if coordinate_unit(str(v.attrs.get("units", ""))) == RADIANS
        else v.values.astype(np.float64)
        for v in (lon, lat)
    ]
    try:
        numbers = fitted_axes(values[0], values[1], crs, f"variables '{axes.y}' and '{axes.x}'")
    except DataError as error:
        if axes.x_dim in dataset.variables and axes.y_dim in dataset.variables:
            raise DataError(
                f"coordinates '{axes.y_dim}' and '{axes.x_dim}' have no unit of length, and "
                f"{error}; if the coordinates are right, set 'coordinate_units', for example "
                "'coordinate_units: m'"
            ) from error
        raise
    unit = "degrees" if crs.is_geographic else "m"
    x, y = (
        xr.DataArray(line, dims=dim, name=dim, attrs={"units": unit})
        for line, dim in zip(numbers, ("x", "y"), strict=True)
    )
    if axes.mapping is not None and described:
        check_agreement(axes.mapping, described, x, y)
    return harmonised_grid(x, y, crs)
