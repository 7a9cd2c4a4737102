"""Times of scans: from a file's name, from an accumulation's interval, and on the regular step.

Owns how the network configuration turns what a file says into the valid time of a scan. Readers
find the times inside their files.
"""

import math
import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TypeVar, cast

import pandas as pd

from squall.datasets.errors import DataError
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.network_keys import NAME_DIGITS
from squall.datasets.radar.quality import OFF_STEP, OTHER_INTERVAL, QualityError, check_time
from squall.datasets.radar.units import Quantity, parse_unit
from squall.datasets.times import duration_text

T = TypeVar("T")

NO_TIME = cast(pd.Timestamp, pd.NaT)  # of a scan whose time is not known
# intervals may be some seconds longer or shorter, or rounded to minutes
MOST_OFF = 0.25
# a date in digits, perhaps with the time of day behind it
_DATE = re.compile(
    r"(?<![0-9])(?P<y>(?:19|20)[0-9]{2})(?P<s>[-_.]?)(?P<m>0[1-9]|1[0-2])(?P=s)"
    r"(?P<d>0[1-9]|[12][0-9]|3[01])(?:[0-9]{2}|[0-9]{4}|[0-9]{6})?(?![0-9])"
)


class TimeError(DataError):
    """A time in a file is missing or cannot be read; ``time_from: name`` makes it superfluous."""


def time_from_name(path: str, config: RadarNetworkConfig) -> pd.Timestamp | None:
    """Read the valid time in a file's name, on the step; None if the name has none.

    Each era may name its files differently: the time must lie in the era whose pattern it fits.
    """
    name = path.rstrip("/").rpartition("/")[2]
    for era in reversed(config.all_eras):
        time = _time_from_name(name, era)
        if time is not None and config.at(time) is era:
            return time
    return None


def unless_named(read: Callable[[], T], instead: T, config: RadarNetworkConfig) -> T:
    """What a file tells of its time; ``instead`` if it is broken and the name tells the time.

    Parameters
    ----------
    read : function that reads it from the file.
    instead : `NO_TIME`, or a tuple with it; `squall.datasets.radar.radar_file` replaces it.

    Raises
    ------
    TimeError
        As ``read``, if the time in the file counts.
    """
    try:
        return read()
    except TimeError:
        if config.time_from == "file":
            raise
        return instead


def dates_in_name(path: str) -> list[pd.Timestamp]:
    """All days that a file's name holds in digits, like 20240601, 2024-06-01 or 202406011200.

    They check the times of a file whose name is not described by ``time_in_name``.
    """
    dates = []
    for found in _DATE.finditer(PurePosixPath(path).name):
        try:
            dates.append(pd.Timestamp(int(found["y"]), int(found["m"]), int(found["d"])))
        except ValueError:  # like the 31st of June
            continue
    return dates


def steps_from_name(slot: pd.Timestamp, named: pd.Timestamp, era: RadarNetworkConfig) -> int:
    """Steps from the time in a file's name to the scan's time; negative if the name is later.

    Where ``time_marks`` says that times are starts, `time_from_name` has added the accumulation;
    the name may be the end all the same, as those of KNMI's netCDF accumulations.
    """
    if era.time_marks == "start" and slot == named - (era.accumulation or pd.Timedelta(0)):
        return 0
    return round((slot - named) / era.step)


def _time_from_name(name: str, era: RadarNetworkConfig) -> pd.Timestamp | None:
    if era.time_in_name is None:
        return None
    matched = _pattern(era.time_in_name).search(name)
    if not matched:
        return None
    try:
        if "%s" in era.time_in_name:
            valid = pd.Timestamp(int(matched[1]), unit="s")
        else:
            valid = pd.Timestamp(datetime.strptime(matched[0], era.time_in_name))
    except ValueError:
        return None
    if era.time_marks == "start" and era.accumulation is not None:
        valid += era.accumulation
    try:
        return snap_to_step(valid, era)
    except DataError:
        return None


@lru_cache(maxsize=64)
def _pattern(time_in_name: str) -> re.Pattern[str]:
    """The pattern of a time in a name.

    A year of two digits (69 to 99 are 1969 to 1999, 00 to 68 are 2000 to 2068) could begin anywhere
    in a longer number. So no digit may stand before a pattern that begins with ``%y``, nor after it
    if it ends with a directive, too.
    """
    pattern = re.escape(time_in_name)
    for code, digits in NAME_DIGITS.items():
        pattern = pattern.replace(f"%{code}", rf"(\d{{{digits}}})")
    if time_in_name.startswith("%y"):
        pattern = rf"(?<!\d){pattern}" + (r"(?!\d)" if time_in_name[-2:-1] == "%" else "")
    return re.compile(pattern, re.ASCII)


def snap_to_step(time: pd.Timestamp, config: RadarNetworkConfig) -> pd.Timestamp:
    """Return the nearest time on the network's regular time axis.

    Raises
    ------
    QualityError
        If the time is impossible, or further from the axis than the snap tolerance.
    """
    check_time(time)
    step, phase = config.step.value, config.phase.value  # integers are faster than Timedelta
    steps, rest = divmod(time.value - phase, step)
    snapped = pd.Timestamp((steps + (2 * rest >= step)) * step + phase)
    distance = abs(time - snapped)
    if distance > config.snap_tolerance:
        raise QualityError(
            OFF_STEP,
            f"time {time:%Y-%m-%d %H:%M:%S} is {distance.total_seconds():g} s off the step of "
            f"{config.step.total_seconds() / 60:g} min; set 'step', 'phase' (where all scans lie "
            "off the full hour) or 'snap_tolerance' (where single scans are late) in the network "
            f"configuration, for example 'phase: {(rest + phase) % step // 10**9}s' or "
            f"'snap_tolerance: {math.ceil(distance.total_seconds())}s'",
        )
    return snapped


def accumulation_times(
    start: pd.Timestamp | None, end: pd.Timestamp, config: RadarNetworkConfig
) -> tuple[pd.Timestamp, pd.Timedelta | None]:
    """Valid time (the end) and interval of an accumulation.

    The configuration's ``accumulation`` and ``time_marks`` are used if the file has no start. A
    start equal to the end counts as none: some producers write that.

    Raises
    ------
    TimeError
        If the accumulation ends before it starts.
    """
    if start is not None and start < end:
        return end, end - start
    if start is not None and start > end:
        raise TimeError(
            f"accumulation starts at {start} and ends before, at {end}; correct the files"
        )
    if config.time_marks == "start" and config.accumulation is not None:
        return end + config.accumulation, config.accumulation
    return end, config.accumulation


def is_other_interval(interval: pd.Timedelta, quantity: Quantity, wanted: pd.Timedelta) -> bool:
    """Whether a scan is a mean over another interval than the scans of its archive.

    Rates and reflectivity may be those of a moment, so a shorter interval fits.
    """
    share = interval / wanted
    return share > 1 + MOST_OFF or (quantity == "accumulation" and share < 1 - MOST_OFF)


def check_interval(interval: pd.Timedelta | None, units: str, config: RadarNetworkConfig) -> None:
    """Reject a scan that is a mean over another interval than the others of its archive.

    ``accumulation`` of the configuration says how long the intervals are, else they are as long
    as the step. A sum of an hour on the grid of sums of 5 minutes would otherwise become a scan
    like the others.

    Parameters
    ----------
    interval : that the file tells; None if it tells none, or the scan is of a moment.

    Raises
    ------
    QualityError
        If the intervals differ by more than a share of `MOST_OFF`.
    """
    wanted = config.accumulation or config.step
    if interval is None or interval <= pd.Timedelta(0):  # `units` rejects it where it is needed
        return
    quantity = parse_unit(units)[0]
    if not is_other_interval(interval, quantity, wanted):
        return
    word = "sum" if quantity == "accumulation" else "mean"
    key = "step" if config.accumulation is None else "accumulation"
    raise QualityError(
        OTHER_INTERVAL,
        f"holds a {word} over {duration_text(interval)}, but '{key}' of the network configuration "
        f"is {duration_text(wanted)}: scans of different intervals must not stand in one archive. "
        "Leave such files out ('source', 'exclude'); if they are the ones that you want, set "
        f"'accumulation: {interval.total_seconds() / 60:g}min' in the network configuration",
    )
