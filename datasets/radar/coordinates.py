"""Coordinates and projection of a file, turned into a `Grid`: north up, in metres.

Owns the table of length units, the directions of rows and columns, and CF grid mappings. Knows
nothing of rain: units of rain are in `squall.datasets.radar.units`.
"""

import numpy as np
import pyproj
import xarray as xr

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid, crs_from_attributes, proj_parameters
from squall.datasets.radar.units import UNIT_WORDS

LENGTHS_M = {"m": 1.0, "km": 1000.0}  # unit of length -> metres


def harmonised_grid(x: xr.DataArray, y: xr.DataArray, crs: pyproj.CRS) -> tuple[Grid, bool, bool]:
    """Make the north-up grid of a file's coordinates, in metres.

    Parameters
    ----------
    x, y : one-dimensional pixel centres with a ``units`` attribute, in either direction.

    Returns
    -------
    The grid, whether the rows must be reversed to lie on it, and whether the columns must.

    Raises
    ------
    DataError
        If the unit of the coordinates is unknown, or the coordinates are not regular.
    """
    metres_x, metres_y = (_metres_per_unit(axis, crs) for axis in (x, y))
    columns = np.asarray(x.values, dtype=np.float64) * metres_x
    rows = np.asarray(y.values, dtype=np.float64) * metres_y
    flip_columns = columns.size > 1 and columns[0] > columns[-1]
    flip_rows = rows.size > 1 and rows[0] < rows[-1]
    try:
        grid = Grid(
            x=columns[::-1].copy() if flip_columns else columns,
            y=rows[::-1].copy() if flip_rows else rows,
            crs_wkt=crs.to_wkt(),
        )
    except ValueError as error:
        raise DataError(f"coordinates {x.name}, {y.name}: {error}") from error
    return grid, bool(flip_rows), bool(flip_columns)


def _metres_per_unit(axis: xr.DataArray, crs: pyproj.CRS) -> float:
    """Factor from the unit of a coordinate to metres; 1 for degrees on a geographic grid."""
    text = str(axis.attrs.get("units", "")).strip().lower()
    unit = UNIT_WORDS.get(text, text)
    if crs.is_geographic:
        if unit.startswith("degree") or unit == "deg":
            return 1.0
        raise DataError(
            f"coordinate '{axis.name}' has units '{text}', expected degrees on a geographic grid"
        )
    if unit not in LENGTHS_M:
        raise DataError(
            f"coordinate '{axis.name}' has units '{text}', expected m or km; if the attribute is "
            "missing or wrong, set 'coordinate_units' in the network configuration"
        )
    return LENGTHS_M[unit]


def crs_of(
    dataset: xr.Dataset, variable: xr.DataArray, x: xr.DataArray, y: xr.DataArray
) -> pyproj.CRS:
    """Read the CRS that the ``grid_mapping`` of a CF variable names, with metres on its axes.

    Coordinates ``x`` and ``y`` in degrees without a grid mapping mean WGS 84.

    Raises
    ------
    DataError
        If there is no grid mapping, or PROJ cannot use it.
    """
    mapping = variable.attrs.get("grid_mapping") or variable.encoding.get("grid_mapping")
    if mapping:
        # the CF form "crs: x y" names the coordinates too
        name = str(mapping).split(":")[0].strip()
        if name not in dataset.variables:
            raise DataError(
                f"grid mapping variable '{name}' is missing; set 'crs' in the network configuration"
            )
        try:
            return in_metres(crs_from_attributes(dict(dataset[name].attrs)))
        except ValueError as error:
            raise DataError(f"grid mapping '{name}': {error}; set 'crs' instead") from error
    if {str(axis.attrs.get("units", ""))[:6] for axis in (x, y)} == {"degree"}:
        return pyproj.CRS.from_epsg(4326)
    raise DataError(
        f"variable '{variable.name}' has no grid_mapping; set 'crs' in the network configuration, "
        "for example EPSG:3067 or a PROJ string"
    )


def in_metres(crs: pyproj.CRS) -> pyproj.CRS:
    """Return the same projection with metres on its axes; KNMI and others write kilometres."""
    if crs.is_geographic or all(axis.unit_conversion_factor == 1.0 for axis in crs.axis_info):
        return crs
    parameters = proj_parameters(crs)
    parameters.pop("to_meter", None)
    return pyproj.CRS.from_dict(parameters | {"units": "m"})
