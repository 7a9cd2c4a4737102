"""How far what is published may be trusted now, by the clock of this machine.

Public: `Condition`, `Report`, `Heartbeat`, `report_of`.

`squall live` publishes its state in ``status.json``. A service that is dead cannot say so; its
heartbeat is overdue then, and the state is ``down``, whatever the file says. In the same way a
forecast becomes ``stale`` between two heartbeats.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pandas as pd

from squall.datasets.times import duration_text, utc_text
from squall.pipeline.live.states import DOWN, FALLBACK, STALE, STATES


class Condition(NamedTuple):
    """The state of the published forecast."""

    state: str
    """one of `STATES`"""
    reason: str
    since: str | None

    @property
    def is_stale(self) -> bool:
        """Whether the forecast says nothing about now."""
        return self.state in (STALE, DOWN)

    @property
    def is_fallback(self) -> bool:
        """Whether extrapolation took the place of the model."""
        return self.state == FALLBACK

    def as_dict(self) -> dict[str, Any]:
        """For answers in JSON."""
        return {
            "state": self.state,
            "reason": self.reason,
            "since": self.since,
            "is_stale": self.is_stale,
            "is_fallback": self.is_fallback,
        }


class Report(NamedTuple):
    """What a ``status.json`` says."""

    state: str
    reason: str
    since: str | None
    beat: Heartbeat | None
    """None if the file could not be read"""

    def condition(self, now: pd.Timestamp, reference: pd.Timestamp | None) -> Condition:
        """The condition now.

        Parameters
        ----------
        now : UTC, of this machine's clock.
        reference : reference time of the newest run; None if there is none.
        """
        if self.beat is not None:
            silence = now - self.beat.machine_time
            if silence > self.beat.due_after:
                age = duration_text(silence)
                reason = f"`squall live` does not run: its last heartbeat is {age} old"
                return Condition(DOWN, reason, utc_text(self.beat.machine_time))
            time_of_service = self.beat.time + silence * self.beat.speed
            if reference is not None and time_of_service - reference > self.beat.stale_after:
                is_known = self.state in (STALE, DOWN)
                reason = f"the last scan is of {utc_text(reference)}"
                return Condition(*self[:3]) if is_known else Condition(STALE, reason, None)
        return Condition(self.state, self.reason, self.since)


class Heartbeat(NamedTuple):
    """The last sign of life of a live service, in which a replay has a clock of its own."""

    time: pd.Timestamp
    """by the clock of the service"""
    machine_time: pd.Timestamp
    """the same moment by the clock of its machine"""
    speed: float
    """how much faster the clock of the service runs"""
    due_after: pd.Timedelta
    """time of the machine after which the next one is overdue"""
    stale_after: pd.Timedelta
    """age of the last scan at which the forecast is stale"""


def report_of(status_text: str | None) -> Report:
    """Read a ``status.json``; the state is `DOWN` if it is missing or cannot be read."""
    if status_text is None:
        return Report(DOWN, "there is no status.json: no `squall live` publishes here", None, None)
    try:
        status = json.loads(status_text)
        if status["state"] not in STATES:
            raise ValueError(f"state {status['state']!r}")
        beat = Heartbeat(
            pd.Timestamp(status["heartbeat"]).tz_localize(None),
            pd.Timestamp(status["machine_time"]).tz_localize(None),
            float(status["speed"]),
            pd.Timedelta(seconds=float(status["heartbeat_due_s"])),
            pd.Timedelta(seconds=float(status["stale_after_s"])),
        )
        return Report(status["state"], str(status["reason"]), status["since"], beat)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"status.json cannot be read ({type(error).__name__}: {error})"
        return Report(DOWN, reason, None, None)
