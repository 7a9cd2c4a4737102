"""Reference times that a user asks for: periods, and how often in them.

Public: `ReferencePeriod`, `Period`, `requested_times`. It reads no scans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BeforeValidator, PlainSerializer

from squall.datasets.errors import ConfigError
from squall.datasets.runs import Bools
from squall.datasets.times import parse_end, parse_time

if TYPE_CHECKING:  # the command line reads configurations without it
    from squall.datasets.archive.scan_store import ScanStore


@dataclass(frozen=True)
class ReferencePeriod:
    """First and last reference time, UTC, both inclusive; open where None."""

    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None

    def __str__(self) -> str:
        return f"{self.start}/{self.end}"


def _parse_period(value: Any) -> ReferencePeriod:
    if isinstance(value, ReferencePeriod):
        return value
    start, slash, end = str(value).partition("/")
    if not slash:
        raise ValueError(f"'{value}' is no period; write it START/END")
    first, last = parse_time(start), parse_end(end)
    if first > last:
        raise ValueError(f"'{value}': the start is after the end")
    return ReferencePeriod(first, last)


Period = Annotated[Any, BeforeValidator(_parse_period), PlainSerializer(str, when_used="json")]
"""a `ReferencePeriod`, written START/END; a date as the end includes its whole day"""


def requested_times(
    archive: ScanStore, periods: Sequence[ReferencePeriod], interval: pd.Timedelta | None
) -> Bools:
    """(time,) which times of the archive's axis lie in a period and on the interval.

    Parameters
    ----------
    interval : counted from the first time of a period. None = each time.

    Raises
    ------
    ConfigError
        If the interval is no multiple of the archive's step.
    """
    interval = interval or archive.step
    if interval % archive.step:
        raise ConfigError(
            f"--every {interval.total_seconds() / 60:g} min is no multiple of the step of "
            f"{archive.address}, {archive.step.total_seconds() / 60:g} min"
        )
    times, stride = archive.times, interval // archive.step
    requested = np.zeros(times.size, dtype=bool)
    for period in periods:
        is_inside = np.ones(times.size, dtype=bool)
        if period.start is not None:
            is_inside &= times >= period.start
        if period.end is not None:
            is_inside &= times <= period.end
        inside = np.flatnonzero(is_inside)
        requested[inside[::stride]] = True
    return requested
