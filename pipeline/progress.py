"""Progress of long work: a bar on a terminal, log lines elsewhere.

Both say how much is done of how much, how fast it goes, and how long it will take.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

import pandas as pd
from tqdm import tqdm

from squall.datasets.times import duration_text

Item = TypeVar("Item")
log = logging.getLogger("squall")

LINE_EVERY_S = 60.0  # without a terminal; also a line at each quarter


def shows_bars() -> bool:
    """Whether to draw bars: standard error is a terminal, and the user did not type --quiet."""
    return log.isEnabledFor(logging.INFO) and sys.stderr.isatty()


class _Bar(tqdm):
    """A bar of one process. tqdm's lock is a semaphore, which a killed process leaves behind."""

    _lock = threading.RLock()


class Progress:
    """Counts finished items of a total, and shows them; a context manager.

    Parameters
    ----------
    total : number of items; it may be set later, before the first `advance`.
    unit : name of one item.
    """

    def __init__(self, label: str, total: int, unit: str = "") -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._started = self._last_line = time.monotonic()
        self._bar = _Bar(desc=label, total=total, unit=unit or "it", disable=not shows_bars())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def advance(self, count: int = 1) -> None:
        """Add finished items."""
        if not count:
            return
        quarter_before = self._quarter()
        self.done += count
        self._bar.total = self.total
        self._bar.update(count)
        is_long_ago = time.monotonic() >= self._last_line + LINE_EVERY_S
        if self._bar.disable and (self._quarter() > quarter_before or is_long_ago):
            self._last_line = time.monotonic()
            log.info("%s", self)

    def _quarter(self) -> int:
        return 4 * self.done // max(1, self.total)

    def __str__(self) -> str:
        units = f" {self.unit}s" if self.unit else ""
        seconds = time.monotonic() - self._started
        rate = self.done / max(seconds, 1e-3)
        pace = f"{rate:.3g} a second" if rate >= 1 else f"{60 * rate:.3g} a minute"
        left = pd.Timedelta(seconds=(self.total - self.done) / rate if rate else 0.0)
        time_left = f", {duration_text(left)} left" if self.done < self.total else ""
        share = 100 * self.done // max(1, self.total)
        return (
            f"{self.label}: {self.done:,} of {self.total:,}{units} ({share} %), {pace}{time_left}"
        )


def tracked(items: Iterable[Item], label: str, total: int, unit: str = "") -> Iterator[Item]:
    """Yield the items, and show the `Progress`."""
    with Progress(label, total, unit) as progress:
        for item in items:
            yield item
            del item  # a large one must not be held while the next is made
            progress.advance()
