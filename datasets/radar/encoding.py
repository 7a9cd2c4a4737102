"""Numbers as a radar file stores them, encoded as `RainCode`.

Owns the conversion from `product.Packing` to codes. Most products store 1 or 2 bytes a pixel: each
number of such a type is converted once into a table, and a scan is looked up in that table.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.plausibility import check_share, check_unit, impossible
from squall.datasets.radar.product import Packing
from squall.datasets.radar.quality import (
    CLUTTER_MASK,
    IMPOSSIBLE_VALUE,
    PHYSICAL_RANGE,
    QualityConfig,
    check_physical_range,
    clutter_at,
    mask_clutter,
)
from squall.datasets.radar.units import ZRRelation, unchecked_rain_rate

NETCDF_FILL = float(np.float32(9.969209968386869e36))  # what netCDF returns for unwritten floats


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
    is_suspect : (n,) indexed by the bits; impossible, or above ``highest_mm_h``.
    suspects_below : (n + 1,) count of suspect numbers among the first ones, in ascending order.
    """

    codes: npt.NDArray[np.uint8]
    is_suspect: npt.NDArray[np.bool_]
    suspects_below: npt.NDArray[np.int64]


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
        If the unit is unknown, or too many of the pixels that the clutter mask leaves are
        impossible or above the physical range.
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
        codes = _look_up(stored, _table(meaning, stored.dtype.str))
        if codes is not None:
            codes = to_archive(codes)
            return codes, +Counter({CLUTTER_MASK: mask_clutter(codes, config.quality)})
    rate, values = (to_archive(field) for field in _rates(stored, meaning))
    masked_px = _mask(rate, values, meaning.units, config.quality)
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


def _look_up(stored: npt.NDArray[Any], table: _CodeTable) -> npt.NDArray[np.uint8] | None:
    """Codes of a scan (y, x) from the table; None if the scan holds a suspect number."""
    bits = stored.view(f"u{stored.dtype.itemsize}")
    smallest = int(np.iinfo(stored.dtype).min)
    first, last = int(stored.min()) - smallest, int(stored.max()) - smallest
    # where no number between the scan's least and greatest is suspect, no pixel need be checked
    may_be_suspect = table.suspects_below[last + 1] > table.suspects_below[first]
    if may_be_suspect and table.is_suspect.take(bits).any():
        return None
    return table.codes.take(bits)


@lru_cache(maxsize=64)
def _table(meaning: _Meaning, dtype: str) -> _CodeTable:
    limits = np.iinfo(dtype)
    numbers = np.arange(int(limits.min), int(limits.max) + 1).astype(dtype)
    rate, values = _rates(numbers, meaning)
    highest = np.inf if meaning.highest_mm_h is None else meaning.highest_mm_h
    found = impossible(rate, values, meaning.units)
    codes = RAIN_CODE.encode(np.where(found, np.nan, np.maximum(rate, 0)).astype(np.float32))
    suspect = found | (rate > highest)
    bits = numbers.view(f"u{limits.dtype.itemsize}")
    table = _CodeTable(np.empty_like(codes), np.empty_like(suspect), np.r_[0, np.cumsum(suspect)])
    table.codes[bits], table.is_suspect[bits] = codes, suspect
    return table


def _rates(
    stored: npt.NDArray[Any], meaning: _Meaning
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rain rate (mm/h, NaN = not observed), and the unpacked values that it was converted from."""
    packing = meaning.packing
    numbers = stored.astype(np.float64)
    missing = np.zeros(stored.shape, dtype=bool)
    for number in packing.missing:
        missing |= numbers == number
    if packing.lowest is not None:
        missing |= numbers < packing.lowest
    if packing.highest is not None:
        missing |= numbers > packing.highest
    if stored.dtype.kind == "f":
        missing |= np.isfinite(numbers) & (numbers >= NETCDF_FILL)
    values = numbers * packing.scale + packing.offset
    for value in meaning.missing_values:
        missing |= np.isclose(values, value, rtol=1e-6)
    dry = np.zeros(stored.shape, dtype=bool)
    for number in packing.dry:
        dry |= numbers == number
    for value in meaning.dry_values:
        dry |= np.isclose(values, value, rtol=1e-6)
    values[missing | dry] = np.nan
    rate = unchecked_rain_rate(values, meaning.units, interval=meaning.interval, zr=meaning.z_r)
    rate[dry & ~missing] = 0.0
    return rate, values
