"""The clock of a live service: the machine's, or that of a replay, which runs faster.

Public: `Clock`, `ReplayClock`.
"""

from __future__ import annotations

import time

import pandas as pd

from squall.datasets.times import now


class Clock:
    """The machine's clock."""

    speed = 1.0

    def now(self) -> pd.Timestamp:
        """The present moment, naive UTC."""
        return now()

    def sleep(self, seconds: float) -> None:
        """Wait, in seconds of this clock."""
        time.sleep(seconds)


class ReplayClock(Clock):
    """A clock that starts at a moment of the past and runs faster than real time."""

    def __init__(self, start: pd.Timestamp, speed: float) -> None:
        self._start, self.speed = start, speed
        self._began = time.monotonic()

    def now(self) -> pd.Timestamp:
        elapsed = (time.monotonic() - self._began) * self.speed
        return self._start + pd.Timedelta(seconds=elapsed)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / self.speed)
