"""Run length packing with level values, and the product template of JMA's radar composites.

Sources: WMO Manual on Codes I.2, FM 92 GRIB edition 2, templates 5.200 and 7.200. JMA's product
template 4.50008 is no WMO template: two open readers of JMA's files (NakaMetPy and
seotaro/grib2-visualization) agree that its first 58 octets are those of template 4.8, and that 24
octets about radars and gauges follow. How the reader interprets the files:

- A pixel has a level. Level 0 is not observed; section 5 lists the value of each other level.
- Octets up to the largest level in use are levels. Those above are the digits of how often the
  level before is repeated, the lowest digit first.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from squall.datasets.errors import DataError

RUN_LENGTH = "grid_run_length"
JMA_ANALYSIS = 50008
_WITH_INTERVAL = 8
_FIRST_LOCAL, _NONE = 32_768, 65_535  # product templates
_MOST_DIGITS = 5  # of a number of repetitions; the largest composites need four


def sections(message: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Number, content and position of each section from the first one on."""
    place = 16
    while place + 5 <= len(message):
        length = int.from_bytes(message[place : place + 4], "big")
        if length < 5:
            return
        yield message[place + 4], message[place : place + length], place
        place += length


def as_wmo_template(message: bytes) -> bytes:
    """A message of JMA with the template of WMO that its own one begins with; others as they are.

    ecCodes knows no template 4.50008; it skips the octets behind template 4.8.

    Raises
    ------
    DataError
        If the product template is another one of a centre's own.
    """
    for number, content, place in sections(message):
        if number != 4:
            continue
        template = int.from_bytes(content[7:9], "big")
        if template == JMA_ANALYSIS:
            wmo = _WITH_INTERVAL.to_bytes(2, "big")
            return message[: place + 7] + wmo + message[place + 9 :]
        if _FIRST_LOCAL <= template < _NONE:
            raise DataError(
                f"has the GRIB product template 4.{template} of a centre's own, which is not read; "
                "convert it to CF netCDF first, for example with wgrib2 FILE -netcdf OUT.nc"
            )
        break
    return message


def run_length_values(message: bytes, count: int) -> npt.NDArray[np.float64]:
    """All values in the message's order, NaN where not observed.

    Parameters
    ----------
    count : number of pixels; no memory is allocated for more.

    Raises
    ------
    DataError
        If the sections are damaged, or levels have another size than one octet, as JMA's have.
    """
    content = {number: section for number, section, _ in sections(message)}
    described, octets = content.get(5, b""), content.get(7, b"")[5:]
    if len(described) < 17 or described[11] != 8:
        raise DataError("has levels that are not one octet; convert it, for example with wgrib2")
    used, levels = (int.from_bytes(described[i : i + 2], "big") for i in (12, 14))
    factor = described[16]
    exponent = -(factor & 0x7F) if factor & 0x80 else factor
    listed = np.frombuffer(described[17 : 17 + 2 * levels], ">u2")
    codes = np.frombuffer(octets, np.uint8).astype(np.int64)
    if used > min(levels, listed.size, 254) or not codes.size or codes[0] > used:
        raise DataError(f"its data are damaged: level {used} of {listed.size}")
    values = np.r_[np.nan, listed / 10.0**exponent]
    is_level = codes <= used
    starts = np.flatnonzero(is_level)
    digit = np.arange(codes.size) - starts[np.cumsum(is_level) - 1] - 1
    if digit.max() >= _MOST_DIGITS:
        raise DataError("its data are damaged: a level is repeated too often")
    base = 255 - used
    repeated = np.where(is_level, 0, (codes - used - 1) * base ** np.maximum(digit, 0))
    lengths = 1 + np.add.reduceat(repeated, starts)
    if lengths.sum() != count:
        raise DataError(f"its data are damaged: {lengths.sum()} values instead of {count}")
    return np.repeat(values[codes[starts]], lengths)
