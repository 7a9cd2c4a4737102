"""Sums over pixels that add up over cases, tiles, workers and times; every score follows from them.

A pixel counts only where observation and forecast are both known. The scores themselves, and the
public names of this module, are in `squall.pipeline.scores.skill`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from squall.pipeline.scores.fss import Neighbourhoods, fss_windows_px
from squall.pipeline.scores.spectra import (
    RAIN_THRESHOLD_MM_H,
    WAVELENGTHS_KM,
    by_wavelength,
    dbr,
    log_spectral_distance,
    radial_power,
)

_BY_LEAD = ("method", "lead_time")
_BY_THRESHOLD = ("method", "threshold", "lead_time")
_BY_SCALE = ("method", "threshold", "scale", "lead_time")
COUNTS = ("hits", "misses", "false_alarms", "correct_negatives")
_FSS_SUMS = ("fss_difference2", "fss_forecast2", "fss_observed2")
_ERROR_SUMS = (
    "absolute_error",
    "squared_error",
    "balanced_absolute_error",
    "balanced_squared_error",
    "forecast_rain",
    "forecast_rain2",
    "observed_rain",
    "observed_rain2",
    "rain_product",
)
# Weights of Shi et al. (2017) for observed rates below 2, 5, 10, 30 mm/h and from there on.
_BALANCE_BOUNDS_MM_H = (2.0, 5.0, 10.0, 30.0)
_BALANCE_WEIGHTS = np.array([1.0, 2.0, 5.0, 10.0, 30.0])
_WHOLE = (slice(None), slice(None))


@dataclass(frozen=True, eq=False)
class ScoreSums:
    """Sums over the pixels of some cases, from which every score follows; `a + b` pools two.

    Parameters
    ----------
    data : sums along `lead_time`, `threshold` [mm/h], `scale` [km], `wavelength` [km] and, from
        `score_sums_by_method`, `method`. Counts are int64, so adding them is exact. A netCDF file
        gives all of them back bit for bit.
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


def score_sums(
    forecast: np.ndarray,
    observed: np.ndarray,
    *,
    lead_times: np.ndarray,
    thresholds_mm_h: Sequence[float],
    scales_km: Sequence[float],
    pixel_km: float,
    valid: np.ndarray | None = None,
    tile: tuple[slice, slice] | None = None,
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
        tile=tile,
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
    tile: tuple[slice, slice] | None = None,
) -> ScoreSums:
    """Sums of one case for several methods, all over the same pixels.

    A pixel counts where it is observed, known in every forecast, and `valid`. An event is a rain
    rate at or above the threshold.

    The FSS follows Roberts and Lean (2008, https://doi.org/10.1175/2007MWR2123.1): around every
    counting pixel a square neighbourhood, in it the share Pf of forecast and Po of observed
    events among the counting pixels, FSS = 1 - Σ(Pf - Po)² / (ΣPf² + ΣPo²). Pixels that do not
    count, and what lies outside the domain, are no part of a neighbourhood: at an edge it is
    smaller, not filled up with dry pixels. Cases pool by adding the three sums.

    Spectra are those of `pipeline.scores.spectra`, of the whole field with pixels that do not
    count at
    the floor in observation and forecasts alike. The outline of what counts is thus part of all
    of them, and draws them together where much of the domain is missing.

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
    tile : rows and columns to sum over, the whole field where not given. Neighbourhoods reach
        beyond it, so that tiles without overlap add up to the field, but for two things: each
        counts a case once more in `n_cases`, and spectra are those of whole fields only.
    """
    windows_px = fss_windows_px(scales_km, pixel_km)
    known = _counting_pixels(forecasts, observed, valid)
    coords: dict[str, Sequence[str] | np.ndarray] = {
        "method": list(forecasts),
        "threshold": _positive_unique(thresholds_mm_h),
        "scale": np.round(np.array(windows_px, dtype=float) * pixel_km, 6),
        "wavelength": WAVELENGTHS_KM,
        "lead_time": _as_lead_times(lead_times, len(observed)),
    }
    data = _zeros(coords)
    arrays = {str(name): data[name].values for name in data}  # views, filled in place
    part = tile or _WHOLE
    for lead in range(len(observed)):
        known_HW = known[lead]
        n = int(np.count_nonzero(known_HW[part]))
        arrays["n_pixels"][:, lead] = n
        arrays["n_cases"][:, lead] = n > 0
        if n == 0:
            continue
        rates = [np.where(known_HW, f[lead], 0.0) for f in (observed, *forecasts.values())]
        counting = known_HW[part]
        errors = _error_sums([rate[part][counting] for rate in rates])
        for name, sums in zip(_ERROR_SUMS, errors, strict=True):
            arrays[name][:, lead] = sums
        neighbourhoods = Neighbourhoods(known_HW, windows_px, part)
        for t, threshold in enumerate(thresholds_mm_h):
            # Unknown rates are 0 here, below any threshold. float() compares in the rates' float32.
            events = [rate >= float(threshold) for rate in rates]
            counts = _contingency([event[part] for event in events], n)
            for name, sums in zip(COUNTS, counts, strict=True):
                arrays[name][:, t, lead] = sums
            for name, sums in zip(_FSS_SUMS, neighbourhoods.fss_sums(events), strict=True):
                arrays[name][:, t, :, lead] = sums
        if tile is None:
            _add_spectra(arrays, lead, rates, pixel_km)
    return ScoreSums(data)


def _error_sums(rates: Sequence[np.ndarray]) -> np.ndarray:
    """The sums of `_ERROR_SUMS` as (sum, method); rates are (pixel,), the observed ones first."""
    observed, *forecasts = (rate.astype(np.float64) for rate in rates)
    weights = _BALANCE_WEIGHTS[np.searchsorted(_BALANCE_BOUNDS_MM_H, observed, side="right")]
    rain, rain2 = observed.sum(), observed @ observed
    columns = []
    for forecast in forecasts:
        error = forecast - observed
        absolute, weighted = np.abs(error), weights * error
        columns.append(
            [
                absolute.sum(),
                error @ error,
                weights @ absolute,
                weighted @ error,
                forecast.sum(),
                forecast @ forecast,
                rain,
                rain2,
                forecast @ observed,
            ]
        )
    return np.array(columns).T


def _add_spectra(
    arrays: Mapping[str, np.ndarray], lead: int, rates: Sequence[np.ndarray], pixel_km: float
) -> None:
    """Fill in the spectral sums of one lead time; rates are (y, x), the observed ones first."""
    wet = [bool((rate >= np.float32(RAIN_THRESHOLD_MM_H)).any()) for rate in rates]
    if not wet[0] or min(rates[0].shape) < 3:  # no wave fits in two pixels
        return
    longer_side_px = max(rates[0].shape)
    observed = radial_power(dbr(rates[0]))
    binned = by_wavelength(observed, longer_side_px, pixel_km)
    arrays["n_spectra"][lead] = np.isfinite(binned)
    arrays["power_observed"][lead] = np.nan_to_num(binned)
    for m, rate in enumerate(rates[1:]):
        if wet[m + 1]:
            power = radial_power(dbr(rate))
            arrays["n_distances"][m, lead] = 1
            arrays["spectral_distance"][m, lead] = log_spectral_distance(power, observed)
            binned = by_wavelength(power, longer_side_px, pixel_km)
            arrays["power_forecast"][m, lead] = np.nan_to_num(binned)


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
            **{name: zeros(_BY_THRESHOLD, np.int64) for name in COUNTS},
            **{name: zeros(_BY_SCALE, np.float64) for name in _FSS_SUMS},
            "n_distances": zeros(_BY_LEAD, np.int64),
            "spectral_distance": zeros(_BY_LEAD, np.float64),
            "n_spectra": zeros(("lead_time", "wavelength"), np.int64),
            "power_observed": zeros(("lead_time", "wavelength"), np.float64),
            "power_forecast": zeros(("method", "lead_time", "wavelength"), np.float64),
        },
        coords=coords,
    )
    data["threshold"].attrs = {"long_name": "rain rate threshold", "units": "mm h-1"}
    data["scale"].attrs = {"long_name": "width of the FSS neighbourhood", "units": "km"}
    data["wavelength"].attrs = {"long_name": "middle of the wavelengths", "units": "km"}
    data["lead_time"].attrs = {"long_name": "lead time"}
    return data
