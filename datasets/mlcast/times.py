"""Times of an MLCast store on the regular axis of an archive: pure arithmetic, no pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from squall.datasets.errors import DataError

TOLERANCE_S = 30  # how far off its step a scan may be, as in ingestion
RESOLUTION_ATTRIBUTE = "time_coverage_resolution"  # ACDD, ISO 8601
CONSISTENT_START = "consistent_timestep_start"
MISSING_TIMES = "missing_times"

Seconds = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TimeAxis:
    """Which row of a store holds each step of the regular axis.

    Parameters
    ----------
    start, step : valid time of index 0 (UTC) and spacing.
    rows : (time,) row of the store, -1 where there is none.
    valid_times : (row,) datetime64[s]; ends of the bounds where the store has bounds.
    intervals : (row,) timedelta64[s] over which an accumulation was gathered.
    left_out : reasons for which rows have no place, each with the first such time.
    """

    start: pd.Timestamp
    step: pd.Timedelta
    rows: npt.NDArray[np.int64]
    valid_times: npt.NDArray[np.datetime64]
    intervals: npt.NDArray[np.timedelta64]
    left_out: list[tuple[pd.Timestamp, str]] = field(default_factory=list)


def time_axis(dataset: xr.Dataset, name: str, *, accumulated: bool) -> TimeAxis:
    """Map the times of a store.

    The step is the most common difference of the times, the missing ones that the store lists
    too, from ``consistent_timestep_start`` on where that is given. An accumulation without bounds
    is taken to span one step; before ``consistent_timestep_start`` that is not known, and such
    times are left out.

    Raises
    ------
    DataError
        If there are no times, or the step cannot be told.
    """
    times = _seconds(dataset[name])
    if times.size == 0:
        raise DataError(f"'{name}' holds no times")
    bounds = dataset[name].attrs.get("bounds")
    starts = None
    if bounds in dataset.variables:
        both = np.stack([_seconds(dataset[bounds][:, i]) for i in (0, 1)])
        starts, times = both.min(axis=0), both.max(axis=0)
    since = _consistent_start(dataset)
    step_s = _step_s(dataset, times, since)
    usable = np.ones(times.size, dtype=bool)
    left_out: list[tuple[pd.Timestamp, str]] = []

    def leave_out(which: npt.NDArray[np.bool_], reason: str) -> None:
        which = which & usable
        if which.any():
            first = pd.Timestamp(int(times[which][0]), unit="s")
            left_out.append((first, f"{which.sum()} times {reason}"))
            usable[which] = False

    if accumulated and starts is None and since is not None:
        leave_out(times < since, f"before {CONSISTENT_START}, accumulated over an unknown interval")
    phase = 0
    if usable.any():
        exact = times[usable] % step_s
        phase = _most_common(exact, rounded=_rounded(exact) % step_s)
    slots = np.rint((times - phase) / step_s).astype(np.int64)
    off = np.abs(times - phase - slots * step_s)
    leave_out(off > min(TOLERANCE_S, step_s / 4), f"lie off the step of {step_s / 60:g} min")
    nearest_first = np.lexsort((off, slots))
    again = np.zeros(times.size, dtype=bool)
    kept = nearest_first[usable[nearest_first]]
    again[kept[1:][np.diff(slots[kept]) == 0]] = True
    leave_out(again, "fall on the step of another")
    if not usable.any():
        raise DataError(f"none of the times of '{name}' can be used: {left_out[0][1]}")
    first, last = int(slots[usable].min()), int(slots[usable].max())
    rows = np.full(last - first + 1, -1, dtype=np.int64)
    rows[slots[usable] - first] = np.flatnonzero(usable)
    spans = np.full(times.size, step_s) if starts is None else times - starts
    return TimeAxis(
        start=pd.Timestamp(phase + first * step_s, unit="s"),
        step=pd.Timedelta(seconds=step_s),
        rows=rows,
        valid_times=times.astype("datetime64[s]"),
        intervals=spans.astype("timedelta64[s]"),
        left_out=left_out,
    )


def _seconds(times: xr.DataArray) -> Seconds:
    values = times.values
    if not np.issubdtype(values.dtype, np.datetime64):
        raise DataError(f"'{times.name}' holds no CF times")
    if np.isnat(values).any():
        raise DataError(f"'{times.name}' holds {np.isnat(values).sum()} missing values")
    half = np.timedelta64(500, "ms")
    return np.asarray((values.astype("datetime64[ms]") + half).astype("datetime64[s]"), np.int64)


def _consistent_start(dataset: xr.Dataset) -> int | None:
    text = dataset.attrs.get(CONSISTENT_START)
    if text is None:
        return None
    try:
        time = pd.Timestamp(text)
    except ValueError as error:
        raise DataError(f"attribute {CONSISTENT_START} is no time: {text!r}") from error
    return int(time.timestamp())  # of a naive time as if in UTC


def _step_s(dataset: xr.Dataset, times: Seconds, since: int | None) -> int:
    listed = times
    if MISSING_TIMES in dataset.variables:
        listed = np.concatenate([times, _seconds(dataset[MISSING_TIMES])])
    if since is not None and (listed >= since).sum() > 1:
        listed = listed[listed >= since]
    differences: Seconds = np.diff(np.unique(listed)).astype(np.int64)
    if differences.size:
        whole = _rounded(differences)
        return _most_common(differences, rounded=whole[whole > 0])
    try:
        return int(pd.Timedelta(dataset.attrs[RESOLUTION_ATTRIBUTE]).total_seconds())
    except (KeyError, ValueError) as error:
        raise DataError(
            f"one time alone does not tell the step; the attribute {RESOLUTION_ATTRIBUTE}, such as "
            "PT5M, would"
        ) from error


def _rounded(seconds: Seconds) -> Seconds:
    return np.rint(seconds / TOLERANCE_S).astype(np.int64) * TOLERANCE_S


def _most_common(exact: Seconds, *, rounded: Seconds) -> int:
    """The value of most; of the rounded ones where the exact ones scatter."""
    distinct, counts = np.unique(exact, return_counts=True)
    if 2 * counts.max() < exact.size and rounded.size:
        distinct, counts = np.unique(rounded, return_counts=True)
    return int(distinct[np.argmax(counts)])
