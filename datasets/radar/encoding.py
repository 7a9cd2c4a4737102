"""Stored numbers of a radar product into codes of rain rate.

Owns the way from what a file holds (`product.Packing`) to `RainCode`. Products store 1 or 2 bytes
a pixel: the few numbers there can be are converted once, and a scan is a look-up in that table.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Packing
from squall.datasets.radar.quality import mask_out_of_range
from squall.datasets.radar.units import check_plausible, is_plausible, unchecked_rain_rate

NETCDF_FILL = float(np.float32(9.969209968386869e36))  # where nothing was ever written


@dataclass(frozen=True)
class _Recipe:
    """All that decides what a stored number means."""

    packing: Packing
    units: str
    missing_values: tuple[float, ...]
    dry_values: tuple[float, ...]
    z_r: Any
    interval: pd.Timedelta | None
    highest_mm_h: float | None


@dataclass(frozen=True, eq=False)
class _Table:
    """Codes of every number that an integer type can hold, in the order of its bits."""

    codes: npt.NDArray[np.uint8]
    suspect: npt.NDArray[np.bool_]  # refused, or above the physical range
    suspects_below: npt.NDArray[np.int64]  # in ascending order of the numbers


def encode_scan(
    stored: npt.NDArray[Any],
    packing: Packing,
    interval: pd.Timedelta | None,
    config: RadarNetworkConfig,
) -> tuple[npt.NDArray[np.uint8], int]:
    """Codes of one scan, and how many pixels lay above the physical range.

    Parameters
    ----------
    stored : (y, x) as the file holds it.
    interval : of the accumulation, None for rates and reflectivity.

    Raises
    ------
    DataError
        If the unit is unknown or the values cannot be rain; see `units.check_plausible`.
    """
    recipe = _Recipe(
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
        table = _table(recipe, stored.dtype.str)
        bits = stored.view(f"u{stored.dtype.itemsize}")
        lowest = int(np.iinfo(stored.dtype).min)
        first, last = int(stored.min()) - lowest, int(stored.max()) - lowest
        suspicious = table.suspects_below[last + 1] > table.suspects_below[first]
        if not suspicious or not table.suspect.take(bits).any():
            return table.codes.take(bits), 0
    rate, values = _rates(stored, recipe)
    check_plausible(rate, values, recipe.units)
    codes = RAIN_CODE.encode(np.maximum(rate, 0.0).astype(np.float32))
    if recipe.highest_mm_h is None:
        return codes, 0
    return codes, mask_out_of_range(codes, rate > recipe.highest_mm_h, config.quality)


@lru_cache(maxsize=64)
def _table(recipe: _Recipe, dtype: str) -> _Table:
    info = np.iinfo(dtype)
    numbers = np.arange(int(info.min), int(info.max) + 1).astype(dtype)
    rate, _ = _rates(numbers, recipe)
    highest = np.inf if recipe.highest_mm_h is None else recipe.highest_mm_h
    wrong = ~(is_plausible(rate) | np.isnan(rate))
    codes = RAIN_CODE.encode(np.where(wrong, np.nan, np.maximum(rate, 0.0)).astype(np.float32))
    suspect = wrong | (rate > highest)
    order = numbers.view(f"u{info.dtype.itemsize}")
    by_bits = _Table(np.empty_like(codes), np.empty_like(suspect), np.r_[0, np.cumsum(suspect)])
    by_bits.codes[order], by_bits.suspect[order] = codes, suspect
    return by_bits


def _rates(
    stored: npt.NDArray[Any], recipe: _Recipe
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rain rate (mm/h, NaN = not observed) and the values that it was made from."""
    packing = recipe.packing
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
    for value in recipe.missing_values:
        missing |= np.isclose(values, value, rtol=1e-6)
    dry = np.zeros(stored.shape, dtype=bool)
    for number in packing.dry:
        dry |= numbers == number
    for value in recipe.dry_values:
        dry |= np.isclose(values, value, rtol=1e-6)
    values[missing | dry] = np.nan
    rate = unchecked_rain_rate(values, recipe.units, interval=recipe.interval, zr=recipe.z_r)
    rate[dry & ~missing] = 0.0
    return rate, values
