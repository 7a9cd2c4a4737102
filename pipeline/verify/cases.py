"""Which reference times of an archive a verification forecasts from, and which it leaves out.

This module compares times. It reads no scans and makes no forecasts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from squall.datasets.archive.records import OK
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.runs import Bools
from squall.datasets.times import parse_time
from squall.datasets.training.splits import Period
from squall.pipeline.forecast.reference_times import ReferencePeriod, requested_times

SPREAD_MINUTES = 60  # least time between two cases that are drawn


@dataclass(frozen=True)
class ChosenCases:
    """Reference times on one archive, and how many were left out.

    Parameters
    ----------
    indices : of the reference times on the archive's time axis.
    trained_on : number left out because a model was trained or validated on their window.
    gaps : number left out because scans of their context are missing.
    missing_scans : for each of the indices, number of scans that a method would use and that are
        missing.
    """

    indices: tuple[int, ...]
    trained_on: int = 0
    gaps: int = 0
    missing_scans: tuple[int, ...] = ()

    def reason(self) -> str:
        """Why there is no case, for an error message."""
        if self.trained_on:
            return (
                f"a model was trained or validated on all {self.trained_on} "
                "(--include-training scores them)"
            )
        if self.gaps:
            return (
                f"all {self.gaps} lack scans of their context (--incomplete-contexts scores them)"
            )
        return (
            "no scan in the chosen time is followed by another scan, or stored --forecasts have "
            "none of these reference times"
        )


def choose_cases(
    archive: ScanStore,
    *,
    used: Collection[int],
    lead_times: int,
    periods: Sequence[ReferencePeriod],
    interval: pd.Timedelta | None,
    excluded: Bools,
    incomplete: bool = False,
    stored: Bools | None = None,
) -> ChosenCases:
    """Reference times in the periods that have all scans of the context and any later scan.

    Parameters
    ----------
    used : the scans that any method uses, in steps before the reference time. Other scans may be
        missing.
    lead_times : number of scans after the reference time.
    interval : between reference times, counted from the first scan of a period. None = each scan.
    excluded : (time,) times that no window may contain.
    stored : (time,) reference times that all stored forecasts have; None without such.
    incomplete : whether to keep cases of whose context scans are missing, except the last one.

    Raises
    ------
    ConfigError
        If ``interval`` is not a multiple of the archive's step.
    """
    ok = archive.status == OK
    requested = requested_times(archive, periods, interval)
    if stored is not None:
        requested &= stored
    indices, missing_scans, trained_on, gaps = [], [], 0, 0
    for index in np.flatnonzero(requested & ok).tolist():
        first, end = index - max(used), index + 1 + lead_times
        if not ok[index + 1 : end].any():
            continue
        if excluded[max(0, first) : end].any():
            trained_on += 1
            continue
        missing = sum(step > index or not ok[index - step] for step in used)
        if missing and not incomplete:
            gaps += 1
        else:
            indices.append(index)
            missing_scans.append(missing)
    return ChosenCases(tuple(indices), trained_on, gaps, tuple(missing_scans))


def training_times(archive: ScanStore, provenances: Iterable[Mapping[str, Any]]) -> Bools:
    """(time,) which times of the archive any model was trained, validated or calibrated on.

    A model that began with the weights of another one knows that one's times, too.
    """
    is_training = np.zeros(archive.times.size, dtype=bool)
    for provenance in provenances:
        for name, period in _training_periods(provenance):
            if name == archive.name:
                is_training |= period.contains(archive.times)
        for calibration in provenance.get("calibrations", ()):
            if calibration["archive"] == archive.name:
                first, last = (calibration["source"][key] for key in ("first", "last"))
                times = archive.times
                is_training |= (times >= parse_time(first)) & (times <= parse_time(last))
    return is_training


def others_trained_then(
    archive: ScanStore, provenances: Iterable[Mapping[str, Any]], indices: Sequence[int]
) -> list[str]:
    """Names of other archives that a model was trained on at some of the archive's times.

    The same radars may have another name there, and then the model knows what it forecasts.

    Parameters
    ----------
    indices : of the times.
    """
    times = archive.times[list(indices)]
    return sorted(
        {
            name
            for provenance in provenances
            for name, period in _training_periods(provenance)
            if name != archive.name and period.contains(times).any()
        }
    )


def _training_periods(provenance: Mapping[str, Any]) -> Iterator[tuple[str, Period]]:
    """Name of the archive and period of all that a model was trained and validated on."""
    init = provenance.get("init", {"archives": []})
    for source in [*provenance["archives"], *init["archives"]]:
        for start, end in source["training_periods"] + source["validation_periods"]:
            yield source["name"], Period(start=start, end=end)


def rainiest(archive: ScanStore, cases: Sequence[int], lead_times: int, count: int) -> list[int]:
    """The cases with most observed rain in their lead times, in order of time.

    Two of them are at least `SPREAD_MINUTES` apart.
    """
    is_led_to = np.zeros(archive.status.size, dtype=bool)
    for index in cases:
        is_led_to[index + 1 : index + 1 + lead_times] = True
    mean = archive.mean_rain(is_led_to)
    rain = {index: float(mean[index + 1 : index + 1 + lead_times].sum()) for index in cases}
    spread = pd.Timedelta(minutes=SPREAD_MINUTES) / archive.step
    chosen: list[int] = []
    for index in sorted(rain, key=lambda i: (-rain[i], i)):
        if len(chosen) < count and all(abs(index - other) >= spread for other in chosen):
            chosen.append(index)
    return sorted(chosen)
