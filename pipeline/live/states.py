"""Which run is wanted, and what state the published forecast is in. Pure functions of times.

Public: `State`, `Run`, `Arrivals`, `Order`, `wanted_run`, `state_of`, `is_late`,
`overdue_at`, `STATES`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd

from squall.datasets.times import duration_text
from squall.pipeline.live.config import LiveConfig

FRESH, GAP, LATE, FALLBACK, STALE, DOWN = "fresh", "gap", "late", "fallback", "stale", "down"
STATES = (FRESH, GAP, LATE, FALLBACK, STALE, DOWN)  # from good to bad


class Arrivals(NamedTuple):
    """What a look at the radar files found."""

    newest: pd.Timestamp | None
    """valid time of the newest good scan; None if there is none"""
    step: pd.Timedelta | None
    """of the archive"""
    missing: tuple[pd.Timestamp, ...] = ()
    """scans that the model would use before the newest one, and that are not there"""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """what is wrong with the configuration for this radar, and holds up no forecast"""


class Run(NamedTuple):
    """A published forecast."""

    id: str
    reference: pd.Timestamp
    lead_times: int
    model: str
    missing: tuple[pd.Timestamp, ...] = ()
    """as `Arrivals.missing` when it was ordered"""
    fallback: str = ""
    """why the model was not used; empty if it was"""


class Order(NamedTuple):
    """A forecast to make."""

    reference: pd.Timestamp
    lead_times: int
    missing: tuple[pd.Timestamp, ...] = ()
    """as `Arrivals.missing`"""
    fallback: str = ""


class State(NamedTuple):
    """The state of the published forecast."""

    name: str
    reason: str
    next_expected: pd.Timestamp | None
    """when the next scan is expected"""


def wanted_run(
    now: pd.Timestamp, arrivals: Arrivals, run: Run | None, config: LiveConfig
) -> Order | None:
    """The forecast to make now; None if the published one is still right.

    If the next scan is late, the forecast gets more lead times, so that its valid times reach the
    configured horizon from now on. If a scan that was missing has come since, it is made again.
    """
    newest, step = arrivals.newest, arrivals.step
    if newest is None or step is None or now - newest > config.stale_after:
        return None
    lead_times = config.lead_times(step)
    if is_late(now, newest, step, config):
        horizon = now + pd.Timedelta(minutes=config.minutes)
        lead_times = max(lead_times, math.ceil((horizon - newest) / step))
    order = Order(newest, lead_times, arrivals.missing)
    if run is None or newest > run.reference:
        return order
    if newest < run.reference:
        return None
    is_filled = len(arrivals.missing) < len(run.missing)
    return order if lead_times > run.lead_times or is_filled else None


def state_of(
    now: pd.Timestamp,
    run: Run | None,
    step: pd.Timedelta | None,
    config: LiveConfig,
    *,
    problems: tuple[str, ...] = (),
    failure: str = "",
) -> State:
    """What state the published forecast is in; the worst that holds.

    Parameters
    ----------
    run : the published forecast; None if there is none.
    step : time between two scans.
    problems : what went wrong in this cycle.
    failure : why no forecast could be made from the newest scan, if none could.
    """
    if run is None:
        reason = failure or (problems[0] if problems else "no scan has come yet")
        return State(DOWN, f"there is no forecast: {reason}", None)
    age = now - run.reference
    last = f"the last scan is of {run.reference:%Y-%m-%d %H:%M} UTC, {_age_text(age)}"
    cause = f": {problems[0]}" if problems else ""
    expected = _next_expected(now, run.reference, step, config)
    if age > config.stale_after:
        return State(STALE, f"{last}{cause}", expected)
    if failure:
        return State(DOWN, f"no forecast could be made from the newest scan: {failure}", expected)
    if run.fallback:
        reason = f"extrapolation in place of {config.model}: {run.fallback}"
        return State(FALLBACK, reason, expected)
    if step is not None and is_late(now, run.reference, step, config):
        return State(LATE, f"{last}{cause}", expected)
    if run.missing:
        times = ", ".join(f"{time:%H:%M}" for time in run.missing)
        return State(GAP, f"the scan of {times} UTC is missing", expected)
    return State(FRESH, last, expected)


def is_late(
    now: pd.Timestamp, newest: pd.Timestamp, step: pd.Timedelta, config: LiveConfig
) -> bool:
    """Whether the scan after the newest one has not come in its usual time."""
    return now > newest + step + config.usual_latency


def overdue_at(
    now: pd.Timestamp, reference: pd.Timestamp, step: pd.Timedelta, config: LiveConfig
) -> pd.Timestamp:
    """When the next run is overdue: the next scan has had its time to come, and to be forecast.

    A forecast may take two deadlines, if the model fails and extrapolation takes its place.
    """
    expected = _next_expected(now, reference, step, config)
    assert expected is not None
    return expected + pd.Timedelta(seconds=math.ceil(config.poll_s + 2 * config.deadline_s))


def _age_text(age: pd.Timedelta) -> str:
    text = duration_text(abs(age))
    return f"{text} old" if age >= pd.Timedelta(0) else f"{text} in the future"


def _next_expected(
    now: pd.Timestamp, reference: pd.Timestamp, step: pd.Timedelta | None, config: LiveConfig
) -> pd.Timestamp | None:
    """The first time from now on at which a scan usually arrives."""
    if step is None:
        return None
    steps = math.ceil((now - reference - config.usual_latency) / step)
    return reference + max(1, steps) * step + config.usual_latency
