"""Reader of CF netCDF files, netCDF-4 and classic, with one scan or many.

A network's files differ in their numbers and times only. What they have in common (variable,
grid, packing) is worked out once by xarray and pyproj, and taken over for every file that says
the same of itself word for word; the rest of a file is read with netCDF4 alone.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import xarray as xr

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.datasets.radar.coordinates import crs_of, harmonised_grid, in_metres
from squall.datasets.radar.file_times import time_from_name
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import (
    MAX_SCAN_PIXELS,
    MAX_SCANS,
    Packing,
    Product,
    check_scan_shape,
)
from squall.datasets.radar.readers.cf_packing import packing_of
from squall.datasets.radar.readers.classic_netcdf import expected_size
from squall.datasets.radar.readers.one_chunk import read_scan
from squall.datasets.radar.units import parse_unit

_PACKED = {"_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned"}
FAR = 100 * 365 * 86_400 * 10**9  # nanoseconds from an origin; what is further xarray decodes
_LIBRARY = threading.RLock()  # netCDF4 and the HDF5 below it are not safe under threads


@dataclass(frozen=True)
class _Layout:
    """What the files of a network have in common."""

    grid: Grid
    packing: Packing
    stored_as: np.dtype[Any] | None  # where the numbers' sign is not what their type says
    y_dim: str
    x_dim: str
    flip_rows: bool
    flip_columns: bool
    time: str | None
    bounds: str | None
    start: str | None


@contextmanager
def open_netcdf(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open a CF netCDF file; see `squall.datasets.radar.product`.

    Raises
    ------
    DataError
        If the file is cut off, or lacks the variable, its grid or its times.
    """
    _check_whole(path)
    with _LIBRARY, netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        layout = _layout(file, config)
        times, intervals = _times(file, layout, path, config)
        yield Product(
            layout.grid,
            tuple(times),
            tuple(intervals),
            layout.packing,
            partial(_stored, file[config.variable], path, layout),
        )


def _check_whole(path: str) -> None:
    try:
        expected = expected_size(path)
    except (EOFError, KeyError, IndexError) as error:
        raise DataError("is cut off or broken in its netCDF header") from error
    size = Path(path).stat().st_size
    if expected is not None and size < expected:
        raise DataError(f"is cut off: it has {size} of at least {expected} bytes")


def _stored(variable: netCDF4.Variable, path: str, layout: _Layout, index: int) -> npt.NDArray[Any]:
    dims = variable.dimensions
    sizes = [n for d, n in zip(dims, variable.shape, strict=True) if d not in _across(layout)]
    leading = tuple(int(i) for i in np.unravel_index(index, sizes)) if sizes else ()
    if dims[-2:] == _across(layout) and variable.group().disk_format == "HDF5":
        with h5py.File(path) as file:
            field = read_scan(file[variable.name], leading)
    else:
        rest = iter(leading)
        selected = tuple(slice(None) if d in _across(layout) else next(rest) for d in dims)
        field = np.asarray(variable[selected])
    if dims.index(layout.y_dim) > dims.index(layout.x_dim):
        field = field.T
    if layout.stored_as is not None:
        native = field.dtype.newbyteorder("=")
        field = np.ascontiguousarray(field, dtype=native).view(layout.stored_as)
    rows = slice(None, None, -1 if layout.flip_rows else 1)
    columns = slice(None, None, -1 if layout.flip_columns else 1)
    return field[rows, columns]


def _across(layout: _Layout) -> tuple[str, str]:
    return layout.y_dim, layout.x_dim


# -- what files have in common ---------------------------------------------------------------------


_layouts: dict[tuple[str, bytes], _Layout] = {}


def _layout(file: netCDF4.Dataset, config: RadarNetworkConfig) -> _Layout:
    key = config.reading_key, _fingerprint(file, config)
    if key not in _layouts:
        if len(_layouts) > 64:  # files of no common layout
            _layouts.clear()
        _layouts[key] = _worked_out(file, config)
    return _layouts[key]


def _fingerprint(file: netCDF4.Dataset, config: RadarNetworkConfig) -> bytes:
    """Digest of all that a layout depends on: names, types, attributes and coordinates."""
    if config.variable not in file.variables:
        there = ", ".join(file.variables) or "none at all"
        raise DataError(f"has no variable '{config.variable}'; it has {there}")
    digest = blake2b(digest_size=16)
    dims = file[config.variable].dimensions
    _check_chunks(file[config.variable], MAX_SCAN_PIXELS)
    for name, variable in file.variables.items():
        attributes = [(key, variable.getncattr(key)) for key in variable.ncattrs()]
        attributes = [(key, value) for key, value in attributes if not _dates(key, value)]
        described = (name, str(variable.dtype), variable.dimensions, _exact(attributes))
        digest.update(repr(described).encode())
        if variable.dimensions == (name,):
            _check_readable(variable)
            if name in dims and not _dates("units", getattr(variable, "units", None)):
                values = np.ascontiguousarray(variable[:])
                plain = values.dtype.kind != "O"  # else texts, of which bytes are addresses
                digest.update(values.tobytes() if plain else repr(values.tolist()).encode())
    return digest.digest()


def _exact(attributes: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Attributes that can be compared by their text: NumPy writes arrays in eight digits."""
    return [
        (key, (value.dtype.str, value.tolist()) if isinstance(value, np.ndarray) else value)
        for key, value in attributes
    ]


def _check_readable(variable: netCDF4.Variable) -> None:
    """Refuse a coordinate or times that would take much memory to read."""
    if variable.size > 2 * MAX_SCANS:
        raise DataError(f"variable '{variable.name}' has {variable.size} values, too many")
    _check_chunks(variable, MAX_SCANS)


def _check_chunks(variable: netCDF4.Variable, most: int) -> None:
    chunks = variable.chunking()
    if isinstance(chunks, list) and prod(chunks) > most:
        raise DataError(f"variable '{variable.name}' is stored in chunks of {chunks}, too large")


def _dates(key: str, value: Any) -> bool:
    """Whether an attribute is a time's unit, which may change from file to file."""
    return key == "units" and isinstance(value, str) and " since " in value


def _worked_out(file: netCDF4.Dataset, config: RadarNetworkConfig) -> _Layout:
    with warnings.catch_warnings(action="ignore"):  # of several fill values and far times
        # on the open file: HDF5 may crash where one with texts is opened a second time
        dataset = xr.open_dataset(xr.backends.NetCDF4DataStore(file), cache=False)
        variable = _variable(dataset, config)
        y_dim, x_dim = _dimensions(dataset, variable, config)
        check_scan_shape(variable.sizes[y_dim], variable.sizes[x_dim])
        grid, flip_rows, flip_columns = _grid(dataset, variable, y_dim, x_dim, config)
        time = _time(dataset, variable, config)
        bounds, start = _interval_variables(dataset, variable, time, config)
    packing, stored_as = packing_of(file[config.variable])
    return _Layout(
        grid, packing, stored_as, y_dim, x_dim, flip_rows, flip_columns, time, bounds, start
    )


def _variable(dataset: xr.Dataset, config: RadarNetworkConfig) -> xr.DataArray:
    if config.variable not in dataset.data_vars:
        there = ", ".join(str(name) for name in dataset.data_vars) or "none at all"
        raise DataError(f"has no variable '{config.variable}'; it has {there}")
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
            "set 'x' and 'y' in the network configuration"
        )
    for dim in (x_dim, y_dim):
        if dim not in variable.dims or dim not in dataset or dataset[dim].dims != (dim,):
            raise DataError(
                f"variable '{config.variable}' has no coordinate '{dim}' among its dimensions "
                f"{variable.dims}; set 'x' and 'y' in the network configuration"
            )
    return y_dim, x_dim


def _dimension(dataset: xr.Dataset, variable: xr.DataArray, axis: str, position: int) -> str:
    """The dimension of an axis by its CF attributes, else by its name, else by its position."""
    names = {
        "X": ("projection_x_coordinate", "longitude", "grid_longitude"),
        "Y": ("projection_y_coordinate", "latitude", "grid_latitude"),
    }[axis]
    plain_names = {"X": ("x", "lon", "longitude"), "Y": ("y", "lat", "latitude")}[axis]
    for dim in variable.dims:
        attributes = dataset[dim].attrs if dim in dataset.variables else {}
        if attributes.get("standard_name") in names or attributes.get("axis") == axis:
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


def _time(dataset: xr.Dataset, variable: xr.DataArray, config: RadarNetworkConfig) -> str | None:
    """The time variable: the configured one, else the CF time, a coordinate before others."""
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
    decoded = name is not None and np.issubdtype(dataset[name].dtype, np.datetime64)
    if config.time_in_name and not decoded:
        return None  # a time as text, for example; the file's name has it too
    return name


def _interval_variables(
    dataset: xr.Dataset, variable: xr.DataArray, time: str | None, config: RadarNetworkConfig
) -> tuple[str | None, str | None]:
    """The CF bounds of the times, or else the variable of an accumulation's start."""
    if time is None:
        return None, None
    bounds = dataset[time].attrs.get("bounds") or dataset[time].encoding.get("bounds")
    if bounds and bounds in dataset.variables:
        return str(bounds), None
    units = config.units or str(variable.attrs.get("units", ""))
    if parse_unit(units)[0] == "accumulation" and config.start_variable in dataset.variables:
        return None, config.start_variable
    return None, None


# -- the times of one file -------------------------------------------------------------------------


def _times(
    file: netCDF4.Dataset, layout: _Layout, path: str, config: RadarNetworkConfig
) -> tuple[list[pd.Timestamp], list[pd.Timedelta | None]]:
    """Valid time (end of accumulation) and interval of each scan of the file."""
    variable = file[config.variable]
    sizes = dict(zip(variable.dimensions, variable.shape, strict=True))
    count = prod(n for dim, n in sizes.items() if dim not in _across(layout))
    if layout.time is None:
        named = time_from_name(path, config)
        if named is None or count != 1:
            raise DataError(
                "has no time variable, and its name gives none; set 'time_variable' or "
                "'time_in_name' in the network configuration"
            )
        return [named], [config.accumulation]
    size = file[layout.time].size
    if count > MAX_SCANS:
        raise DataError(f"says that it has {count} scans, at most {MAX_SCANS} are believed")
    if size != count:
        raise DataError(f"has {count} scans but {size} times")
    ends = _datetimes(file, layout.time)
    starts = None
    if layout.bounds is not None:
        both = _datetimes(file, layout.bounds, of=layout.time).reshape(-1, 2)
        starts, ends = both.min(axis=1), both.max(axis=1)
        if ends.size != count:
            raise DataError(f"has {count} scans but {ends.size} time bounds")
    elif layout.start is not None:
        starts = _datetimes(file, layout.start)
        if starts.size != count:
            raise DataError(
                f"has {count} times in '{layout.time}' but {starts.size} in '{layout.start}'; set "
                "'start_variable' in the network configuration"
            )
    valid = pd.DatetimeIndex(ends)
    if starts is not None:
        return list(valid), list(valid - pd.DatetimeIndex(starts))
    if config.time_marks == "start" and config.accumulation is not None:
        valid = valid + config.accumulation
    return list(valid), [config.accumulation] * count


def _decoded(raw: npt.NDArray[Any], units: str, calendar: str | None) -> npt.NDArray[Any]:
    """Times of numbers without fill or scale; most are a whole number of ticks since an origin."""
    clock = _clock(units, calendar) if raw.dtype.kind in "iu" and raw.itemsize <= 8 else None
    if clock is None or int(np.abs(raw.astype(np.float64)).max(initial=0)) > FAR // clock[1]:
        return np.asarray(xr.coding.times.decode_cf_datetime(raw, units, calendar))
    return clock[0] + raw.astype(np.int64) * np.timedelta64(clock[1], "ns")


@lru_cache(maxsize=256)
def _clock(units: str, calendar: str | None) -> tuple[np.datetime64, int] | None:
    """The moment of number 0 and the nanoseconds from one number to the next."""
    moments = np.asarray(xr.coding.times.decode_cf_datetime(np.array([0, 1]), units, calendar))
    if not np.issubdtype(moments.dtype, np.datetime64):
        return None
    first, second = moments.astype("datetime64[ns]")
    return first, int((second - first).astype(np.int64))


def _datetimes(file: netCDF4.Dataset, name: str, of: str | None = None) -> npt.NDArray[Any]:
    """Times of a variable as datetime64[ns]; bounds share the unit of the time they are of."""
    variable = file[name]
    attributes = {key: variable.getncattr(key) for key in variable.ncattrs()}
    if of is not None:
        shared = file[of]
        for key in ("units", "calendar"):
            if key in shared.ncattrs():
                attributes.setdefault(key, shared.getncattr(key))
    _check_readable(variable)
    raw = np.atleast_1d(np.asarray(variable[...]))
    dims = [f"dim_{i}" for i in range(raw.ndim)]
    with warnings.catch_warnings(action="ignore"):  # of far times, which are refused below
        if _PACKED.isdisjoint(attributes) and "units" in attributes:
            times = _decoded(raw, str(attributes["units"]), attributes.get("calendar"))
        else:
            decoded = xr.conventions.decode_cf_variable(name, xr.Variable(dims, raw, attributes))
            times = np.asarray(decoded.values)
    if not np.issubdtype(times.dtype, np.datetime64):
        raise DataError(
            f"time variable '{name}' is no CF time in the standard calendar from 1678 to 2262 "
            f"(units '{attributes.get('units', '')}')"
        )
    if np.isnat(times).any():
        raise DataError(f"time variable '{name}' is missing its value")
    return times.astype("datetime64[ns]")
