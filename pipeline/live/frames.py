"""The pictures of a run that a browser reads: grey PNG files whose values are codes.

Public: `Frames`, `FRAMES`, `codes_of_frames`, `shown_rain`.

A browser reads such a picture without loss. The manifest says what each code means, and in which
colours to draw it. A frame of a large grid has an overview, which a page shows while the grid is
small on its screen.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from PIL import Image

from squall.datasets.coding import RAIN_CODE
from squall.datasets.times import utc_text
from squall.pipeline.forecast.chance_code import UNKNOWN_CHANCE, chance_codes
from squall.pipeline.forecast.ensemble_dataset import (
    AMOUNT,
    CHANCES,
    CHANCES_AROUND,
    CHANCES_AT_ANY_TIME,
    FIRST_RAIN,
    MEDIAN,
    PERCENTILES,
)
from squall.pipeline.live.overviews import overview_factor, overview_of
from squall.pipeline.pictures import (
    AMOUNT_SCALE,
    CHANCE_SCALE,
    RAIN_SCALE,
    RainScale,
    time_scale,
)

FRAMES, OVERVIEWS = "frames", "overviews"  # folders
NO_RAIN, UNKNOWN_TIME = 0, 255  # codes of the time of the first rain
Codes = npt.NDArray[np.uint8]
Rates = npt.NDArray[np.float32]
Layer = dict[str, Any]


def shown_rain(forecast: xr.Dataset) -> xr.DataArray:
    """(lead_time, y, x) mm/h: the median of an ensemble, or the one forecast."""
    return forecast[MEDIAN if MEDIAN in forecast else "rain_rate"]


@dataclass(frozen=True)
class Frames:
    """Writes the frames of one run.

    Parameters
    ----------
    folder : of the run.
    thresholds_mm_h : whose chances and first times are published.
    """

    folder: Path
    forecast: xr.Dataset
    thresholds_mm_h: tuple[float, ...]

    def write(self) -> tuple[list[Layer], Codes]:
        """Write all layers.

        Returns
        -------
        What the manifest says of the layers, and the (lead_time, y, x) codes of the shown rain.
        """
        forecast = self.forecast
        rain = shown_rain(forecast)
        (self.folder / FRAMES).mkdir()
        if overview_factor(rain.shape[1:]) > 1:
            (self.folder / OVERVIEWS).mkdir()
        codes = np.empty(rain.shape, np.uint8)
        for target, field in zip(codes, _coded(rain), strict=True):
            target[:] = field
        scans = _coded(forecast["observed_rain_rate"])
        layers = [
            self._layer("observed", "rain_rate", scans, forecast["context_time"].values),
            self._layer("rain_rate", "rain_rate", codes)
            | {"title": "median of the members" if rain.name == MEDIAN else "forecast"},
        ]
        layers += self._percentiles()
        for name in (CHANCES, CHANCES_AROUND):
            if name in forecast:
                layers += self._chances(name)
        layers += self._chances_at_any_time()
        layers.append(self._amount())
        layers += self._first_times()
        return layers, codes

    def _percentiles(self) -> Iterator[Layer]:
        if PERCENTILES not in self.forecast:
            return
        for percent in self.forecast["percentile"].values.tolist():
            codes = _coded(self.forecast[PERCENTILES].sel(percentile=percent))
            yield self._layer(f"percentile_{percent:g}", "rain_rate", codes) | {"percent": percent}

    def _chances(self, name: str) -> Iterator[Layer]:
        where = "within_10km" if name == CHANCES_AROUND else "at_pixel"
        held = self.forecast["threshold"].values
        for threshold in self.thresholds_mm_h:
            if not np.isclose(held, threshold).any():
                continue
            of_threshold = self.forecast[name].sel(threshold=threshold, method="nearest")
            codes = (chance_codes(of_lead.values.astype(np.float32)) for of_lead in of_threshold)
            layer = self._layer(f"chance_{where}_{threshold:g}", "chance", codes)
            yield layer | {"threshold_mm_h": threshold, "where": where}

    def _chances_at_any_time(self) -> Iterator[Layer]:
        """Chance of rain at any time of the forecast; only of an ensemble, as in `when`."""
        if CHANCES_AT_ANY_TIME not in self.forecast:
            return
        for threshold in self.thresholds_mm_h:
            own = self.forecast[CHANCES_AT_ANY_TIME].sel(threshold=threshold, method="nearest")
            codes = chance_codes(own.values.astype(np.float32))
            name = f"chance_at_any_time_{threshold:g}"
            layer = self._layer(name, "chance_at_any_time", codes[None], self._times()[-1:])
            yield layer | {"threshold_mm_h": threshold}

    def _amount(self) -> Layer:
        """Rain from the reference time to the last valid time; median of the members' amounts."""
        name = f"{AMOUNT}_median"
        held = self.forecast.get(name)
        amount = _amount_of(self._rates(), self._minutes()) if held is None else held.values
        codes = RAIN_CODE.encode(amount.astype(np.float32))
        return self._layer("amount", "amount", codes[None], self._times()[-1:])

    def _first_times(self) -> Iterator[Layer]:
        """When rain of each threshold first comes, as the number of a lead time."""
        is_ensemble = FIRST_RAIN in self.forecast
        of_rates = () if is_ensemble else _first_leads_of(self._rates(), self.thresholds_mm_h)
        for number, threshold in enumerate(self.thresholds_mm_h):
            codes = self._first_times_of_ensemble(threshold) if is_ensemble else of_rates[number]
            layer = self._layer(
                f"first_rain_{threshold:g}", "first_rain", codes[None], self._times()[-1:]
            )
            yield layer | {"threshold_mm_h": threshold}

    def _first_times_of_ensemble(self, threshold: float) -> Codes:
        own = self.forecast[[FIRST_RAIN, CHANCES_AT_ANY_TIME]]
        own = own.sel(threshold=threshold, method="nearest")
        reference = self.forecast["forecast_reference_time"].values
        minutes = (own[FIRST_RAIN].values - reference) / np.timedelta64(1, "m")
        # the first lead time that is not before the time; 0 is the reference time
        leads = np.searchsorted([0.0, *self._minutes()], np.nan_to_num(minutes) - 1e-3)
        codes = np.where(np.isnan(minutes), NO_RAIN, leads + 1).astype(np.uint8)
        codes[np.isnan(own[CHANCES_AT_ANY_TIME].values)] = UNKNOWN_TIME
        return codes

    def _rates(self) -> Iterator[Rates]:
        """(y, x) mm/h: the last scan, and the forecast of each lead time."""
        yield self.forecast["observed_rain_rate"][-1].values
        for rain in shown_rain(self.forecast):
            yield rain.values

    def _minutes(self) -> list[float]:
        minutes = self.forecast["lead_time"].values / np.timedelta64(1, "m")
        return [float(value) for value in minutes]

    def _times(self) -> npt.NDArray[np.datetime64]:
        return np.atleast_1d(self.forecast["time"].values)

    def _layer(
        self,
        name: str,
        code: str,
        codes: Iterable[Codes],
        times: npt.NDArray[np.datetime64] | None = None,
    ) -> Layer:
        """Write the frames (y, x) of a layer, and say where they are."""
        frames = []
        valid = pd.DatetimeIndex(self._times() if times is None else times)
        for field, time in zip(codes, valid, strict=True):
            seconds = "%S" if time.second else ""
            file = f"{FRAMES}/{name}_{time:%Y%m%dT%H%M{seconds}}.png"
            frames.append({"time": utc_text(time), "file": file})
            self._save(field, file)
            factor = overview_factor(field.shape)
            if factor > 1:
                overview = file.replace(f"{FRAMES}/", f"{OVERVIEWS}/")
                self._save(overview_of(field, factor, is_first_time=code == "first_rain"), overview)
                frames[-1]["overview"] = overview
        return {"name": name, "code": code, "frames": frames}

    def _save(self, codes: Codes, file: str) -> None:
        # run lengths alone: smaller than level 6 for such pictures, and in half the time
        Image.fromarray(codes, mode="L").save(self.folder / file, compress_type=zlib.Z_RLE)


def codes_of_frames(step_min: float) -> dict[str, Any]:
    """What the codes of each kind mean, and the colours of their values; for the manifest."""
    logarithmic = {
        "dry": RAIN_CODE.DRY,
        "unknown": RAIN_CODE.NOT_OBSERVED,
        "lowest": RAIN_CODE.lowest_mm_h,
        "highest": RAIN_CODE.highest_mm_h,
        "formula": "lowest * (highest / lowest) ** ((code - 1) / 253), code 1 to 254",
    }
    chance = {
        "units": "1",
        "unknown": UNKNOWN_CHANCE,
        "formula": "code / 200",
        **_colours(CHANCE_SCALE, 0.01),
    }
    of_times = time_scale((), [step_min * k for k in (0, 1, 3, 6, 9, 12, 18, 24)])
    return {
        "rain_rate": {"units": "mm h-1", **logarithmic, **_colours(RAIN_SCALE)},
        "amount": {"units": "mm", **logarithmic, **_colours(AMOUNT_SCALE)},
        "chance": chance,
        "chance_at_any_time": chance,
        "first_rain": {
            "units": "min",
            "dry": NO_RAIN,
            "unknown": UNKNOWN_TIME,
            "step_min": step_min,
            "formula": "(code - 1) * step_min after the reference time, rounded up to a lead "
            "time; code 1: it rains already",
            **_colours(of_times),
        },
    }


def _colours(scale: RainScale, unit: float = 1.0) -> dict[str, Any]:
    """The colour of a value is that of the last level that it reaches; below the first: clear."""
    levels = [level * unit for level in scale.levels_mm_h]
    return {"levels": levels, "colours": list(scale.colours)}


def _coded(rain: xr.DataArray) -> Iterator[Codes]:
    """The codes (y, x) of fields of rain (time, y, x), one field after the other."""
    return (RAIN_CODE.encode(field.values) for field in rain)


def _amount_of(rates: Iterable[Rates], minutes: Sequence[float]) -> Rates:
    """(y, x) mm; the rate (y, x) of 1 + lead_time times changes linearly between two times."""
    hours = np.diff([0.0, *minutes]) / 60
    parts = (
        (before + after) / 2 * np.float32(span)
        for (before, after), span in zip(pairwise(rates), hours, strict=True)
    )
    return np.asarray(reduce(np.add, parts))


def _first_leads_of(rates: Iterable[Rates], thresholds_mm_h: Sequence[float]) -> list[Codes]:
    """(y, x) of each threshold: 1 + the number of the first rates (y, x) with such rain."""
    result: list[Codes] = []
    for number, rate in enumerate(rates, start=1):
        result = result or [np.full(rate.shape, NO_RAIN, np.uint8) for _ in thresholds_mm_h]
        for codes, threshold in zip(result, thresholds_mm_h, strict=True):
            is_open = codes == NO_RAIN
            codes[is_open & (rate >= np.float32(threshold))] = number
            codes[is_open & np.isnan(rate)] = UNKNOWN_TIME  # it may have rained before
    return result
