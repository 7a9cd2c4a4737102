"""The rules that all decisions about a batch share: precedence, period, and log entries.

Owns what does not change within a batch. What follows from it is `squall.pipeline.ingest.merge`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from squall.datasets.archive.records import Rejection
from squall.datasets.grid import Grid
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.ingest.file_marks import mark_of_unused_file, partial_version
from squall.pipeline.ingest.reading import FilePart

IMPROBABLE_TIME = "improbable time"
EARLY_MARGIN = pd.Timedelta("3653D")  # ten years
# a clock that lost its time counts from 2000 on; a few days may pass before it is set
CLOCK_RESET = pd.Timestamp("1999-12-31T12:00"), pd.Timestamp("2000-01-03")
FIRST_RADARS = pd.Timestamp("1985-01-01")  # no archive of digital scans is older


@dataclass(frozen=True)
class Rules:
    """What a decision depends on, beside the files and the archive.

    Parameters
    ----------
    network : configuration of the files.
    grid : the archive's; None before there is an archive.
    since, until : period of this run, both inclusive; scans outside it are ignored.
    cut_files : addresses of files with scans outside the period. Such a file is read again by a
        run with another period.
    stored_from : valid time of the archive's first scan; None before there is one.
    """

    network: RadarNetworkConfig
    grid: Grid | None = None
    since: pd.Timestamp | None = None
    until: pd.Timestamp | None = None
    cut_files: frozenset[str] = frozenset()
    stored_from: pd.Timestamp | None = None

    def improbable(self, time: pd.Timestamp) -> str | None:
        """Why the time of a scan is too early to be right; None if it is not.

        One scan of a wrong year would lengthen the archive's time axis by decades. `begins` and
        ``since`` allow earlier times. Times in the future are refused by the reader.
        """
        allowed = [t for t in (self.network.begins, self.since) if t is not None]
        if allowed and time >= min(allowed):
            return None
        advice = f"if it is right, set 'begins: {time:%Y-%m-%d}' in the configuration"
        if time < FIRST_RADARS:
            return f"its time is before {FIRST_RADARS:%Y}; {advice}"
        first, last = CLOCK_RESET
        if first <= time < last and (self.stored_from is None or self.stored_from >= last):
            return (
                f"its time, {time:%Y-%m-%d %H:%M}, is that of a clock that was reset to 2000; "
                + advice
            )
        if self.stored_from is not None and time < self.stored_from - EARLY_MARGIN:
            years = (self.stored_from - time) / pd.Timedelta("365.25D")
            return (
                f"its time is {years:.0f} years before the archive, which begins at "
                f"{self.stored_from:%Y-%m-%d}; {advice}"
            )
        return None

    def is_wanted(self, time: pd.Timestamp) -> bool:
        """Whether a time lies in the period."""
        return (self.since is None or time >= self.since) and (
            self.until is None or time <= self.until
        )

    def is_complete(self, file_part: FilePart) -> bool:
        """Whether this part ends its file, and none of the file's scans were ignored."""
        return file_part.remaining is None and file_part.identity not in self.cut_files

    def version(self, file_part: FilePart) -> str:
        """Version of the file for its mark."""
        version = file_part.request.file.version
        return version if self.is_complete(file_part) else partial_version(version)

    def rejection(
        self,
        file_part: FilePart,
        time: pd.Timestamp | None,
        rule: str,
        reason: str,
        checksum: int = 0,
    ) -> Rejection:
        """Log entry of a scan, or of a whole file if ``time`` is None."""
        digest = file_part.report.digest if file_part.report else ""
        mark = mark_of_unused_file(file_part.identity, self.version(file_part), self.network)
        return Rejection(file_part.identity, digest, reason, time, rule, mark, checksum)
