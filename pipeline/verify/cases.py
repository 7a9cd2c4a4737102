"""Which forecasts a verification makes: reference times of an archive, and why others are not.

Pure arithmetic on time axes; reads no scans and runs no forecasts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from squall.datasets.archive.records import OK
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import ConfigError
from squall.datasets.runs import Bools
from squall.datasets.training.splits import Period
from squall.pipeline.verify.config import ReferencePeriod

SPREAD_MINUTES = 60  # least distance of the cases that are drawn


@dataclass(frozen=True)
class Cases:
    """Reference times on one archive, as indices, and how many were left out."""

    indices: tuple[int, ...]
    trained_on: int = 0
    gaps: int = 0

    def reason(self) -> str:
        """Why there is no case, for an error."""
        if self.trained_on:
            return (
                f"all {self.trained_on} lie in what a model was trained or chosen on "
                "(--include-training scores them)"
            )
        if self.gaps:
            return f"all {self.gaps} lack scans that a method starts from"
        return "no scan there is followed by another"


def choose_cases(
    archive: ScanStore,
    *,
    context: int,
    lead_times: int,
    periods: Sequence[ReferencePeriod],
    every: pd.Timedelta | None,
    seen: Bools,
) -> Cases:
    """Reference times in the periods with all scans to start from and any scan to compare with.

    Parameters
    ----------
    context, lead_times : scans before and after, the longest of any method.
    every : between reference times, counted from the first scan of a period on.
    seen : (time,) what no window may touch.

    Raises
    ------
    ConfigError
        If ``every`` is no multiple of the archive's step.
    """
    every = every or archive.step
    if every % archive.step:
        raise ConfigError(
            f"--every {every.total_seconds() / 60:g} min is no multiple of the step of "
            f"{archive.address}, {archive.step.total_seconds() / 60:g} min"
        )
    stride = every // archive.step
    times, ok = archive.times, archive.status == OK
    chosen = np.zeros(times.size, dtype=bool)
    for period in periods:
        inside = np.ones(times.size, dtype=bool)
        if period.start is not None:
            inside &= times >= period.start
        if period.end is not None:
            inside &= times <= period.end
        first = np.flatnonzero(inside)[:1]
        chosen |= inside & ((np.arange(times.size) - first) % stride == 0) if first.size else False
    indices, trained_on, gaps = [], 0, 0
    for index in np.flatnonzero(chosen & ok).tolist():
        oldest, end = index - context + 1, index + 1 + lead_times
        if not ok[index + 1 : end].any():
            continue
        if seen[max(0, oldest) : end].any():
            trained_on += 1
        elif oldest < 0 or not ok[oldest:index].all():
            gaps += 1
        else:
            indices.append(index)
    return Cases(tuple(indices), trained_on, gaps)


def times_seen(archive: ScanStore, provenances: Iterable[Mapping[str, Any]]) -> Bools:
    """(time,) whether any of some models was trained or validated on the archive's time."""
    seen = np.zeros(archive.times.size, dtype=bool)
    for provenance in provenances:
        for trained_on in provenance["archives"]:
            if trained_on["name"] == archive.name:
                for start, end in trained_on["training_periods"] + trained_on["validation_periods"]:
                    seen |= Period(start=start, end=end).contains(archive.times)
    return seen


def rainiest(archive: ScanStore, cases: Sequence[int], lead_times: int, count: int) -> list[int]:
    """The cases with most rain to come, `SPREAD_MINUTES` or more apart, in order of time."""
    mean = np.nan_to_num(archive.block_statistics("rain_rate")).mean(axis=(1, 2))
    rain = {index: float(mean[index + 1 : index + 1 + lead_times].sum()) for index in cases}
    apart = pd.Timedelta(minutes=SPREAD_MINUTES) / archive.step
    chosen: list[int] = []
    for index in sorted(rain, key=lambda i: (-rain[i], i)):
        if len(chosen) < count and all(abs(index - other) >= apart for other in chosen):
            chosen.append(index)
    return sorted(chosen)
