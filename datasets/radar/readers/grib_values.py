"""Messages of GRIB2 files: found in a file, their keys, and their values in bounded memory.

Owns the checks before ecCodes reads values: it would allocate memory for the number in any
section, and ends the process on some broken files. Only simple and PNG packing are read; other
packings could need any memory.
"""

from __future__ import annotations

import io
import math
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from squall.datasets.errors import DataError
from squall.datasets.radar.product import Packing, check_scan_shape
from squall.datasets.radar.readers.grib_run_length import (
    RUN_LENGTH,
    as_wmo_template,
    run_length_values,
)

MAX_BYTES = 2**28  # of a message; simply packed MRMS scans have 50 MB
MAX_MESSAGES = 10_000
_HEAD_BYTES, _LEAST_BYTES = 16, 20
PACKINGS = ("grid_simple", "grid_png", RUN_LENGTH)
GREY = 0  # colour type of a PNG


class Header:
    """Keys of a GRIB message; an unreadable key raises `DataError`."""

    def __init__(self, eccodes: Any, message: bytes) -> None:
        self.message = as_wmo_template(message)
        self.is_of_jma = self.message != message
        self._eccodes = eccodes
        try:
            self._handle = eccodes.codes_new_from_message(self.message)
        except eccodes.CodesInternalError as error:
            raise DataError(f"cannot be read as GRIB: {error}") from error

    def close(self) -> None:
        """Free the memory of ecCodes."""
        self._eccodes.codes_release(self._handle)

    def __getitem__(self, key: str) -> Any:
        return self._get(key, None)

    def whole(self, key: str) -> int:
        """A key as an integer, where ecCodes would return its abbreviation."""
        return int(self._get(key, int))

    def text(self, key: str) -> str | None:
        """A key as text; None if the message has no such key."""
        try:
            return str(self._get(key, str))
        except DataError:
            return None

    def _get(self, key: str, kind: type | None) -> Any:
        try:
            return self._eccodes.codes_get(self._handle, key, kind)
        except self._eccodes.CodesInternalError as error:
            raise DataError(f"has no readable GRIB key '{key}': {error}") from error

    def values(self) -> npt.NDArray[np.float64]:
        """Read all values in the message's order, NaN where a bitmap omits them."""
        try:
            self._eccodes.codes_set(self._handle, "missingValue", math.nan)
            return self._eccodes.codes_get_values(self._handle)
        except self._eccodes.CodesInternalError as error:
            raise DataError(f"its values cannot be decoded: {error}") from error


class Messages:
    """The messages of an open file, of which one at a time is in memory."""

    def __init__(self, eccodes: Any, stream: BinaryIO, size: int) -> None:
        self._eccodes, self._stream = eccodes, stream
        self._places = _places(stream, size)
        self._opened: tuple[int, Header] | None = None

    def __len__(self) -> int:
        return len(self._places)

    def header(self, index: int) -> Header:
        """The message at a position; the one before is closed."""
        if self._opened is not None and self._opened[0] == index:
            return self._opened[1]
        self.close()
        start, length = self._places[index]
        self._stream.seek(start)
        header = Header(self._eccodes, self._stream.read(length))
        self._opened = index, header
        return header

    def close(self) -> None:
        """Free the message in memory."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None


def _places(stream: BinaryIO, size: int) -> list[tuple[int, int]]:
    """First byte and length of each message."""
    places: list[tuple[int, int]] = []
    start = 0
    while start < size or not places:
        stream.seek(start)
        head = stream.read(_HEAD_BYTES)
        if head[:4] != b"GRIB" or len(head) < _HEAD_BYTES:
            if not places:
                raise DataError(
                    "is no GRIB file: it does not start with GRIB; if it has another format that "
                    "is read, leave 'format' out of the network configuration"
                )
            raise DataError(
                f"has {size - start} bytes after message {len(places)} that are no GRIB message; "
                "it is damaged: fetch it again"
            )
        if head[7] != 2:
            raise DataError(
                f"is GRIB edition {head[7]}, expected 2; convert it, for example with grib_set -s "
                "edition=2 of ecCodes"
            )
        length = int.from_bytes(head[8:16], "big")
        if not _LEAST_BYTES <= length <= MAX_BYTES:
            raise DataError(
                f"has a message of {length} bytes, at most {MAX_BYTES} are read: no radar composite"
            )
        stream.seek(start + length - 4)
        if start + length > size or stream.read(4) != b"7777":
            raise DataError(f"is cut off: {size - start} bytes of a message of {length}")
        places.append((start, length))
        if len(places) > MAX_MESSAGES:
            raise DataError(f"has more than {MAX_MESSAGES} messages; split the file")
        start += length
    return places


def checked_shape(header: Header) -> tuple[int, int]:
    """Rows and columns of a message whose sections agree on the number of values.

    Raises
    ------
    DataError
        If they disagree, or the message has several fields, or a packing that is not read.
    """
    shape: tuple[int, int] = header["Nj"], header["Ni"]
    check_scan_shape(*shape)
    if header["offsetSection7"] + header["section7Length"] + 4 != len(header.message):
        raise DataError(
            "holds several fields in one message; split it, for example with grib_copy of ecCodes"
        )
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
    section, bits = _data_section(header), header["bitsPerValue"]
    if not 0 <= bits <= 32:
        raise DataError(f"has {bits} bits per value, at most 32 are read")
    if bits and packing == "grid_simple" and len(section) * 8 < bits * packed:
        raise DataError(f"is cut off: {len(section)} bytes for {packed} values of {bits} bits")
    if bits and packing == "grid_png":
        width, height = (int.from_bytes(section[i : i + 4], "big") for i in (16, 20))
        if section[12:16] != b"IHDR" or width * height != pixels:
            raise DataError(f"holds a PNG of {height} × {width} for {shape[0]} × {shape[1]} pixels")
        if section[25] != GREY or header["bitmapPresent"] or bits > 16:
            raise DataError("holds a PNG in colour or with a bitmap, which is not read")
    return shape


def has_missing(header: Header) -> bool:
    """Whether a message tells which pixels are not observed."""
    return bool(header["bitmapPresent"]) or header["packingType"] == RUN_LENGTH


def packing_of(
    header: Header, units: str, missing: tuple[float, ...], dry: tuple[float, ...]
) -> Packing:
    """How `stored_values` returns the values: as packed if they have up to 16 bits, else unpacked.

    Packed 2-byte numbers are encoded with a table, which is fast.

    Parameters
    ----------
    missing, dry : unpacked values that mean not observed and dry.
    """
    is_scaled = header["packingType"] != RUN_LENGTH and header["bitsPerValue"] in range(1, 17)
    if not is_scaled or header["bitmapPresent"]:
        return Packing(units, missing=missing, dry=dry)
    scale, offset = _scale(header)

    def packed(values: tuple[float, ...]) -> tuple[float, ...]:
        numbers = ((value - offset) / scale for value in values)
        return tuple(float(round(n)) for n in numbers if abs(n - round(n)) < 0.01)

    return Packing(units, scale, offset, missing=packed(missing), dry=packed(dry))


def stored_values(header: Header, packing: Packing) -> npt.NDArray[Any]:
    """All values in the message's order, as numbers stored by ``packing``."""
    if header["packingType"] == RUN_LENGTH:
        return run_length_values(header.message, header["numberOfDataPoints"])
    if header["bitsPerValue"] == 0 and not header["bitmapPresent"]:
        # the value itself, not scaled: so write ecCodes and NCEP's library
        return np.full(header["numberOfDataPoints"], header["referenceValue"], dtype=np.float32)
    if header["packingType"] == "grid_png" and header["bitsPerValue"]:
        return _picture(_data_section(header)).ravel()
    values = header.values()
    if packing.scale == 1 and packing.offset == 0:
        return values
    values -= packing.offset
    values /= packing.scale
    return np.rint(values, out=values).astype(np.uint16)


def unpacked_values(header: Header, packing: Packing, common: Packing) -> npt.NDArray[Any]:
    """All values in the message's order, unpacked; markers exactly as ``common`` lists them.

    Messages of one file have different packings, and a `Product` has one.
    """
    stored = stored_values(header, packing)
    values = stored * packing.scale + packing.offset
    for own, listed in ((packing.missing, common.missing), (packing.dry, common.dry)):
        for number in own:
            marker = number * packing.scale + packing.offset
            nearest = min(listed, key=lambda value: abs(value - marker))
            values[stored == number] = nearest
    return values


def _scale(header: Header) -> tuple[float, float]:
    try:
        decimal = 10.0 ** header["decimalScaleFactor"]
        scale = 2.0 ** header["binaryScaleFactor"] / decimal
        offset = header["referenceValue"] / decimal
    except (OverflowError, ZeroDivisionError):
        scale = offset = math.nan
    if not (0 < scale < math.inf and math.isfinite(offset)):
        raise DataError("has a scale that is no finite number")
    return scale, offset


def _data_section(header: Header) -> bytes:
    start, size = header["offsetSection7"] + 5, header["section7Length"] - 5
    return header.message[start : start + max(size, 0)]


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
