"""Sums over the members of ensembles, at one lead time; they add up as the other sums do.

A deterministic method is an ensemble of one member. The formulas that turn the sums into scores are
in `squall.pipeline.scores.member_table`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from squall.pipeline.scores.axes import (
    BY_LEAD_TIME,
    BY_RANK_AND_LEAD_TIME,
    BY_SPREAD_AND_LEAD_TIME,
    BY_THRESHOLD,
    BY_THRESHOLD_AND_WIDTH,
    BY_WAVELENGTH,
    BY_WIDTH,
    Dims,
)
from squall.pipeline.scores.chance_sums import fair_part
from squall.pipeline.scores.fss import Neighbourhoods, fss_windows_px
from squall.pipeline.scores.spectra import (
    RAIN_THRESHOLD_MM_H,
    by_wavelength,
    log_spectral_distance,
    rain_power,
)

MEAN_WIDTHS_KM = (4.0, 16.0, 64.0)  # neighbourhoods whose means are scored
_CHUNK = 65536  # pixels at once, so that 50 members need 26 MB

# Lower ends [mm/h] of the ranges of spread: of the standard deviation of the members of a pixel.
SPREADS_MM_H = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

COUNTS: dict[str, Dims] = {
    "n_dry": BY_LEAD_TIME,
    "n_of_spread": BY_SPREAD_AND_LEAD_TIME,
    "n_member_distances": BY_LEAD_TIME,
    "n_means": BY_WIDTH,
}
SUMS: dict[str, Dims] = {
    "crps": BY_LEAD_TIME,
    "fair_crps": BY_LEAD_TIME,
    "member_variance": BY_LEAD_TIME,
    "mean_squared_error": BY_LEAD_TIME,
    "variance_of_spread": BY_SPREAD_AND_LEAD_TIME,
    "squared_error_of_spread": BY_SPREAD_AND_LEAD_TIME,
    "member_distance": BY_LEAD_TIME,
    "member_power": BY_WAVELENGTH,
    "tw_crps": BY_THRESHOLD,
    "ranks": BY_RANK_AND_LEAD_TIME,
    "means_fair_crps": BY_WIDTH,
    "means_fair_brier": BY_THRESHOLD_AND_WIDTH,
}
Sums = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class LeadTime:
    """What the members of one lead time are scored against.

    Parameters
    ----------
    observed_HW : mm/h, 0 where the pixel does not count.
    known_HW : whether the pixel counts.
    """

    observed_HW: np.ndarray
    known_HW: np.ndarray
    thresholds_mm_h: Sequence[float]
    pixel_km: float
    neighbourhoods: Neighbourhoods

    def of_members(self, members_MHW: np.ndarray) -> Iterator[np.ndarray]:
        """Each member (y, x), 0 where the pixel does not count."""
        return (np.where(self.known_HW, member, np.float32(0)) for member in members_MHW)

    def events(self, t: int) -> tuple[np.ndarray, np.ndarray, Neighbourhoods]:
        """Events of threshold number t, the pixels that count, and their neighbourhoods."""
        is_event = self.observed_HW >= float(self.thresholds_mm_h[t])
        return is_event, self.known_HW, self.neighbourhoods


def fill_members(sums: Sums, method: int, members_MHW: np.ndarray, at: LeadTime) -> None:
    """Fill the sums of one method and lead time.

    With members x, observation y and M members, the CRPS of a pixel is
    mean|x - y| - (M - 1)/M · G/2, and the fair CRPS mean|x - y| - G/2, where G is the mean |x - x'|
    of two different members (Ferro 2014, https://doi.org/10.1002/qj.2270). For one member both are
    |x - y|. The threshold-weighted CRPS is the fair CRPS of max(x, t) and max(y, t) (Gneiting and
    Ranjan 2011, https://doi.org/10.1198/jbes.2010.08110).

    The rank of an observation is the number of members below it. Where members are equal to it,
    each possible rank gets the same part of the count, so no random numbers are needed. Rates below
    0.1 mm/h count as 0 for ranks, and pixels where all are 0 are counted in ``n_dry`` only.

    Parameters
    ----------
    sums : of this lead time, filled in place.
    members_MHW : mm/h; any value where the pixel does not count. Those of a large grid may lie in
        a file, so no more than a member of all pixels, or all members of some, are taken at once.
    """
    known = at.known_HW
    wet = at.observed_HW > 0
    for member_HW in members_MHW:
        wet |= member_HW > 0
    wet &= known
    n_dry = known.sum() - wet.sum()
    sums["n_dry"][method] += n_dry
    if len(members_MHW) > 1:
        sums["n_of_spread"][method, 0] += n_dry
    for x, y in _chunks(members_MHW, at.observed_HW, wet):
        _fill_crps(sums, method, x, y, at.thresholds_mm_h)
        if len(x) > 1:
            _fill_ranks(sums, method, x, y)
    _fill_means(sums, method, members_MHW, at)
    _fill_spectra(sums, method, members_MHW, at)


def _chunks(
    members_MHW: np.ndarray, observed_HW: np.ndarray, chosen_HW: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(member, pixel) and (pixel,) of the chosen pixels."""
    flat, observed = members_MHW.reshape(len(members_MHW), -1), observed_HW.ravel()
    pixels = np.flatnonzero(chosen_HW)
    for start in range(0, pixels.size, _CHUNK):
        chunk = pixels[start : start + _CHUNK]
        yield flat[:, chunk], observed[chunk]


def _fill_crps(
    sums: Sums, method: int, x: np.ndarray, y: np.ndarray, thresholds_mm_h: Sequence[float]
) -> None:
    """Fill the sums of the CRPS, the spread and the error of the mean."""
    x, y = np.sort(x.astype(np.float64), axis=0), y.astype(np.float64)
    count = len(x)
    error, difference = crps_terms(x, y)
    sums["crps"][method] += (error - 0.5 * (count - 1) / count * difference).sum()
    sums["fair_crps"][method] += (error - 0.5 * difference).sum()
    squared_error = (x.mean(axis=0) - y) ** 2
    sums["mean_squared_error"][method] += squared_error.sum()
    if count > 1:
        variance = x.var(axis=0, ddof=1)
        sums["member_variance"][method] += variance.sum()
        size = len(SPREADS_MM_H)
        spread_range = np.searchsorted(SPREADS_MM_H, np.sqrt(variance), side="right") - 1
        for name, weights in (
            ("n_of_spread", None),
            ("variance_of_spread", variance),
            ("squared_error_of_spread", squared_error),
        ):
            sums[name][method] += np.bincount(spread_range, weights, minlength=size)
    for t, threshold in enumerate(thresholds_mm_h):
        above = (x[-1] > threshold) | (y > threshold)
        error, difference = crps_terms(
            np.maximum(x[:, above], threshold), np.maximum(y[above], threshold)
        )
        sums["tw_crps"][method, t] += (error - 0.5 * difference).sum()


def crps_terms(sorted_x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean |x - y| of the members, and mean |x - x'| of two different members; 0 for one member.

    Parameters
    ----------
    sorted_x : (member, pixel), rising along `member`.
    y : (pixel,)
    """
    count = len(sorted_x)
    error = np.abs(sorted_x - y).mean(axis=0)
    if count == 1:
        return error, np.zeros_like(error)
    weights = (2 * np.arange(1, count + 1) - count - 1) * 2 / (count * (count - 1))
    return error, weights @ sorted_x


def _fill_ranks(sums: Sums, method: int, x: np.ndarray, y: np.ndarray) -> None:
    limit = np.float32(RAIN_THRESHOLD_MM_H)
    x, y = np.where(x < limit, 0, x), np.where(y < limit, 0, y)
    is_wet = (y > 0) | (x > 0).any(axis=0)
    sums["n_dry"][method] += np.count_nonzero(~is_wet)
    x, y = x[:, is_wet], y[is_wet]
    below, equal = np.count_nonzero(x < y, axis=0), np.count_nonzero(x == y, axis=0)
    share, size = 1 / (equal + 1), len(x) + 2
    begins = np.bincount(below, share, minlength=size)
    ends = np.bincount(below + equal + 1, share, minlength=size)
    sums["ranks"][method] += np.cumsum(begins - ends)[:-1]


def _fill_means(sums: Sums, method: int, members_MHW: np.ndarray, at: LeadTime) -> None:
    """Fill the sums of neighbourhood means.

    The mean is over the counting pixels of a square around a counting pixel. Neighbouring squares
    have nearly the same mean, so every second is taken: those half a width apart.
    """
    windows = [fss_windows_px([width_km], at.pixel_km)[0] for width_km in MEAN_WIDTHS_KM]
    squares = [Squares(at.known_HW, window) for window in windows]
    y_of_width = [of_width.means(at.observed_HW) for of_width in squares]
    x_of_width = [np.empty((len(members_MHW), y.size)) for y in y_of_width]
    for number, member_HW in enumerate(at.of_members(members_MHW)):
        for x, of_width in zip(x_of_width, squares, strict=True):
            x[number] = of_width.means(member_HW)
    for w, (x, y) in enumerate(zip(x_of_width, y_of_width, strict=True)):
        sums["n_means"][method, w] += y.size
        for start in range(0, y.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            _add_means(sums, (method, w), np.sort(x[:, part], axis=0), y[part], at.thresholds_mm_h)


def _add_means(
    sums: Sums,
    at: tuple[int, int],
    sorted_x: np.ndarray,
    y: np.ndarray,
    thresholds_mm_h: Sequence[float],
) -> None:
    """Add the sums of some squares; `at` is the number of the method and of the width."""
    method, w = at
    error, difference = crps_terms(sorted_x, y)
    sums["means_fair_crps"][method, w] += (error - 0.5 * difference).sum()
    for t, threshold in enumerate(thresholds_mm_h):
        share = (sorted_x >= threshold).mean(axis=0)
        brier = (share - (y >= threshold)) ** 2 - fair_part(share, len(sorted_x))
        sums["means_fair_brier"][method, t, w] += brier.sum()


def _fill_spectra(sums: Sums, method: int, members_MHW: np.ndarray, at: LeadTime) -> None:
    """Fill the spectra of single members, and the mean of their distances from the observed one.

    As for single forecasts, a member without rain has no power and no distance.
    """
    observed = rain_power(at.observed_HW)
    if observed is None:
        return
    longer_side_px = max(at.observed_HW.shape)
    distances = []
    for member_HW in at.of_members(members_MHW):
        power = rain_power(member_HW)
        if power is not None:
            distances.append(log_spectral_distance(power, observed))
            binned = np.nan_to_num(by_wavelength(power, longer_side_px, at.pixel_km))
            sums["member_power"][method] += binned / len(members_MHW)
    if distances:
        sums["n_member_distances"][method] = 1
        sums["member_distance"][method] = np.mean(distances)


class Squares:
    """Squares half a width apart, around the known pixels of a field.

    Parameters
    ----------
    known_HW : bool; only these pixels are in a mean.
    window : width of the squares [pixels].
    """

    def __init__(self, known_HW: np.ndarray, window: int) -> None:
        self._window = window
        spacing = (window + 1) // 2
        self._rows, self._columns = (
            slice(min(spacing, side) // 2, None, spacing) for side in known_HW.shape
        )
        self._chosen = known_HW[self._rows, self._columns]
        self._n_known = self._sums(known_HW)

    def means(self, field_HW: np.ndarray) -> np.ndarray:
        """(square,), in 64 bits. The field is 0 where the pixel is not known."""
        return np.maximum(self._sums(field_HW), 0) / self._n_known

    def _sums(self, field_HW: np.ndarray) -> np.ndarray:
        return _box_sums(field_HW, self._window)[self._rows, self._columns][self._chosen]


def neighbourhood_means(
    fields: Sequence[np.ndarray], known_HW: np.ndarray, window: int
) -> list[np.ndarray]:
    """Means of each field (y, x) over the squares of `Squares`, (square,)."""
    squares = Squares(known_HW, window)
    return [squares.means(field) for field in fields]


def _box_sums(field_HW: np.ndarray, window: int) -> np.ndarray:
    """Sum over the square around each pixel, in 64 bits; nothing is outside the field."""
    return cv2.boxFilter(
        np.ascontiguousarray(field_HW, dtype=np.float64),
        cv2.CV_64F,
        (window, window),
        normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )
