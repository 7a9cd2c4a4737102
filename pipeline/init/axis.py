"""The regular time axis of a network: step, phase and tolerance, from the times of its scans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd

import pandas as pd

_TOLERANCE = pd.Timedelta("30s")  # the default of snap_tolerance
_LARGEST_STEP = pd.Timedelta("1D")


@dataclass(frozen=True)
class Axis:
    """A time axis.

    Parameters
    ----------
    phase : how long after multiples of the step since midnight the scans are.
    tolerance : how far single scans are from their step, if that is more than the default.
    difference : the most frequent one of neighbours. It is the step, unless no day is a multiple
        of it.
    share : how many of the differences between neighbours are ``difference``, 0 to 1.
    """

    step: pd.Timedelta
    phase: pd.Timedelta
    tolerance: pd.Timedelta | None
    difference: pd.Timedelta
    share: float


def axis_of(times: Sequence[pd.Timestamp]) -> Axis | None:
    """The axis on which times lie; None if there are fewer than two different times.

    The step is the most frequent difference of neighbours, in whole minutes if the times are some
    seconds off their step. If no day is a multiple of it, there are gaps between the times, and the
    step is the longest one that divides both, if that is a minute or more.
    """
    ordered = sorted(set(times))
    differences = [later - earlier for earlier, later in pairwise(ordered)]
    rounded = [_whole(d) for d in differences if pd.Timedelta(0) < d <= _LARGEST_STEP]
    if not rounded:
        return None
    counts = Counter(rounded)
    most = max(counts.values())
    difference = min(d for d, count in counts.items() if count == most)
    common = pd.Timedelta(seconds=gcd(_seconds(difference), _seconds(_LARGEST_STEP)))
    step = common if common >= pd.Timedelta("60s") else difference
    phase = phase_of(ordered, step)
    tolerance = tolerance_of(ordered, step, phase)
    return Axis(step, phase, tolerance, difference, most / len(rounded))


def _seconds(duration: pd.Timedelta) -> int:
    return int(duration.total_seconds())


def _whole(difference: pd.Timedelta) -> pd.Timedelta:
    minutes = difference.round("60s")
    near = difference >= pd.Timedelta("90s") and abs(minutes - difference) < difference / 5
    return minutes if near else difference.round("1s")


def phase_of(times: Sequence[pd.Timestamp], step: pd.Timedelta) -> pd.Timedelta:
    """How long after multiples of the step most scans are; 0 if they are near the multiples."""
    zero = pd.Timedelta(0)
    near = max(_TOLERANCE, min(step / 4, pd.Timedelta("59s")))
    if max(_distance(time, step, zero) for time in times) <= near:
        return zero
    rests = Counter((time - time.normalize()) % step for time in times)
    return pd.Timedelta(rests.most_common(1)[0][0]).floor("1s")


def tolerance_of(
    times: Sequence[pd.Timestamp], step: pd.Timedelta, phase: pd.Timedelta
) -> pd.Timedelta | None:
    """The tolerance that the times need, less than half a step; None if the default fits."""
    largest = max(_distance(time, step, phase) for time in times)
    if largest <= _TOLERANCE and step > 2 * _TOLERANCE:
        return None
    # single scans may be later than those that were seen
    wanted = max(pd.Timedelta(largest * 2), step / 4).ceil("1s")
    below_half = (step / 2).ceil("1s") - pd.Timedelta("1s")
    return min(wanted, below_half)


def _distance(time: pd.Timestamp, step: pd.Timedelta, phase: pd.Timedelta) -> pd.Timedelta:
    rest = (time - time.normalize() - phase) % step
    return pd.Timedelta(min(rest, step - rest))


def short_text(duration: pd.Timedelta) -> str:
    """A duration as in a configuration: ``5min``, ``1h``, ``90s``."""
    seconds = int(duration.total_seconds())
    for unit, length in (("D", 86_400), ("h", 3600), ("min", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
