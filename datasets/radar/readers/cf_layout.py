"""What the CF netCDF files of a network have in common: grid, packing, names of dimensions, times.

xarray and pyproj need much time to find the layout. It is found once and reused for each file whose
names, types, attributes and coordinates are the same. Reads no scans.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import netCDF4
import numpy as np
import numpy.typing as npt
import xarray as xr

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.positions import MAX_POSITIONS
from squall.datasets.radar.product import (
    MAX_SCAN_PIXELS,
    Packing,
    check_scan_shape,
    north_up,
)
from squall.datasets.radar.readers.cf_axes import MapAxes, map_axes
from squall.datasets.radar.readers.cf_forecasts import ForecastMark, forecast_mark
from squall.datasets.radar.readers.cf_grid import grid_of
from squall.datasets.radar.readers.cf_limits import check_attributes, check_chunks, check_values
from squall.datasets.radar.readers.cf_packing import PACKING_ATTRIBUTES, packing_of
from squall.datasets.radar.readers.cf_scope import Scope, scope_of
from squall.datasets.radar.units import parse_unit

_ATTRIBUTES_OF_TEXTS = {"standard_name", "units", "bounds", "calendar", "axis"}
MAX_LAYOUTS = 64  # kept in memory; the files of one network have a few at most


@dataclass(frozen=True)
class Layout:
    """Grid, packing and names of variables of a file.

    Parameters
    ----------
    stored_as : type to read the numbers as, if it differs from the variable's in sign.
    flip_rows, flip_columns : whether the rows and columns must be reversed to lie on ``grid``.
    time, bounds, start : paths in the file of the time variable, its CF bounds, and the variable of
        an accumulation's start; None if the file has none.
    forecast : what tells forecasts from observations.
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
    forecast: ForecastMark | None

    @property
    def map_dims(self) -> tuple[str, str]:
        """The dimensions of a scan."""
        return self.y_dim, self.x_dim

    def on_grid(self, field: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A scan (y, x) as the variable stores it, as it lies on ``grid``."""
        if self.stored_as is not None:
            native = field.dtype.newbyteorder("=")
            field = np.ascontiguousarray(field, dtype=native).view(self.stored_as)
        return north_up(field, self.flip_rows, self.flip_columns)


_layouts: dict[tuple[str, bytes], Layout] = {}


def layout_of(file: netCDF4.Dataset, config: RadarNetworkConfig) -> Layout:
    """Return the layout of an open file, from memory if a file like it was read before.

    Raises
    ------
    DataError
        If the file lacks the variable or its grid.
    """
    scope = scope_of(file, config)
    axes = map_axes(scope, config)
    key = config.reading_key, _fingerprint(scope, axes)
    if key not in _layouts:
        if len(_layouts) > MAX_LAYOUTS:
            _layouts.clear()
        _layouts[key] = _find_layout(scope, axes, config)
    return _layouts[key]


def _fingerprint(scope: Scope, axes: MapAxes) -> bytes:
    """Digest of all that a layout depends on: names, types, attributes and coordinates."""
    digest = blake2b(digest_size=16)
    dims = scope.rain.dimensions
    check_chunks(scope.rain, MAX_SCAN_PIXELS)
    sizes = [
        size
        for dim, size in zip(dims, scope.rain.shape, strict=True)
        if dim in (axes.y_dim, axes.x_dim)
    ]
    check_scan_shape(sizes[0], sizes[-1])
    digest.update(repr((axes, sizes)).encode())
    for name, variable in scope.variables.items():
        attributes = [(key, variable.getncattr(key)) for key in variable.ncattrs()]
        check_attributes(name, attributes)
        attributes = [(key, value) for key, value in attributes if not _is_time_unit(key, value)]
        if name != axes.mapping and _is_text(variable):  # notes, which may differ in each file
            attributes = [(key, value) for key, value in attributes if key in _ATTRIBUTES_OF_TEXTS]
        described = (name, str(variable.dtype), variable.dimensions, _exact(attributes))
        digest.update(repr(described).encode())
        is_axis = name in (axes.y, axes.x)
        if variable.dimensions == (name,) or is_axis:
            check_values(variable, MAX_POSITIONS if axes.placed_by == "positions" else None)
            is_time = _is_time_unit("units", getattr(variable, "units", None))
            if is_axis or (name in dims and not is_time):
                values = np.ascontiguousarray(variable[:])
                has_numbers = values.dtype.kind != "O"  # the bytes of texts are memory addresses
                digest.update(values.tobytes() if has_numbers else repr(values.tolist()).encode())
    return digest.digest()


def _is_text(variable: netCDF4.Variable) -> bool:
    return getattr(variable.dtype, "kind", "O") in "OSU"


def _exact(attributes: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Attributes whose text is exact: NumPy prints arrays with eight digits."""
    return [
        (key, (value.dtype.str, value.tolist()) if isinstance(value, np.ndarray) else value)
        for key, value in attributes
    ]


def _is_time_unit(key: str, value: Any) -> bool:
    """Whether an attribute is the unit of a time, whose origin may differ between files."""
    return key == "units" and isinstance(value, str) and " since " in value


def _find_layout(scope: Scope, axes: MapAxes, config: RadarNetworkConfig) -> Layout:
    with warnings.catch_warnings(action="ignore"):  # about several fill values and far times
        dataset = scope.dataset()
        name = next(name for name, v in scope.variables.items() if v is scope.rain)
        for attribute in PACKING_ATTRIBUTES:  # `cf_packing` reads them, also where xarray cannot
            dataset[name].attrs.pop(attribute, None)
        dataset = _decoded(dataset, config)
        variable = dataset[name]
        grid, flip_rows, flip_columns = grid_of(dataset, variable, axes, config)
        time = _time_variable(dataset, variable, config)
        bounds, start = _interval_variables(dataset, variable, time, config)
    mark = forecast_mark(scope, {axes.y_dim, axes.x_dim}, time)
    packing, stored_as = packing_of(scope.rain, config)
    return Layout(
        grid,
        packing,
        stored_as,
        axes.y_dim,
        axes.x_dim,
        flip_rows,
        flip_columns,
        scope.path(time),
        scope.path(bounds),
        scope.path(start),
        mark,
    )


def _decoded(dataset: xr.Dataset, config: RadarNetworkConfig) -> xr.Dataset:
    try:
        return xr.decode_cf(dataset)
    except ValueError:  # a time has a unit that is none
        if config.time_from == "file":
            raise
        return xr.decode_cf(dataset, decode_times=False)


def _time_variable(
    dataset: xr.Dataset, variable: xr.DataArray, config: RadarNetworkConfig
) -> str | None:
    """The configured time variable, else the CF time; the variable's coordinates come first."""
    if config.time_variable is not None:
        if config.time_variable not in dataset.variables:
            if config.time_from == "name":
                return None
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
