"""Numbers as a radar file stores them, encoded as `RainCode`.

Owns the conversion from `product.Packing` to codes. Most products store 1 or 2 bytes a pixel: each
number of such a type is converted once into a table, and a scan is looked up in that table.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.plausibility import check_share, check_unit, impossible
from squall.datasets.radar.product import Packing
from squall.datasets.radar.quality import (
    CLUTTER_MASK,
    IMPOSSIBLE_VALUE,
    PHYSICAL_RANGE,
    VALID_RANGE,
    QualityConfig,
    check_physical_range,
    clutter_at,
    mask_clutter,
)
from squall.datasets.radar.units import ZRRelation, unchecked_rain_rate
from squall.datasets.radar.valid_range import Doubt, invalid_numbers, unclear_marker

NETCDF_FILL = float(np.float32(9.969209968386869e36))  # what netCDF returns for unwritten floats
PIXELS_AT_ONCE = 2**15  # that are looked up: their indices fit into the processor's cache


@dataclass(frozen=True)
class _Meaning:
    """All settings that decide which rain rate a stored number means."""

    packing: Packing
    units: str
    missing_values: tuple[float, ...]
    dry_values: tuple[float, ...]
    z_r: ZRRelation
    interval: pd.Timedelta | None
    highest_mm_h: float | None


@dataclass(frozen=True, eq=False)
class _CodeTable:
    """Codes of all numbers that an integer type can hold.

    Parameters
    ----------
    codes : (n,) indexed by the number's bits, read as an unsigned integer.
    is_suspect : (n,) indexed by the bits; impossible, above ``highest_mm_h``, or in doubt.
    is_invalid : (n,) indexed by the bits; outside the file's valid range; None without a range.
    suspects_below : (n + 1,) count of suspect numbers among the first ones, in ascending order.
    """

    codes: npt.NDArray[np.uint8]
    is_suspect: npt.NDArray[np.bool_]
    suspects_below: npt.NDArray[np.int64]
    is_invalid: npt.NDArray[np.bool_] | None


def encode_scan(
    stored: npt.NDArray[Any],
    packing: Packing,
    interval: pd.Timedelta | None,
    config: RadarNetworkConfig,
    to_archive: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] = lambda field: field,
) -> tuple[npt.NDArray[np.uint8], Counter[str]]:
    """Encode one scan and mask its clutter, impossible pixels and those above the physical range.

    Parameters
    ----------
    stored : (y, x) as the file stores it.
    interval : duration of an accumulation; None for rates and reflectivity.
    to_archive : puts codes or floats (y, x) on the archive's grid, where the clutter mask lies.

    Returns
    -------
    Codes (y, x), and how many pixels were masked by each rule.

    Raises
    ------
    DataError
        If the unit is unknown, the file's valid range is in doubt, or too many of the pixels that
        the clutter mask leaves are impossible or above the physical range.
    """
    meaning = _Meaning(
        packing,
        config.units or packing.units,
        config.missing_values,
        config.dry_values,
        config.z_r,
        interval,
        config.quality.highest_mm_h,
    )
    stored = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))
    if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2 and stored.size:
        codes, invalid_px = _look_up(stored, _table(meaning, stored.dtype.str))
        if codes is not None:
            codes = to_archive(codes)
            clutter_px = mask_clutter(codes, config.quality)
            return codes, +Counter({VALID_RANGE: invalid_px, CLUTTER_MASK: clutter_px})
    rates = _rates(stored, meaning)
    if rates.doubts:
        raise DataError(rates.doubts[0].reason)
    rate, values = to_archive(rates.rate), to_archive(rates.values)
    masked_px = _mask(rate, values, meaning.units, config.quality)
    if rates.is_invalid is not None:
        masked_px += Counter({VALID_RANGE: int(rates.is_invalid.sum())})
    return RAIN_CODE.encode(np.maximum(rate, 0.0).astype(np.float32)), masked_px


def _mask(
    rate: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    units: str,
    quality: QualityConfig,
) -> Counter[str]:
    """Mark pixels as not observed (NaN in ``rate``), and count them by rule.

    Clutter is masked first: shares are of the pixels that it leaves.
    """
    masked_px: Counter[str] = Counter()

    def hide(pixels: npt.NDArray[np.bool_], rule: str) -> None:
        masked_px[rule] = int((pixels & ~np.isnan(rate)).sum())
        rate[pixels] = np.nan

    clutter = clutter_at(rate.shape, quality)
    if clutter is not None:
        hide(clutter, CLUTTER_MASK)
    found = impossible(rate, values, units)
    check_share(found, rate, values, units, quality.highest_share)
    if quality.highest_mm_h is not None:
        too_high = rate > quality.highest_mm_h
        check_physical_range(int(too_high.sum()), int((~np.isnan(rate)).sum()), quality)
        hide(too_high, PHYSICAL_RANGE)
    else:
        check_unit(found, rate, values, units)
    hide(found, IMPOSSIBLE_VALUE)
    return +masked_px  # only the rules that hide pixels


def _look_up(
    stored: npt.NDArray[Any], table: _CodeTable
) -> tuple[npt.NDArray[np.uint8] | None, int]:
    """Codes of a scan (y, x) from the table, and how many pixels are outside the valid range.

    Codes are None if the scan holds a suspect number.
    """
    bits = stored.reshape(-1).view(f"u{stored.dtype.itemsize}")
    smallest = int(np.iinfo(stored.dtype).min)
    first, last = int(stored.min()) - smallest, int(stored.max()) - smallest
    # where no number between the scan's least and greatest is suspect, no pixel need be checked
    may_be_suspect = table.suspects_below[last + 1] > table.suspects_below[first]
    codes, invalid_px = np.empty(bits.size, dtype=np.uint8), 0
    for start in range(0, bits.size, PIXELS_AT_ONCE):
        index = bits[start : start + PIXELS_AT_ONCE].astype(np.intp)
        if may_be_suspect and table.is_suspect.take(index).any():
            return None, 0
        if table.is_invalid is not None:
            invalid_px += int(table.is_invalid.take(index).sum())
        table.codes.take(index, out=codes[start : start + PIXELS_AT_ONCE], mode="clip")
    return codes.reshape(stored.shape), invalid_px


@lru_cache(maxsize=64)
def _table(meaning: _Meaning, dtype: str) -> _CodeTable:
    limits = np.iinfo(dtype)
    numbers = np.arange(int(limits.min), int(limits.max) + 1).astype(dtype)
    rates = _rates(numbers, meaning)
    highest = np.inf if meaning.highest_mm_h is None else meaning.highest_mm_h
    found = impossible(rates.rate, rates.values, meaning.units)
    possible = np.where(found, np.nan, np.maximum(rates.rate, 0))
    suspect = found | (rates.rate > highest)
    for doubt in rates.doubts:
        suspect |= doubt.pixels
    order = np.argsort(numbers.view(f"u{limits.dtype.itemsize}"))  # by bits
    return _CodeTable(
        RAIN_CODE.encode(possible.astype(np.float32))[order],
        suspect[order],
        np.r_[0, np.cumsum(suspect)],
        None if rates.is_invalid is None else rates.is_invalid[order],
    )


@dataclass(frozen=True, eq=False)
class _Rates:
    """Stored numbers, converted; arrays of their shape.

    Parameters
    ----------
    rate : mm/h, NaN = not observed.
    values : unpacked, as in the file's units; NaN = not observed or dry.
    is_invalid : not observed because of the file's valid range alone; None without a range.
    doubts : why some numbers might be rain or not observed, and where.
    """

    rate: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    is_invalid: npt.NDArray[np.bool_] | None
    doubts: tuple[Doubt, ...]


def _rates(stored: npt.NDArray[Any], meaning: _Meaning) -> _Rates:
    packing = meaning.packing
    numbers = stored.astype(np.float64)
    values = numbers * packing.scale + packing.offset
    # packing in single precision shifts values by much less than a step of integers
    close = 1e-3 * abs(packing.scale) if stored.dtype.kind in "iu" else 1e-8

    def listed(wanted: tuple[float, ...]) -> npt.NDArray[np.bool_]:
        found = np.zeros(stored.shape, dtype=bool)
        for value in wanted:
            found |= np.isclose(values, value, rtol=1e-6, atol=close, equal_nan=True)
        return found

    missing, dry = np.zeros(stored.shape, dtype=bool), np.zeros(stored.shape, dtype=bool)
    for number in packing.missing:
        missing |= numbers == number
    for number in packing.dry:
        dry |= numbers == number
    if math.nan in packing.dry:  # by identity: readers write it so
        dry |= np.isnan(numbers)
    if stored.dtype.kind == "f":
        missing |= np.isfinite(numbers) & (numbers >= NETCDF_FILL)
    # the configuration knows better than the file
    configured_missing, configured_dry = listed(meaning.missing_values), listed(meaning.dry_values)
    missing = (missing & ~configured_dry) | configured_missing
    dry = (dry & ~missing) | configured_dry

    def rate_of(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return unchecked_rain_rate(values, meaning.units, interval=meaning.interval, zr=meaning.z_r)

    unclear = unclear_marker(numbers, missing | dry, packing, stored.dtype)
    is_invalid, doubt = invalid_numbers(numbers, missing | dry, packing, rate_of)
    if is_invalid is not None:
        missing |= is_invalid
    values[missing | dry] = np.nan
    rate = rate_of(values)
    rate[dry] = 0.0
    doubts = tuple(found for found in (unclear, doubt) if found is not None)
    return _Rates(rate, values, is_invalid, doubts)
