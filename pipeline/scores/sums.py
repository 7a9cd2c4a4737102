"""Sums over pixels that add up over cases, workers and times; every score follows from them.

A pixel counts only where the observation and all forecasts are known. The formulas that turn the
sums into scores are in `squall.pipeline.scores.table`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from squall.convgru.shi_weights import SHI_THRESHOLDS_MM_H, SHI_WEIGHTS
from squall.pipeline.forecast.pixels import row_strips
from squall.pipeline.scores.axes import (
    AXES,
    BY_LEAD_TIME,
    BY_SCALE,
    BY_THRESHOLD,
    BY_WAVELENGTH,
    OBSERVED_BY_WAVELENGTH,
    Dims,
)
from squall.pipeline.scores.chance_sums import (
    CHANCES,
    NARROW,
    NARROW_CHANCES,
    Chances,
    fill_chances,
    fill_chances_of_one,
)
from squall.pipeline.scores.chance_sums import COUNTS as CHANCE_COUNTS
from squall.pipeline.scores.chance_sums import SUMS as CHANCE_SUMS
from squall.pipeline.scores.checks import (
    LeadFields,
    as_lead_times,
    check_fields,
    checked_chances,
    checked_members,
    counting_pixels,
    positive_unique,
)
from squall.pipeline.scores.fss import Neighbourhoods, fss_windows_px
from squall.pipeline.scores.member_sums import COUNTS as MEMBER_COUNTS
from squall.pipeline.scores.member_sums import MEAN_WIDTHS_KM, SPREADS_MM_H, LeadTime, fill_members
from squall.pipeline.scores.member_sums import SUMS as MEMBER_SUMS
from squall.pipeline.scores.spectra import (
    WAVELENGTHS_KM,
    by_wavelength,
    log_spectral_distance,
    rain_power,
)

_CONTINGENCY = ("hits", "misses", "false_alarms", "correct_negatives")
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
_COUNTS: dict[str, Dims] = {
    **dict.fromkeys(("n_cases", "n_pixels", "n_distances"), BY_LEAD_TIME),
    **dict.fromkeys(_CONTINGENCY, BY_THRESHOLD),
    "n_spectra": OBSERVED_BY_WAVELENGTH,
}
_SUMS: dict[str, Dims] = {
    **dict.fromkeys(_ERROR_SUMS, BY_LEAD_TIME),
    **dict.fromkeys(_FSS_SUMS, BY_SCALE),
    "spectral_distance": BY_LEAD_TIME,
    "power_observed": OBSERVED_BY_WAVELENGTH,
    "power_forecast": BY_WAVELENGTH,
}


@dataclass(frozen=True, eq=False)
class ScoreSums:
    """Sums over the pixels of some cases, from which every score follows; `a + b` pools two.

    Parameters
    ----------
    data : sums along `method`, `lead_time`, `threshold` [mm/h], `scale` [km] and `wavelength`
        [km], those of members along `width` [km], `rank` and `spread_range` [mm/h], those of
        chances along `narrow_chance` and `chance`. Counts are int64, so adding them is exact. A
        netCDF file stores all sums without loss.
    """

    data: xr.Dataset

    def __add__(self, other: ScoreSums) -> ScoreSums:
        """Pool two sets of cases; ValueError where their axes differ."""
        # xarray's own addition keeps the common labels and silently drops the others.
        for dim in sorted({*self.data.dims, *other.data.dims}, key=str):
            own_labels, other_labels = (sums.data.get(dim) for sums in (self, other))
            if (
                own_labels is None
                or other_labels is None
                or not np.array_equal(own_labels, other_labels)
            ):
                labels = [
                    "none" if axis is None else axis.values.tolist()
                    for axis in (own_labels, other_labels)
                ]
                raise ValueError(
                    f"score sums with different {dim} cannot be added: {labels[0]} and "
                    f"{labels[1]}; build all of them with the same settings."
                )
        return ScoreSums(self.data + other.data)


def score_sums_by_method(
    forecasts: Mapping[str, LeadFields],
    observed: LeadFields,
    *,
    lead_times: np.ndarray,
    thresholds_mm_h: Sequence[float],
    scales_km: Sequence[float],
    pixel_km: float,
    valid: LeadFields | None = None,
    ensembles: Mapping[str, Iterable[np.ndarray]] | None = None,
    chances: Mapping[str, Chances] | None = None,
) -> ScoreSums:
    """Sums of one case for several methods, all over the same pixels.

    A pixel counts where it is observed, known in every forecast, member and chance, and `valid`. An
    event is a rain rate at or above the threshold.

    The FSS follows Roberts and Lean (2008, https://doi.org/10.1175/2007MWR2123.1). In a square
    neighbourhood around each counting pixel, Pf and Po are the shares of forecast and observed
    events among the counting pixels. FSS = 1 - Σ(Pf - Po)² / (ΣPf² + ΣPo²); cases are pooled by
    adding the three sums. A neighbourhood contains neither pixels that do not count nor places
    outside the domain: at an edge it is smaller, and not filled up with dry pixels.

    Spectra are those of `squall.pipeline.scores.spectra`. Pixels that do not count are at the
    floor in the observation and in the forecasts. Their outline is therefore part of all spectra
    and makes these more alike where much of the domain is missing.

    Parameters
    ----------
    forecasts : name of the method to (lead_time, y, x), mm/h. NaN = not known. Each lead time is
        used once, in turn, so that those of a large grid can lie in a file.
    observed : (lead_time, y, x), mm/h. NaN = not observed.
    lead_times : timedelta64, one for each field.
    thresholds_mm_h : positive rain rates.
    scales_km : requested widths of the FSS neighbourhoods. The coordinate `scale` of the result
        has the widths in use, see `fss_windows_px`.
    pixel_km : width of a pixel.
    valid : bool, (lead_time, y, x) or (y, x). False = leave the pixel out.
    ensembles : name of a method among the forecasts to its members, (member, y, x) of each lead
        time in turn. With any, the result also has the sums of `squall.pipeline.scores.member_sums`
        for all methods. Methods without members are ensembles of one, their forecast.
    chances : name of a method to the chances that it says. With any, or with ensembles, the result
        has the sums of `squall.pipeline.scores.chance_sums` for all methods, too.
    """
    check_fields(forecasts, observed, valid)
    members = checked_members(ensembles or {}, forecasts, observed)
    said = checked_chances(chances or {}, forecasts, observed, thresholds_mm_h)
    windows_px = fss_windows_px(scales_km, pixel_km)
    coords: dict[str, Sequence[str] | np.ndarray] = {
        "method": list(forecasts),
        "threshold": positive_unique(thresholds_mm_h),
        "scale": np.round(np.array(windows_px, dtype=float) * pixel_km, 6),
        "wavelength": WAVELENGTHS_KM,
        "lead_time": as_lead_times(lead_times, observed.shape[0]),
    }
    data = _zeros(coords)
    if members or said:
        data = data.merge(_zeros_of_chances(coords))
    for lead in range(observed.shape[0]):
        rates = [field[lead] for field in (observed, *forecasts.values())]
        known_HW = counting_pixels(rates, _of_lead(valid, lead))
        probable = _Probable(
            {name: next(of_method) for name, of_method in members.items()},
            {name: next(of_method) for name, of_method in said.items()},
        )
        for field in probable.fields():
            known_HW &= ~np.isnan(field)
        if members and "rank" not in data.dims:
            most = max(len(of_method) for of_method in probable.members.values())
            data = data.merge(_zeros_of_members(coords, most))
        if not known_HW.any():
            continue
        sums = _views_of_lead_time(data, lead)
        rates[:] = (np.where(known_HW, rate, 0.0) for rate in rates)
        neighbourhoods = Neighbourhoods(known_HW, windows_px)
        at = LeadTime(rates[0], known_HW, thresholds_mm_h, pixel_km, neighbourhoods)
        _fill_rates(sums, rates, at)
        _fill_probable(sums, dict(zip(forecasts, rates[1:], strict=True)), probable, at)
        del rates, probable, neighbourhoods, at  # before those of the next lead time are made
    return ScoreSums(data)


def _of_lead(valid: LeadFields | None, lead: int) -> np.ndarray | None:
    """(y, x) of a lead time, or of all."""
    if valid is None:
        return None
    return np.asarray(valid if len(valid.shape) == 2 else valid[lead])


def _fill_rates(sums: Mapping[str, np.ndarray], rates: Sequence[np.ndarray], at: LeadTime) -> None:
    """Fill all sums of the observed rates and of forecasts, (y, x), the observed ones first."""
    n_pixels = int(np.count_nonzero(at.known_HW))
    sums["n_pixels"][:], sums["n_cases"][:] = n_pixels, 1
    _fill_errors(sums, rates, at.known_HW)
    _fill_events(sums, rates, at.thresholds_mm_h, at.neighbourhoods, n_pixels)
    _fill_spectra(sums, rates, at.pixel_km)


@dataclass(frozen=True)
class _Probable:
    """Members (member, y, x) and chances (y, x) by number of the threshold, of one lead time."""

    members: Mapping[str, np.ndarray]
    chances: Mapping[str, Mapping[int, np.ndarray]]

    def fields(self) -> Iterator[np.ndarray]:
        """All fields (y, x)."""
        for members in self.members.values():
            yield from members
        for by_threshold in self.chances.values():
            yield from by_threshold.values()


def _fill_probable(
    sums: Mapping[str, np.ndarray],
    forecasts: Mapping[str, np.ndarray],
    probable: _Probable,
    at: LeadTime,
) -> None:
    """Fill the sums of members and chances, of all methods if any has them.

    Chances that a method says count, and not the shares of its members.
    """
    for m, (name, forecast) in enumerate(forecasts.items()):
        members = probable.members.get(name)
        if probable.members:
            fill_members(sums, m, forecast[None] if members is None else members, at)
        if name in probable.chances:
            for t, chance_HW in probable.chances[name].items():
                fill_chances(sums, (m, t), chance_HW, *at.events(t))
        elif members is not None:
            for t, threshold in enumerate(at.thresholds_mm_h):
                share_HW = _shares(members, float(threshold))
                fill_chances(sums, (m, t), share_HW, *at.events(t), members=len(members))
                del share_HW  # before the next is made
        elif probable.members or probable.chances:
            fill_chances_of_one(sums, m)


def _shares(members_MHW: np.ndarray, threshold_mm_h: float) -> np.ndarray:
    """(y, x) the share of members that reach a threshold, computed row strip by row strip."""
    share_HW = np.empty(members_MHW.shape[1:])
    for part in row_strips(members_MHW.shape):
        np.mean(members_MHW[:, part] >= threshold_mm_h, axis=0, out=share_HW[part])
    return share_HW


def _views_of_lead_time(data: xr.Dataset, lead: int) -> dict[str, np.ndarray]:
    """The sums of one lead time by name, without that dimension, to be filled in place."""
    return {
        str(name): np.moveaxis(sums.values, sums.dims.index("lead_time"), 0)[lead]
        for name, sums in data.items()
    }


def _fill_errors(
    sums: Mapping[str, np.ndarray], rates: Sequence[np.ndarray], known_HW: np.ndarray
) -> None:
    """Fill the sums of errors and rain; rates are (y, x), the observed ones first."""
    for part in row_strips((1, *known_HW.shape)):
        _add_errors(sums, [rate[part][known_HW[part]] for rate in rates])


def _add_errors(sums: Mapping[str, np.ndarray], rates: Sequence[np.ndarray]) -> None:
    """Add the sums of errors and rain; rates are (pixel,), the observed ones first."""
    observed, *forecasts = (rate.astype(np.float64) for rate in rates)
    weights = np.array(SHI_WEIGHTS)[np.searchsorted(SHI_THRESHOLDS_MM_H, observed, side="right")]
    sums["observed_rain"][:] += observed.sum()
    sums["observed_rain2"][:] += observed @ observed
    for m, forecast in enumerate(forecasts):
        error = forecast - observed
        absolute, weighted = np.abs(error), weights * error
        sums["absolute_error"][m] += absolute.sum()
        sums["squared_error"][m] += error @ error
        sums["balanced_absolute_error"][m] += weights @ absolute
        sums["balanced_squared_error"][m] += weighted @ error
        sums["forecast_rain"][m] += forecast.sum()
        sums["forecast_rain2"][m] += forecast @ forecast
        sums["rain_product"][m] += forecast @ observed


def _fill_events(
    sums: Mapping[str, np.ndarray],
    rates: Sequence[np.ndarray],
    thresholds_mm_h: Sequence[float],
    neighbourhoods: Neighbourhoods,
    n_pixels: int,
) -> None:
    """Fill the contingency tables and FSS sums; rates are (y, x), the observed ones first."""
    for t, threshold in enumerate(thresholds_mm_h):
        # Unknown rates are 0, below any threshold. float() compares in the rates' float32.
        events = [rate >= float(threshold) for rate in rates]
        counts = _contingency(events, n_pixels)
        for name, values in zip(_CONTINGENCY, counts, strict=True):
            sums[name][:, t] = values
        for name, values in zip(_FSS_SUMS, neighbourhoods.fss_sums(events), strict=True):
            sums[name][:, t] = values


def _fill_spectra(
    sums: Mapping[str, np.ndarray], rates: Sequence[np.ndarray], pixel_km: float
) -> None:
    """Fill the spectral sums; rates are (y, x), the observed ones first."""
    observed, *forecasts = (rain_power(rate) for rate in rates)
    if observed is None:
        return
    longer_side_px = max(rates[0].shape)
    binned = by_wavelength(observed, longer_side_px, pixel_km)
    sums["n_spectra"][:] = np.isfinite(binned)
    sums["power_observed"][:] = np.nan_to_num(binned)
    for m, power in enumerate(forecasts):
        if power is not None:
            sums["n_distances"][m] = 1
            sums["spectral_distance"][m] = log_spectral_distance(power, observed)
            binned = by_wavelength(power, longer_side_px, pixel_km)
            sums["power_forecast"][m] = np.nan_to_num(binned)


def _contingency(events: Sequence[np.ndarray], n_pixels: int) -> np.ndarray:
    """Hits, misses, false alarms, correct negatives, (4, method); the observed events are first."""
    observed, *forecasts = events
    n_observed = np.count_nonzero(observed)
    hits = np.array([np.count_nonzero(f & observed) for f in forecasts])
    n_forecast = np.array([np.count_nonzero(f) for f in forecasts])
    misses, false_alarms = n_observed - hits, n_forecast - hits
    return np.stack([hits, misses, false_alarms, n_pixels - hits - misses - false_alarms])


def _zeros(coords: Mapping[str, Sequence[str] | np.ndarray]) -> xr.Dataset:
    return _zeros_of(_COUNTS, _SUMS, coords)


def _zeros_of_chances(coords: Mapping[str, Sequence[str] | np.ndarray]) -> xr.Dataset:
    """Zeros of the sums of chances."""
    coords = {
        **{name: coords[name] for name in ("method", "threshold", "scale", "lead_time")},
        NARROW: NARROW_CHANCES,
        "chance": CHANCES,
    }
    return _zeros_of(CHANCE_COUNTS, CHANCE_SUMS, coords)


def _zeros_of_members(coords: Mapping[str, Sequence[str] | np.ndarray], members: int) -> xr.Dataset:
    """Zeros of the sums of members. All ensembles have the same number of them."""
    coords = {
        **{name: coords[name] for name in ("method", "threshold", "lead_time", "wavelength")},
        "spread_range": np.array(SPREADS_MM_H),
        "width": np.array(MEAN_WIDTHS_KM),
        "rank": np.arange(members + 1),
    }
    return _zeros_of(MEMBER_COUNTS, MEMBER_SUMS, coords)


def _zeros_of(
    counts: Mapping[str, Dims],
    sums: Mapping[str, Dims],
    coords: Mapping[str, Sequence[str] | np.ndarray],
) -> xr.Dataset:
    dtypes = dict.fromkeys(counts, np.int64) | dict.fromkeys(sums, np.float64)
    data = {
        name: (dims, np.zeros([len(coords[dim]) for dim in dims], dtypes[name]))
        for name, dims in {**counts, **sums}.items()
    }
    return _with_attrs(xr.Dataset(data, coords))


def _with_attrs(data: xr.Dataset) -> xr.Dataset:
    """The sums, with attributes of their axes."""
    for axis in AXES:
        if axis.name in data.coords:
            data[axis.name].attrs = axis.attrs
    return data
