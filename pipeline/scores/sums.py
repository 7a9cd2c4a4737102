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
from squall.pipeline.scores.axes import (
    AXES,
    BY_LEAD_TIME,
    BY_SCALE,
    BY_THRESHOLD,
    BY_WAVELENGTH,
    OBSERVED_BY_WAVELENGTH,
    Dims,
)
from squall.pipeline.scores.fss import Neighbourhoods, fss_windows_px
from squall.pipeline.scores.member_sums import COUNTS as MEMBER_COUNTS
from squall.pipeline.scores.member_sums import (
    MEAN_WIDTHS_KM,
    LeadTime,
    fill_members,
    fill_probability_fss,
)
from squall.pipeline.scores.member_sums import SUMS as MEMBER_SUMS
from squall.pipeline.scores.spectra import (
    RAIN_THRESHOLD_MM_H,
    WAVELENGTHS_KM,
    by_wavelength,
    dbr,
    log_spectral_distance,
    radial_power,
)

_COUNTS = ("hits", "misses", "false_alarms", "correct_negatives")
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


@dataclass(frozen=True, eq=False)
class ScoreSums:
    """Sums over the pixels of some cases, from which every score follows; `a + b` pools two.

    Parameters
    ----------
    data : sums along `method`, `lead_time`, `threshold` [mm/h], `scale` [km] and `wavelength`
        [km], and those of members along `width` [km], `share` and `rank`. Counts are int64, so
        adding them is exact. A netCDF file stores all sums without loss.
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
    forecasts: Mapping[str, np.ndarray],
    observed: np.ndarray,
    *,
    lead_times: np.ndarray,
    thresholds_mm_h: Sequence[float],
    scales_km: Sequence[float],
    pixel_km: float,
    valid: np.ndarray | None = None,
    ensembles: Mapping[str, Iterable[np.ndarray]] | None = None,
) -> ScoreSums:
    """Sums of one case for several methods, all over the same pixels.

    A pixel counts where it is observed, known in every forecast and every member, and `valid`. An
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
    forecasts : name of the method to (lead_time, y, x), mm/h. NaN = not known.
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
    """
    members = _members(ensembles or {}, forecasts, observed)
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
    for lead, known_HW in enumerate(known):
        of_lead = {name: next(of_method) for name, of_method in members.items()}
        for of_method in of_lead.values():
            known_HW &= ~np.isnan(of_method).any(axis=0)
        if of_lead and "share" not in data.dims:
            most = max(len(of_method) for of_method in of_lead.values())
            data = data.merge(_zeros_of_members(coords, most))
        n_pixels = int(np.count_nonzero(known_HW))
        if n_pixels == 0:
            continue
        sums = _views_of_lead_time(data, lead)
        sums["n_pixels"][:], sums["n_cases"][:] = n_pixels, 1
        rates = [np.where(known_HW, field[lead], 0.0) for field in (observed, *forecasts.values())]
        _fill_errors(sums, [rate[known_HW] for rate in rates])
        neighbourhoods = Neighbourhoods(known_HW, windows_px)
        _fill_events(sums, rates, thresholds_mm_h, neighbourhoods, n_pixels)
        _fill_spectra(sums, rates, pixel_km)
        if of_lead:
            at = LeadTime(
                rates[0], known_HW, thresholds_mm_h, pixel_km, neighbourhoods,
                data.sizes["share"] - 1,
            )  # fmt: skip
            _fill_all_members(sums, dict(zip(forecasts, rates[1:], strict=True)), of_lead, at)
    return ScoreSums(data)


def _fill_all_members(
    sums: Mapping[str, np.ndarray],
    forecasts: Mapping[str, np.ndarray],
    ensembles: Mapping[str, np.ndarray],
    at: LeadTime,
) -> None:
    """Fill the sums of members; a forecast without members is an ensemble of one."""
    for m, (name, forecast) in enumerate(forecasts.items()):
        if name in ensembles:
            members = np.where(at.known_HW, ensembles[name], np.float32(0))
            fill_members(sums, m, members, at)
            fill_probability_fss(sums, m, members, at)
        else:
            fill_members(sums, m, forecast[None], at)
            for term in ("difference2", "forecast2"):
                sums[f"pfss_{term}"][m] = sums[f"fss_{term}"][m]


def _members(
    ensembles: Mapping[str, Iterable[np.ndarray]],
    forecasts: Mapping[str, np.ndarray],
    observed: np.ndarray,
) -> dict[str, Iterator[np.ndarray]]:
    """The members of each ensemble, checked lead time by lead time.

    Raises
    ------
    ValueError
        If an ensemble is no method, or has another shape or number of lead times than observed.
    """
    others = sorted(set(ensembles) - set(forecasts))
    if others:
        raise ValueError(f"members of {', '.join(others)}, which has no forecast to score.")
    counts: set[int] = set()

    def checked(name: str, of_method: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        n_leads = 0
        for members in of_method:
            if members.ndim != 3 or members.shape[1:] != observed.shape[1:]:
                raise ValueError(
                    f"members of '{name}' have shape {members.shape}, expected (member, y, x) with "
                    f"{observed.shape[1:]} pixels."
                )
            counts.add(len(members))
            if len(counts) > 1 or len(members) < 2:
                raise ValueError(
                    f"'{name}' has {len(members)} members; all ensembles need the same number, "
                    "at least 2."
                )
            n_leads += 1
            yield members
        raise ValueError(f"members of '{name}' end after {n_leads} of {len(observed)} lead times.")

    return {name: checked(name, of_method) for name, of_method in ensembles.items()}


def _views_of_lead_time(data: xr.Dataset, lead: int) -> dict[str, np.ndarray]:
    """The sums of one lead time by name, without that dimension, to be filled in place."""
    return {
        str(name): np.moveaxis(sums.values, sums.dims.index("lead_time"), 0)[lead]
        for name, sums in data.items()
    }


def _fill_errors(sums: Mapping[str, np.ndarray], rates: Sequence[np.ndarray]) -> None:
    """Fill the sums of errors and rain; rates are (pixel,), the observed ones first."""
    observed, *forecasts = (rate.astype(np.float64) for rate in rates)
    weights = np.array(SHI_WEIGHTS)[np.searchsorted(SHI_THRESHOLDS_MM_H, observed, side="right")]
    sums["observed_rain"][:], sums["observed_rain2"][:] = observed.sum(), observed @ observed
    for m, forecast in enumerate(forecasts):
        error = forecast - observed
        absolute, weighted = np.abs(error), weights * error
        sums["absolute_error"][m] = absolute.sum()
        sums["squared_error"][m] = error @ error
        sums["balanced_absolute_error"][m] = weights @ absolute
        sums["balanced_squared_error"][m] = weighted @ error
        sums["forecast_rain"][m] = forecast.sum()
        sums["forecast_rain2"][m] = forecast @ forecast
        sums["rain_product"][m] = forecast @ observed


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
        for name, values in zip(_COUNTS, counts, strict=True):
            sums[name][:, t] = values
        for name, values in zip(_FSS_SUMS, neighbourhoods.fss_sums(events), strict=True):
            sums[name][:, t] = values


def _fill_spectra(
    sums: Mapping[str, np.ndarray], rates: Sequence[np.ndarray], pixel_km: float
) -> None:
    """Fill the spectral sums; rates are (y, x), the observed ones first."""
    is_wet = [bool((rate >= np.float32(RAIN_THRESHOLD_MM_H)).any()) for rate in rates]
    if not is_wet[0] or min(rates[0].shape) < 3:  # no wave fits in two pixels
        return
    longer_side_px = max(rates[0].shape)
    observed = radial_power(dbr(rates[0]))
    binned = by_wavelength(observed, longer_side_px, pixel_km)
    sums["n_spectra"][:] = np.isfinite(binned)
    sums["power_observed"][:] = np.nan_to_num(binned)
    for m, rate in enumerate(rates[1:]):
        if is_wet[m + 1]:
            power = radial_power(dbr(rate))
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


def _counting_pixels(
    forecasts: Mapping[str, np.ndarray], observed: np.ndarray, valid: np.ndarray | None
) -> np.ndarray:
    """(lead_time, y, x) whether all fields are known and `valid`."""
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
    def zeros(dims: Dims, dtype: type) -> tuple[Dims, np.ndarray]:
        return dims, np.zeros([len(coords[dim]) for dim in dims], dtype=dtype)

    data = xr.Dataset(
        {
            **{name: zeros(BY_LEAD_TIME, np.int64) for name in ("n_cases", "n_pixels")},
            **{name: zeros(BY_LEAD_TIME, np.float64) for name in _ERROR_SUMS},
            **{name: zeros(BY_THRESHOLD, np.int64) for name in _COUNTS},
            **{name: zeros(BY_SCALE, np.float64) for name in _FSS_SUMS},
            "n_distances": zeros(BY_LEAD_TIME, np.int64),
            "spectral_distance": zeros(BY_LEAD_TIME, np.float64),
            "n_spectra": zeros(OBSERVED_BY_WAVELENGTH, np.int64),
            "power_observed": zeros(OBSERVED_BY_WAVELENGTH, np.float64),
            "power_forecast": zeros(BY_WAVELENGTH, np.float64),
        },
        coords=coords,
    )
    return _with_attrs(data)


def _zeros_of_members(
    coords: Mapping[str, Sequence[str] | np.ndarray], most_members: int
) -> xr.Dataset:
    """Zeros of the sums of members. All ensembles have the same number of them."""
    coords = {
        **{name: coords[name] for name in ("method", "threshold", "scale", "lead_time")},
        "width": np.array(MEAN_WIDTHS_KM),
        "share": np.arange(most_members + 1) / most_members,
        "rank": np.arange(most_members + 1),
    }
    dtypes = dict.fromkeys(MEMBER_COUNTS, np.int64) | dict.fromkeys(MEMBER_SUMS, np.float64)
    data = {
        name: (dims, np.zeros([len(coords[dim]) for dim in dims], dtypes[name]))
        for name, dims in {**MEMBER_COUNTS, **MEMBER_SUMS}.items()
    }
    return _with_attrs(xr.Dataset(data, coords))


def _with_attrs(data: xr.Dataset) -> xr.Dataset:
    """The sums, with attributes of their axes."""
    for axis in AXES:
        if axis.name in data.coords:
            data[axis.name].attrs = axis.attrs
    return data
