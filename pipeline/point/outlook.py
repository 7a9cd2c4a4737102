"""The numbers of a forecast at one pixel.

Public: `Outlook`, `outlook_of`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from squall.datasets.errors import ConfigError
from squall.datasets.times import utc_text
from squall.pipeline.forecast.ensemble_dataset import (
    CHANCES,
    CHANCES_AROUND,
    CHANCES_AT_ANY_TIME,
    FIRST_RAIN,
    FIRST_RAIN_PERCENTILES,
    MEDIAN,
    PERCENTILES,
    RAIN_END,
    members_of,
    with_products,
)
from squall.pipeline.forecast.ensemble_products import EnsembleProducts, Wanted
from squall.pipeline.forecast.forecast_file import timestamp
from squall.pipeline.forecast.neighbourhood import Neighbourhood
from squall.pipeline.forecast.spells import shortest_gap_min
from squall.pipeline.point.sentence import RainTimes, clock, sentence
from squall.pipeline.point.when import when

Values = npt.NDArray[np.float64]

LOWEST_MM_H = 0.2  # what counts as rain in a forecast that names no threshold
BAND = (10.0, 90.0)
# It rains again where the chance reaches RAIN_CHANCE, the limit with the best CSI (see
# docs/probabilities.md), after a gap below DRY_CHANCE. One limit would find spells in noise.
RAIN_CHANCE, DRY_CHANCE = 0.3, 0.15


@dataclass(frozen=True)
class Outlook:
    """A forecast at one place; NaN = not known.

    Parameters
    ----------
    times, rain_mm_h : (lead_time,) valid times, and the rain: of an ensemble the median, or the
        mean if the file has no median.
    low_mm_h, high_mm_h : (lead_time,) the percentiles `BAND` of an ensemble; None without them.
    chance, chance_around : (lead_time,) of at least the threshold at the pixel, and within 10 km.
    observed_times, observed_mm_h : (context_time,) the scans before.
    rain_times : when it rains; None if that is not known.
    known : number of lead times before the first that is not known.
    """

    name: str
    members: int | None
    threshold_mm_h: float
    times: pd.DatetimeIndex
    rain_mm_h: Values
    low_mm_h: Values | None
    high_mm_h: Values | None
    chance: Values | None
    chance_around: Values | None
    observed_times: pd.DatetimeIndex
    observed_mm_h: Values
    reference: pd.Timestamp
    rain_times: RainTimes | None
    known: int

    @property
    def sentence(self) -> str:
        """Whether and when it rains, or why the file does not say it."""
        if self.rain_times is not None or not self.known:
            return sentence(self.rain_times)
        advice = "make the forecast with members and times in --products"
        if self.known == len(self.times):
            return f"the file does not hold when it rains; {advice}"
        last = clock(self.times[self.known - 1], self.reference)
        return f"known until {last} only; to see when it rains until then, {advice}"

    @property
    def rain_now(self) -> bool | None:
        """Whether it rained at the place in the last scan; None if the scan did not observe it."""
        last = self.observed_mm_h[-1]
        return None if np.isnan(last) else bool(last >= np.float32(self.threshold_mm_h))

    @property
    def known_until(self) -> pd.Timestamp | None:
        """The last time before the first that is not known; None if not even the scan is."""
        if self.known:
            return pd.Timestamp(self.times[self.known - 1])
        return None if self.rain_now is None else self.reference

    @property
    def highest_chance(self) -> float | None:
        """The highest chance of a lead time before the first that is not known."""
        if self.chance is None or not self.known:
            return None
        return float(self.chance[: self.known].max())

    def as_dict(self) -> dict[str, Any]:
        """For scripts: times in ISO format, UTC; None = not known. See also `when`."""
        lists = {
            name: None if values is None else [None if np.isnan(v) else float(v) for v in values]
            for name in ("rain_mm_h", "low_mm_h", "high_mm_h", "chance", "chance_around")
            for values in (getattr(self, name),)
        }
        rain = self.rain_times
        begin_and_end = {
            name: None if rain is None or time is None else utc_text(time)
            for name in ("begin", "end")
            for time in (getattr(rain, name, None),)
        }
        return {
            "sentence": self.sentence,
            "model": self.name,
            "members": self.members,
            "threshold_mm_h": self.threshold_mm_h,
            "reference_time": utc_text(self.reference),
            "chance_at_any_time": rain.chance if rain and rain.has_chances else None,
            **begin_and_end,
            **when(
                rain,
                rain_now=self.rain_now,
                reference=self.reference,
                known_until=self.known_until,
                is_known=self.known == len(self.times),
                highest_chance=self.highest_chance,
            ),
            "times": [utc_text(time) for time in self.times],
            **lists,
        }


def outlook_of(forecast: xr.Dataset, row: int, column: int, threshold: float | None) -> Outlook:
    """The forecast at a pixel.

    What the file does not hold is computed from its members, if it has them.

    Parameters
    ----------
    forecast : as `open_forecast` gives it.
    threshold : mm/h; None: the lowest of the file.

    Raises
    ------
    ConfigError
        If the file is an ensemble without this threshold and without members.
    """
    pixel = forecast.isel(y=[row], x=[column]).load()
    count = pixel.attrs.get("members")
    members = members_of(pixel)
    known = pixel["threshold"].values if "threshold" in pixel.dims else np.array([])
    threshold = threshold or (float(known[0]) if known.size else LOWEST_MM_H)
    is_held = bool(np.isclose(known, threshold).any())
    if count and not is_held and members is None:
        held = ", ".join(f"{value:g}" for value in known) or "none"
        raise ConfigError(
            f"--threshold {threshold:g}: is none of the file's ({held}); choose one of them, or "
            "make the forecast with this one in --thresholds"
        )
    own = pixel.isel(y=0, x=0)
    own = own.sel(threshold=threshold, method="nearest") if is_held else _without(own, "threshold")
    length = _known_length(pixel["rain_rate"].values[:, 0, 0])
    if members is not None or not count:
        rates = pixel["rain_rate"].values[None] if members is None else members.values
        own = _completed(own, pixel, np.repeat(rates, 1 if count else 2, 0), threshold, length)
        if count and length:  # the chances of a network are no shares of its members
            highest = own[CHANCES].isel(lead_time=slice(length)).max()
            own[CHANCES_AT_ANY_TIME] = np.fmax(own[CHANCES_AT_ANY_TIME], highest)
    band = _band(own)
    return Outlook(
        name=str(pixel.attrs.get("model", "unnamed model")),
        members=int(count) if count else None,
        threshold_mm_h=threshold,
        times=pd.DatetimeIndex(own["time"].values),
        rain_mm_h=own[MEDIAN if count and MEDIAN in own else "rain_rate"].values.astype(float),
        low_mm_h=band[0] if count else None,
        high_mm_h=band[1] if count else None,
        chance=_chances(own, CHANCES) if count or (CHANCES in forecast and is_held) else None,
        chance_around=_chances(own, CHANCES_AROUND),
        observed_times=pd.DatetimeIndex(own["context_time"].values),
        observed_mm_h=own["observed_rain_rate"].values.astype(float),
        reference=timestamp(own["forecast_reference_time"]),
        rain_times=_rain_times(own, threshold, length, bool(count)),
        known=length,
    )


def _without(own: xr.Dataset, dim: str) -> xr.Dataset:
    return own.drop_dims(dim, errors="ignore")


def _known_length(rain: npt.NDArray[np.floating]) -> int:
    """Number of lead times before the first that is not known."""
    unknown = np.flatnonzero(np.isnan(rain))
    return int(unknown[0]) if unknown.size else len(rain)


def _completed(
    own: xr.Dataset, pixel: xr.Dataset, rates: Values, threshold: float, length: int
) -> xr.Dataset:
    """Add what the file does not hold, from members (member, lead_time, 1, 1).

    The times are those of the lead times before the first that is not known.
    """
    lacking = {CHANCES, MEDIAN, FIRST_RAIN} - set(own.data_vars)
    has_band = PERCENTILES in own and set(BAND) <= set(own["percentile"].values.tolist())
    if not lacking and has_band and length == own.sizes["lead_time"]:
        return own
    scan = pixel["observed_rain_rate"].values[-1].astype(np.float32)
    minutes = pixel["lead_time"].values / np.timedelta64(1, "m")
    wanted = Wanted((threshold,), BAND, neighbourhood=False, amounts=False)
    around = Neighbourhood(())

    def products(leads: int) -> xr.Dataset:
        made = EnsembleProducts(wanted, scan, tuple(minutes[:leads]), len(rates), around)
        for index in range(leads):
            made.add(index, rates[:, index].astype(np.float32))
        base = pixel[["rain_rate"]].isel(lead_time=slice(leads))
        decoded = xr.decode_cf(with_products(base, made))
        return decoded.isel(y=0, x=0, threshold=0).drop_vars("threshold")

    everything = products(len(minutes))
    own = _without(own, "percentile").drop_vars("threshold", errors="ignore")
    own = own.assign({name: everything[name] for name in (PERCENTILES, *lacking)})
    if length:
        times = products(length)
        names = (FIRST_RAIN, FIRST_RAIN_PERCENTILES, RAIN_END, CHANCES_AT_ANY_TIME)
        own = own.assign({name: times[name] for name in names})
    return own


def _band(own: xr.Dataset) -> tuple[Values | None, Values | None]:
    if PERCENTILES not in own:
        return None, None
    held = own["percentile"].values
    low, high = (
        own[PERCENTILES].sel(percentile=percent).values.astype(float) if percent in held else None
        for percent in BAND
    )
    return low, high


def _chances(own: xr.Dataset, name: str) -> Values | None:
    return own[name].values.astype(float) if name in own and own[name].ndim == 1 else None


def _rain_times(
    own: xr.Dataset, threshold: float, length: int, has_chances: bool
) -> RainTimes | None:
    """When it rains; None if it is not known, or the file does not hold it."""
    if not length or FIRST_RAIN not in own or np.isnan(own[CHANCES_AT_ANY_TIME].item()):
        return None
    begin, end = (_time_or_none(own[name]) for name in (FIRST_RAIN, RAIN_END))
    is_observed = not np.isnan(own["observed_rain_rate"].values[-1])
    first = pd.Timestamp(own["time"].values[0])
    again, again_chance = _again(own, threshold, length, end, has_chances)
    return RainTimes(
        reference=timestamp(own["forecast_reference_time"]),
        horizon=pd.Timestamp(own["time"].values[length - 1]),
        threshold_mm_h=threshold,
        chance=float(own[CHANCES_AT_ANY_TIME]),
        begin=begin,
        end=end,
        has_chances=has_chances,
        is_cut=length < own.sizes["lead_time"],
        is_begin_known=is_observed or begin is None or begin > first,
        begin_range=_begin_range(own) if has_chances else (None, None),
        again=again,
        again_chance=again_chance,
    )


def _again(
    own: xr.Dataset, threshold: float, length: int, end: pd.Timestamp | None, has_chances: bool
) -> tuple[pd.Timestamp | None, float | None]:
    """When it rains again after the end of the first rain, and the highest chance from then on.

    The chances are those at the pixel by lead time; of one forecast they are 0 or 1.
    """
    if end is None:
        return None, None
    times = pd.DatetimeIndex(own["time"].values[:length])
    if has_chances:
        chances = _chances(own, CHANCES)
    else:
        chances = (own["rain_rate"].values >= np.float32(threshold)).astype(float)
    if chances is None:
        return None, None
    step = times[0] - timestamp(own["forecast_reference_time"])
    gap = pd.Timedelta(shortest_gap_min(step / pd.Timedelta("1min")), "min")
    dry_from: pd.Timestamp | None = None
    is_over = False  # whether a dry gap was long enough
    for index, (time, chance) in enumerate(zip(times, chances[:length], strict=True)):
        if time < end:
            continue
        is_over |= dry_from is not None and time - dry_from >= gap
        if is_over and chance >= RAIN_CHANCE:
            return time, float(np.nanmax(chances[index:length]))
        if not chance < DRY_CHANCE:
            dry_from = None
        elif dry_from is None:
            dry_from = time
    return None, None


def _begin_range(own: xr.Dataset) -> tuple[pd.Timestamp | None, pd.Timestamp | None]:
    """The percentiles `BAND` of the begin; None where the file does not hold them."""
    if FIRST_RAIN_PERCENTILES not in own:
        return None, None
    held = own["percentile"].values
    low, high = (
        _time_or_none(own[FIRST_RAIN_PERCENTILES].sel(percentile=percent))
        if percent in held
        else None
        for percent in BAND
    )
    return low, high


def _time_or_none(values: xr.DataArray) -> pd.Timestamp | None:
    time = timestamp(values)
    return None if pd.isna(time) else time
