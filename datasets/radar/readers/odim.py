"""OPERA ODIM HDF5 composites: quantities RATE, ACRR and reflectivity, ODIM 2.0 to 2.4.

Source: Michelson et al., EUMETNET OPERA weather radar information model for implementation with
the HDF5 file format, versions 2.0 to 2.4. What the reader settles:

- Attributes stand on the data, dataset or root level; the innermost counts. ODYSSEY (until 2024)
  gives quantity, gain and nodata on the dataset, CIRRUS and NIMBUS on the data.
- Time: an accumulation's is its end, /datasetN/what enddate and endtime. Of rates and reflectivity
  it is the nominal time, /what date and time, since their start and end only tell when the radars
  scanned; where a file holds several scans of the quantity, each one's end.
- ``undetect`` is dry, ``nodata`` not observed. A file that gives both the same number cannot tell
  them apart, and all of these are not observed. ``nodata`` is mandatory: without it the sea beyond
  the radars would be dry. Gain and offset are 1 and 0 where missing, as ODIM says.
- Corners are outer corners of the corner pixels; row 0 is the northernmost.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import h5py
import numpy as np
import pandas as pd

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.datasets.radar.coordinates import LENGTHS_M
from squall.datasets.radar.file_times import accumulation_times
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Packing, Product, check_scan_shape
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
from squall.datasets.radar.readers.one_chunk import read_scan
from squall.datasets.radar.units import parse_unit

UNITS = {
    "RATE": "mm h-1", "ACRR": "mm",
    "DBZH": "dBZ", "DBZV": "dBZ", "TH": "dBZ", "TV": "dBZ",
}  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class _Entry:
    """One group /datasetN/dataM of the wanted quantity, with the groups that describe it."""

    data: h5py.Group
    what: tuple[h5py.Group, ...]  # innermost first
    where: tuple[h5py.Group, ...]


@contextmanager
def open_odim(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open an ODIM file and give the scans of the quantity ``config.variable``.

    Raises
    ------
    DataError
        If the file is broken, holds no Cartesian product with this quantity, or holds it twice
        for one time.
    """
    with open_hdf5(path) as root:
        yield _product(root, config)


def _product(root: h5py.File, config: RadarNetworkConfig) -> Product:
    what = subgroup(root, "what")
    if what is None:
        raise DataError("has no group /what; is it an ODIM file?")
    kind = text(what, "object")
    if kind not in ("COMP", "IMAGE"):
        raise DataError(f"holds an ODIM object '{kind}', expected COMP or IMAGE, a map")
    entries = _entries(root, config.variable)
    units = UNITS.get(config.variable) or config.units
    if units is None:
        raise DataError(
            f"quantity '{config.variable}' is none of {', '.join(UNITS)}; set 'units' in the "
            "network configuration if it is rain or reflectivity"
        )
    accumulated = parse_unit(config.units or units)[0] == "accumulation"
    times, intervals = _times(what, entries, accumulated, config)
    images = [image(entry.data, "data") for entry in entries]
    grids = [_grid(entry, one.shape, config) for entry, one in zip(entries, images, strict=True)]
    packings = [
        _packing(entry, one.dtype, units, config)
        for entry, one in zip(entries, images, strict=True)
    ]
    moved = any(grid is not grids[0] and grids[0].difference(grid) for grid in grids)
    if moved or any(packing != packings[0] for packing in packings):
        raise DataError(f"its scans of '{config.variable}' differ in grid or packing")
    return Product(grids[0], times, intervals, packings[0], lambda scan: read_scan(images[scan]))


def _entries(root: h5py.File, quantity: str) -> list[_Entry]:
    found, others = [], set()
    for dataset in numbered_groups(root, "dataset").values():
        for data in numbered_groups(dataset, "data").values():
            levels = (data, dataset, root)
            what, where = (
                tuple(g for g in (subgroup(level, name) for level in levels) if g is not None)
                for name in ("what", "where")
            )
            named = _innermost(what, "quantity", text)
            if named == quantity:
                found.append(_Entry(data, what, where))
            else:
                others.add(str(named))
    if not found:
        raise DataError(
            f"has no quantity '{quantity}', only: {', '.join(sorted(others)) or 'none at all'}"
        )
    return found


def _innermost(
    groups: tuple[h5py.Group, ...], name: str, read: Callable[[h5py.Group, str], T | None]
) -> T | None:
    """An attribute of the first group that has it."""
    values = (read(group, name) for group in groups)
    return next((value for value in values if value is not None), None)


def _times(
    what: h5py.Group, entries: list[_Entry], accumulated: bool, config: RadarNetworkConfig
) -> tuple[tuple[pd.Timestamp, ...], tuple[pd.Timedelta | None, ...]]:
    nominal = _moment((what,), "")
    times: list[pd.Timestamp] = []
    intervals: list[pd.Timedelta | None] = []
    for entry in entries:
        start, end = _moment(entry.what, "start"), _moment(entry.what, "end")
        its_own = accumulated or len(entries) > 1
        time, interval = (end if its_own and end is not None else nominal), None
        if time is None:
            raise DataError(f"{entry.data.name} has no time: neither enddate nor /what date")
        if accumulated:
            time, interval = accumulation_times(None if end is None else start, time, config)
        if time in times:
            twice = entries[times.index(time)].data.name
            raise DataError(
                f"holds '{config.variable}' twice for {time}: {twice} and {entry.data.name}"
            )
        times.append(time)
        intervals.append(interval)
    return tuple(times), tuple(intervals)


def _moment(groups: tuple[h5py.Group, ...], prefix: str) -> pd.Timestamp | None:
    """Time of attributes like ``enddate`` YYYYMMDD and ``endtime`` HHMMSS, UTC."""
    date, time = (_innermost(groups, f"{prefix}{part}", text) for part in ("date", "time"))
    if date is None or time is None:
        return None
    try:
        if not re.fullmatch(r"\d{8} \d{6}", f"{date} {time}", re.ASCII):
            raise ValueError
        return pd.Timestamp(datetime.strptime(date + time, "%Y%m%d%H%M%S"))
    except ValueError:
        raise DataError(
            f"{prefix}date '{date}' and {prefix}time '{time}' are no time, expected YYYYMMDD and "
            "HHMMSS"
        ) from None


def _grid(entry: _Entry, shape: tuple[int, int], config: RadarNetworkConfig) -> Grid:
    sizes = [_innermost(entry.where, name, finite) for name in ("ysize", "xsize")]
    if None not in sizes and tuple(sizes) != shape:
        raise DataError(
            f"{entry.data.name} has {shape[0]} × {shape[1]} pixels, but its /where says "
            f"{sizes[0]:g} × {sizes[1]:g}"
        )
    check_scan_shape(*shape)
    projection = config.crs or _innermost(entry.where, "projdef", text)
    if not projection:
        raise DataError("has no projdef in /where; set 'crs' in the network configuration")
    scales = [_innermost(entry.where, name, finite) for name in ("yscale", "xscale")]
    if scales[0] is None or scales[1] is None:
        raise DataError("has no xscale and yscale in /where, the size of a pixel")
    factor = LENGTHS_M.get(config.coordinate_units or "m", 1.0)
    corners = []
    for name in CORNERS:
        place = [_innermost(entry.where, f"{name}_{axis}", finite) for axis in ("lon", "lat")]
        if place[0] is not None and place[1] is not None:
            corners.append((name, place[0], place[1]))
    return corner_grid(projection, shape, (scales[0] * factor, scales[1] * factor), tuple(corners))


def _packing(entry: _Entry, dtype: np.dtype, units: str, config: RadarNetworkConfig) -> Packing:
    gain, offset = (_innermost(entry.what, name, finite) for name in ("gain", "offset"))
    if gain == 0:
        raise DataError(f"{entry.data.name} has gain 0: all its values are the same")
    nodata, undetect = (_innermost(entry.what, name, number) for name in ("nodata", "undetect"))
    if nodata is None and not config.missing_values:
        raise DataError(
            f"{entry.data.name} has no nodata: what no radar sees cannot be told from dry; if the "
            "product has such values, list them under 'missing_values' in the network configuration"
        )
    missing, dry = _stored(nodata, dtype), _stored(undetect, dtype)
    return Packing(
        units=units,
        scale=1.0 if gain is None else gain,
        offset=offset or 0.0,
        missing=missing,
        dry=tuple(value for value in dry if value not in missing),
    )


def _stored(value: float | None, dtype: np.dtype) -> tuple[float, ...]:
    """A code as it stands in the data: ODIM gives doubles, the data may be single precision."""
    if value is None or np.isnan(value):
        return ()
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return (float(np.array(value).astype(dtype)),)
    return (value,)
