"""NumPy archives (.npz) with scans of several times, as MeteoNet of Météo-France publishes them.

How the reader interprets the files:

- ``variable`` names the array with the scans, (y, x) or (time, y, x); ``grid`` says where they lie,
  and ``units`` and ``scale`` what their numbers mean, since the files do not tell.
- Times are in the array ``time_variable`` (``dates`` if it is left out): datetime64, or Python
  datetimes, which NumPy pickles. A pickle may run any program when it is loaded. So it is never
  loaded: the reader goes through its instructions and takes the ten bytes of each datetime. A file
  without such an array has the time of its name.
- NaN is not observed. Integers, and scans without NaN, need ``missing_values``, since the files
  name none.

One scan is read at a time, so that memory does not grow with the file.
"""

import math
import pickletools
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.errors import DataError
from squall.datasets.radar.file_times import NO_TIME, accumulation_times, time_from_name
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import MAX_SCANS, Packing, Product, check_scan_shape, north_up
from squall.datasets.radar.readers.markers import (
    any_held,
    check_has_nan,
    list_missing,
    scale_in_use,
)
from squall.datasets.radar.readers.zip_member import ZipMember
from squall.datasets.radar.units import parse_unit

DATES = "dates"
MAX_DATES_BYTES = 2**25  # of all times of a file; ten days of five minutes have some 100 kB
MAX_HEADER = 10_000
_BLOCK = 2**20
_DATETIME = "datetime datetime"
_BYTES_OF_DATETIME = 10


@contextmanager
def open_npz(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open a NumPy archive and yield the scans in its array ``config.variable``.

    Raises
    ------
    DataError
        If the file is broken, or has no such array or no times, or the configuration does not say
        the grid, the units or the missing values.
    """
    with zipfile.ZipFile(path) as file, _Scans(path, file, config.variable) as scans:
        yield _product(file, scans, path, config)


class _Scans:
    """The scans in an array of a NumPy archive; read forwards, one at a time."""

    def __init__(self, path: str, file: zipfile.ZipFile, name: str) -> None:
        self._path, self._info = path, file.getinfo(_member(file, name, "variable"))
        self._stream: ZipMember | None = None
        with closing(ZipMember(path, self._info)) as stream:
            self.dtype, shape = array_header(stream, name)
            self._start = stream.position
        if self.dtype.kind not in "iuf":
            raise DataError(f"array '{name}' holds {self.dtype}, expected numbers")
        if len(shape) not in (2, 3):
            raise DataError(
                f"array '{name}' has {len(shape)} dimensions, expected (y, x) or (time, y, x)"
            )
        self.count, self.shape = shape[0] if len(shape) == 3 else 1, (shape[-2], shape[-1])
        check_scan_shape(*self.shape)
        if not 1 <= self.count <= MAX_SCANS:
            raise DataError(f"says that it has {self.count} scans, at most {MAX_SCANS} are read")
        self._scan_bytes = math.prod(self.shape) * self.dtype.itemsize
        size = self._info.file_size - self._start
        if size != self.count * self._scan_bytes:
            raise DataError(
                f"array '{name}' has {size} bytes for {self.count} scans of {self._scan_bytes} "
                "bytes"
            )

    def __enter__(self) -> "_Scans":
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def read(self, scan: int) -> npt.NDArray[Any]:
        place = self._start + scan * self._scan_bytes
        if self._stream is None or place < self._stream.position:
            self.__exit__()
            self._stream = ZipMember(self._path, self._info)
        stream = self._stream
        while stream.position < place:  # in blocks, so that memory stays small
            _read(stream, min(_BLOCK, place - stream.position))
        return np.frombuffer(_read(stream, self._scan_bytes), self.dtype).reshape(self.shape)


def _read(stream: ZipMember, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise DataError("is cut off: an array ends early")
    return data


def _member(file: zipfile.ZipFile, name: str, key: str) -> str:
    if f"{name}.npy" not in file.namelist():
        names = sorted(member.removesuffix(".npy") for member in file.namelist())
        raise DataError(
            f"has no array '{name}', only: {', '.join(names[:20])}; set '{key}' in the network "
            f"configuration, for example '{key}: {names[0] if names else 'data'}'"
        )
    return f"{name}.npy"


def array_header(stream: IO[bytes] | ZipMember, name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and shape of an array; the stream is then at its first number."""
    try:
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[np.lib.format.read_magic(stream)]
        shape, is_fortran, dtype = read(stream, max_header_size=MAX_HEADER)
    except (KeyError, ValueError, SyntaxError, TypeError) as error:
        raise DataError(f"array '{name}' has no header of NumPy: {error}") from error
    if is_fortran and len(shape) > 1:
        raise DataError(
            f"array '{name}' is stored column by column; save it with numpy.ascontiguousarray"
        )
    if min(shape, default=0) < 0:
        raise DataError(f"array '{name}' says that it has the shape {shape}")
    return dtype, shape


def _product(
    file: zipfile.ZipFile, scans: _Scans, path: str, config: RadarNetworkConfig
) -> Product:
    if config.grid is None or config.units is None:
        raise DataError(
            "is a NumPy archive, which does not tell where its pixels lie and what they mean; set "
            "'grid' and 'units' in the network configuration, and 'scale' if numbers are packed; "
            "configs/archives/meteonet.yaml is an example"
        )
    grid, flip_rows, flip_columns = config.grid.harmonised(scans.shape)
    scale, offset = scale_in_use(config, 1.0, 0.0)
    if scans.dtype.kind in "iu" and not any_held(scans.dtype, config.missing_values, scale, offset):
        raise DataError(
            "names no missing value, so pixels outside radar coverage cannot be told from dry or "
            "wet ones; " + list_missing(scans.dtype, scale, offset)
        )
    is_accumulation = parse_unit(config.units)[0] == "accumulation"
    times, intervals = _times(file, scans.count, is_accumulation, path, config)

    def read_stored(scan: int) -> npt.NDArray[Any]:
        numbers = scans.read(scan)
        if numbers.dtype.kind == "f" and not config.missing_values:
            check_has_nan(numbers, "has a scan without NaN")
        return north_up(numbers, flip_rows, flip_columns)

    return Product(grid, times, intervals, Packing(config.units, scale, offset), read_stored)


def _times(
    file: zipfile.ZipFile, count: int, is_accumulation: bool, path: str, config: RadarNetworkConfig
) -> tuple[tuple[pd.Timestamp, ...], tuple[pd.Timedelta | None, ...]]:
    if config.time_from == "name" and count == 1:  # the array is not needed, and may be broken
        interval = config.accumulation if is_accumulation else None
        return (NO_TIME,), (interval,)
    name = config.time_variable or DATES
    if config.time_variable is None and f"{DATES}.npy" not in file.namelist():
        named = time_from_name(path, config)
        if named is None or count != 1:
            raise DataError(
                f"has no array '{DATES}' with times, and no time in its name; set 'time_variable' "
                "or 'time_in_name' in the network configuration, for example "
                "'time_in_name: \"%Y%m%d%H%M\"'"
            )
        return (named,), (config.accumulation if is_accumulation else None,)
    member = _member(file, name, "time_variable")
    if file.getinfo(member).file_size > MAX_DATES_BYTES:
        raise DataError(f"array '{name}' has more than {MAX_DATES_BYTES} bytes of times")
    with file.open(member) as stream:
        dtype, shape = array_header(stream, name)
        data = stream.read(MAX_DATES_BYTES)
    if math.prod(shape) != count:
        raise DataError(f"has {count} scans but {math.prod(shape)} times in '{name}'")
    if dtype.kind == "M" and len(data) == count * dtype.itemsize:
        found = [pd.Timestamp(time) for time in np.frombuffer(data, dtype)]
    elif dtype.kind == "O":
        found = pickled_datetimes(data)
    else:
        raise DataError(f"array '{name}' holds {dtype}, expected times: datetime64 or datetimes")
    if len(found) != count:
        raise DataError(
            f"has {count} scans, but {len(found)} datetimes can be read in '{name}'; save them as "
            "datetime64"
        )
    if not is_accumulation:
        return tuple(found), (None,) * count
    pairs = [accumulation_times(None, time, config) for time in found]
    return tuple(time for time, _ in pairs), tuple(interval for _, interval in pairs)


def pickled_datetimes(data: bytes) -> list[pd.Timestamp]:
    """Read the datetimes (UTC, without time zone) in a pickle, in their order; runs nothing.

    A datetime is pickled as its class with ten bytes: year (2), month, day, hour, minute, second,
    microsecond (3). See `datetime.datetime.__reduce__`.

    Raises
    ------
    DataError
        If the pickle is broken, or ten bytes are no time.
    """
    times: list[bytes] = []
    classes: set[str] = set()
    for name, argument in _instructions(data):
        if name == "class":
            classes.add(argument)
        elif name.endswith("BINBYTES") and len(argument) == _BYTES_OF_DATETIME:
            times.append(argument)
    others = {name for name in classes if name != _DATETIME and not name.startswith("numpy.")}
    if others - {"numpy ndarray", "numpy dtype"} or (times and _DATETIME not in classes):
        raise DataError(
            "its times are no datetimes, or have a time zone; save them as datetime64 in UTC"
        )
    try:
        return [_datetime(time) for time in times]
    except (ValueError, OverflowError) as error:
        raise DataError(f"its times cannot be read: {error}") from error


def _instructions(data: bytes) -> Iterator[tuple[str, Any]]:
    """Name and argument of each instruction of a pickle; ``class`` for those that name a class.

    Since protocol 4 the two parts of the name are texts, which may have been stored before.
    """
    stored: dict[int, str | None] = {}
    texts: list[str] = []
    last: str | None = None  # the text that the last instruction gave
    try:
        for opcode, argument, _ in pickletools.genops(data):
            name: str = opcode.name
            if name == "MEMOIZE" or name.endswith("BINPUT"):
                stored[len(stored) if argument is None else argument] = last
                continue
            last = argument if name.endswith("UNICODE") else None
            if name.endswith("BINGET"):
                last = stored.get(int(argument or 0))
            if last is not None:
                texts.append(last)
            if name in ("GLOBAL", "INST"):
                yield "class", argument
            elif name == "STACK_GLOBAL":
                yield "class", " ".join(texts[-2:])
            yield name, argument
    except (ValueError, IndexError, UnicodeDecodeError, OverflowError) as error:
        raise DataError(f"its times cannot be read: {error}") from error


def _datetime(data: bytes) -> pd.Timestamp:
    year, (month, day, hour, minute, second) = int.from_bytes(data[:2], "big"), data[2:7]
    microsecond = int.from_bytes(data[7:], "big")
    return pd.Timestamp(datetime(year, month, day, hour, minute, second, microsecond))
