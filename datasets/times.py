"""Times and durations: the only module that reads them from text.

One grammar holds for every option of the command line and every key of a configuration:

=========  ====================================================================================
time       ``2024-06-01T12``, ``2024-06-01T12:00``, ``2024-06-01 12:00:30``, ``20240601T1200``;
           UTC, or with ``Z`` or an offset like ``+02:00``
date       ``2024-06-01``, ``20240601``, also the month ``2024-06`` and the year ``2024``: the
           first moment of the day, month or year where a period begins, and the last moment
           where an inclusive period ends
age        a duration before now, where an option says so: ``2D``, ``36h``; ``now`` is none
duration   numbers with units: ``5min``, ``1h 30min``, ``2.5h``, ``30s``, ``2D``, ``1W``;
           also ``00:05:00`` and ISO 8601 (``PT5M``). A number without a unit is refused.
=========  ====================================================================================

Units of time inside files (``seconds since 1970-01-01``) are decoded by xarray. It ignores what it
does not understand, such as the name of a time zone, so `check_utc` reads them first.

Times are naive UTC `pandas.Timestamp`, durations are `pandas.Timedelta`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from functools import partial
from typing import Annotated, Any

import pandas as pd
from pydantic import BeforeValidator

TIME_EXAMPLE = "write it like 2024-06-04 or 2024-06-04T12:00"
DURATION_EXAMPLE = "write it like 5min, 1h or 30s"
AGE_EXAMPLE = "write it like 2D, 36h or 30min"

_UNITS = {
    "ms": "ms", "s": "s", "sec": "s", "second": "s", "seconds": "s",
    "min": "min", "minute": "min", "minutes": "min",
    "h": "h", "hour": "h", "hours": "h",
    "d": "D", "day": "D", "days": "D",
    "w": "W", "week": "W", "weeks": "W",
}  # fmt: skip
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)
_CLOCK = re.compile(r"(\d+):([0-5]\d):([0-5]\d(?:\.\d+)?)")
_ISO_DURATION = re.compile(r"P(?=.)(?:\d+D)?(?:T(?=.)(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?")
_DATE = re.compile(r"\d{4}(?:-\d{2}(?:-\d{2})?)?|\d{8}")
_TIME = re.compile(
    r"(?:\d{4}-\d{2}-\d{2}|\d{8})"
    r"(?:[T ](?:\d{2}(?::\d{2}(?::\d{2}(?:\.\d+)?)?)?|\d{4}(?:\d{2})?)"
    r"(?: ?(?:Z|UTC|[+-]\d{2}:?\d{2}))?)?",
    re.IGNORECASE,
)
_TIME_UNITS = re.compile(
    r"[a-z]+ +since +(?:\d{1,4}([-/])\d{1,2}\1\d{1,2}|\d{8}|\d{4}(?:-\d{2})?)"
    r"(?P<clock>T\d{4}(?:\d{2})?|[T ] *\d{1,2}(?::\d{1,2}(?::\d{1,2}(?:\.\d*)?)?)?)?"
    r" *(?P<zone>.*)",
    re.IGNORECASE,
)
_ZONE_NAMES = ("time_zone", "timezone", "tz")  # attributes that some producers add
_UTC = re.compile(r"(?:Z|UTC|GMT)?", re.IGNORECASE)
_OFFSET = re.compile(r"[+-](?:0?\d|1[0-4])(?::[0-5]\d)?|[+-](?:0\d|1[0-4])[0-5]\d")


def parse_time(value: Any) -> pd.Timestamp:
    """Read a time; a date alone is its first moment.

    Parameters
    ----------
    value : text of the grammar above, or a date or time object (YAML makes them). An offset is
        converted to UTC.

    Returns
    -------
    Naive UTC.

    Raises
    ------
    ValueError
        If the value is no time; the message shows the value and an example.
    """
    if isinstance(value, (date, datetime)) and value is not pd.NaT:
        time = pd.Timestamp(value)
    else:
        text = value.strip() if isinstance(value, str) else ""
        if not (_TIME.fullmatch(text) or _DATE.fullmatch(text)):
            raise ValueError(f"{value!r} is no time; {TIME_EXAMPLE}")
        try:
            time = pd.Timestamp(text)
        except ValueError as error:  # like the 30th of February
            raise ValueError(f"{value!r} is no time; {TIME_EXAMPLE}") from error
    time = to_utc(time)
    if not pd.Timestamp.min < time < pd.Timestamp.max:  # 1677 to 2262: what nanoseconds can hold
        raise ValueError(f"{value!r} is no time; {TIME_EXAMPLE}")
    return time


def parse_end(value: Any) -> pd.Timestamp:
    """Read the inclusive end of a period; a date alone is its last moment.

    Raises
    ------
    ValueError
        As `parse_time`.
    """
    time = parse_time(value)
    if not is_date(value):
        return time
    length = len(value.strip()) if isinstance(value, str) else 10
    following = time.to_period({4: "Y", 7: "M"}.get(length, "D")) + 1
    return following.start_time - pd.Timedelta("1ns")


def is_date(value: Any) -> bool:
    """Whether a value names a whole day, month or year."""
    if isinstance(value, str):
        return _DATE.fullmatch(value.strip()) is not None
    return isinstance(value, date) and not isinstance(value, datetime)


def parse_time_or_age(text: str, *, end: bool = False) -> pd.Timestamp:
    """Read a time, or an age: ``36h`` is a day and a half before now, ``now`` is the present.

    Parameters
    ----------
    end : whether the time is the inclusive end of a period, see `parse_end`.

    Raises
    ------
    ValueError
        If the text is neither a time nor an age, or if the age is negative.
    """
    if isinstance(text, str) and text.strip().lower() == "now":
        return now()
    try:
        parse_duration(text)
    except ValueError:
        pass
    else:
        return now() - parse_age(text)
    try:
        return parse_end(text) if end else parse_time(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a time, like 2024-06-01T12:00, nor a span before now, like 2D "
            "or 36h"
        ) from None


def parse_age(value: Any) -> pd.Timedelta:
    """Read an age: a duration that is not negative.

    Raises
    ------
    ValueError
        If the value is no duration with a unit, or is negative.
    """
    try:
        age = parse_duration(value)
    except ValueError as error:
        raise ValueError(f"{str(error).partition(';')[0]}; {AGE_EXAMPLE}") from None
    if age < pd.Timedelta(0):
        raise ValueError(f"{value!r} is negative; an age is a span before now, like 2D or 36h")
    return age


def parse_duration(value: Any) -> pd.Timedelta:
    """Read a duration with its unit.

    Raises
    ------
    ValueError
        If the value is no duration, or a number without a unit.
    """
    if isinstance(value, pd.Timedelta) and value is not pd.NaT:
        return value
    text = value.strip() if isinstance(value, str) else value
    if text is None or text in ("", "NaT") or _is_number(text):
        raise ValueError(f"{value!r} has no unit; {DURATION_EXAMPLE}")
    if not isinstance(text, str):
        raise ValueError(f"{value!r} is no duration; {DURATION_EXAMPLE}")
    sign = -1 if text.startswith("-") else 1
    try:
        return sign * _positive_duration(text.removeprefix("-"))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{value!r} is no duration; {DURATION_EXAMPLE}") from error


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, (int, float)) or (
        isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value) is not None
    )


def _positive_duration(text: str) -> pd.Timedelta:
    if _ISO_DURATION.fullmatch(text):
        return pd.Timedelta(text)
    total, place = pd.Timedelta(0), 0
    while amount := _AMOUNT.match(text, place):
        unit = _UNITS.get(amount[2].lower())
        if unit is None or amount[2] == "M":  # months in pandas, minutes in some programs
            raise ValueError(amount[2])
        total += pd.Timedelta(f"{amount[1]}{unit}")
        place = amount.end()
    clock = _CLOCK.fullmatch(text, place)
    if clock:
        total += pd.Timedelta(hours=int(clock[1]), minutes=int(clock[2]), seconds=float(clock[3]))
    elif place < len(text) or not text:
        raise ValueError(text)
    return total


def check_utc(attributes: Mapping[str, Any]) -> None:
    """Refuse a time variable of a file whose times are not surely UTC.

    Parameters
    ----------
    attributes : of the variable. The origin in ``units``, like ``seconds since 1970-01-01``, is
        UTC, or has ``Z``, ``UTC``, ``GMT`` or an offset in numbers, like ``+02:00``.

    Raises
    ------
    ValueError
        If the origin has another time zone, like ``CEST``, or is not written year, month, day; or
        if another attribute names another time zone.
    """
    units = attributes.get("units")
    if isinstance(units, str) and re.search(r"\bsince\b", units, re.IGNORECASE):
        _check_units(units)
    for name in _ZONE_NAMES:
        zone = attributes.get(name)
        if zone is not None and not _UTC.fullmatch(str(zone).strip()):
            raise ValueError(f"attribute {name} is '{zone}', not UTC")


def _check_units(units: str) -> None:
    matched = _TIME_UNITS.fullmatch(units.strip())
    if matched is None:
        raise ValueError(
            f"units '{units}' do not give the origin as year, month and day, like "
            "'seconds since 1970-01-01 00:00:00'"
        )
    zone = matched["zone"]
    if _UTC.fullmatch(zone):
        return
    if not _OFFSET.fullmatch(zone):
        raise ValueError(
            f"units '{units}' end in '{zone}', which is neither UTC nor an offset from it in "
            "numbers, like '+02:00'"
        )
    if not matched["clock"]:  # xarray takes some of these offsets for a time of day
        raise ValueError(f"units '{units}' have an offset, but no time of day before it")


def to_utc(time: pd.Timestamp) -> pd.Timestamp:
    """The same moment as naive UTC; a time without an offset is UTC already."""
    return time if time.tzinfo is None else time.tz_convert("UTC").tz_localize(None)


def now() -> pd.Timestamp:
    """The present moment, naive UTC."""
    return pd.Timestamp.now("UTC").tz_localize(None)


def utc_text(time: pd.Timestamp) -> str:
    """A time for machines, in ISO format: ``2024-06-01T12:00:00Z``."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def duration_text(duration: pd.Timedelta) -> str:
    """A duration for people: ``40 s``, ``12 min``, ``3 h 20 min``, ``12 days`` or ``16 years``."""
    seconds = duration.total_seconds()
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 2 * 1440:
        hours, rest = divmod(minutes, 60)
        return f"{hours} h {rest:02d} min" if rest else f"{hours} h"
    days = minutes // 1440
    return f"{days} days" if days < 2 * 365.25 else f"{int(days / 365.25)} years"


Time = Annotated[Any, BeforeValidator(parse_time)]
EndTime = Annotated[Any, BeforeValidator(parse_end)]
TimeOrAge = Annotated[Any, BeforeValidator(parse_time_or_age)]
EndTimeOrAge = Annotated[Any, BeforeValidator(partial(parse_time_or_age, end=True))]
Duration = Annotated[Any, BeforeValidator(parse_duration)]
Age = Annotated[Any, BeforeValidator(parse_age)]
