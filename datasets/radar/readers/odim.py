"""OPERA ODIM HDF5 composites: quantities RATE, ACRR and reflectivity, ODIM 2.0 to 2.4.

Source: Michelson et al., EUMETNET OPERA weather radar information model for implementation with
the HDF5 file format, versions 2.0 to 2.4. How the reader interprets the files:

- Attributes are on the data, dataset or root level; the innermost counts. ODYSSEY (until 2024)
  writes quantity, gain and nodata on the dataset, CIRRUS and NIMBUS on the data.
- The valid time of an accumulation is its end, enddate and endtime of /datasetN/what. For rates and
  reflectivity it is the nominal time, date and time of /what, because their start and end only say
  when the radars scanned. If a file has several scans of the quantity, it is the end of each scan.
- ``undetect`` is dry, ``nodata`` is not observed. If both have the same number, these pixels are
  not observed. ``nodata`` is required: without it the sea beyond the radars would be dry. A marker
  that the type of the pixels cannot hold is none. A missing gain is 1 and a missing offset 0, as
  ODIM says.
- Corners are the outer corners of the corner pixels; row 0 is the northernmost.
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
from squall.datasets.radar.coordinates import SET_CRS
from squall.datasets.radar.file_times import accumulation_times
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Packing, Product, check_scan_shape
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
from squall.datasets.radar.readers.markers import any_held, fault, held_by, list_missing
from squall.datasets.radar.units import parse_unit

UNITS = {
    "RATE": "mm h-1", "ACRR": "mm",
    "DBZH": "dBZ", "DBZV": "dBZ", "TH": "dBZ", "TV": "dBZ",
}  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class _Entry:
    """A group /datasetN/dataM with the wanted quantity, and the groups that describe it."""

    data: h5py.Group
    what: tuple[h5py.Group, ...]  # innermost first
    where: tuple[h5py.Group, ...]


@contextmanager
def open_odim(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open an ODIM file and yield the scans of the quantity ``config.variable``.

    Raises
    ------
    DataError
        If the file is broken, has no Cartesian product with this quantity, or has two for the
        same time.
    """
    with open_hdf5(path) as root:
        yield _product(root, config)


def _product(root: h5py.File, config: RadarNetworkConfig) -> Product:
    what = subgroup(root, "what")
    if what is None:
        raise DataError("has no group /what; is it an ODIM file?")
    kind = text(what, "object")
    if kind not in ("COMP", "IMAGE"):
        raise DataError(
            f"holds an ODIM object '{kind}', expected COMP or IMAGE, a map; "
            "put scans and volumes of single radars on a map first, for example with wradlib"
        )
    entries = _entries(root, config.variable)
    units = UNITS.get(config.variable) or config.units
    if units is None:
        raise DataError(
            f"quantity '{config.variable}' is not one of {', '.join(UNITS)}; set 'units' in the "
            "network configuration if it is rain or reflectivity"
        )
    is_accumulation = parse_unit(config.units or units)[0] == "accumulation"
    times, intervals = _times(what, entries, is_accumulation, config)
    images = [image(entry.data, "data") for entry in entries]
    pairs = list(zip(entries, images, strict=True))
    grids = [_grid(entry, pixels.shape, config) for entry, pixels in pairs]
    packings = [_packing(entry, pixels.dtype, units, config) for entry, pixels in pairs]
    grids_differ = any(grid is not grids[0] and grids[0].difference(grid) for grid in grids)
    if grids_differ or any(packing != packings[0] for packing in packings):
        raise DataError(
            f"its scans of '{config.variable}' differ in grid or packing; split the files"
        )
    return Product(grids[0], times, intervals, packings[0], lambda scan: read_scan(images[scan]))


def _entries(root: h5py.File, quantity: str) -> list[_Entry]:
    entries, other_quantities = [], set()
    for dataset in numbered_groups(root, "dataset").values():
        for data in numbered_groups(dataset, "data").values():
            levels = (data, dataset, root)
            what, where = (
                tuple(g for g in (subgroup(level, name) for level in levels) if g is not None)
                for name in ("what", "where")
            )
            data_quantity = _innermost(what, "quantity", text)
            if data_quantity == quantity:
                entries.append(_Entry(data, what, where))
            else:
                other_quantities.add(str(data_quantity))
    if not entries:
        names = ", ".join(sorted(other_quantities)) or "none at all"
        raise DataError(
            f"has no quantity '{quantity}', only: {names}; set 'variable' in the network "
            f"configuration, for example 'variable: {min(other_quantities, default='RATE')}'"
        )
    return entries


def _innermost(
    groups: tuple[h5py.Group, ...], name: str, read: Callable[[h5py.Group, str], T | None]
) -> T | None:
    """Read an attribute from the first group that has it; None if no group has it."""
    values = (read(group, name) for group in groups)
    return next((value for value in values if value is not None), None)


def _times(
    what: h5py.Group, entries: list[_Entry], is_accumulation: bool, config: RadarNetworkConfig
) -> tuple[tuple[pd.Timestamp, ...], tuple[pd.Timedelta | None, ...]]:
    nominal = _moment((what,), "")
    times: list[pd.Timestamp] = []
    intervals: list[pd.Timedelta | None] = []
    for entry in entries:
        start, end = _moment(entry.what, "start"), _moment(entry.what, "end")
        has_own_time = is_accumulation or len(entries) > 1
        time, interval = (end if has_own_time and end is not None else nominal), None
        if time is None:
            raise DataError(
                f"{entry.data.name} has no time: neither enddate nor /what date; "
                "add one to the files"
            )
        if is_accumulation:
            time, interval = accumulation_times(None if end is None else start, time, config)
        if time in times:
            first = entries[times.index(time)].data.name
            raise DataError(
                f"holds '{config.variable}' twice for {time}: {first} and {entry.data.name}, "
                "and no key of the configuration chooses between them; set another quantity as "
                "'variable', or delete one of them in the files"
            )
        times.append(time)
        intervals.append(interval)
    return tuple(times), tuple(intervals)


def _moment(groups: tuple[h5py.Group, ...], prefix: str) -> pd.Timestamp | None:
    """Read a time (UTC) from a pair like ``enddate`` YYYYMMDD and ``endtime`` HHMMSS."""
    date, time = (_innermost(groups, f"{prefix}{name}", text) for name in ("date", "time"))
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
    return corner_grid(
        projection, shape, (scales[0], scales[1]), tuple(corners), units=config.coordinate_units
    )


def _packing(entry: _Entry, dtype: np.dtype, units: str, config: RadarNetworkConfig) -> Packing:
    gain, offset = (_innermost(entry.what, name, finite) for name in ("gain", "offset"))
    if gain == 0:
        raise DataError(
            f"{entry.data.name} has gain 0: all its values are the same; correct the files"
        )
    scale, offset = 1.0 if gain is None else gain, offset or 0.0
    nodata, undetect = (_innermost(entry.what, name, number) for name in ("nodata", "undetect"))
    missing, dry = held_by(dtype, nodata), held_by(dtype, undetect)
    if not missing and not any_held(dtype, config.missing_values, scale, offset):
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
        scale=scale,
        offset=offset,
        missing=missing,
        dry=tuple(value for value in dry if value not in missing),
    )
