"""OPERA ODIM HDF5 composites: quantities RATE, ACRR and reflectivity, ODIM 2.0 to 2.4.

Source: Michelson et al., EUMETNET OPERA weather radar information model for implementation with
the HDF5 file format, versions 2.0 to 2.4. How the reader interprets the files:

- Attributes are on the data, dataset or root level; the innermost counts. ODYSSEY (until 2024)
  writes quantity, gain and nodata on the dataset, CIRRUS and NIMBUS on the data.
- The valid time of an accumulation is its end, enddate and endtime of /datasetN/what. For rates and
  reflectivity it is the nominal time, date and time of /what, because their start and end only say
  when the radars scanned. If a file has several scans of the quantity, it is the end of each scan.
- Some producers write times as HHMM, with separators as ISO 8601 does, or with a second 60. If a
  file has no usable time, the time in its name counts.
- ``undetect`` is dry, ``nodata`` is not observed. If both have the same number, these pixels are
  not observed. ``nodata`` is required: without it the sea beyond the radars would be dry. A marker
  that the type of the pixels cannot hold is none. NaN is not observed, and replaces ``nodata`` in
  scans that have NaN. A missing gain is 1 and a missing offset 0, as ODIM says.
- Corners are the outer corners of the corner pixels; row 0 is the northernmost. A pixel size that
  does not fit the corners in metres, but does in kilometres, is in kilometres (MeteoSwiss).
- ``config.grid`` precedes projection, pixel size and corners of the file, which may be wrong.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.datasets.radar.coordinates import SET_CRS
from squall.datasets.radar.file_times import TimeError, accumulation_times, time_from_name
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Packing, Product, check_scan_shape, north_up
from squall.datasets.radar.readers.chunks import read_scan
from squall.datasets.radar.readers.corner_grid import CORNERS, corner_grid
from squall.datasets.radar.readers.hdf5 import (
    finite,
    image,
    number,
    numbered_groups,
    open_hdf5,
    subgroup,
    text,
)
from squall.datasets.radar.readers.markers import (
    any_held,
    check_has_nan,
    fault,
    held_by,
    list_missing,
    scale_in_use,
)
from squall.datasets.radar.units import parse_unit

UNITS = {
    "RATE": "mm h-1", "ACRR": "mm",
    "DBZH": "dBZ", "DBZV": "dBZ", "TH": "dBZ", "TV": "dBZ",
}  # fmt: skip

_PLACE = re.compile(r"dataset\d{1,6}(/data\d{1,6})?", re.ASCII)

T = TypeVar("T")


class _NoTimeError(TimeError):
    """A file has no time that can be read; the time in its name may replace it."""


@dataclass(frozen=True)
class _Entry:
    """A group /datasetN/dataM, and the groups that describe it."""

    data: h5py.Group
    quantity: str
    what: tuple[h5py.Group, ...]  # innermost first
    where: tuple[h5py.Group, ...]

    @property
    def place(self) -> str:
        """``datasetN/dataM``."""
        return str(self.data.name).strip("/")


@contextmanager
def open_odim(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open an ODIM file and yield the scans that ``config.variable`` names.

    It is a quantity, or ``datasetN`` or ``datasetN/dataM`` where several have the same quantity.

    Raises
    ------
    DataError
        If the file is broken, has no Cartesian product with this quantity, or has two for the
        same time.
    """
    with open_hdf5(path) as root:
        yield _product(root, path, config)


def _product(root: h5py.File, path: str, config: RadarNetworkConfig) -> Product:
    what = subgroup(root, "what")
    if what is None:
        raise DataError("has no group /what; is it an ODIM file?")
    kind = text(what, "object")
    if kind not in ("COMP", "IMAGE"):
        raise DataError(
            f"holds an ODIM object '{kind}', expected COMP or IMAGE, a map; "
            "put scans and volumes of single radars on a map first, for example with wradlib"
        )
    all_entries = _all_entries(root)
    entries = _chosen(all_entries, config.variable)
    quantity = entries[0].quantity
    units = UNITS.get(quantity) or config.units
    if units is None:
        raise DataError(
            f"quantity '{quantity}' is not one of {', '.join(UNITS)}; set 'units' in the "
            "network configuration if it is rain or reflectivity"
        )
    is_accumulation = parse_unit(config.units or units)[0] == "accumulation"
    is_series = sum(entry.quantity == quantity for entry in all_entries) > 1
    try:
        times, intervals = _times(what, entries, is_accumulation, is_series, config)
    except TimeError as error:
        named = time_from_name(path, config)
        is_replaced = config.time_from == "name" or isinstance(error, _NoTimeError)
        if named is None or len(entries) > 1 or not is_replaced:
            raise
        times, intervals = (named,), (config.accumulation if is_accumulation else None,)
    images = [image(entry.data, "data") for entry in entries]
    pairs = list(zip(entries, images, strict=True))
    grids = [_grid(entry, pixels.shape, config) for entry, pixels in pairs]
    packings = [_packing(entry, pixels.dtype, units, config) for entry, pixels in pairs]
    grid, flip_rows, flip_columns = grids[0]
    grids_differ = any(other is not grid and grid.difference(other) for other, *_ in grids)
    if grids_differ or any(packing != packings[0] for packing in packings):
        raise DataError(
            f"its scans of '{config.variable}' differ in grid or packing; split the files"
        )
    nan_is_nodata = packings[0].missing == () and not config.missing_values

    def read_stored(scan: int) -> npt.NDArray[Any]:
        pixels = read_scan(images[scan])
        if nan_is_nodata:
            check_has_nan(pixels, f"{entries[scan].data.name} has no nodata and no NaN")
        return north_up(pixels, flip_rows, flip_columns)

    return Product(grid, times, intervals, packings[0], read_stored)


def _all_entries(root: h5py.File) -> list[_Entry]:
    entries = []
    for dataset in numbered_groups(root, "dataset").values():
        for data in numbered_groups(dataset, "data").values():
            levels = (data, dataset, root)
            what, where = (
                tuple(g for g in (subgroup(level, name) for level in levels) if g is not None)
                for name in ("what", "where")
            )
            entries.append(_Entry(data, str(_innermost(what, "quantity", text)), what, where))
    return entries


def _chosen(entries: list[_Entry], variable: str) -> list[_Entry]:
    """The entries that ``variable`` of the configuration names: all of a quantity, or one."""
    if _PLACE.fullmatch(variable):
        chosen = [e for e in entries if f"{e.place}/".startswith(f"{variable}/")]
        if len(chosen) == 1:
            return chosen
        places = ", ".join(f"{e.place} ({e.quantity})" for e in chosen or entries)
        raise DataError(
            f"has {len(chosen) or 'no'} fields at '{variable}', only one can be read: choose one "
            f"of {places or 'none at all'} as 'variable' in the network configuration"
        )
    chosen = [entry for entry in entries if entry.quantity == variable]
    if not chosen:
        others = sorted({entry.quantity for entry in entries})
        raise DataError(
            f"has no quantity '{variable}', only: {', '.join(others) or 'none at all'}; set "
            "'variable' in the network configuration, for example "
            f"'variable: {min(others, key=_is_no_rain, default='RATE')}'"
        )
    return chosen


def _is_no_rain(quantity: str) -> bool:
    return quantity not in ("RATE", "ACRR", "DBZH", "TH")


def _innermost(
    groups: tuple[h5py.Group, ...], name: str, read: Callable[[h5py.Group, str], T | None]
) -> T | None:
    """Read an attribute from the first group that has it; None if no group has it."""
    values = (read(group, name) for group in groups)
    return next((value for value in values if value is not None), None)


def _times(
    what: h5py.Group,
    entries: list[_Entry],
    is_accumulation: bool,
    is_series: bool,
    config: RadarNetworkConfig,
) -> tuple[tuple[pd.Timestamp, ...], tuple[pd.Timedelta | None, ...]]:
    nominal = _moment((what,), "")
    times: list[pd.Timestamp] = []
    intervals: list[pd.Timedelta | None] = []
    for entry in entries:
        start, end = _moment(entry.what, "start"), _moment(entry.what, "end")
        has_own_time = is_accumulation or is_series
        time, interval = (end if has_own_time and end is not None else nominal), None
        if time is None:
            raise _NoTimeError(
                f"{entry.data.name} has no time: neither enddate nor /what date; add one to the "
                "files, or set 'time_in_name' in the network configuration"
            )
        if is_accumulation:
            time, interval = accumulation_times(None if end is None else start, time, config)
        if time in times:
            first = entries[times.index(time)].place
            raise DataError(
                f"holds '{config.variable}' twice for {time}: {first} and {entry.place}; choose "
                f"one of them in the network configuration: 'variable: {first}' or "
                f"'variable: {entry.place}'"
            )
        times.append(time)
        intervals.append(interval)
    return tuple(times), tuple(intervals)


_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})", re.ASCII)
_CLOCK = re.compile(r"(\d{2}):?(\d{2})(?::?(\d{2})(?:\.\d*)?)?Z?", re.ASCII)


def _moment(groups: tuple[h5py.Group, ...], prefix: str) -> pd.Timestamp | None:
    """Read a time (UTC) from a pair like ``enddate`` YYYYMMDD and ``endtime`` HHMMSS."""
    date, time = (_innermost(groups, f"{prefix}{name}", text) for name in ("date", "time"))
    if date is None or time is None:
        return None
    day, clock = _DATE.fullmatch(date), _CLOCK.fullmatch(time)
    try:
        if day is None or clock is None:
            raise ValueError
        year, month, day_of_month = (int(digits) for digits in day.groups())
        hour, minute, second = (int(digits or 0) for digits in clock.groups())
        if second > 60:
            raise ValueError
        start = datetime(year, month, day_of_month, hour, minute)
        return pd.Timestamp(start) + pd.Timedelta(seconds=second)  # 60 is the next minute
    except ValueError:
        raise _NoTimeError(
            f"{prefix}date '{date}' and {prefix}time '{time}' are no time, expected YYYYMMDD and "
            "HHMMSS; correct the files, or set 'time_in_name' in the network configuration"
        ) from None


def _grid(
    entry: _Entry, shape: tuple[int, int], config: RadarNetworkConfig
) -> tuple[Grid, bool, bool]:
    """The grid, whether the rows must be reversed to lie on it, and whether the columns must."""
    sizes = [_innermost(entry.where, name, finite) for name in ("ysize", "xsize")]
    if None not in sizes and tuple(sizes) != shape:
        raise DataError(
            f"{entry.data.name} has {shape[0]} × {shape[1]} pixels, but its /where says "
            f"{sizes[0]:g} × {sizes[1]:g}"
        )
    check_scan_shape(*shape)
    if config.grid is not None:
        return config.grid.harmonised(shape)
    projection = config.crs or _innermost(entry.where, "projdef", text)
    if not projection:
        raise DataError(f"has no projdef in /where; {SET_CRS}")
    scales = [_innermost(entry.where, name, finite) for name in ("yscale", "xscale")]
    if scales[0] is None or scales[1] is None:
        raise DataError(
            "has no xscale and yscale in /where, the size of a pixel; add them to the files"
        )
    corners = []
    for name in CORNERS:
        longitude = _innermost(entry.where, f"{name}_lon", finite)
        latitude = _innermost(entry.where, f"{name}_lat", finite)
        if longitude is not None and latitude is not None:
            corners.append((name, longitude, latitude))
    pixel = scales[0], scales[1]
    units = config.coordinate_units
    try:
        return corner_grid(projection, shape, pixel, tuple(corners), units=units), False, False
    except DataError:
        if units is not None or not _fits_in_km(projection, shape, pixel, tuple(corners)):
            raise
    return corner_grid(projection, shape, pixel, tuple(corners), units="km"), False, False


def _fits_in_km(
    projection: str,
    shape: tuple[int, int],
    pixel: tuple[float, float],
    corners: tuple[tuple[str, float, float], ...],
) -> bool:
    """Whether the corners fit a pixel size in kilometres."""
    try:
        corner_grid(projection, shape, pixel, corners, units="km")
    except DataError:
        return False
    return True


def _packing(entry: _Entry, dtype: np.dtype, units: str, config: RadarNetworkConfig) -> Packing:
    gain, offset = (_innermost(entry.what, name, finite) for name in ("gain", "offset"))
    if gain == 0:
        raise DataError(
            f"{entry.data.name} has gain 0: all its values are the same; correct the files"
        )
    packing = 1.0 if gain is None else gain, offset or 0.0
    scale, offset = scale_in_use(config, *packing)
    nodata, undetect = (_innermost(entry.what, name, number) for name in ("nodata", "undetect"))
    missing, dry = held_by(dtype, nodata), held_by(dtype, undetect)
    is_listed = any_held(dtype, config.missing_values, scale, offset)
    # NaN may replace a nodata that the file lacks; whether a scan has it, reading the scan tells
    can_be_nan = dtype.kind == "f" and nodata is None and math.nan not in dry
    if not (missing or is_listed or can_be_nan):
        raise DataError(
            f"{entry.data.name} has {fault('nodata', nodata, dtype)}, so pixels outside radar "
            "coverage cannot be told from dry or wet ones; " + list_missing(dtype, scale, offset)
        )
    if undetect is not None and not (dry or any_held(dtype, config.dry_values, scale, offset)):
        raise DataError(
            f"{entry.data.name} has {fault('undetect', undetect, dtype)}, so pixels without rain "
            "cannot be told from wet ones; list the unpacked value that they have under "
            "'dry_values' in the network configuration, for example 'dry_values: "
            f"[{offset:.10g}]' for pixels stored as 0"
        )
    return Packing(
        units=units,
        scale=packing[0],
        offset=packing[1],
        missing=missing,
        dry=tuple(value for value in dry if value not in missing),
    )
