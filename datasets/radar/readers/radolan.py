"""DWD composites in the RADOLAN binary format: RADOLAN, RADVOR, RADKLIM and their reflectivity.

Source: Deutscher Wetterdienst, RADOLAN/RADVOR-OP, Beschreibung des Kompositformats; for DE1200
Formatbeschreibung RV. A file is one line of text that ends with the byte ETX, and the pixels behind
it. How the reader interprets the files:

- Two bytes a pixel (little endian), bits counted from 1. Bits 1 to 12 are the value. Bit 13 marks
  secondary data, interpolated between gauges where no radar measured (RW and its sums), bit 14 no
  data, and bit 16 clutter. None of them is observed, whatever the value says (RADKLIM writes values
  filled in from the neighbours). Bit 15 is the sign.
- One byte a pixel (RX, WX, EX): 250 is no data, 249 clutter: both are not observed. Others are
  dBZ = 0.5 · value - 32.5, so 0 is -32.5 dBZ: no echo.
- ``PR`` is the step of the values: E-01 is 0.1 mm. WN has tenths of the codes of RX in two bytes.
- ``INT`` is the interval of a sum in minutes, in days with ``U1``. The time in the header is its
  end, UTC.
- ``VV`` is the lead time of a forecast. Only analyses are read (VV 0, or no VV).
- Row 0 is the southernmost. The grid is polar stereographic, true at 60 N, central meridian 10 E,
  and lies around the pixel corner at 9 E, 51 N. Since format version 5 the Earth is the ellipsoid
  WGS 84, before a sphere of 6370.04 km. The sphere's latitudes are those of WGS 84, not shifted.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj

from squall.datasets.errors import DataError, ForecastError
from squall.datasets.grid import Grid
from squall.datasets.radar.file_times import (
    NO_TIME,
    TimeError,
    accumulation_times,
    unless_named,
)
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Packing, Product, check_scan_shape, north_up
from squall.datasets.radar.readers.corner_grid import corner_grid
from squall.datasets.radar.units import parse_unit

LONGEST_HEADER = 4096
ETX = b"\x03"
COMPOSITE = b"10000"  # in place of the number of a radar
SUMS = {
    "RZ", "RY", "RH", "RB", "RW", "RL", "RU", "RV", "RQ", "SQ", "SH", "SF", "W1", "W2", "W3", "W4",
    "EZ", "EY", "EH", "EB", "EW", "YW",
}  # fmt: skip
BYTES_OF_DBZ = {"RX": 1, "WX": 1, "EX": 1, "WN": 2}  # a pixel
WITH_FORECASTS = {"RV", "RQ", "WN"}
DBZ_STEP, DBZ_OFFSET = 0.5, -32.5
EXPONENTS = range(-3, 1)  # of the step: products have E-02, E-01 and E+00
VALUE, SECONDARY, NO_DATA, SIGN, CLUTTER = 0x0FFF, 0x1000, 0x2000, 0x4000, 0x8000
MISSING = -32768  # the bits of two-byte pixels cannot give it
MISSING_BYTES = 249.0, 250.0
REFERENCE = 9.0, 51.0  # longitude and latitude
# rows and columns -> columns west of the reference, rows south of it
REFERENCE_PIXELS = {
    (900, 900): (450, 450),
    (1100, 900): (370, 550),
    (1200, 1100): (470, 600),
    (1500, 1400): (600, 800),
}
PIXEL_M = 1000.0
ELLIPSOID_SINCE = 5
STEREOGRAPHIC = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +units=m +no_defs"
SPHERE = f"{STEREOGRAPHIC} +R=6370040"
WGS84 = f"{STEREOGRAPHIC} +a=6378137 +b=6356752.3142451802"
# as in DWD's HDF5 files, so that these lie on the same grid
FALSE_ORIGINS = {
    (900, 900): "+x_0=523196.83521777776 +y_0=3772588.861931134",
    (1200, 1100): "+x_0=543196.83521776402 +y_0=3622588.8619310018",
}
_START = re.compile(rb"([A-Z%][A-Z0-9])(\d{6})(\d{5})(\d{4})BY *(\d{1,10})")
_REST = re.compile(
    rb"VS *(?P<version>\d{1,2})SW.{0,12}?PR *E(?P<exponent>[+-]\d{2})INT *(?P<interval>\d{1,4})"
    rb"(?:U(?P<days>[01]))?GP *(?P<rows>\d{1,5})x *(?P<columns>\d{1,5})(?:VV *(?P<lead>\d{1,4}))?"
    rb"(?=[A-Z]|$)"
)


@dataclass(frozen=True)
class _Header:
    """The line of text at the start of a file.

    Parameters
    ----------
    data_start : bytes before the pixels.
    dtype : of a pixel.
    interval : of a sum; of reflectivity the time between scans.
    """

    product: str
    time: pd.Timestamp
    data_start: int
    dtype: str
    version: int
    exponent: int
    interval: pd.Timedelta
    shape: tuple[int, int]
    lead: pd.Timedelta


@contextmanager
def open_radolan(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open a composite and yield its scan.

    Raises
    ------
    DataError
        If the file is broken, is a forecast, or holds neither rain nor reflectivity on a grid of
        DWD's composites.
    """
    with Path(path).open("rb") as stream:
        header = _header(stream.read(LONGEST_HEADER), Path(path).stat().st_size, config)
        if header.lead:
            raise ForecastError(
                f"is a forecast, {header.lead / pd.Timedelta('1min'):g} min ahead of "
                f"{header.time!s:.16}; let 'source' of the network configuration name the "
                "analyses alone, for example 'tar://*_000::DE1200_RV*.tar.bz2'"
            )
        grid, flip_rows, flip_columns = _grid(header, config)
        units = _units(header.product, config)
        is_sum = parse_unit(config.units or units)[0] == "accumulation"
        time = accumulation_times(None, header.time, config)[0] if is_sum else header.time

        def read_stored(scan: int) -> npt.NDArray[Any]:
            stream.seek(header.data_start)
            count = header.shape[0] * header.shape[1]
            pixels = np.fromfile(stream, header.dtype, count)
            if pixels.size < count:
                raise DataError("was cut off while it was read")
            rows = pixels.reshape(header.shape)
            rows = north_up(rows, flip_rows, flip_columns)
            return rows if rows.dtype.itemsize == 1 else _signed_values().take(rows)

        yield Product(
            grid=grid,
            times=(time,),
            intervals=(header.interval if is_sum else None,),
            packing=_packing(header, units),
            read_stored=read_stored,
        )


def _header(head: bytes, size: int, config: RadarNetworkConfig) -> _Header:
    line, etx, _ = head.partition(ETX)
    start = _START.match(line)
    if start is None or not etx:
        raise DataError(
            "is no RADOLAN file: it does not start with a line like 'RW…BY…VS' that ends with the "
            "byte 3; if it has another format that is read, leave 'format' out of the network "
            "configuration"
        )
    product = start[1].decode("ascii")
    if start[3] != COMPOSITE:
        raise DataError(
            f"is DWD product {product} of the single radar {start[3].decode()}, expected a "
            "composite; put single radars on a map first, for example with wradlib"
        )
    rest = _REST.match(line, start.end())
    if rest is None:
        raise DataError(
            f"is DWD product {product} with a header of another kind, like the classes of PG and "
            "PC; take a product with rain or reflectivity: RY, RW, YW, RV, RX, WN …"
        )
    shape = int(rest["rows"]), int(rest["columns"])
    check_scan_shape(*shape)
    whole, pixels = int(start[5]), shape[0] * shape[1]
    bytes_a_pixel = (whole - len(line) - 1) / pixels if pixels else 0
    expected = _pixel_sizes(product)
    if bytes_a_pixel not in expected:
        raise DataError(
            f"says that it has {whole} bytes, which is not {' or '.join(map(str, expected))} for "
            f"each of {shape[0]} × {shape[1]} pixels; fetch it again"
        )
    if size != whole:
        fault = "is cut off" if size < whole else "is too long"
        raise DataError(f"{fault}: {size} bytes instead of {whole}; fetch it again")
    if int(rest["exponent"]) not in EXPONENTS:
        raise DataError(f"has values in steps of 1E{rest['exponent'].decode()}; it is damaged")
    if product in WITH_FORECASTS and rest["lead"] is None:
        raise DataError(f"is DWD product {product} without 'VV', the lead time; it is damaged")
    minutes = int(rest["interval"]) * (24 * 60 if rest["days"] == b"1" else 1)
    return _Header(
        product=product,
        time=unless_named(lambda: _time(start[2] + start[4]), NO_TIME, config),
        data_start=len(line) + 1,
        dtype="u1" if bytes_a_pixel == 1 else "<u2",
        version=int(rest["version"]),
        exponent=int(rest["exponent"]),
        interval=pd.Timedelta(minutes, "min"),
        shape=shape,
        lead=pd.Timedelta(int(rest["lead"] or 0), "min"),
    )


def _pixel_sizes(product: str) -> tuple[int, ...]:
    """How many bytes a pixel of a product may have."""
    if product in SUMS:
        return (2,)
    return (BYTES_OF_DBZ[product],) if product in BYTES_OF_DBZ else (1, 2)


def _time(digits: bytes) -> pd.Timestamp:
    """Time from ddHHMMmmyy; the radars began in this century."""
    day, hour, minute, month, year = (int(digits[i : i + 2]) for i in range(0, 10, 2))
    try:
        return pd.Timestamp(datetime(2000 + year, month, day, hour, minute))
    except ValueError:
        raise TimeError(f"has no time: '{digits.decode()}' is no ddHHMMmmyy") from None


def _units(product: str, config: RadarNetworkConfig) -> str:
    if product in SUMS:
        return "mm"
    if product in BYTES_OF_DBZ:
        return "dBZ"
    if config.units is not None:
        return config.units
    raise DataError(
        f"is DWD product {product}, which is not known here as rain or reflectivity; if it is, set "
        "'units' in the network configuration, for example 'units: mm'"
    )


def _packing(header: _Header, units: str) -> Packing:
    missing = MISSING_BYTES if header.dtype == "u1" else (float(MISSING),)
    step = float(f"1e{header.exponent}")
    if parse_unit(units)[0] == "reflectivity":
        return Packing(units, DBZ_STEP * step, DBZ_OFFSET, missing=missing)
    return Packing(units, step, missing=missing)


@cache
def _signed_values() -> npt.NDArray[np.int16]:
    """(65536,) value of each number of two bytes, with its sign; `MISSING` where not observed."""
    words = np.arange(2**16, dtype=np.uint16)
    values = (words & VALUE).astype(np.int16)
    values[words & SIGN > 0] *= -1
    values[words & (SECONDARY | NO_DATA | CLUTTER) > 0] = MISSING
    return values


def _grid(header: _Header, config: RadarNetworkConfig) -> tuple[Grid, bool, bool]:
    """The grid, whether rows must be reversed to lie on it, and whether columns must."""
    if config.grid is not None:
        return config.grid.harmonised(header.shape)
    if header.shape not in REFERENCE_PIXELS:
        known = ", ".join(f"{rows} × {columns}" for rows, columns in REFERENCE_PIXELS)
        raise DataError(
            f"has {header.shape[0]} × {header.shape[1]} pixels, whose place is not known here, "
            f"only that of {known}; set 'grid' in the network configuration"
        )
    return _grid_of_composite(header.shape, header.version, config.crs), True, False


@lru_cache(maxsize=16)
def _grid_of_composite(shape: tuple[int, int], version: int, crs: str | None) -> Grid:
    if version < ELLIPSOID_SINCE:
        projection = SPHERE
    else:
        projection = f"{WGS84} {FALSE_ORIGINS.get(shape, '')}".rstrip()
    projection = crs or projection
    x, y = pyproj.Proj(projection)(*REFERENCE)
    west, south = REFERENCE_PIXELS[shape]
    lower_left = x - west * PIXEL_M, y - south * PIXEL_M
    return corner_grid(projection, shape, (PIXEL_M, PIXEL_M), (), lower_left, "m")
