"""Which reference times of a period are forecast from, and which are left out, with the reason.

Public: `planned`. This module compares times. It reads no scans.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from squall.datasets.archive.records import OK
from squall.datasets.archive.scan_store import ScanStore
from squall.pipeline.forecast.period_config import PeriodConfig
from squall.pipeline.forecast.reference_times import requested_times
from squall.pipeline.forecast.store import ForecastStore, LeftOut

log = logging.getLogger("squall.forecast")

LINES_LOGGED = 10


def planned(
    config: PeriodConfig, archive: ScanStore, steps: range, store: ForecastStore | None
) -> tuple[list[int], list[LeftOut]]:
    """Indices of the reference times to forecast from, and all reference times left out."""
    interval = pd.Timedelta(minutes=config.every_minutes) if config.every_minutes else None
    requested = np.flatnonzero(requested_times(archive, [config.period], interval)).tolist()
    last = store.times[-1] if store is not None and len(store.times) else None
    indices: list[int] = []
    left_out = [item for item in store.left_out if item.time <= last] if store and last else []
    possible = 0
    times, is_good = archive.times, archive.status == OK
    for index in requested:
        time = times[index]
        missing = [
            time - step * archive.step
            for step in steps
            if step > index or not is_good[index - step]
        ]
        if last is not None and time <= last:
            possible += not missing and time not in store.times  # type: ignore[union-attr]
        elif missing:
            left_out.append(LeftOut(time, _reason(missing)))
        else:
            indices.append(index)
    done = 0 if store is None else len(store.times)
    log.info(
        "%s: %d forecasts are there, %d to make, %d reference times left out",
        *(config.out, done, len(indices), len(left_out)),
    )
    for line in _lines(left_out, times[requested]):
        log.info("%s", line)
    if possible:
        log.warning(
            "%d reference times were left out and have all their scans now; --fresh makes the "
            "store again",
            possible,
        )
    return indices, left_out


def _reason(missing: Sequence[pd.Timestamp]) -> str:
    times = ", ".join(f"{time:%Y-%m-%d %H:%M}" for time in sorted(missing))
    return f"scans of the context are missing: {times} UTC"


def _lines(left_out: Sequence[LeftOut], requested: pd.DatetimeIndex) -> list[str]:
    """A line for each run of reference times that are left out, with the first one's reason."""
    runs: list[list[LeftOut]] = []
    places = requested.get_indexer(pd.DatetimeIndex([item.time for item in left_out]))
    for number, item in enumerate(left_out):
        if number and places[number] == places[number - 1] + 1:
            runs[-1].append(item)
        else:
            runs.append([item])
    lines = [
        f"left out: {run[0].time:%Y-%m-%d %H:%M} UTC"
        + (f" to {run[-1].time:%Y-%m-%d %H:%M}, {len(run)} times" if len(run) > 1 else "")
        + f": {run[0].reason}"
        for run in runs[:LINES_LOGGED]
    ]
    if len(runs) > LINES_LOGGED:
        lines.append(f"and {len(runs) - LINES_LOGGED} more runs of times; the store lists them all")
    return lines
