"""NOAA MRMS GRIB2 files: one message, one scan, latitude and longitude.

Source: the MRMS parameter tables (nssl.noaa.gov/projects/mrms/operational/tables.php, v11.5 to
v12), discipline 209. How the reader interprets the files:

- Rain rates and accumulations: -3 (no coverage) and -1 (missing) are not observed.
- Reflectivity: -999 (no coverage) is not observed. -99 is "missing" in the table, but it is stored
  in observed pixels without echo (JCSDA-internal/ioda-converters#1475), so it is dry.
- The parameter number gives the interval of an accumulation; the time in the file is its end.
- Longitudes become -180 … 180. The coordinates are WGS 84, not on the header's sphere: the radars'
  positions do not refer to that sphere.
- Only simple and PNG packing are read, which MRMS uses; other packings could need any memory.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
from PIL import Image

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.grid import Grid, is_rotated
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Packing, Product, check_scan_shape
from squall.datasets.radar.units import parse_unit

MAX_BYTES = 2**28  # of a message; simply packed CONUS scans have 50 MB
DISCIPLINE = 209
HOURS = (1, 3, 6, 12, 24, 48, 72)
RATE = (6, 1)
QUARTER_HOUR = (6, 45)
# parameters 2 to 43: radar only, gauge corrected, gauge only, mountain mapper, pass 1, pass 2
HOURLY = {(6, 2 + i): pd.Timedelta(hours=HOURS[i % len(HOURS)]) for i in range(42)}
REFLECTIVITY = {
    (3, 57), (3, 58), (8, 8), (9, 0), (9, 1),
    (10, 0), (10, 2), (10, 4), (11, 0), (11, 1), (11, 2), (11, 3),
}  # fmt: skip
PACKINGS = ("grid_simple", "grid_png")
GREY = 0  # colour type of a PNG


@contextmanager
def open_mrms(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open a GRIB2 file and yield its scan.

    Raises
    ------
    ConfigError
        If ecCodes is not installed.
    DataError
        If the file is broken, has more than one message, or has neither rain nor reflectivity.
    """
    try:
        import eccodes
    except (ImportError, RuntimeError) as error:  # RuntimeError: the C library is missing
        raise ConfigError(
            f"reading MRMS needs ecCodes: pip install 'squall[grib]' ({error})"
        ) from error
    message = _message(path)
    try:
        handle = eccodes.codes_new_from_message(message)
    except eccodes.CodesInternalError as error:
        raise DataError(f"cannot be read as GRIB: {error}") from error
    try:
        yield _product(_Header(eccodes, handle), message, config)
    finally:
        eccodes.codes_release(handle)


class _Header:
    """Keys of a GRIB message; an unreadable key raises `DataError`."""

    def __init__(self, eccodes: Any, handle: int) -> None:
        self.eccodes, self.handle = eccodes, handle

    def __getitem__(self, key: str) -> Any:
        try:
            return self.eccodes.codes_get(self.handle, key)
        except self.eccodes.CodesInternalError as error:
            raise DataError(f"has no readable GRIB key '{key}': {error}") from error

    def values(self) -> npt.NDArray[np.float64]:
        """Read all values in the message's order, NaN where a bitmap omits them."""
        try:
            self.eccodes.codes_set(self.handle, "missingValue", math.nan)
            return self.eccodes.codes_get_values(self.handle)
        except self.eccodes.CodesInternalError as error:
            raise DataError(f"its values cannot be decoded: {error}") from error


def _message(path: str) -> bytes:
    """Read the bytes of the file's only GRIB2 message."""
    with Path(path).open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataError(f"has more than {MAX_BYTES} bytes, no MRMS scan")
    if data[:4] != b"GRIB" or len(data) < 16:
        raise DataError(
            "is no GRIB file: it does not start with GRIB; if it has another format that is read, "
            "leave 'format' out of the network configuration"
        )
    if data[7] != 2:
        raise DataError(f"is GRIB edition {data[7]}, expected 2")
    length = int.from_bytes(data[8:16], "big")
    if length > len(data) or data[length - 4 : length] != b"7777":
        raise DataError(f"is cut off: {len(data)} bytes of a message of {length}")
    if length < len(data):
        raise DataError(
            f"has {len(data) - length} bytes after its first message; MRMS files hold one; "
            "split it, for example with grib_copy of ecCodes"
        )
    return data


def _product(header: _Header, message: bytes, config: RadarNetworkConfig) -> Product:
    if header["gridType"] != "regular_ll":
        raise DataError(
            f"has a grid of type {header['gridType']}, expected regular_ll, "
            "latitude and longitude; convert it to CF netCDF first"
        )
    shape = header["Nj"], header["Ni"]
    check_scan_shape(*shape)
    _check_packing(header, message, shape)
    if header["productDefinitionTemplateNumber"] != 0:
        raise DataError(
            f"has GRIB product template {header['productDefinitionTemplateNumber']}, MRMS has 0"
        )
    if header["jPointsAreConsecutive"] or header["alternativeRowScanning"]:
        raise DataError(f"has scanning mode {header['scanningMode']}, expected rows one by one")
    south_first, east_first = bool(header["jScansPositively"]), bool(header["iScansNegatively"])
    units, interval = _units(header, config)
    packing = _packing(header, units, config)

    def read_stored(scan: int) -> npt.NDArray[Any]:
        if scan != 0:
            raise IndexError(scan)
        values = _values(header, message, packing)
        if values.size != shape[0] * shape[1]:
            raise DataError(f"has {values.size} values for {shape[0]} × {shape[1]} pixels")
        rows = values.reshape(shape)
        return rows[:: -1 if south_first else 1, :: -1 if east_first else 1]

    return Product(
        grid=_grid(
            shape,
            tuple(header[f"latitudeOf{edge}GridPointInDegrees"] for edge in ("First", "Last")),
            tuple(header[f"longitudeOf{edge}GridPointInDegrees"] for edge in ("First", "Last")),
            east_first,
            config.crs or "EPSG:4326",
        ),
        times=(_time(header),),
        intervals=(interval,),
        packing=packing,
        read_stored=read_stored,
    )


def _check_packing(header: _Header, message: bytes, shape: tuple[int, int]) -> None:
    """Reject messages whose sections disagree on the number of values.

    ecCodes would allocate memory for the number in any section.
    """
    pixels, packing = shape[0] * shape[1], header["packingType"]
    if packing not in PACKINGS:
        raise DataError(
            f"is packed as {packing}, expected one of {', '.join(PACKINGS)}; pack it "
            "anew, for example with grib_set -r -s packingType=grid_simple of ecCodes"
        )
    packed, points = header["numberOfValues"], header["numberOfDataPoints"]
    # with a bitmap, fewer values than pixels are packed
    if points != pixels or packed > pixels or (packed < pixels and not header["bitmapPresent"]):
        raise DataError(
            f"has {packed} values at {points} points for {shape[0]} × {shape[1]} pixels"
        )
    section, bits = _data_section(header, message), header["bitsPerValue"]
    if not 0 <= bits <= 32:
        raise DataError(f"has {bits} bits per value, at most 32 are read")
    if bits and packing == "grid_simple" and len(section) * 8 < bits * packed:
        raise DataError(f"is cut off: {len(section)} bytes for {packed} values of {bits} bits")
    if bits and packing == "grid_png":
        width, height = (int.from_bytes(section[i : i + 4], "big") for i in (16, 20))
        if section[12:16] != b"IHDR" or width * height != pixels:
            raise DataError(f"holds a PNG of {height} × {width} for {shape[0]} × {shape[1]} pixels")
        if section[25] != GREY or header["bitmapPresent"] or bits > 16:
            raise DataError("holds a PNG in colour or with a bitmap, which MRMS files have not")


def _data_section(header: _Header, message: bytes) -> bytes:
    start, size = header["offsetSection7"] + 5, header["section7Length"] - 5
    return message[start : start + max(size, 0)]


def _values(header: _Header, message: bytes, packing: Packing) -> npt.NDArray[Any]:
    """All values in the message's order, as numbers stored by ``packing``."""
    if header["bitsPerValue"] == 0:
        return np.full(header["numberOfDataPoints"], header["referenceValue"], dtype=np.float32)
    if header["packingType"] == "grid_png":
        return _picture(_data_section(header, message)).ravel()
    values = header.values()
    if packing.scale == 1 and packing.offset == 0:
        return values
    values -= packing.offset
    values /= packing.scale
    return np.rint(values, out=values).astype(np.uint16)


def _picture(section: bytes) -> npt.NDArray[np.unsignedinteger]:
    """Decode a grey PNG with Pillow: ecCodes ends the process if the PNG is broken."""
    depth = section[24]
    try:
        with Image.open(io.BytesIO(section), formats=["PNG"]) as picture:
            if depth > 8:
                return np.asarray(picture).astype(np.uint16)
            # Pillow scales numbers of fewer bits to 0 … 255
            return np.asarray(picture.convert("L")) // np.uint8(255 // (2**depth - 1))
    except (OSError, SyntaxError, ValueError, ZeroDivisionError) as error:
        raise DataError(f"its PNG cannot be decoded: {error}") from error


def _packing(header: _Header, units: str, config: RadarNetworkConfig) -> Packing:
    """How `_values` returns the values: as packed if they have up to 16 bits, else unpacked.

    Packed 2-byte numbers are encoded with a table, which is fast.
    """
    reflectivity = parse_unit(config.units or units)[0] == "reflectivity"
    missing, dry = ((-999.0,), (-99.0,)) if reflectivity else ((-3.0, -1.0), ())
    if header["bitsPerValue"] not in range(1, 17) or header["bitmapPresent"]:
        return Packing(units, missing=missing, dry=dry)
    try:
        decimal = 10.0 ** header["decimalScaleFactor"]
        scale = 2.0 ** header["binaryScaleFactor"] / decimal
        offset = header["referenceValue"] / decimal
    except (OverflowError, ZeroDivisionError):
        scale = offset = math.nan
    if not (0 < scale < math.inf and math.isfinite(offset)):
        raise DataError("has a scale that is no finite number")

    def packed(values: tuple[float, ...]) -> tuple[float, ...]:
        numbers = ((value - offset) / scale for value in values)
        return tuple(float(round(n)) for n in numbers if abs(n - round(n)) < 0.01)

    return Packing(units, scale, offset, missing=packed(missing), dry=packed(dry))


def _units(header: _Header, config: RadarNetworkConfig) -> tuple[str, pd.Timedelta | None]:
    """Units, and the interval of an accumulation."""
    parameter = header["parameterCategory"], header["parameterNumber"]
    if header["discipline"] == DISCIPLINE:
        if parameter == RATE:
            return "mm h-1", None
        if parameter in HOURLY:
            return "mm", HOURLY[parameter]
        if parameter == QUARTER_HOUR:
            return "mm", pd.Timedelta("15min")
        if parameter in REFLECTIVITY:
            return "dBZ", None
    if config.units is not None:
        is_accumulation = parse_unit(config.units)[0] == "accumulation"
        return config.units, config.accumulation if is_accumulation else None
    raise DataError(
        f"holds GRIB parameter {header['discipline']}-{parameter[0]}-{parameter[1]}, which is no "
        "rain rate, accumulation or reflectivity composite of MRMS; if it is, set 'units' in the "
        "network configuration, for example 'units: mm h-1'"
    )


def _time(header: _Header) -> pd.Timestamp:
    fields = [header[key] for key in ("year", "month", "day", "hour", "minute", "second")]
    if header["forecastTime"]:
        raise DataError(f"is a forecast, {header['stepRange']} ahead of its reference time")
    try:
        return pd.Timestamp(datetime(*fields))
    except (ValueError, OverflowError):
        raise DataError(f"has no time: {fields} are no date and time") from None


@lru_cache(maxsize=64)
def _grid(
    shape: tuple[int, int],
    latitudes: tuple[float, float],
    longitudes: tuple[float, float],
    east_first: bool,
    crs: str,
) -> Grid:
    """Make the north-up grid from the first and last latitude and longitude of the message."""
    west, east = longitudes[::-1] if east_first else longitudes
    if not (-90 <= min(latitudes) < max(latitudes) <= 90 and -360 <= west <= 360):
        raise DataError(f"has latitudes {latitudes} and longitudes {longitudes}")
    width = (east - west) % 360
    if west >= 180:
        west -= 360
    system = pyproj.CRS.from_user_input(crs)
    if not system.is_geographic or is_rotated(system):
        raise ConfigError(f"crs '{crs}' is not longitude and latitude, which MRMS files have")
    try:
        return Grid(
            x=np.linspace(west, west + width, shape[1]),
            y=np.linspace(max(latitudes), min(latitudes), shape[0]),
            crs_wkt=system.to_wkt(),
        )
    except ValueError as error:
        raise DataError(f"coordinates: {error}") from error
