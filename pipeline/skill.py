"""Verification scores as sums that add up over cases, workers and times.

`score_sums` and `score_sums_by_method` turn one case into a `ScoreSums`; adding those of all cases
and calling `scores_from_sums` gives the scores. CSI and the like are thus those of the pooled
contingency table, RMSE that of all pixels, FSS that of all neighbourhoods: not means over cases.

A pixel counts only where observation and forecast are both known. This module opens no files and
runs no forecasts (`pipeline.verify`), and prints and draws nothing (`pipeline.score_report`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scores.categorical import BasicContingencyManager

# name: (long name, unit) of everything that `scores_from_sums` returns.
SCORES: dict[str, tuple[str, str]] = {
    "csi": ("critical success index", "1"),
    "pod": ("probability of detection", "1"),
    "far": ("false alarm ratio", "1"),
    "frequency_bias": ("forecast events per observed event", "1"),
    "base_rate": ("share of pixels with an observed event", "1"),
    "fss": ("fractions skill score", "1"),
    "mae": ("mean absolute error", "mm h-1"),
    "rmse": ("root mean square error", "mm h-1"),
    "mean_error": ("mean error, forecast minus observed", "mm h-1"),
    "n_pixels": ("pixels compared", "1"),
    "n_cases": ("cases with any pixel compared", "1"),
}

_BY_LEAD = ("method", "lead_time")
_BY_THRESHOLD = ("method", "threshold", "lead_time")
_BY_SCALE = ("method", "threshold", "scale", "lead_time")
_COUNTS = ("hits", "misses", "false_alarms", "correct_negatives")
_FSS_SUMS = ("fss_difference2", "fss_forecast2", "fss_observed2")
_ERROR_SUMS = ("absolute_error", "squared_error", "error")


@dataclass(frozen=True, eq=False)
class ScoreSums:
    """Sums over the pixels of some cases, from which every score follows; `a + b` pools two.

    Parameters
    ----------
    data : sums along `lead_time`, `threshold` [mm/h], `scale` [km] and, from
        `score_sums_by_method`, `method`. Counts are int64, so adding them is exact.
    """

    data: xr.Dataset

    def __add__(self, other: ScoreSums) -> ScoreSums:
        """Pool two sets of cases; ValueError where their axes differ."""
        # xarray's own addition would keep the common labels and drop the others without a word.
        for dim in sorted({*self.data.dims, *other.data.dims}, key=str):
            ours, theirs = (sums.data.get(dim) for sums in (self, other))
            if ours is None or theirs is None or not np.array_equal(ours, theirs):
                values = ["none" if a is None else a.values.tolist() for a in (ours, theirs)]
                raise ValueError(
                    f"score sums with different {dim} cannot be added: {values[0]} and "
                    f"{values[1]}; build all of them with the same settings."
                )
        return ScoreSums(self.data + other.data)


def fss_windows_px(scales_km: Sequence[float], pixel_km: float) -> tuple[int, ...]:
    """Width in pixels of the FSS neighbourhood of each scale: the nearest odd number.

    Odd, so that a window has a pixel in its middle; halfway (10 pixels) goes up (11). Raises
    ValueError where a scale is not positive or two scales give the same window.
    """
    if not pixel_km > 0:
        raise ValueError(f"pixel size is {pixel_km} km, expected a positive number.")
    windows: dict[int, float] = {}
    for scale in scales_km:
        if not scale > 0:
            raise ValueError(f"FSS scale is {scale} km, expected a positive number.")
        window = 2 * int(round(scale / pixel_km, 6) // 2) + 1
        if window in windows:
            raise ValueError(
                f"FSS scales {windows[window]} km and {scale} km are both windows of {window} "
                f"pixels of {pixel_km} km; leave one out."
            )
        windows[window] = scale
    return tuple(windows)


def score_sums(
    forecast: np.ndarray,
    observed: np.ndarray,
    *,
    lead_times: np.ndarray,
    thresholds_mm_h: Sequence[float],
    scales_km: Sequence[float],
    pixel_km: float,
    valid: np.ndarray | None = None,
) -> ScoreSums:
    """Sums of one case and one forecast; see `score_sums_by_method`, which this is for one."""
    sums = score_sums_by_method(
        {"forecast": forecast},
        observed,
        lead_times=lead_times,
        thresholds_mm_h=thresholds_mm_h,
        scales_km=scales_km,
        pixel_km=pixel_km,
        valid=valid,
    )
    return ScoreSums(sums.data.isel(method=0, drop=True))


def score_sums_by_method(
    forecasts: Mapping[str, np.ndarray],
    observed: np.ndarray,
    *,
    lead_times: np.ndarray,
    thresholds_mm_h: Sequence[float],
    scales_km: Sequence[float],
    pixel_km: float,
    valid: np.ndarray | None = None,
) -> ScoreSums:
    """Sums of one case for several methods, all over the same pixels.

    A pixel counts where it is observed, known in every forecast, and `valid`. An event is a rain
    rate at or above the threshold.

    The FSS follows Roberts and Lean (2008, https://doi.org/10.1175/2007MWR2123.1): around every
    counting pixel a square neighbourhood, in it the share Pf of forecast and Po of observed
    events among the counting pixels, FSS = 1 - Σ(Pf - Po)² / (ΣPf² + ΣPo²). Pixels that do not
    count, and what lies outside the domain, are no part of a neighbourhood: at an edge it is
    smaller, not filled up with dry pixels. Cases pool by adding the three sums.

    Parameters
    ----------
    forecasts : name of the method to (lead_time, y, x), mm/h. NaN = not known.
    observed : (lead_time, y, x), mm/h. NaN = not observed.
    lead_times : timedelta64, one for each field.
    thresholds_mm_h : positive rain rates.
    scales_km : wanted widths of the FSS neighbourhoods; the coordinate `scale` of the result has
        those used, see `fss_windows_px`.
    pixel_km : width of a pixel.
    valid : bool, (lead_time, y, x) or (y, x). False = leave the pixel out.
    """
    windows_px = fss_windows_px(scales_km, pixel_km)
    known = _counting_pixels(forecasts, observed, valid)
    coords: dict[str, Sequence[str] | np.ndarray] = {
        "method": list(forecasts),
        "threshold": _positive_unique(thresholds_mm_h),
        "scale": np.round(np.array(windows_px, dtype=float) * pixel_km, 6),
        "lead_time": _as_lead_times(lead_times, len(observed)),
    }
    data = _zeros(coords)
    arrays = {str(name): data[name].values for name in data}  # views, filled in place
    for lead in range(len(observed)):
        known_HW = known[lead]
        n = int(np.count_nonzero(known_HW))
        arrays["n_pixels"][:, lead] = n
        arrays["n_cases"][:, lead] = n > 0
        if n == 0:
            continue
        rates = [np.where(known_HW, f[lead], 0.0) for f in (observed, *forecasts.values())]
        for m, rate in enumerate(rates[1:]):
            error = rate.astype(np.float64) - rates[0]
            arrays["error"][m, lead] = error.sum()
            arrays["absolute_error"][m, lead] = np.abs(error).sum()
            arrays["squared_error"][m, lead] = np.square(error).sum()
        neighbourhoods = _Neighbourhoods(known_HW, windows_px)
        for t, threshold in enumerate(thresholds_mm_h):
            # Unknown rates are 0 here, below any threshold. float() compares in the rates' float32.
            events = [rate >= float(threshold) for rate in rates]
            for name, counts in zip(_COUNTS, _contingency(events, n), strict=True):
                arrays[name][:, t, lead] = counts
            for name, sums in zip(_FSS_SUMS, neighbourhoods.fss_sums(events), strict=True):
                arrays[name][:, t, :, lead] = sums
    return ScoreSums(data)


def scores_from_sums(sums: ScoreSums) -> xr.Dataset:
    """Scores of the pooled cases, named and described as in `SCORES`.

    NaN where a score is undefined, that is where its denominator is 0: CSI without any event, POD
    and frequency bias without an observed one, FAR without a forecast one, errors without a pixel.
    """
    data = sums.data
    table = BasicContingencyManager(
        {
            "tp_count": data["hits"],
            "fn_count": data["misses"],
            "fp_count": data["false_alarms"],
            "tn_count": data["correct_negatives"],
            "total_count": data[list(_COUNTS)].to_dataarray().sum("variable"),
        }
    )
    n = data["n_pixels"]
    scores = xr.Dataset(
        {
            "csi": table.critical_success_index(),
            "pod": table.probability_of_detection(),
            "far": table.false_alarm_ratio(),
            "frequency_bias": table.frequency_bias(),
            "base_rate": table.base_rate(),
            "fss": 1 - data["fss_difference2"] / (data["fss_forecast2"] + data["fss_observed2"]),
            "mae": data["absolute_error"] / n,
            "rmse": np.sqrt(data["squared_error"] / n),
            "mean_error": data["error"] / n,
        }
    )
    scores = scores.where(np.isfinite)  # false alarms per no event at all: infinite, so undefined
    scores = scores.assign(n_pixels=n, n_cases=data["n_cases"])
    for name, (long_name, units) in SCORES.items():
        scores[name].attrs = {"long_name": long_name, "units": units}
    return scores


class _Neighbourhoods:
    """Square windows of several widths over one field, by summed-area tables."""

    def __init__(self, known_HW: np.ndarray, windows_px: Sequence[int]) -> None:
        self._windows_px = windows_px
        self._margin = max(windows_px, default=1) // 2
        table = self._summed_area(known_HW)
        # 1 / known pixels in the window, and 0 where the centre is not known: no such window.
        self._weights = [
            np.where(known_HW, 1.0 / np.maximum(self._counts(table, window), 1), 0.0)
            for window in windows_px
        ]

    def fss_sums(self, events: Sequence[np.ndarray]) -> np.ndarray:
        """Sums of (Pf - Po)², Pf², Po² as (3, method, scale), of observed events and forecasts'."""
        sums = np.zeros((3, len(events) - 1, len(self._windows_px)))
        if not any(e.any() for e in events):
            return sums
        observed_table, *tables = (self._summed_area(e) for e in events)
        for s, (window, weight) in enumerate(zip(self._windows_px, self._weights, strict=True)):
            observed = self._counts(observed_table, window) * weight
            sums[2, :, s] = np.vdot(observed, observed)
            for m, table in enumerate(tables):
                forecast = self._counts(table, window) * weight
                sums[1, m, s] = np.vdot(forecast, forecast)
                forecast -= observed
                sums[0, m, s] = np.vdot(forecast, forecast)
        return sums

    def _summed_area(self, field_HW: np.ndarray) -> np.ndarray:
        """Summed-area table of a bool field with a margin of zeros, one more at top and left."""
        first = self._margin + 1
        padded = np.pad(field_HW, ((first, self._margin), (first, self._margin)))
        return padded.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)

    def _counts(self, table: np.ndarray, window: int) -> np.ndarray:
        """Number of true pixels in the window around each pixel of the field."""
        height, width = (n - 2 * self._margin - 1 for n in table.shape)
        start = self._margin - window // 2
        top, bottom = (slice(i, i + height) for i in (start, start + window))
        left, right = (slice(i, i + width) for i in (start, start + window))
        counts = table[bottom, right] - table[top, right]
        counts -= table[bottom, left]
        counts += table[top, left]
        return counts


def _contingency(events: Sequence[np.ndarray], n: int) -> np.ndarray:
    """Hits, misses, false alarms, correct negatives as (4, method); events are observed first."""
    observed, *forecasts = events
    n_observed = np.count_nonzero(observed)
    hits = np.array([np.count_nonzero(f & observed) for f in forecasts])
    n_forecast = np.array([np.count_nonzero(f) for f in forecasts])
    misses, false_alarms = n_observed - hits, n_forecast - hits
    return np.stack([hits, misses, false_alarms, n - hits - misses - false_alarms])


def _counting_pixels(
    forecasts: Mapping[str, np.ndarray], observed: np.ndarray, valid: np.ndarray | None
) -> np.ndarray:
    """Where every field is known and `valid`, (lead_time, y, x)."""
    if not forecasts:
        raise ValueError("no forecast to score, expected at least one method.")
    if observed.ndim != 3:
        raise ValueError(f"observed has shape {observed.shape}, expected (lead_time, y, x).")
    known = ~np.isnan(observed)
    for method, forecast in forecasts.items():
        if forecast.shape != observed.shape:
            raise ValueError(
                f"forecast '{method}' has shape {forecast.shape}, expected that of the "
                f"observation, {observed.shape}."
            )
        known &= ~np.isnan(forecast)
    if valid is not None:
        if valid.dtype != bool or valid.shape not in (observed.shape, observed.shape[1:]):
            raise ValueError(
                f"valid is {valid.dtype} with shape {valid.shape}, expected bool with shape "
                f"{observed.shape} or {observed.shape[1:]}."
            )
        known &= valid
    return known


def _positive_unique(thresholds_mm_h: Sequence[float]) -> np.ndarray:
    thresholds = np.array(thresholds_mm_h, dtype=float)
    if not (thresholds > 0).all() or len(set(thresholds)) < len(thresholds):
        raise ValueError(
            f"thresholds are {thresholds.tolist()} mm/h, expected positive numbers, each once."
        )
    return thresholds


def _as_lead_times(lead_times: np.ndarray, n_leads: int) -> np.ndarray:
    lead_times = np.asarray(lead_times)
    if lead_times.dtype.kind != "m" or lead_times.shape != (n_leads,):
        raise ValueError(
            f"lead_times is {lead_times.dtype} with shape {lead_times.shape}, expected "
            f"timedelta64 with shape ({n_leads},), one for each field."
        )
    return lead_times.astype("timedelta64[ns]")


def _zeros(coords: Mapping[str, Sequence[str] | np.ndarray]) -> xr.Dataset:
    def zeros(dims: tuple[str, ...], dtype: type) -> tuple[tuple[str, ...], np.ndarray]:
        return dims, np.zeros([len(coords[dim]) for dim in dims], dtype=dtype)

    data = xr.Dataset(
        {
            **{name: zeros(_BY_LEAD, np.int64) for name in ("n_cases", "n_pixels")},
            **{name: zeros(_BY_LEAD, np.float64) for name in _ERROR_SUMS},
            **{name: zeros(_BY_THRESHOLD, np.int64) for name in _COUNTS},
            **{name: zeros(_BY_SCALE, np.float64) for name in _FSS_SUMS},
        },
        coords=coords,
    )
    data["threshold"].attrs = {"long_name": "rain rate threshold", "units": "mm h-1"}
    data["scale"].attrs = {"long_name": "width of the FSS neighbourhood", "units": "km"}
    data["lead_time"].attrs = {"long_name": "lead time"}
    return data
