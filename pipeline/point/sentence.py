"""What a forecast says about a place, in one sentence.

Public: `RainTimes`, `sentence`, `clock`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

LIKELY = 0.5  # below this chance, no rain is more likely than rain


@dataclass(frozen=True)
class RainTimes:
    """When it rains at a place.

    Parameters
    ----------
    reference, horizon : times of the last scan and of the last lead time that is known.
    threshold_mm_h : rain counts from this rate on.
    chance : chance of rain at any time from ``reference`` to ``horizon``, 0 to 1; of one forecast
        without chances 0 or 1.
    begin, end : of the first rain; None if there is none, ``end`` also if it is after ``horizon``.
    has_chances : whether the forecast is an ensemble.
    is_cut : whether the place is not known at later lead times of the forecast.
    is_begin_known : False if the last scan did not observe the place, and it rains at the first
        lead time: the rain may have begun before.
    begin_range : percentiles 10 and 90 of ``begin`` among the members that have rain; None = not
        known.
    again : when it rains again after ``end``; None = it does not, or not likely enough.
    again_chance : highest chance of a lead time from ``again`` on, 0 to 1; of one forecast 1.
    """

    reference: pd.Timestamp
    horizon: pd.Timestamp
    threshold_mm_h: float
    chance: float
    begin: pd.Timestamp | None
    end: pd.Timestamp | None
    has_chances: bool
    is_cut: bool = False
    is_begin_known: bool = True
    begin_range: tuple[pd.Timestamp | None, pd.Timestamp | None] = (None, None)
    again: pd.Timestamp | None = None
    again_chance: float | None = None


def sentence(rain: RainTimes | None) -> str:
    """Whether and when it rains; times are UTC. None: the forecast is not known at the place."""
    if rain is None:
        return "not known: the radar did not observe what comes to this place"
    horizon = clock(rain.horizon, rain.reference)
    text = _rain(rain, horizon)
    return f"{text}; not known after {horizon}" if rain.is_cut else text


def _rain(rain: RainTimes, horizon: str) -> str:
    if rain.chance == 0:
        return f"dry until {horizon}" + (", in all members" if rain.has_chances else "")
    if rain.begin is None:
        if rain.chance >= LIKELY:
            return f"rain {_percent(rain.chance)} until {horizon}, too few members to say when"
        return f"probably dry until {horizon}, rain {_percent(rain.chance)}"
    end = f"until after {horizon}"
    if rain.end is not None:
        end = f"until about {clock(rain.end, rain.reference)}"
    end += _again(rain)
    if rain.begin == rain.reference:
        return f"raining already, {end}"
    begin = f"rain from {clock(rain.begin, rain.reference)}"
    begin += "" if rain.is_begin_known else " or earlier"
    if not rain.has_chances:
        return f"{begin}, {end}"
    text = f"{begin}, {_percent(rain.chance)}, {end}"
    return text if rain.chance >= LIKELY else f"probably dry; if not, {text}"


def _again(rain: RainTimes) -> str:
    if rain.again is None:
        return ""
    chance = rain.again_chance if rain.has_chances else None
    text = f", again from about {clock(rain.again, rain.reference)}"
    return text if chance is None else f"{text}, {_percent(chance)}"


def _percent(chance: float) -> str:
    """A chance that is neither none nor certain is not written as 0 or 100 %."""
    if 0 < chance < 0.01:
        return "below 1 %"
    if 0.99 < chance < 1:
        return "above 99 %"
    return f"{100 * chance:.0f} %"


def clock(time: pd.Timestamp, reference: pd.Timestamp) -> str:
    """A time to the minute, with its date if that is another than the reference time's."""
    time = time.round("min")
    return f"{time:%H:%M}" if time.date() == reference.date() else f"{time:%d %b %H:%M}"
