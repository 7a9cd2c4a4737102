"""Reading one radar netCDF file into scans, as an archive's configuration describes it.

Owns where in a CF file the variable, the times, the interval and the coordinates are; what the
numbers mean is `datasets.harmonise`. One call reads one file and is safe in a process of its own.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

import netCDF4
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import xarray as xr

from datasets.archive_config import NAME_DIGITS, ArchiveConfig
from datasets.classic_netcdf import expected_size
from datasets.coding import RAIN_CODE
from datasets.errors import DataError
from datasets.grid import Grid
from datasets.harmonise import crs_of, harmonised_grid, in_metres, parse_unit, rain_rate


@dataclass(frozen=True)
class FileScan:
    """One scan of a file, harmonised and coded."""

    time: pd.Timestamp
    codes: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FileReport:
    """What one file gave: scans on its grid, and what had to be set aside with the reason."""

    path: str
    digest: str
    size: int
    grid: Grid | None = None
    scans: list[FileScan] = field(default_factory=list)
    rejected: list[tuple[pd.Timestamp | None, str]] = field(default_factory=list)


NC_FILL = netCDF4.default_fillvals["f4"]
EARLIEST = pd.Timestamp("1975-01-01")  # no digital radar archive is older; 1970 is a lost time
NAME_TOLERANCE = pd.Timedelta("32D")  # monthly files are named for their first day


def file_digest(path: str) -> str:
    """Digest of a file's bytes, 32 hexadecimal digits."""
    digest = blake2b(digest_size=16)
    with Path(path).open("rb") as stream:
        while block := stream.read(2**22):
            digest.update(block)
    return digest.hexdigest()


def read_file(path: str, config: ArchiveConfig) -> FileReport:
    """Read, harmonise and code every scan of a file; never raises for what is in the file."""
    try:
        digest, size = file_digest(path), Path(path).stat().st_size
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        return FileReport(path, "", 0, rejected=[(time_from_name(path, config), reason)])
    if size == 0:
        reason = "the file is empty (0 bytes)"
        return FileReport(path, digest, size, rejected=[(time_from_name(path, config), reason)])
    try:
        _check_whole(path, size)
        with xr.open_dataset(path, engine="netcdf4", cache=False) as dataset:
            grid, scans, rejected = _read_dataset(dataset, path, config)
    except DataError as error:
        reason = str(error)
    except Exception as error:  # a broken file may fail anywhere in the netCDF library
        reason = (
            f"cannot be read as netCDF: {str(error).splitlines()[0] if str(error) else error!r}"
        )
    else:
        return FileReport(path, digest, size, grid, scans, rejected)
    return FileReport(path, digest, size, rejected=[(time_from_name(path, config), reason)])


def _check_whole(path: str, size: int) -> None:
    try:
        expected = expected_size(path)
    except (EOFError, KeyError) as error:
        raise DataError("is cut off or broken in its netCDF header") from error
    if expected is not None and size < expected:
        raise DataError(f"is cut off: it has {size} of at least {expected} bytes")


def harmonise(dataset: xr.Dataset, path: str, config: ArchiveConfig) -> list[xr.DataArray]:
    """Scans of an open file as rain rate before coding: (y, x), mm/h, NaN = not observed.

    For looking at what ingestion makes of a file; raises DataError where ingestion rejects.
    """
    variable = _variable(dataset, config)
    oriented = _grid(dataset, variable, config)
    times, intervals = _times(dataset, variable, oriented, path, config)
    return [
        xr.DataArray(
            _field(variable, index, oriented, intervals[index], config),
            dims=("y", "x"),
            coords=oriented.grid.coords() | {"time": time},
            attrs={"units": "mm h-1"},
        )
        for index, time in enumerate(times)
    ]


def time_from_name(path: str, config: ArchiveConfig) -> pd.Timestamp | None:
    """The valid time by a file's name, on the step; None where there is none."""
    if config.time_in_name is None:
        return None
    pattern = re.escape(config.time_in_name)
    for code, digits in NAME_DIGITS.items():
        pattern = pattern.replace(f"%{code}", rf"\d{{{digits}}}")
    found = re.search(pattern, Path(path).name)
    if not found:
        return None
    try:
        time = datetime.strptime(found[0], config.time_in_name).replace(tzinfo=UTC)
    except ValueError:
        return None
    valid = pd.Timestamp(time).tz_localize(None)
    if config.time_marks == "start" and config.accumulation is not None:
        valid += config.accumulation
    try:
        return _on_step(valid, config)
    except DataError:
        return None


@dataclass(frozen=True)
class _Oriented:
    """A grid and how a file's fields have to be turned to lie on it."""

    grid: Grid
    y_dim: str
    x_dim: str
    flip_rows: bool
    flip_columns: bool


def _read_dataset(
    dataset: xr.Dataset, path: str, config: ArchiveConfig
) -> tuple[Grid, list[FileScan], list[tuple[pd.Timestamp | None, str]]]:
    variable = _variable(dataset, config)
    oriented = _grid(dataset, variable, config)
    times, intervals = _times(dataset, variable, oriented, path, config)
    stamped = time_from_name(path, config)
    scans: list[FileScan] = []
    rejected: list[tuple[pd.Timestamp | None, str]] = []
    for index, (time, interval) in enumerate(zip(times, intervals, strict=True)):
        slot: pd.Timestamp | None = None
        try:
            slot = _on_step(time, config)
            _check_name(time, stamped)
            rate = _field(variable, index, oriented, interval, config)
            scans.append(FileScan(slot, RAIN_CODE.encode(rate)))
        except DataError as error:
            rejected.append((slot, str(error)))
    return oriented.grid, scans, rejected


def _variable(dataset: xr.Dataset, config: ArchiveConfig) -> xr.DataArray:
    if config.variable not in dataset.data_vars:
        there = ", ".join(str(name) for name in dataset.data_vars) or "none at all"
        raise DataError(f"has no variable '{config.variable}'; it has {there}")
    variable = dataset[config.variable]
    if variable.ndim < 2:
        raise DataError(f"variable '{config.variable}' has dimensions {variable.dims}, no map")
    return variable


def _grid(dataset: xr.Dataset, variable: xr.DataArray, config: ArchiveConfig) -> _Oriented:
    y_dim = config.y or _dimension(dataset, variable, "Y", -2)
    x_dim = config.x or _dimension(dataset, variable, "X", -1)
    if x_dim == y_dim:
        raise DataError(
            f"cannot tell x from y among the dimensions {variable.dims} of '{config.variable}'; "
            "set 'x' and 'y' in the archive's configuration"
        )
    axes = {}
    for dim in (x_dim, y_dim):
        if dim not in variable.dims or dim not in dataset.variables:
            raise DataError(
                f"variable '{config.variable}' has no coordinate '{dim}' among its dimensions "
                f"{variable.dims}; set 'x' and 'y' in the archive's configuration"
            )
        axes[dim] = dataset[dim].copy()
        if config.coordinate_units is not None:
            axes[dim].attrs["units"] = config.coordinate_units
    if config.crs is not None:
        crs = in_metres(pyproj.CRS.from_user_input(config.crs))
    else:
        crs = crs_of(dataset, variable, axes[x_dim], axes[y_dim])
    grid, flip_rows, flip_columns = harmonised_grid(axes[x_dim], axes[y_dim], crs)
    return _Oriented(grid, y_dim, x_dim, flip_rows, flip_columns)


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


def _times(
    dataset: xr.Dataset,
    variable: xr.DataArray,
    oriented: "_Oriented",
    path: str,
    config: ArchiveConfig,
) -> tuple[list[pd.Timestamp], list[pd.Timedelta | None]]:
    """Valid time (end of accumulation) and interval of each scan of the file."""
    name = config.time_variable or _time_variable(dataset, variable)
    decoded = name in dataset.variables and np.issubdtype(dataset[name].dtype, np.datetime64)
    if config.time_variable is None and config.time_in_name and not decoded:
        name = None  # a time as text, for example; the file's name has it too
    across = (oriented.y_dim, oriented.x_dim)
    count = int(np.prod([variable.sizes[d] for d in variable.dims if d not in across]))
    if name is None or (config.time_variable and name not in dataset.variables):
        if config.time_variable:
            raise DataError(f"has no time variable '{config.time_variable}'")
        stamped = time_from_name(path, config)
        if stamped is None or count != 1:
            raise DataError(
                "has no time variable, and its name gives none; set 'time_variable' or "
                "'time_in_name' in the archive's configuration"
            )
        ends, intervals = pd.DatetimeIndex([stamped]), [config.accumulation]
        marks_end = True
    else:
        ends = _datetimes(dataset[name])
        starts, bounded = _starts(dataset, variable, name, config)
        if bounded is not None:
            ends = bounded
        marks_end = starts is not None or config.time_marks == "end"
        intervals = [config.accumulation] * ends.size if starts is None else list(ends - starts)
    if ends.size != count:
        raise DataError(f"has {count} scans but {ends.size} times")
    if not marks_end:
        assert config.accumulation is not None
        ends = ends + config.accumulation
    return list(ends), intervals


def _time_variable(dataset: xr.Dataset, variable: xr.DataArray) -> str | None:
    """The CF time of a variable: standard name ``time``, a coordinate before a plain variable."""
    candidates = [
        str(name)
        for name in [*variable.coords, *dataset.variables]
        if dataset[name].attrs.get("standard_name") == "time"
        or (name == "time" and np.issubdtype(dataset[name].dtype, np.datetime64))
    ]
    return candidates[0] if candidates else None


def _starts(
    dataset: xr.Dataset, variable: xr.DataArray, name: str, config: ArchiveConfig
) -> tuple[pd.DatetimeIndex | None, pd.DatetimeIndex | None]:
    """Starts of the accumulations, and their ends where CF bounds give them."""
    bounds = dataset[name].attrs.get("bounds") or dataset[name].encoding.get("bounds")
    if bounds and bounds in dataset.variables:
        both = dataset[bounds]
        if not np.issubdtype(both.dtype, np.datetime64):
            raise DataError(f"time bounds '{bounds}' are no times")
        if np.isnat(both.values).any():
            raise DataError(f"time bounds '{bounds}' are missing their value")
        pairs = both.values.reshape(-1, 2)
        return pd.DatetimeIndex(pairs.min(axis=1)), pd.DatetimeIndex(pairs.max(axis=1))
    accumulated = parse_unit(config.units or str(variable.attrs.get("units", "")))[0]
    if accumulated == "accumulation" and config.start_variable in dataset.variables:
        starts = _datetimes(dataset[config.start_variable])
        if starts.size != dataset[name].size:
            raise DataError(
                f"has {dataset[name].size} times in '{name}' but {starts.size} in "
                f"'{config.start_variable}'; set 'start_variable' in the archive's configuration"
            )
        return starts, None
    return None, None


def _datetimes(variable: xr.DataArray) -> pd.DatetimeIndex:
    values = np.atleast_1d(variable.values)
    if not np.issubdtype(values.dtype, np.datetime64):
        raise DataError(
            f"time variable '{variable.name}' is no CF time in the standard calendar "
            f"(units '{variable.attrs.get('units', '')}')"
        )
    times = pd.DatetimeIndex(values).as_unit("ns")
    if times.hasnans:
        raise DataError(f"time variable '{variable.name}' is missing its value")
    return times


def _on_step(time: pd.Timestamp, config: ArchiveConfig) -> pd.Timestamp:
    """The time on the archive's regular axis that is nearest, if it is near enough."""
    latest = pd.Timestamp.now("UTC").tz_localize(None) + pd.Timedelta("1D")
    if not EARLIEST <= time <= latest:
        raise DataError(
            f"time {time:%Y-%m-%d %H:%M:%S} cannot be: before {EARLIEST:%Y} or in the future"
        )
    snapped = (time - config.phase).round(config.step) + config.phase
    off = abs(time - snapped)
    if off > config.snap_tolerance:
        raise DataError(
            f"time {time:%Y-%m-%d %H:%M:%S} is {off.total_seconds():g} s off the step of "
            f"{config.step.total_seconds() / 60:g} min; set 'step', 'phase' (where scans lie off "
            "the full hour) or 'snap_tolerance' in the archive's configuration"
        )
    return snapped


def _check_name(time: pd.Timestamp, stamped: pd.Timestamp | None) -> None:
    """Refuse a scan whose file is named for another day: one of the two times is wrong."""
    if stamped is not None and abs(time - stamped) > NAME_TOLERANCE:
        raise DataError(
            f"time {time:%Y-%m-%d %H:%M} inside the file is far from {stamped:%Y-%m-%d %H:%M} in "
            "its name; correct 'time_in_name' or 'time_variable' in the archive's configuration"
        )


def _field(
    variable: xr.DataArray,
    index: int,
    oriented: _Oriented,
    interval: pd.Timedelta | None,
    config: ArchiveConfig,
) -> npt.NDArray[np.float32]:
    """Rain rate of one scan, on the archive's grid."""
    scan = variable.transpose(..., oriented.y_dim, oriented.x_dim)
    leading = np.unravel_index(index, scan.shape[:-2]) if scan.ndim > 2 else ()
    values = np.asarray(scan[tuple(int(i) for i in leading)].values, dtype=np.float64)
    values = np.where(_declared_invalid(values, variable), np.nan, values)
    if "_FillValue" not in variable.encoding:
        # what netCDF leaves where nothing was ever written
        values = np.where((values >= np.float32(NC_FILL)) & np.isfinite(values), np.nan, values)
    for code in config.missing_values:
        values = np.where(np.isclose(values, code), np.nan, values)
    dry = np.zeros(values.shape, dtype=bool)
    for code in config.dry_values:
        dry |= np.isclose(values, code)
    units = config.units or str(variable.attrs.get("units", ""))
    rate = rain_rate(np.where(dry, np.nan, values), units, interval=interval, zr=config.z_r)
    rate[dry] = 0.0
    rows = slice(None, None, -1 if oriented.flip_rows else 1)
    columns = slice(None, None, -1 if oriented.flip_columns else 1)
    return rate[rows, columns]


def _declared_invalid(
    values: npt.NDArray[np.float64], variable: xr.DataArray
) -> npt.NDArray[np.bool_]:
    """Where CF ``valid_range``, ``valid_min`` or ``valid_max`` exclude a value.

    xarray ignores them. They are in packed numbers where the variable is packed (CF 2.5.1), but
    floating-point limits of packed integers can only mean the unpacked values (NetCDF User Guide).
    """
    low, high = variable.attrs.get("valid_range", (None, None))
    low = variable.attrs.get("valid_min", low)
    high = variable.attrs.get("valid_max", high)
    scale = float(variable.encoding.get("scale_factor", 1.0))
    offset = float(variable.encoding.get("add_offset", 0.0))
    slack = abs(scale) / 2 if "scale_factor" in variable.encoding else 0.0
    limits = [np.asarray(limit) for limit in (low, high) if limit is not None]
    packed = np.dtype(variable.encoding.get("dtype", values.dtype))
    if packed.kind in "iu" and any(limit.dtype.kind == "f" for limit in limits):
        scale, offset = 1.0, 0.0
    outside = np.zeros(values.shape, dtype=bool)
    if low is not None:
        outside |= values < float(low) * scale + offset - slack
    if high is not None:
        outside |= values > float(high) * scale + offset + slack
    return outside
