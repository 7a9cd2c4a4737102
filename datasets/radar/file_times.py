"""When a file's scans are: by its name, and on the archive's regular step."""

import re
from datetime import datetime
from functools import lru_cache
from pathlib import PurePosixPath

import pandas as pd

from squall.datasets.errors import DataError
from squall.datasets.radar.network_config import NAME_DIGITS, RadarNetworkConfig
from squall.datasets.radar.quality import OFF_STEP, QualityError, check_time


def time_from_name(path: str, config: RadarNetworkConfig) -> pd.Timestamp | None:
    """The valid time by a file's name, on the step; None where there is none.

    Where eras name their files in their own ways, the era that the time lies in decides.
    """
    for era in reversed(config.all_eras):
        time = _named(PurePosixPath(path).name, era)
        if time is not None and config.at(time) is era:
            return time
    return None


def _named(name: str, config: RadarNetworkConfig) -> pd.Timestamp | None:
    if config.time_in_name is None:
        return None
    found = _pattern(config.time_in_name).search(name)
    if not found:
        return None
    try:
        valid = pd.Timestamp(datetime.strptime(found[0], config.time_in_name))
    except ValueError:
        return None
    if config.time_marks == "start" and config.accumulation is not None:
        valid += config.accumulation
    try:
        return snap_to_step(valid, config)
    except DataError:
        return None


@lru_cache(maxsize=64)
def _pattern(time_in_name: str) -> re.Pattern[str]:
    pattern = re.escape(time_in_name)
    for code, digits in NAME_DIGITS.items():
        pattern = pattern.replace(f"%{code}", rf"\d{{{digits}}}")
    return re.compile(pattern)


def snap_to_step(time: pd.Timestamp, config: RadarNetworkConfig) -> pd.Timestamp:
    """The time on the archive's regular axis that is nearest, if it is near enough.

    Raises
    ------
    QualityError
        If the time cannot be, or lies further off than the snap tolerance.
    """
    check_time(time)
    step, phase = config.step.value, config.phase.value  # in integers, for speed
    ticks, rest = divmod(time.value - phase, step)
    snapped = pd.Timestamp((ticks + (2 * rest >= step)) * step + phase)
    off = abs(time - snapped)
    if off > config.snap_tolerance:
        raise QualityError(
            OFF_STEP,
            f"time {time:%Y-%m-%d %H:%M:%S} is {off.total_seconds():g} s off the step of "
            f"{config.step.total_seconds() / 60:g} min; set 'step', 'phase' (where scans lie off "
            "the full hour) or 'snap_tolerance' in the network configuration",
        )
    return snapped
