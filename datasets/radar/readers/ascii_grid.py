"""ESRI ASCII grids: a few lines that say where the grid lies, and the pixels as text.

Source: Esri, "Esri ASCII raster format" (ArcGIS documentation). How the reader interprets the
files:

- ``NODATA_value`` is not observed; where the line is missing, it is -9999, as Esri says.
- ``xllcorner`` and ``yllcorner`` are the outer corner of the lower left pixel, ``xllcenter`` and
  ``yllcenter`` its centre. The first row is the northernmost.
- The file has no projection, unit or time: they come from ``crs`` (or ``grid``), ``units`` and
  ``time_in_name``. DWD writes sums in tenths of a millimetre: `units: mm` and `scale: 0.1`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.datasets.radar.coordinates import SET_CRS
from squall.datasets.radar.file_times import time_from_name
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Packing, Product, check_scan_shape, north_up
from squall.datasets.radar.readers.corner_grid import corner_grid
from squall.datasets.radar.units import parse_unit

LONGEST_HEADER = 4096
DEFAULT_NODATA = -9999.0
LONGEST_NUMBER = 64
_BLOCK = 2**20
_LINE = re.compile(rb"\s*([A-Za-z]\w{0,20})[ \t]+(\S{1,64})[ \t]*\r?\n")
_SIZES = "ncols", "nrows", "cellsize"


@dataclass(frozen=True)
class AsciiHeader:
    """The lines before the pixels.

    Parameters
    ----------
    lower_left : x and y of the outer corner of the lower left pixel.
    data_start : bytes before the pixels.
    """

    shape: tuple[int, int]
    pixel: float
    lower_left: tuple[float, float]
    nodata: float
    data_start: int


@contextmanager
def open_ascii_grid(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open an ESRI ASCII grid and yield its scan.

    Raises
    ------
    DataError
        If the file is broken, or the configuration does not give its projection, unit or time.
    """
    with Path(path).open("rb") as stream:
        header = ascii_header(stream.read(LONGEST_HEADER), Path(path).stat().st_size)
        grid, flip_rows, flip_columns = _grid(header, config)
        if config.units is None:
            raise DataError(
                "has no unit, as all ESRI ASCII grids; set 'units' in the network configuration, "
                "for example 'units: mm', for sums of DWD with 'scale: 0.1'"
            )
        time = time_from_name(path, config)
        if time is None:
            raise DataError(
                "has no time, as all ESRI ASCII grids, and none is in its name; set 'time_in_name' "
                "in the network configuration, for example 'time_in_name: RW_%Y%m%d-%H%M'"
            )
        is_sum = parse_unit(config.units)[0] == "accumulation"

        def read_stored(scan: int) -> npt.NDArray[Any]:
            stream.seek(header.data_start)
            rows = _numbers(stream, header.shape)
            return north_up(rows, flip_rows, flip_columns)

        yield Product(
            grid=grid,
            times=(time,),
            intervals=(config.accumulation if is_sum else None,),
            packing=Packing(config.units, missing=(header.nodata,)),
            read_stored=read_stored,
        )


def ascii_header(head: bytes, size: int) -> AsciiHeader:
    """The lines before the pixels; ``head`` are the first `LONGEST_HEADER` bytes of ``size``.

    Raises
    ------
    DataError
        If a line is missing, or the file is cut off.
    """
    values: dict[str, float] = {}
    position = 0
    while matched := _LINE.match(head, position):
        name = matched[1].decode().lower()
        if name in ("nan", "inf"):
            break  # the first line of the pixels, on a grid of two columns
        try:
            values[name] = _number(matched[2])
        except ValueError:
            raise DataError(f"its line '{name}' has no number: {matched[2]!r}") from None
        position = matched.end()
    absent = [name for name in _SIZES if not values.get(name, 0) > 0]
    kind = "corner" if "xllcorner" in values else "center"
    absent += [name for name in (f"xll{kind}", f"yll{kind}") if name not in values]
    if absent:
        raise DataError(f"has no line '{absent[0]}' with a number, which ESRI ASCII grids need")
    rows, columns, pixel = values["nrows"], values["ncols"], values["cellsize"]
    if not (rows.is_integer() and columns.is_integer() and pixel < np.inf):
        raise DataError(f"has {rows:g} rows and {columns:g} columns of {pixel:g}")
    shape = int(rows), int(columns)
    check_scan_shape(*shape)
    if size - position < 2 * shape[0] * shape[1] - 1:
        raise DataError(
            f"is cut off: {size - position} bytes for {shape[0]} × {shape[1]} pixels; fetch it "
            "again"
        )
    shift = 0.0 if kind == "corner" else pixel / 2
    lower_left = values[f"xll{kind}"] - shift, values[f"yll{kind}"] - shift
    nodata = values.get("nodata_value", DEFAULT_NODATA)
    return AsciiHeader(shape, pixel, lower_left, nodata, position)


def _grid(header: AsciiHeader, config: RadarNetworkConfig) -> tuple[Grid, bool, bool]:
    """The grid, whether rows must be reversed to lie on it, and whether columns must."""
    if config.grid is not None:
        return config.grid.harmonised(header.shape)
    if config.crs is None:
        raise DataError(f"has no projection, as all ESRI ASCII grids; {SET_CRS}")
    if not np.isfinite(header.lower_left).all():
        raise DataError(f"its lower left corner is {header.lower_left}")
    grid = corner_grid(
        config.crs,
        header.shape,
        (header.pixel, header.pixel),
        (),
        header.lower_left,
        config.coordinate_units,
    )
    return grid, False, False


def _numbers(stream: BinaryIO, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Read the pixels, (y, x), block by block: words take far more memory than numbers."""
    numbers, count, rest = np.empty(shape[0] * shape[1]), 0, b""
    while block := stream.read(_BLOCK):
        text = rest + block
        end = max(text.rfind(space) for space in b" \n\t\r") + 1
        count, rest = _put(text[:end], numbers, count), text[end:]
        if len(rest) > LONGEST_NUMBER:
            raise DataError(f"its pixels are no numbers: {rest[:LONGEST_NUMBER]!r}")
    count = _put(rest, numbers, count)
    if count < numbers.size:
        raise DataError(f"is cut off: {count} of {shape[0]} × {shape[1]} pixels; fetch it again")
    return numbers.reshape(shape)


def _put(text: bytes, numbers: npt.NDArray[np.float64], count: int) -> int:
    """Put the numbers of a text behind the first ``count``; returns how many there are then."""
    words = text.split()
    if count + len(words) > numbers.size:
        raise DataError(f"has more than {numbers.size} pixels, expected as many as its header says")
    try:
        values = {word: _number(word) for word in set(words)}  # few: producers round
    except ValueError as error:
        raise DataError(f"its pixels are no numbers: {error}") from None
    numbers[count : count + len(words)] = [values[word] for word in words]
    return count + len(words)


def _number(word: bytes) -> float:
    if len(word) > LONGEST_NUMBER or b"_" in word:  # Python reads 1_000 as a number
        raise ValueError(f"{word[:LONGEST_NUMBER]!r}")
    return float(word)
