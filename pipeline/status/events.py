"""Archives of single events: the pauses between the events are not missing scans.

Public: `Events`, `pauses_of`, `events_of`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.archive.records import MISSING, OK
from squall.datasets.runs import runs

SHORTEST_PAUSE = pd.Timedelta(hours=6)
LEAST_SHARE = 0.5  # of the time steps that are pauses; an archive with fewer is continuous


@dataclass(frozen=True)
class Events:
    """Periods of an archive with scans in them.

    Parameters
    ----------
    periods : number of events; 1 for a continuous archive.
    expected, present : number of time steps and of good scans in the events.
    """

    periods: int
    expected: int
    present: int


def pauses_of(flags: npt.NDArray[np.uint8], step: pd.Timedelta) -> npt.NDArray[np.bool_]:
    """Which time steps lie between events, (time,).

    A pause is a time of `SHORTEST_PAUSE` or more of which no scan is known. A continuous archive,
    where such times are less than `LEAST_SHARE` of all, has no pauses: its outages are gaps.

    Parameters
    ----------
    flags : (time,) status, one for each ``step``.
    """
    is_pause = np.zeros(flags.size, dtype=bool)
    for start, end in runs(flags == MISSING):
        if (end - start) * step >= SHORTEST_PAUSE:
            is_pause[start:end] = True
    if is_pause.sum() < LEAST_SHARE * flags.size:
        is_pause[:] = False
    return is_pause


def events_of(flags: npt.NDArray[np.uint8], step: pd.Timedelta) -> Events:
    """Number and content of the events; the flags are as in `pauses_of`."""
    is_pause = pauses_of(flags, step)
    return Events(len(runs(~is_pause)), int((~is_pause).sum()), int((flags == OK).sum()))
