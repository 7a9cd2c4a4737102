"""Times of the scans in one CF netCDF file: valid times, time bounds and accumulation starts.

Owns the decoding of CF times (CF 4.4) with netCDF4 alone, since xarray is slow for one number.
`squall.datasets.radar.readers.cf_layout` finds the variables.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from typing import Any, Protocol

import netCDF4
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from squall.datasets.errors import DataError
from squall.datasets.radar.file_times import time_from_name
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import MAX_SCANS
from squall.datasets.radar.readers.cf_layout import Layout
from squall.datasets.radar.readers.cf_limits import check_values
from squall.datasets.radar.units import parse_unit
from squall.datasets.times import check_utc

_PACKED = {"_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned"}
# nanoseconds from the origin; int64 might overflow for later times, so xarray decodes them
MAX_FAST_NS = 100 * 365 * 86_400 * 10**9

Times = tuple[list[pd.Timestamp], list[pd.Timedelta | None]]


@dataclass(frozen=True)
class StoredTimes:
    """A variable with times: its CF attributes, and its numbers as stored, one dimension or more.

    Parameters
    ----------
    name : path of the variable in the file.
    """

    name: str
    attributes: Mapping[str, Any]
    numbers: npt.NDArray[Any]


class ReadTimes(Protocol):
    """Reads a variable with times of one file."""

    def __call__(self, name: str, bounded: str | None = None, /) -> StoredTimes:
        """As `stored_times` of that file."""


def times_of(file: netCDF4.Dataset, layout: Layout, path: str, config: RadarNetworkConfig) -> Times:
    """Read the valid time (end of accumulation) and the interval of each scan of a file.

    Raises
    ------
    DataError
        If the file has no times, or other numbers of scans, times, bounds and starts.
    """
    variable = file[config.variable]
    sizes = dict(zip(variable.dimensions, variable.shape, strict=True))
    count = prod(size for dim, size in sizes.items() if dim not in layout.map_dims)
    if layout.time is None:
        name_time = time_from_name(path, config)
        if name_time is None or count != 1:
            raise DataError(
                "has no time variable, and no time in its name; set 'time_variable' or "
                "'time_in_name' in the network configuration, for example "
                "'time_in_name: radar_%Y%m%d%H%M'"
            )
        return [name_time], [config.accumulation]
    try:
        return _file_times(file, layout, config, count)
    except DataError:
        name_time = time_from_name(path, config) if config.time_from == "name" else None
        if name_time is None or count != 1:
            raise
        return [name_time], [config.accumulation]


def _file_times(
    file: netCDF4.Dataset, layout: Layout, config: RadarNetworkConfig, count: int
) -> Times:
    assert layout.time is not None
    size = file[layout.time].size
    if count > MAX_SCANS:
        raise DataError(f"says that it has {count} scans, at most {MAX_SCANS} are read")
    if size != count:
        raise DataError(f"has {count} scans but {size} times")
    return scan_times(
        partial(stored_times, file), layout, config, count, partial(_said_interval, file, config)
    )


def scan_times(
    read: ReadTimes,
    layout: Layout,
    config: RadarNetworkConfig,
    count: int,
    said_interval: Callable[[], tuple[pd.Timestamp, pd.Timestamp] | None] = lambda: None,
) -> Times:
    """Valid time and interval of each of ``count`` scans, from the variables that a layout names.

    Parameters
    ----------
    said_interval : start and end of an accumulation, if the file has them in attributes; asked for
        a single scan without bounds and start.

    Raises
    ------
    DataError
        If there are other numbers of times, bounds and starts, or they cannot be used.
    """
    assert layout.time is not None
    stored = read(layout.time)
    end_times = decoded_times(stored)
    _check_resolution(stored, config)
    starts = None
    if layout.bounds is not None:
        bounds = decoded_times(read(layout.bounds, layout.time)).reshape(-1, 2)
        starts, end_times = bounds.min(axis=1), bounds.max(axis=1)
        if end_times.size != count:
            raise DataError(f"has {count} scans but {end_times.size} time bounds")
    elif layout.start is not None:
        starts = decoded_times(read(layout.start))
        if starts.size != count:
            raise DataError(
                f"has {count} times in '{layout.time}' but {starts.size} in '{layout.start}'; set "
                "'start_variable' in the network configuration"
            )
    valid = pd.DatetimeIndex(end_times)
    if starts is not None:
        intervals = valid - pd.DatetimeIndex(starts)
        return list(valid), [config.accumulation if pd.isna(i) else i for i in intervals]
    said = said_interval() if count == 1 else None
    if said is not None:
        return [said[1]], [said[1] - said[0]]
    if config.time_marks == "start" and config.accumulation is not None:
        valid = valid + config.accumulation
    return list(valid), [config.accumulation] * count


def _said_interval(
    file: netCDF4.Dataset, config: RadarNetworkConfig
) -> tuple[pd.Timestamp, pd.Timestamp] | None:
    """Start and end of an accumulation in a file of ADAGUC, as KNMI publishes; None if it has none.

    These files mark accumulations by their start. ``time_marks: start`` of the configuration says
    the same, and precedes.
    """
    if config.time_marks == "start" or "product" not in file.variables:
        return None
    units = config.units or str(getattr(file[config.variable], "units", ""))
    times = [getattr(file["product"], f"validity_{end}", None) for end in ("start", "stop")]
    if not all(isinstance(time, str) for time in times) or parse_unit(units)[0] != "accumulation":
        return None
    start, stop = pd.to_datetime(
        [str(time) for time in times], format="%Y%m%dT%H%M%S", errors="coerce"
    )
    return (start, stop) if start < stop else None


def read_times(file: netCDF4.Dataset, name: str, bounded: str | None = None) -> npt.NDArray[Any]:
    """Times of a variable as datetime64[ns]; bounds take their unit from the ``bounded`` time."""
    return decoded_times(stored_times(file, name, bounded))


def stored_times(file: netCDF4.Dataset, name: str, bounded: str | None = None) -> StoredTimes:
    """A variable with times as the file stores it; ``bounded`` as in `read_times`.

    Raises
    ------
    DataError
        If its attributes name another time zone than UTC, or it is too long.
    """
    variable = file[name]
    attributes = {key: variable.getncattr(key) for key in variable.ncattrs()}
    if bounded is not None:
        for key in ("units", "calendar"):
            if key in file[bounded].ncattrs():
                attributes.setdefault(key, file[bounded].getncattr(key))
    try:
        check_utc(attributes)
    except ValueError as error:
        raise DataError(
            f"time variable '{name}' cannot be used: {error}; correct the attribute in the files, "
            "or name another variable as 'time_variable' in the network configuration"
        ) from error
    check_values(variable)
    return StoredTimes(name, attributes, np.atleast_1d(np.asarray(variable[...])))


def decoded_times(stored: StoredTimes) -> npt.NDArray[Any]:
    """Times as datetime64[ns], of the shape of the numbers.

    Raises
    ------
    DataError
        If they are no CF times, or all of them are missing.
    """
    name, attributes, raw = stored.name, stored.attributes, stored.numbers
    dims = [f"dim_{i}" for i in range(raw.ndim)]
    with warnings.catch_warnings(action="ignore"):  # about far times, which are rejected below
        if _PACKED.isdisjoint(attributes) and "units" in attributes:
            times = _decoded(raw, str(attributes["units"]), attributes.get("calendar"))
        else:
            variable = xr.Variable(dims, raw, dict(attributes))
            times = np.asarray(xr.conventions.decode_cf_variable(name, variable).values)
    if not np.issubdtype(times.dtype, np.datetime64):
        raise DataError(
            f"time variable '{name}' is no CF time in the standard calendar from 1678 to 2262 "
            f"(units '{attributes.get('units', '')}', calendar "
            f"'{attributes.get('calendar', 'standard')}')"
        )
    if times.size and np.isnat(times).all():  # `quality` rejects single scans without a time
        raise DataError(f"time variable '{name}' is missing its value")
    return times.astype("datetime64[ns]")


def _decoded(raw: npt.NDArray[Any], units: str, calendar: str | None) -> npt.NDArray[Any]:
    """Times of unpacked numbers: origin + number * tick for integers, else decoded by xarray."""
    clock = _clock(units, calendar) if raw.dtype.kind in "iu" and raw.itemsize <= 8 else None
    if clock is None:
        return np.asarray(xr.coding.times.decode_cf_datetime(raw, units, calendar))
    origin, tick_ns = clock
    if int(np.abs(raw.astype(np.float64)).max(initial=0)) > MAX_FAST_NS // tick_ns:
        return np.asarray(xr.coding.times.decode_cf_datetime(raw, units, calendar))
    return origin + raw.astype(np.int64) * np.timedelta64(tick_ns, "ns")


def _check_resolution(stored: StoredTimes, config: RadarNetworkConfig) -> None:
    """Refuse times in so few digits that a scan could fall on the step of another one.

    In single precision, days since the year 1 have a resolution of 90 minutes.
    """
    units, dtype = stored.attributes.get("units"), stored.numbers.dtype
    if dtype.kind != "f" or dtype.itemsize >= 8 or units is None:
        return
    numbers = stored.numbers[np.isfinite(stored.numbers)]
    unit = re.split(r"\bsince\b", str(units), flags=re.IGNORECASE)[0]
    clock = _clock(f"{unit} since 2000-01-01", None)
    if clock is None or not numbers.size:
        return
    resolution = pd.Timedelta(int(np.spacing(np.median(np.abs(numbers))).item() * clock[1]))
    if resolution / 2 >= config.step - config.snap_tolerance:
        raise DataError(
            f"time variable '{stored.name.rpartition('/')[2]}' is stored as {dtype}, which holds "
            f"'{units}' only to {resolution.total_seconds() / 60:.3g} min; name another variable "
            "as 'time_variable' in the network configuration"
        )


@lru_cache(maxsize=256)
def _clock(units: str, calendar: str | None) -> tuple[np.datetime64, int] | None:
    """The moment of number 0, and the nanoseconds from one number to the next."""
    moments = np.asarray(xr.coding.times.decode_cf_datetime(np.array([0, 1]), units, calendar))
    if not np.issubdtype(moments.dtype, np.datetime64):
        return None
    first, second = moments.astype("datetime64[ns]")
    return first, int((second - first).astype(np.int64))
