"""When it rains at a place, in fields for programs.

Public: `when`.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from squall.datasets.times import utc_text
from squall.pipeline.point.sentence import LIKELY, RainTimes


def when(
    rain: RainTimes | None,
    *,
    rain_now: bool | None = None,
    reference: pd.Timestamp | None = None,
    known_until: pd.Timestamp | None = None,
    is_known: bool = False,
    highest_chance: float | None = None,
) -> dict[str, Any]:
    """Whether it rains, and when that begins and ends; times are UTC, None = not known.

    Parameters
    ----------
    rain : what the forecast says of the times; None: nothing.
    rain_now : whether it rained in the last scan; None: the place was not observed.
    reference : time of the last scan.
    known_until : the last time before the first that is not known.
    is_known : whether the place is known to the end of the forecast.
    highest_chance : the highest chance of a lead time that is known.

    Returns
    -------
    ``rain`` is one of

    - ``now``: it rains already,
    - ``later``: rain will begin,
    - ``unlikely``: the chance is lower than that of no rain, but it is not zero,
    - ``none``: it stays dry to the end of the forecast,
    - ``unknown``: the radar did not see enough. **This is not "no rain".**

    ``begins`` is None while it rains. If the last scan did not observe the
    place and it rains at the first lead time, the begin is not known, and ``begins_not_after`` is
    this time. ``begins_earliest`` and ``begins_latest`` are the percentiles 10 and 90 of the begin
    among the members that have rain. If the rain lasts to the end of what is known, ``ends`` is
    None, and ``ends_not_before`` is this end. ``begins_again`` is the begin of a second spell of
    rain, and ``chance_again`` the highest chance of a lead time from then on.
    """
    state = _state(rain, rain_now, is_known, highest_chance)
    result = {
        "rain": state,
        "rain_now": rain_now,
        "is_known": is_known,
        "highest_chance": highest_chance,
        "chance_again": None if rain is None else rain.again_chance,
        **dict.fromkeys(_TIMES),
    }
    times: dict[str, pd.Timestamp | None] = {"known_until": known_until}
    if rain is None or rain.begin is None:
        times["ends_not_before"] = reference if state == "now" else None
    else:
        if not rain_now:
            times |= _begins(rain)
        times |= {"ends": rain.end, "ends_not_before": rain.horizon if rain.end is None else None}
        times["begins_again"] = rain.again
    return result | {name: None if time is None else utc_text(time) for name, time in times.items()}


_TIMES = (
    "known_until", "begins", "begins_not_after", "begins_earliest", "begins_latest", "ends",
    "ends_not_before", "begins_again",
)  # fmt: skip


def _state(
    rain: RainTimes | None, rain_now: bool | None, is_known: bool, highest_chance: float | None
) -> str:
    if rain_now:
        return "now"
    chance = max(rain.chance if rain else 0.0, highest_chance or 0.0)
    if chance >= LIKELY:
        return "later"
    if rain is None or not is_known:
        return "unknown"
    return "unlikely" if chance else "none"


def _begins(rain: RainTimes) -> dict[str, pd.Timestamp | None]:
    if not rain.is_begin_known:
        return {"begins_not_after": rain.begin, "begins_latest": rain.begin_range[1]}
    earliest, latest = rain.begin_range
    return {"begins": rain.begin, "begins_earliest": earliest, "begins_latest": latest}
