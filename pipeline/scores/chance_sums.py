"""Sums over the chances of events, at one lead time; they add up as the other sums do.

A chance is what a method says (`Chances`), or the share of its members at or above a threshold. A
forecast without both has the chances 0 and 1. Brier scores are sums over pixels. All else follows
from counts of pixels in narrow ranges of chances. The formulas that turn the sums into scores are
in `squall.pipeline.scores.chance_table`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import xarray as xr

from squall.pipeline.forecast.pixels import row_strips
from squall.pipeline.scores.axes import BY_CHANCE_AND_LEAD_TIME, BY_SCALE, BY_THRESHOLD, Dims
from squall.pipeline.scores.fss import Neighbourhoods

# Lower ends [1/1000] of the ranges in which pixels are counted; each ends where the next begins,
# and the last is a chance of 1. They are narrowest where most pixels are: near 0.
_NARROW_THOUSANDTHS = np.array([0, 1, 2, 3, 4, 5, 6, 8, *range(10, 1001, 10)])
NARROW_CHANCES = _NARROW_THOUSANDTHS / 1000
# Lower ends of the ranges of reliability diagrams and ROC curves. Shares of 10 and of 20 members
# have a range of their own.
CHANCES = np.array([0, 0.001, 0.002, 0.005, 0.01, 0.02, *np.arange(1, 21) / 20])
_RANGE_STARTS = np.searchsorted(NARROW_CHANCES, CHANCES - 1e-9)
_RANGE_OF_THOUSANDTH = np.searchsorted(_NARROW_THOUSANDTHS, np.arange(1001), side="right") - 1

NARROW = "narrow_chance"
_BY_NARROW_CHANCE: Dims = ("method", "threshold", NARROW, "lead_time")
COUNTS: dict[str, Dims] = {"chance_events": _BY_NARROW_CHANCE, "chance_others": _BY_NARROW_CHANCE}
SUMS: dict[str, Dims] = {
    "brier": BY_THRESHOLD,
    "fair_brier": BY_THRESHOLD,
    "total_chance": BY_CHANCE_AND_LEAD_TIME,
    "pfss_difference2": BY_SCALE,
    "pfss_forecast2": BY_SCALE,
}
Sums = Mapping[str, np.ndarray]
Share = TypeVar("Share", np.ndarray, xr.DataArray)


@dataclass(frozen=True)
class Chances:
    """The chances that one method forecasts.

    Parameters
    ----------
    thresholds_mm_h : the method has no chances at other thresholds.
    of_lead_times : (threshold, y, x) of each lead time in turn, 0 to 1, NaN = not known.
    """

    thresholds_mm_h: tuple[float, ...]
    of_lead_times: Iterable[np.ndarray]


def fill_chances(
    sums: Sums,
    at: tuple[int, int],
    chance_HW: np.ndarray,
    is_event_HW: np.ndarray,
    known_HW: np.ndarray,
    neighbourhoods: Neighbourhoods,
    members: int = 0,
) -> None:
    """Fill the sums of one method, threshold and lead time.

    Parameters
    ----------
    sums : of this lead time, filled in place.
    at : number of the method and of the threshold.
    chance_HW : any value where the pixel does not count.
    is_event_HW : False where the pixel does not count.
    members : number of members that the chance is the share of. 0 = it is no share; then the fair
        Brier score is the Brier score.
    """
    for part in row_strips((1, *known_HW.shape)):  # 64 bits for all pixels would need much memory
        known = known_HW[part]
        _add_chances(sums, at, chance_HW[part][known], is_event_HW[part][known], members)
    chance_known_HW = np.where(known_HW, chance_HW, 0).astype(np.float32)
    differences, forecasts, _ = neighbourhoods.fss_sums([is_event_HW, chance_known_HW])
    sums["pfss_difference2"][at], sums["pfss_forecast2"][at] = differences[0], forecasts[0]


def _add_chances(
    sums: Sums, at: tuple[int, int], chances: np.ndarray, is_event: np.ndarray, members: int
) -> None:
    """Add the sums of some pixels, (pixel,), all of which count."""
    chance = np.clip(chances.astype(np.float64), 0, 1)  # rounding errors
    # 0.7 is a little less than 0.7 in 32 bits, and must be in the range that begins there.
    number = _RANGE_OF_THOUSANDTH[np.floor(1000 * chance + 1e-3).astype(np.intp)]
    size = NARROW_CHANCES.size
    n_events = np.bincount(number[is_event], minlength=size)
    sums["chance_events"][at] += n_events
    sums["chance_others"][at] += np.bincount(number, minlength=size) - n_events
    error = chance - is_event
    squares = error @ error
    sums["brier"][at] += squares
    sums["fair_brier"][at] += squares - (fair_part(chance, members).sum() if members else 0)
    total = np.bincount(number, chance, minlength=size)
    sums["total_chance"][at] += np.add.reduceat(total, _RANGE_STARTS)


def fill_chances_of_one(sums: Sums, method: int) -> None:
    """Fill the sums of a forecast without members and chances: an event has the chance 0 or 1.

    Parameters
    ----------
    sums : of this lead time, with the contingency tables and the FSS sums of the forecast.
    """
    hits, misses, false_alarms, others = (
        sums[name][method] for name in ("hits", "misses", "false_alarms", "correct_negatives")
    )
    for name, counts in (
        ("chance_events", {-1: hits, 0: misses}),
        ("chance_others", {-1: false_alarms, 0: others}),
    ):
        for end, count in counts.items():
            sums[name][method, :, end] = count
    for name in ("brier", "fair_brier"):
        sums[name][method] = misses + false_alarms
    sums["total_chance"][method, :, -1] = hits + false_alarms
    for term in ("difference2", "forecast2"):
        sums[f"pfss_{term}"][method] = sums[f"fss_{term}"][method]


def fair_part(share: Share, members: int) -> Share:
    """What the Brier score of a share of members is too large by, on average (Ferro 2014).

    It is share (1 - share) / (M - 1), and 0 for one member.
    """
    return share * (1 - share) / max(members - 1, 1)


def in_ranges(of_narrow: xr.DataArray) -> xr.DataArray:
    """Counts of the ranges of `CHANCES`, along `chance`, from counts of the narrow ranges."""
    ranges = xr.apply_ufunc(
        lambda values: np.add.reduceat(values, _RANGE_STARTS, axis=-1),
        of_narrow,
        input_core_dims=[[NARROW]],
        output_core_dims=[["chance"]],
    )
    dims = ["chance" if dim == NARROW else dim for dim in of_narrow.dims]
    return ranges.assign_coords(chance=CHANCES).transpose(*dims)
