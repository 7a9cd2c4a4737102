"""Scores of the published forecasts against the scans that came since.

`Remembered` counts, in the child process; `RollingScores` adds up a day of counts, in the parent.

Public: `Remembered`, `RollingScores`, `Counts`, `METHODS`.

Dims: L lead steps, K thresholds, M methods (the published forecast, extrapolation).
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.coding import RAIN_CODE
from squall.datasets.times import utc_text

METHODS = ("forecast", "extrapolation")
PERIOD = pd.Timedelta("1D")
_BIN = "h"

Rates = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]


class Counts(NamedTuple):
    """What is counted of one scan; it adds up over scans. Missing lead times are zeros."""

    events: npt.NDArray[np.int64]
    """(L, K, M, 3) hits, forecast events, observed events"""
    errors: npt.NDArray[np.float64]
    """(L, M) sum of absolute errors [mm/h]"""
    pixels: npt.NDArray[np.int64]
    """(L,) that are observed, and known in both forecasts"""
    crps: npt.NDArray[np.float64]
    """(L, M) sum of the fair CRPS [mm/h] of ensembles, see `member_check`"""
    crps_pixels: npt.NDArray[np.int64]
    """(L,) pixels of the sum of the CRPS"""

    def plus(self, other: Counts) -> Counts:
        """The counts of both."""
        return Counts(
            self.events + other.events,
            self.errors + other.errors,
            self.pixels + other.pixels,
            self.crps + other.crps,
            self.crps_pixels + other.crps_pixels,
        )


class Remembered:
    """The forecasts of the last hours, and which scans were scored.

    They are kept compressed in the memory: files would be left behind when the process is killed.
    """

    def __init__(self, thresholds_mm_h: tuple[float, ...], lead_times: int) -> None:
        self._thresholds, self._lead_times = thresholds_mm_h, lead_times
        self._shape: tuple[int, ...] = ()
        self._fields: dict[pd.Timestamp, list[bytes]] = {}
        self.scored_until: pd.Timestamp | None = None

    def add(self, reference: pd.Timestamp, forecast: Codes, extrapolated: Codes) -> None:
        """Keep a forecast and the extrapolation, (lead_time, y, x) codes of rain rate."""
        self._shape = (len(METHODS), *forecast.shape[1:])
        self._fields[reference] = [
            zlib.compress(np.stack(pair).tobytes(), level=1)
            for pair in zip(forecast, extrapolated, strict=False)
        ]

    def score(self, time: pd.Timestamp, observed: Rates, step: pd.Timedelta) -> Counts:
        """Count what the forecasts said of a scan; forget those that are too old.

        Parameters
        ----------
        observed : (y, x), mm/h, NaN = not observed.
        """
        leads, thresholds = self._lead_times, self._thresholds
        counts = Counts(
            np.zeros((leads, len(thresholds), len(METHODS), 3), np.int64),
            *(np.zeros((leads, len(METHODS))), np.zeros(leads, np.int64)),
            *(np.zeros((leads, len(METHODS))), np.zeros(leads, np.int64)),
        )
        for lead in range(leads):
            fields = self._fields.get(time - (lead + 1) * step, [])
            if lead >= len(fields):
                continue
            codes = np.frombuffer(zlib.decompress(fields[lead]), np.uint8).reshape(self._shape)
            rates = RAIN_CODE.decode(codes)
            known = ~np.isnan(observed) & ~np.isnan(rates).any(axis=0)
            truth, said = observed[known], rates[:, known]
            counts.pixels[lead] = truth.size
            counts.errors[lead] = np.abs(said - truth).sum(axis=1, dtype=np.float64)
            for number, threshold in enumerate(thresholds):
                event, forecast = truth >= threshold, said >= threshold
                counts.events[lead, number, :, 0] = (forecast & event).sum(axis=1)
                counts.events[lead, number, :, 1] = forecast.sum(axis=1)
                counts.events[lead, number, :, 2] = event.sum()
        self.scored_until = time
        for reference in [r for r in self._fields if r + leads * step <= time]:
            del self._fields[reference]
        return counts


@dataclass
class RollingScores:
    """Counts of the last day, in bins of an hour of valid time."""

    thresholds_mm_h: tuple[float, ...]
    step_min: float = 0.0
    bins: dict[pd.Timestamp, Counts] = field(default_factory=dict)
    scans: dict[pd.Timestamp, int] = field(default_factory=dict)

    def add(self, time: pd.Timestamp, counts: Counts, step: pd.Timedelta) -> None:
        """Add the counts of a scan, and forget what is older than a day before it."""
        step_min = step / pd.Timedelta("1min")
        hour = time.floor(_BIN)
        held = self.bins.get(hour)
        is_same = step_min == self.step_min and (
            held is None or held.events.shape == counts.events.shape
        )
        if not is_same:  # the service has other thresholds, horizon or archive than before
            self.bins, self.scans, held = {}, {}, None
        self.step_min = step_min
        if held is not None:
            counts = held.plus(counts)
        self.bins[hour] = counts
        self.scans[hour] = self.scans.get(hour, 0) + 1
        for old in [h for h in self.bins if h <= time - PERIOD]:
            del self.bins[old], self.scans[old]

    def summary(self) -> dict[str, Any] | None:
        """CSI and frequency bias by lead time and threshold, mean absolute error, and CRPS."""
        if not self.bins:
            return None
        total = reduce(Counts.plus, self.bins.values())
        rows = []
        for lead, pixels in enumerate(total.pixels):
            if not pixels:
                continue
            row: dict[str, Any] = {"lead_min": self.step_min * (lead + 1), "pixels": int(pixels)}
            for number, method in enumerate(METHODS):
                events = total.events[lead, :, number]
                row[method] = {
                    "mean_absolute_error_mm_h": round(
                        float(total.errors[lead, number] / pixels), 5
                    ),
                    "crps_mm_h": _ratio(total.crps[lead, number], total.crps_pixels[lead]),
                    "csi": [_ratio(hit, said + seen - hit) for hit, said, seen in events],
                    "frequency_bias": [_ratio(said, seen) for _, said, seen in events],
                }
            rows.append(row)
        return {
            "from": utc_text(min(self.bins)),
            "scans": sum(self.scans.values()),
            "thresholds_mm_h": list(self.thresholds_mm_h),
            "by_lead_time": rows,
        }

    def as_text(self) -> str:
        """For a process that takes up the scores, see `from_text`."""
        bins = [
            {
                "hour": hour.isoformat(),
                "scans": self.scans[hour],
                "events": counts.events.tolist(),
                "errors": counts.errors.round(3).tolist(),
                "pixels": counts.pixels.tolist(),
                "crps": counts.crps.round(3).tolist(),
                "crps_pixels": counts.crps_pixels.tolist(),
            }
            for hour, counts in self.bins.items()
        ]
        values = {
            "thresholds_mm_h": list(self.thresholds_mm_h),
            "step_min": self.step_min,
            "bins": bins,
        }
        return json.dumps(values) + "\n"

    @classmethod
    def from_text(cls, text: str, thresholds_mm_h: tuple[float, ...]) -> RollingScores:
        """The scores of `as_text`; without any, if they have other thresholds.

        Raises
        ------
        ValueError
            If the text is not from `as_text`.
        """
        scores = cls(thresholds_mm_h)
        try:
            values = json.loads(text)
            if tuple(values["thresholds_mm_h"]) != thresholds_mm_h:
                return scores
            scores.step_min = float(values["step_min"])
            for entry in values["bins"]:
                hour = pd.Timestamp(entry["hour"])
                scores.scans[hour] = int(entry["scans"])
                scores.bins[hour] = Counts(
                    np.array(entry["events"], np.int64),
                    np.array(entry["errors"], float),
                    np.array(entry["pixels"], np.int64),
                    np.array(entry["crps"], float),
                    np.array(entry["crps_pixels"], np.int64),
                )
        except (KeyError, TypeError) as error:
            raise ValueError(f"self_check.json is of another version: {error}") from error
        return scores


def _ratio(part: float, whole: float) -> float | None:
    return round(float(part / whole), 5) if whole else None
