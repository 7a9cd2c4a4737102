"""Times of an MLCast store on the regular axis of an archive: pure arithmetic, no pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from squall.datasets.errors import DataError
from squall.datasets.runs import Bools
from squall.datasets.times import check_utc, parse_duration, parse_time

TOLERANCE_S = 30  # largest distance of a scan from its step, as in ingestion
RESOLUTION_ATTRIBUTE = "time_coverage_resolution"  # ACDD, ISO 8601
CONSISTENT_START = "consistent_timestep_start"
MISSING_TIMES = "missing_times"

Seconds = npt.NDArray[np.int64]  # since 1970-01-01 00:00 UTC


@dataclass(frozen=True, eq=False)
class TimeAxis:
    """Which row of a store holds each step of the regular axis.

    Parameters
    ----------
    start, step : valid time of index 0 (UTC) and spacing.
    rows : (time,) row of the store, -1 if the time is missing.
    valid_times : (row,) datetime64[s]; ends of the bounds if the store has bounds.
    intervals : (row,) timedelta64[s] over which an accumulation was gathered.
    left_out : reasons why rows have no place on the axis, each with the first such time.
    """

    start: pd.Timestamp
    step: pd.Timedelta
    rows: npt.NDArray[np.int64]
    valid_times: npt.NDArray[np.datetime64]
    intervals: npt.NDArray[np.timedelta64]
    left_out: list[tuple[pd.Timestamp, str]] = field(default_factory=list)


class _Usable:
    """Which times are used, and for what reasons others are left out."""

    def __init__(self, times: Seconds) -> None:
        self._times = times
        self.mask = np.ones(times.size, dtype=bool)
        self.left_out: list[tuple[pd.Timestamp, str]] = []

    def leave_out(self, left_out: Bools, reason: str) -> None:
        left_out = left_out & self.mask
        if left_out.any():
            first = pd.Timestamp(int(self._times[left_out][0]), unit="s")
            self.left_out.append((first, f"{left_out.sum()} times {reason}"))
            self.mask[left_out] = False


def time_axis(dataset: xr.Dataset, name: str, *, accumulated: bool) -> TimeAxis:
    """Map the times of a store onto a regular axis.

    The step is the most common difference between times, including the missing times that the
    store lists, and from ``consistent_timestep_start`` on if that is given. An accumulation without
    bounds is taken to span one step; before ``consistent_timestep_start`` the span is not known,
    and such times are left out.

    Raises
    ------
    DataError
        If there are no times, or the step is not known.
    """
    times, starts = _times_and_starts(dataset, name)
    since = _consistent_start(dataset)
    step_s = _step_s(dataset, times, since)
    usable = _Usable(times)
    if accumulated and starts is None and since is not None:
        reason = f"before {CONSISTENT_START}, accumulated over an unknown interval"
        usable.leave_out(times < since, reason)
    phase_s = _phase_s(times[usable.mask], step_s)
    slots = np.rint((times - phase_s) / step_s).astype(np.int64)
    distance_s = np.abs(times - phase_s - slots * step_s)
    off_step = distance_s > min(TOLERANCE_S, step_s / 4)
    usable.leave_out(off_step, f"lie off the step of {step_s / 60:g} min")
    repeated = _repeated(slots, distance_s, usable.mask)
    usable.leave_out(repeated, "fall on the step of another")
    if not usable.mask.any():
        raise DataError(f"none of the times of '{name}' can be used: {usable.left_out[0][1]}")
    first, last = int(slots[usable.mask].min()), int(slots[usable.mask].max())
    rows = np.full(last - first + 1, -1, dtype=np.int64)
    rows[slots[usable.mask] - first] = np.flatnonzero(usable.mask)
    intervals_s = np.full(times.size, step_s) if starts is None else times - starts
    return TimeAxis(
        start=pd.Timestamp(phase_s + first * step_s, unit="s"),
        step=pd.Timedelta(seconds=step_s),
        rows=rows,
        valid_times=times.astype("datetime64[s]"),
        intervals=intervals_s.astype("timedelta64[s]"),
        left_out=usable.left_out,
    )


def _times_and_starts(dataset: xr.Dataset, name: str) -> tuple[Seconds, Seconds | None]:
    """Valid times and, if the store has bounds, starts of the accumulations."""
    times = _seconds(dataset[name])
    if times.size == 0:
        raise DataError(f"'{name}' holds no times")
    bounds = dataset[name].attrs.get("bounds")
    if bounds not in dataset.variables:
        return times, None
    bound_times = np.stack([_seconds(dataset[bounds][:, i]) for i in (0, 1)])
    return bound_times.max(axis=0), bound_times.min(axis=0)


def _seconds(times: xr.DataArray) -> Seconds:
    values = times.values
    if not np.issubdtype(values.dtype, np.datetime64):
        raise DataError(f"'{times.name}' holds no CF times")
    try:
        check_utc(times.attrs | times.encoding)
    except ValueError as error:
        raise DataError(f"'{times.name}' holds no times in UTC: {error}") from error
    if np.isnat(values).any():
        raise DataError(f"'{times.name}' holds {np.isnat(values).sum()} missing values")
    half = np.timedelta64(500, "ms")
    return np.asarray((values.astype("datetime64[ms]") + half).astype("datetime64[s]"), np.int64)


def _consistent_start(dataset: xr.Dataset) -> int | None:
    text = dataset.attrs.get(CONSISTENT_START)
    if text is None:
        return None
    try:
        return int(parse_time(text).timestamp())
    except ValueError as error:
        raise DataError(f"attribute {CONSISTENT_START} is no time: {text!r}") from error


def _step_s(dataset: xr.Dataset, times: Seconds, since: int | None) -> int:
    listed = times
    if MISSING_TIMES in dataset.variables:
        listed = np.concatenate([times, _seconds(dataset[MISSING_TIMES])])
    if since is not None and (listed >= since).sum() > 1:
        listed = listed[listed >= since]
    differences: Seconds = np.diff(np.unique(listed)).astype(np.int64)
    if differences.size:
        rounded = _rounded(differences)
        return _most_common(differences, rounded=rounded[rounded > 0])
    try:
        return int(parse_duration(dataset.attrs[RESOLUTION_ATTRIBUTE]).total_seconds())
    except (KeyError, ValueError) as error:
        raise DataError(
            "the step of a single time is not known; add an attribute "
            f"{RESOLUTION_ATTRIBUTE}, such as PT5M"
        ) from error


def _phase_s(times: Seconds, step_s: int) -> int:
    """The most common remainder of times on the step; 0 if there are no times."""
    if not times.size:
        return 0
    remainders = times % step_s
    return _most_common(remainders, rounded=_rounded(remainders) % step_s)


def _repeated(slots: npt.NDArray[np.int64], distance_s: Seconds, usable: Bools) -> Bools:
    """Which usable times fall on a slot to which another usable time is nearer."""
    nearest_first = np.lexsort((distance_s, slots))
    nearest_first = nearest_first[usable[nearest_first]]
    repeated = np.zeros(slots.size, dtype=bool)
    repeated[nearest_first[1:][np.diff(slots[nearest_first]) == 0]] = True
    return repeated


def _rounded(seconds: Seconds) -> Seconds:
    return np.rint(seconds / TOLERANCE_S).astype(np.int64) * TOLERANCE_S


def _most_common(exact: Seconds, *, rounded: Seconds) -> int:
    """The most common value; if no exact value has a majority, that of the rounded ones."""
    distinct, counts = np.unique(exact, return_counts=True)
    if 2 * counts.max() < exact.size and rounded.size:
        distinct, counts = np.unique(rounded, return_counts=True)
    return int(distinct[np.argmax(counts)])
