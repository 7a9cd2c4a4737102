"""What the CF netCDF files of a network have in common: grid, packing, names of dimensions, times.

xarray and pyproj need much time to find the layout. It is found once and reused for each file whose
names, types, attributes and coordinates are the same. Reads no scans.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import netCDF4
import numpy as np
import pyproj
import xarray as xr

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.datasets.radar.coordinates import crs_of, harmonised_grid, in_metres
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import MAX_SCAN_PIXELS, Packing, check_scan_shape
from squall.datasets.radar.readers.cf_limits import check_attributes, check_chunks, check_values
from squall.datasets.radar.readers.cf_packing import PACKING_ATTRIBUTES, packing_of
from squall.datasets.radar.units import parse_unit

MAX_LAYOUTS = 64  # kept in memory; the files of one network have a few at most


@dataclass(frozen=True)
class Layout:
    """Grid, packing and names of variables of a file.

    Parameters
    ----------
    stored_as : type to read the numbers as, if it differs from the variable's in sign.
    flip_rows, flip_columns : whether the rows and columns must be reversed to lie on ``grid``.
    time, bounds, start : names of the time variable, its CF bounds, and the variable of an
        accumulation's start; None if the file has none.
    """

    grid: Grid
    packing: Packing
    stored_as: np.dtype[Any] | None
    y_dim: str
    x_dim: str
    flip_rows: bool
    flip_columns: bool
    time: str | None
    bounds: str | None
    start: str | None

    @property
    def map_dims(self) -> tuple[str, str]:
        """The dimensions of a scan."""
        return self.y_dim, self.x_dim


_layouts: dict[tuple[str, bytes], Layout] = {}


def layout_of(file: netCDF4.Dataset, config: RadarNetworkConfig) -> Layout:
    """Return the layout of an open file, from memory if a file like it was read before.

    Raises
    ------
    DataError
        If the file lacks the variable or its grid.
    """
    key = config.reading_key, _fingerprint(file, config)
    if key not in _layouts:
        if len(_layouts) > MAX_LAYOUTS:
            _layouts.clear()
        _layouts[key] = _find_layout(file, config)
    return _layouts[key]


def _fingerprint(file: netCDF4.Dataset, config: RadarNetworkConfig) -> bytes:
    """Digest of all that a layout depends on: names, types, attributes and coordinates."""
    if config.variable not in file.variables:
        names = ", ".join(file.variables) or "none at all"
        raise DataError(
            f"has no variable '{config.variable}'; it has {names}; set 'variable' in the network "
            "configuration to one of them"
        )
    digest = blake2b(digest_size=16)
    dims = file[config.variable].dimensions
    check_chunks(file[config.variable], MAX_SCAN_PIXELS)
    for name, variable in file.variables.items():
        attributes = [(key, variable.getncattr(key)) for key in variable.ncattrs()]
        check_attributes(name, attributes)
        attributes = [(key, value) for key, value in attributes if not _is_time_unit(key, value)]
        described = (name, str(variable.dtype), variable.dimensions, _exact(attributes))
        digest.update(repr(described).encode())
        if variable.dimensions == (name,):
            check_values(variable)
            if name in dims and not _is_time_unit("units", getattr(variable, "units", None)):
                values = np.ascontiguousarray(variable[:])
                has_numbers = values.dtype.kind != "O"  # the bytes of texts are memory addresses
                digest.update(values.tobytes() if has_numbers else repr(values.tolist()).encode())
    return digest.digest()


def _exact(attributes: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Attributes whose text is exact: NumPy prints arrays with eight digits."""
    return [
        (key, (value.dtype.str, value.tolist()) if isinstance(value, np.ndarray) else value)
        for key, value in attributes
    ]


def _is_time_unit(key: str, value: Any) -> bool:
    """Whether an attribute is the unit of a time, whose origin may differ between files."""
    return key == "units" and isinstance(value, str) and " since " in value


def _find_layout(file: netCDF4.Dataset, config: RadarNetworkConfig) -> Layout:
    with warnings.catch_warnings(action="ignore"):  # about several fill values and far times
        # HDF5 may crash if a file with text variables is opened twice, so xarray gets the open one
        store = xr.backends.NetCDF4DataStore(file)
        dataset = xr.open_dataset(store, cache=False, decode_cf=False)
        for name in PACKING_ATTRIBUTES:  # `cf_packing` reads them, also where xarray cannot
            dataset[config.variable].attrs.pop(name, None)
        dataset = xr.decode_cf(dataset)
        variable = _variable(dataset, config)
        y_dim, x_dim = _dimensions(dataset, variable, config)
        check_scan_shape(variable.sizes[y_dim], variable.sizes[x_dim])
        grid, flip_rows, flip_columns = _grid(dataset, variable, y_dim, x_dim, config)
        time = _time_variable(dataset, variable, config)
        bounds, start = _interval_variables(dataset, variable, time, config)
    packing, stored_as = packing_of(file[config.variable], config)
    return Layout(
        grid, packing, stored_as, y_dim, x_dim, flip_rows, flip_columns, time, bounds, start
    )


def _variable(dataset: xr.Dataset, config: RadarNetworkConfig) -> xr.DataArray:
    if config.variable not in dataset.data_vars:
        names = ", ".join(str(name) for name in dataset.data_vars) or "none at all"
        raise DataError(f"has no variable '{config.variable}'; it has {names}")
    variable = dataset[config.variable]
    if variable.ndim < 2:
        raise DataError(f"variable '{config.variable}' has dimensions {variable.dims}, no map")
    return variable


def _dimensions(
    dataset: xr.Dataset, variable: xr.DataArray, config: RadarNetworkConfig
) -> tuple[str, str]:
    y_dim = config.y or _dimension(dataset, variable, "Y", -2)
    x_dim = config.x or _dimension(dataset, variable, "X", -1)
    if x_dim == y_dim:
        raise DataError(
            f"cannot tell x from y among the dimensions {variable.dims} of '{config.variable}'; "
            + _advice_on_axes(dataset, variable)
        )
    for dim in (x_dim, y_dim):
        if dim not in variable.dims or not _has_coordinate(dataset, dim):
            raise DataError(
                f"variable '{config.variable}' has no coordinate '{dim}' among its dimensions "
                f"{variable.dims}; {_advice_on_axes(dataset, variable)}"
            )
    return y_dim, x_dim


def _has_coordinate(dataset: xr.Dataset, dim: Hashable) -> bool:
    return dim in dataset.variables and dataset[dim].dims == (dim,)


def _advice_on_axes(dataset: xr.Dataset, variable: xr.DataArray) -> str:
    """What helps: other dimensions as axes if the file has two, else other files."""
    names = [
        f"'{dim}'"
        for dim in variable.dims
        if _has_coordinate(dataset, dim) and dataset[dim].dtype.kind in "iuf"  # and no time
    ]
    if len(names) > 1:
        return f"set 'x' and 'y' in the network configuration; {', '.join(names)} have coordinates"
    return (
        "x and y need a coordinate variable each, of one dimension and the dimension's name, and "
        "no key of the configuration replaces it; add both to the files (CF conventions, 5)"
    )


def _dimension(dataset: xr.Dataset, variable: xr.DataArray, axis: str, position: int) -> str:
    """The dimension of an axis by its CF attributes, else by its name, else by its position."""
    standard_names = {
        "X": (
            "projection_x_coordinate", "longitude", "grid_longitude",
            "projection_x_angular_coordinate",
        ),
        "Y": (
            "projection_y_coordinate", "latitude", "grid_latitude",
            "projection_y_angular_coordinate",
        ),
    }[axis]  # fmt: skip
    plain_names = {"X": ("x", "lon", "longitude"), "Y": ("y", "lat", "latitude")}[axis]
    for dim in variable.dims:
        attributes = dataset[dim].attrs if dim in dataset.variables else {}
        if attributes.get("standard_name") in standard_names or attributes.get("axis") == axis:
            return str(dim)
    for dim in variable.dims:
        if str(dim).lower() in plain_names:
            return str(dim)
    return str(variable.dims[position])


def _grid(
    dataset: xr.Dataset, variable: xr.DataArray, y_dim: str, x_dim: str, config: RadarNetworkConfig
) -> tuple[Grid, bool, bool]:
    axes = {dim: dataset[dim].copy() for dim in (y_dim, x_dim)}
    if config.coordinate_units is not None:
        for axis in axes.values():
            axis.attrs["units"] = config.coordinate_units
    if config.crs is not None:
        crs = _configured_crs(config.crs)
    else:
        crs = crs_of(dataset, variable, axes[x_dim], axes[y_dim])
    return harmonised_grid(axes[x_dim], axes[y_dim], crs)


@lru_cache(maxsize=8)
def _configured_crs(text: str) -> pyproj.CRS:
    return in_metres(pyproj.CRS.from_user_input(text))


def _time_variable(
    dataset: xr.Dataset, variable: xr.DataArray, config: RadarNetworkConfig
) -> str | None:
    """The configured time variable, else the CF time; the variable's coordinates come first."""
    if config.time_variable is not None:
        if config.time_variable not in dataset.variables:
            raise DataError(f"has no time variable '{config.time_variable}'")
        return config.time_variable
    candidates = [
        str(name)
        for name in [*variable.coords, *dataset.variables]
        if dataset[name].attrs.get("standard_name") == "time"
        or (name == "time" and np.issubdtype(dataset[name].dtype, np.datetime64))
    ]
    name = candidates[0] if candidates else None
    is_decoded = name is not None and np.issubdtype(dataset[name].dtype, np.datetime64)
    if config.time_in_name and not is_decoded:
        return None  # for example a time as text; the file's name has the time too
    return name


def _interval_variables(
    dataset: xr.Dataset, variable: xr.DataArray, time: str | None, config: RadarNetworkConfig
) -> tuple[str | None, str | None]:
    """The CF bounds of the times; without bounds, the variable of an accumulation's start."""
    if time is None:
        return None, None
    bounds = dataset[time].attrs.get("bounds") or dataset[time].encoding.get("bounds")
    if bounds and bounds in dataset.variables:
        return str(bounds), None
    units = config.units or str(variable.attrs.get("units", ""))
    if parse_unit(units)[0] == "accumulation" and config.start_variable in dataset.variables:
        return None, config.start_variable
    return None, None
