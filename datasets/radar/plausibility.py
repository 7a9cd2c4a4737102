"""Which values rain cannot have, and what becomes of their pixels.

Owns the limits of a plausible value. A few impossible pixels are clutter or a fault of the
producer: they count as not observed. A larger share tells of a wrong unit or an undeclared fill
value: the scan is rejected.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.radar.quality import IMPOSSIBLE_VALUE, QualityError
from squall.datasets.radar.units import Floats, ZRRelation, parse_unit, unchecked_rain_rate

ROUNDING_MM_H = 1e-3  # packing may bring a dry pixel this far below zero
IMPOSSIBLE_MM_H = 5000.0  # clutter reaches some hundreds; more is a fill value or a wrong unit
IMPOSSIBLE_DBZ = -100.0  # no radar measures less: such numbers mark missing or dry pixels
IMPOSSIBLE_SHARE = 0.01  # of the observed pixels; a scan with a larger share is rejected

# A wrong unit also multiplies the rates that stay possible: hardly any light rain is left. In 78
# real scans of 6 networks at most 0.03 % of the wet pixels had more than 100 mm/h; multiplied by
# 60, 1 to 60 % of them had.
HEAVY_MM_H = 100.0
WET_MM_H, LIGHT_MM_H = 0.1, 1.0
HEAVY_SHARE_OF_WET = 0.05
HEAVY_SHARE_OF_OBSERVED = 0.001
FEWEST_HEAVY = 20


def impossible(rate: Floats, values: Floats, units: str) -> npt.NDArray[np.bool_]:
    """Where a pixel is observed but its value cannot be rain.

    Parameters
    ----------
    rate, values : the same shape; mm/h, NaN = not observed, and the values in ``units`` before the
        conversion. A reflectivity of -inf is possible: no echo.
    """
    found = (rate < -ROUNDING_MM_H) | (rate > IMPOSSIBLE_MM_H)
    if parse_unit(units)[0] == "reflectivity":
        found |= (values < IMPOSSIBLE_DBZ) & np.isfinite(values) & ~np.isnan(rate)
    return np.asarray(found)


def check_share(
    found: npt.NDArray[np.bool_],
    rate: Floats,
    values: Floats,
    units: str,
    highest_share: float = IMPOSSIBLE_SHARE,
) -> None:
    """Reject a scan in which a larger share of the observed pixels is impossible.

    Parameters
    ----------
    found : from `impossible`, for the same rates and values.

    Raises
    ------
    QualityError
        If the share is above ``highest_share``: a unit or a fill value must be wrong.
    """
    count, observed = int(found.sum()), int((~np.isnan(rate)).sum())
    if count > highest_share * observed:
        reason = _reason(found, rate, values, units)
        raise QualityError(
            IMPOSSIBLE_VALUE, f"{count} of {observed} observed pixels are impossible: {reason}"
        )


def check_unit(found: npt.NDArray[np.bool_], rate: Floats, values: Floats, units: str) -> None:
    """Reject a scan with impossibly high rates whose other rates are very high, too.

    Some heavy clutter is accepted: more than 100 mm/h must be frequent among the wet pixels, and
    more frequent than impossible rates and than light rain.

    Raises
    ------
    QualityError
        If the unit must be wrong.
    """
    too_high = rate > IMPOSSIBLE_MM_H
    heavy = int((rate > HEAVY_MM_H).sum() - too_high.sum())
    wet, observed = int((rate >= WET_MM_H).sum()), int((~np.isnan(rate)).sum())
    others = max(int(too_high.sum()), wet - int((rate > LIGHT_MM_H).sum()))
    least = max(HEAVY_SHARE_OF_WET * wet, HEAVY_SHARE_OF_OBSERVED * observed, FEWEST_HEAVY)
    if too_high.any() and heavy > max(least, others):
        raise QualityError(
            IMPOSSIBLE_VALUE,
            f"{heavy} of {wet} wet pixels have more than {HEAVY_MM_H:g} mm/h, and "
            + _reason(too_high, rate, values, units),
        )


def _reason(found: npt.NDArray[np.bool_], rate: Floats, values: Floats, units: str) -> str:
    """What is wrong with the most frequent impossible value, and what to set."""
    numbers, counts = np.unique(values[found], return_counts=True)
    value = float(numbers[np.argmax(counts)])
    its_rate = float(rate[found & (values == value)][0])
    if its_rate < -ROUNDING_MM_H or value < IMPOSSIBLE_DBZ:
        word = "negative" if its_rate < -ROUNDING_MM_H else "no reflectivity"
        return (
            f"value {value:g} {units} is {word} and not declared as missing; list such values "
            "under 'missing_values' or 'dry_values' in the network configuration"
        )
    if np.isinf(its_rate):
        return (
            f"value {value:g} {units} is infinite; list infinite values under 'missing_values' in "
            "the network configuration"
        )
    return (
        f"value {value:g} {units} would be {its_rate:.3g} mm/h: a wrong unit (set 'units') or a "
        "fill value that the file does not declare (list it under 'missing_values' in the network "
        "configuration)"
    )


def rain_rate(
    values: Floats, units: str, *, interval: pd.Timedelta | None, zr: ZRRelation
) -> tuple[npt.NDArray[np.float32], int]:
    """Convert any supported quantity to rain rate, and hide a few impossible values.

    Returns
    -------
    The same shape, mm/h, NaN = not observed, never negative; and the number of hidden pixels.

    Raises
    ------
    QualityError
        If the share of impossible values tells of a wrong unit or fill value.
    DataError
        If the unit is unknown or an accumulation has no interval.
    """
    rate = unchecked_rain_rate(values, units, interval=interval, zr=zr)
    found = impossible(rate, values, units)
    if found.any():
        check_share(found, rate, values, units)
        check_unit(found, rate, values, units)
        rate[found] = np.nan
    return np.maximum(rate, 0.0).astype(np.float32), int(found.sum())
