"""UK Met Office NIMROD files: big-endian Fortran records, one header and one field after another.

Source: Met Office, Nimrod file format (in CEDA's documentation of its Nimrod data sets), and the
reader of the Met Office's Iris, which is too large a dependency for a header of 512 bytes. How the
reader interprets the files:

- Each field is a header record of 512 bytes and a record of ``rows × columns`` numbers: reals, or
  integers of 1, 2 or 4 bytes. Each record stands between two copies of its length.
- Numbers are the value times the factor in the unit: ``mm/h*32``.
- The header's missing value is not observed; 0 is observed and dry. A missing value that the
  numbers cannot hold is none, and such a file is refused until the configuration lists it.
- The valid time is the end of an accumulation, whose minutes are in the header. Where it is later
  than the data time, the field is a forecast and refused.
- The header's origin is the centre of the first pixel. Its corners are the outer corners of the
  grid; a file whose corners lie elsewhere by more than a pixel is refused.
- Grids: the British National Grid; other transverse Mercator grids by the header's numbers;
  longitude and latitude. Others need ``crs``.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.errors import DataError, ForecastError
from squall.datasets.grid import Grid
from squall.datasets.radar.coordinates import SET_CRS
from squall.datasets.radar.fields import Field
from squall.datasets.radar.file_times import (
    NO_TIME,
    TimeError,
    accumulation_times,
    unless_named,
)
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Packing, Product, check_scan_shape, north_up
from squall.datasets.radar.readers.markers import (
    any_held,
    fault,
    held_by,
    list_missing,
    scale_in_use,
)
from squall.datasets.radar.readers.stepped_grid import stepped_grid
from squall.datasets.radar.units import parse_unit

HEADER_BYTES = 512
MAX_FIELDS = 4096
UNSET = -32767.0  # also where the header names another missing value
NATIONAL_GRID, LONLAT, TRANSVERSE_MERCATOR = 0, 1, 4
_NATIONAL = (49.0, -2.0, 400_000.0, -100_000.0, 0.9996012717)  # EPSG:27700
_ELLIPSOIDS = {0: "airy", 1: "intl"}
_TYPES = {(0, 4): ">f4", (1, 1): "i1", (1, 2): ">i2", (1, 4): ">i4", (2, 1): "u1"}
# corner of the first number -> whether rows go south, and columns east
_CORNERS = {0: (True, True), 1: (False, True), 2: (True, False), 3: (False, False)}
_FACTOR = re.compile(r"(.*)\*(\d+)(?:\^(\d))?")


@dataclass(frozen=True, eq=False)
class _Field:
    """A field of a file: its header and where its numbers are.

    Parameters
    ----------
    integers : (31,) the header's general integers.
    reals : (28,) the header's general reals.
    corners : (8,) y and x of the corners: top left, top right, bottom right, bottom left.
    units, source, title : texts of the header.
    start : position of the first number in the file.
    """

    integers: npt.NDArray[np.int16]
    reals: npt.NDArray[np.float32]
    corners: npt.NDArray[np.float32]
    units: str
    source: str
    title: str
    start: int

    @classmethod
    def of(cls, header: bytes, start: int) -> "_Field":
        units, source, title = (
            re.sub(r"[^ -~]", " ", header[first:last].decode("latin-1")).strip()
            for first, last in ((354, 362), (362, 386), (386, 410))
        )
        return cls(
            np.frombuffer(header, ">i2", 31).astype(np.int16),
            np.frombuffer(header, ">f4", 28, 62).astype(np.float32),
            np.frombuffer(header, ">f4", 8, 174).astype(np.float32),
            *(units, source, title, start),
        )

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.integers[15]), int(self.integers[16])

    @property
    def dtype(self) -> np.dtype[Any]:
        kind = int(self.integers[11]), int(self.integers[12])
        if kind not in _TYPES:
            raise DataError(f"has numbers of type {kind[0]} in {kind[1]} bytes; correct the files")
        is_signed_byte = kind == (2, 1) and self.integers[24] < 0
        return np.dtype("i1" if is_signed_byte else _TYPES[kind])

    def is_set(self, value: float) -> bool:
        """Whether a value of the header is not one of those that mean none."""
        unset = (UNSET, float(self.reals[6]), float(self.integers[24]))
        return math.isfinite(value) and not any(math.isclose(value, none) for none in unset)

    def moment(self, first: int, seconds: int = 0) -> pd.Timestamp:
        """The time (UTC) whose year is at a position of the integers."""
        numbers = [int(number) for number in self.integers[first : first + 5]]
        year, month, day, hour, minute = numbers
        try:
            return pd.Timestamp(datetime(year, month, day, hour, minute, seconds))
        except ValueError:
            raise TimeError(f"has no time: {numbers} are no date and time") from None


@contextmanager
def open_nimrod(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open a NIMROD file and yield the fields of the title ``config.variable``.

    Raises
    ------
    DataError
        If the file is broken, or has no such field, or one that is a forecast.
    """
    with Path(path).open("rb") as stream:
        fields = _chosen(_fields(stream), config)
        yield _product(stream, fields, config)


def nimrod_fields(path: str) -> list[Field]:
    """Titles of a file's fields, each once.

    Raises
    ------
    DataError
        If the file is broken.
    """
    with Path(path).open("rb") as stream:
        by_title = {field.title: field for field in reversed(_fields(stream))}
    units = {title: _FACTOR.fullmatch(field.units) for title, field in by_title.items()}
    return [
        Field(
            title, found[1] if (found := units[title]) else field.units, field.source, field.shape
        )
        for title, field in sorted(by_title.items())
    ]


def _fields(stream: BinaryIO) -> list[_Field]:
    size = stream.seek(0, 2)
    fields: list[_Field] = []
    start = 0
    while start < size:
        stream.seek(start)
        head = stream.read(HEADER_BYTES + 12)
        lengths = [int.from_bytes(head[place : place + 4], "big") for place in (0, 516, 520)]
        if len(head) < HEADER_BYTES + 12 or lengths[:2] != [HEADER_BYTES] * 2:
            raise DataError(
                f"has no header of 512 bytes at byte {start}; it is cut off or no NIMROD file"
            )
        field = _Field.of(head[4 : 4 + HEADER_BYTES], start + HEADER_BYTES + 12)
        height, width = field.shape
        if min(height, width) < 1:
            raise DataError(f"says that it has {height} × {width} pixels; correct the files")
        check_scan_shape(height, width)
        start = field.start + lengths[2] + 4
        if lengths[2] != height * width * field.dtype.itemsize:
            raise DataError(
                f"has {lengths[2]} bytes for {height} × {width} numbers of {field.dtype.name}"
            )
        stream.seek(start - 4)
        if stream.read(4) != head[520:524]:
            raise DataError("is cut off: its last record has no end")
        fields.append(field)
        if len(fields) > MAX_FIELDS:
            raise DataError(f"has more than {MAX_FIELDS} fields; split it")
    return fields


def _chosen(fields: list[_Field], config: RadarNetworkConfig) -> list[_Field]:
    """Fields with the wanted title; all, if they have one title and none is wanted."""
    titles = sorted({field.title for field in fields})
    wanted = config.variable
    chosen = [field for field in fields if not wanted or field.title == wanted]
    if not chosen or len({field.title for field in chosen}) > 1:
        raise DataError(
            f"has {f'no field {wanted!r}' if wanted else 'several fields'}, only: "
            f"{', '.join(titles[:20])}; set 'variable' in the network configuration, for example "
            f"'variable: {titles[0]}'"
        )
    return chosen


def _product(stream: BinaryIO, fields: list[_Field], config: RadarNetworkConfig) -> Product:
    packings = [_packing(field, config) for field in fields]
    placed = [_grid(field, config) for field in fields]
    times, intervals = _times(fields, parse_unit(config.units or packings[0].units)[0], config)
    if any(packing != packings[0] for packing in packings) or any(
        grid is not placed[0][0] and placed[0][0].difference(grid) for grid, _, _ in placed
    ):
        raise DataError(
            f"its fields '{fields[0].title}' differ in grid or packing; split the files"
        )

    def read_stored(scan: int) -> npt.NDArray[Any]:
        field, (_, flip_rows, flip_columns) = fields[scan], placed[scan]
        stream.seek(field.start)
        numbers = np.frombuffer(
            stream.read(math.prod(field.shape) * field.dtype.itemsize), field.dtype
        ).reshape(field.shape)
        return north_up(numbers, flip_rows, flip_columns)

    return Product(placed[0][0], times, intervals, packings[0], read_stored)


def _packing(field: _Field, config: RadarNetworkConfig) -> Packing:
    matched = _FACTOR.fullmatch(field.units)
    units = config.units or (matched[1] if matched else field.units)
    factor = float(matched[2]) ** float(matched[3] or 1) if matched else 1.0
    if factor == 0:
        raise DataError(f"has the unit '{field.units}'; correct the files")
    declared, shift = float(field.reals[7]), float(field.reals[8])
    is_other_scale = (
        field.is_set(declared) and declared and not math.isclose(declared * factor, 1, rel_tol=1e-3)
    )
    if (is_other_scale or (field.is_set(shift) and shift)) and config.scale is None:
        raise DataError(
            f"has the unit '{field.units}', but its header says scale {declared:g} and offset "
            f"{shift:g}; set 'scale' and 'offset' in the network configuration, for example "
            f"'scale: {1 / factor:g}'"
        )
    dtype, (scale, offset) = field.dtype, scale_in_use(config, 1 / factor, 0.0)
    marker = float(field.reals[6] if dtype.kind == "f" else field.integers[24])
    missing = held_by(dtype, marker)
    if not missing and not any_held(dtype, config.missing_values, scale, offset):
        raise DataError(
            f"has {fault('missing value', marker, dtype)}, so pixels outside radar coverage cannot "
            "be told from dry or wet ones; " + list_missing(dtype, scale, offset)
        )
    return Packing(units, scale, offset, missing)


def _times(
    fields: list[_Field], quantity: str, config: RadarNetworkConfig
) -> tuple[tuple[pd.Timestamp, ...], tuple[pd.Timedelta | None, ...]]:
    times: list[pd.Timestamp] = []
    intervals: list[pd.Timedelta | None] = []
    for field in fields:
        time = unless_named(partial(field.moment, 0, int(field.integers[5])), NO_TIME, config)
        issued = None
        if field.is_set(float(field.integers[6])) and field.integers[6] > 0:
            issued = unless_named(partial(field.moment, 6), NO_TIME, config)
        if issued is not None and issued < time.floor("min"):
            raise ForecastError(
                f"'{field.title}' of '{field.source}' is a forecast, issued at {issued} for "
                f"{time}; only observations are ingested"
            )
        interval = None
        if quantity == "accumulation":
            minutes = int(field.integers[25])
            is_known = field.is_set(minutes) and 0 < minutes < 32767
            if is_known:
                interval = pd.Timedelta(minutes=minutes)
            else:
                time, interval = accumulation_times(None, time, config)
        if time in times:
            raise DataError(
                f"has '{field.title}' twice for {time}, and no key of the configuration chooses "
                "between them; split the files"
            )
        times.append(time)
        intervals.append(interval)
    return tuple(times), tuple(intervals)


def _grid(field: _Field, config: RadarNetworkConfig) -> tuple[Grid, bool, bool]:
    if config.grid is not None:
        return config.grid.harmonised(field.shape)
    y, row_step, x, column_step = (float(number) for number in field.reals[2:6])
    corner = int(field.integers[23])
    if corner not in _CORNERS:
        raise DataError(f"says that its first number is in corner {corner}, expected 0 to 3")
    if not (0 < row_step < math.inf and 0 < column_step < math.inf):
        raise DataError(f"has steps of {row_step:g} and {column_step:g}, expected positive numbers")
    goes_south, goes_east = _CORNERS[corner]
    dy, dx = -row_step if goes_south else row_step, column_step if goes_east else -column_step
    first = x - dx / 2, y - dy / 2
    _check_corners(field, first, (dx, dy))
    return stepped_grid(config.crs or _projection(field), field.shape, first, (dx, dy))


def _check_corners(field: _Field, first: tuple[float, float], step: tuple[float, float]) -> None:
    """Refuse a grid whose corners in the header lie elsewhere."""
    corners = field.corners.astype(np.float64)
    if not all(field.is_set(value) for value in corners) or not corners.any():
        return
    rows, columns = corners[0::2], corners[1::2]
    for name, declared, start, size, count in (
        ("y", rows, first[1], step[1], field.shape[0]),
        ("x", columns, first[0], step[0], field.shape[1]),
    ):
        ends = sorted((start, start + size * count))
        off = max(abs(declared.min() - ends[0]), abs(declared.max() - ends[1]))
        if off > abs(size):
            raise DataError(
                f"its corners lie {off:g} away in {name} from where its origin and its steps put "
                "them; set 'grid' in the network configuration to the right grid"
            )


def _projection(field: _Field) -> str:
    kind = int(field.integers[14])
    ellipsoid = _ELLIPSOIDS.get(
        int(field.integers[27]), "airy" if kind == NATIONAL_GRID else "intl"
    )
    if kind == LONLAT:
        return f"+proj=longlat +ellps={ellipsoid}"
    declared = [float(number) for number in field.reals[11:16]]
    if kind == NATIONAL_GRID:
        # old files write kilometres, or nothing
        metres = [n * 1000 if i in (2, 3) and abs(n) < 1000 else n for i, n in enumerate(declared)]
        if all(
            not field.is_set(number) or math.isclose(number, known, rel_tol=1e-6)
            for number, known in zip(metres, _NATIONAL, strict=True)
        ):
            return "EPSG:27700"
    if kind in (NATIONAL_GRID, TRANSVERSE_MERCATOR) and all(map(field.is_set, declared)):
        latitude, longitude, easting, northing, scale = declared
        return (
            f"+proj=tmerc +lat_0={latitude!r} +lon_0={longitude!r} +x_0={easting!r} "
            f"+y_0={northing!r} +k={scale!r} +ellps={ellipsoid}"
        )
    raise DataError(f"has a grid of type {kind}, which its header does not describe; {SET_CRS}")
