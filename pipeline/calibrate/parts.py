"""Two parts of the cases that are apart in time: one to fit numbers on, one to compare on.

Public: `Parts`, `divided`, `spread`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from squall.datasets.archive.records import OK
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import DataError

FIT, COMPARE = 0, 1
RAINY_MM_H = 0.01  # mean rain rate of the last scan from which on a case is rainy
FEWEST_CASES = 4  # in each part


@dataclass(frozen=True)
class Parts:
    """Which part of the time is for what.

    Parameters
    ----------
    labels : (time,) `FIT`, `COMPARE`, or -1 for neither.
    before, after : steps from a reference time to the first and the last scan that a case needs.
    """

    labels: npt.NDArray[np.int8]
    before: int
    after: int

    def cases(self, part: int, indices: Sequence[int]) -> list[int]:
        """The cases with all of their scans in a part.

        So reference times of different parts are at least a context and all lead times apart.
        """
        return [
            index
            for index in indices
            if (self.labels[max(0, index - self.before) : index + self.after + 1] == part).all()
        ]


def divided(
    archive: ScanStore, indices: Sequence[int], *, before: int, after: int
) -> tuple[Parts, list[int], list[int]]:
    """Deal the time to two parts: rainy days in turn, or the halves of a single rainy day.

    A rainy case has rain in its last scan, and no scan of its context is missing.

    Returns
    -------
    The parts, the rainy cases to fit on, and the rainy cases to compare on.

    Raises
    ------
    DataError
        If one of the parts has fewer than `FEWEST_CASES` rainy cases.
    """
    ok = archive.status == OK
    is_case = np.zeros(ok.size, dtype=bool)
    is_case[list(indices)] = True
    rain = archive.mean_rain(is_case)
    rainy = [
        index
        for index in indices
        if rain[index] >= RAINY_MM_H and index >= before and ok[index - before : index].all()
    ]
    labels = np.full(archive.times.size, -1, np.int8)
    days = archive.times.normalize()
    rainy_days = sorted(set(days[rainy]))
    if len(rainy_days) > 1:
        labels[days.isin(rainy_days[::2])] = FIT
        labels[days.isin(rainy_days[1::2])] = COMPARE
    elif rainy:
        middle = (rainy[0] + rainy[-1] + 1) // 2
        labels[:middle], labels[middle:] = FIT, COMPARE
    parts = Parts(labels, before, after)
    fit, comparison = (parts.cases(part, rainy) for part in (FIT, COMPARE))
    if min(len(fit), len(comparison)) < FEWEST_CASES:
        window_min = archive.step.total_seconds() / 60 * (before + after)
        raise DataError(
            f"{archive.address}: {len(fit)} rainy forecasts to fit the ensembles on and "
            f"{len(comparison)} to compare them on, apart by at least the {window_min:g} min of a "
            f"context and its lead times; {FEWEST_CASES} of each are needed. Choose a longer time "
            "with --start and --end, or leave --members out"
        )
    return parts, fit, comparison


def spread(cases: Sequence[int], most: int) -> list[int]:
    """At most so many of the cases, spread evenly over them."""
    places = np.linspace(0, len(cases) - 1, min(most, len(cases))).round().astype(int)
    return [cases[place] for place in places.tolist()]
