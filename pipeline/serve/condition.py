"""How far what is published may be trusted now, by the clock of this machine.

Public: `Condition`, `Report`, `report_of`.

`squall live` publishes its state in ``status.json``. A service that is dead cannot say so; its
heartbeat is overdue then, and the state is ``down``, whatever the file says.
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
    written: pd.Timestamp | None
    """by the clock of the machine that wrote it; None if the file could not be read"""
    poll: pd.Timedelta

    def condition(self, now: pd.Timestamp, overdue_after: pd.Timedelta) -> Condition:
        """The condition now.

        Parameters
        ----------
        now : UTC, of this machine's clock.
        overdue_after : the heartbeat may be older than the time between two looks by this.
        """
        if self.written is None or now - self.written <= self.poll + overdue_after:
            return Condition(self.state, self.reason, self.since)
        age = duration_text(now - self.written)
        reason = f"`squall live` does not run: its last heartbeat is {age} old"
        return Condition(DOWN, reason, utc_text(self.written))


def report_of(status_text: str | None) -> Report:
    """Read a ``status.json``; the state is `DOWN` if it is missing or cannot be read."""
    if status_text is None:
        return _unknown("there is no status.json: no `squall live` publishes here")
    try:
        status = json.loads(status_text)
        if status["state"] not in STATES:
            raise ValueError(f"state {status['state']!r}")
        return Report(
            status["state"],
            str(status["reason"]),
            status["since"],
            pd.Timestamp(status["written"]).tz_localize(None),
            pd.Timedelta(seconds=float(status["poll_s"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return _unknown(f"status.json cannot be read ({type(error).__name__}: {error})")


def _unknown(reason: str) -> Report:
    return Report(DOWN, reason, None, None, pd.Timedelta(0))
