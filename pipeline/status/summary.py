"""What an archive holds, as text and JSON: counts, gaps, coverage, rejected files.

Public: `status`, `ArchiveStatus`; `known_period`, `gaps_of`, `coverage` for the calendar picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.addresses import HTTP, protocol_of
from squall.datasets.archive.records import MISSING, OK, REDUNDANT, REJECTED, Rejection
from squall.datasets.archive.repository import open_repository, repository_exists
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.archive.snapshots import snapshot_count, tags_of
from squall.datasets.open_archive import open_archive
from squall.datasets.runs import runs
from squall.pipeline.status.events import Events, events_of, pauses_of

SHOWN_GAPS = 10
SHOWN_DAYS = 5
SHOWN_FILES = 10
COUNTED_SNAPSHOTS = 500  # counting reads each snapshot, which is slow on object storage


@dataclass(frozen=True)
class Gap:
    """Consecutive time steps without a good scan, from `first` to `last`, UTC."""

    first: str
    last: str
    scans: int


@dataclass(frozen=True)
class WorstDay:
    """A day with missing scans: number of good scans, and of time steps outside of pauses."""

    date: str
    present: int
    expected: int


@dataclass(frozen=True, eq=False)
class Coverage:
    """Number of scans in each day or hour, from the first to the last scan.

    Parameters
    ----------
    starts : (period,) datetime64[s], UTC, the first moment of each day or hour, without gaps.
    expected, present, rejected : (period,) number of time steps, good scans, rejected scans.
    """

    starts: npt.NDArray[np.datetime64]
    expected: npt.NDArray[np.int64]
    present: npt.NDArray[np.int64]
    rejected: npt.NDArray[np.int64]


@dataclass(frozen=True)
class ArchiveStatus:
    """Contents of an archive at its newest snapshot; times are UTC, sizes are in bytes.

    Parameters
    ----------
    missing : time steps without a good scan, those with a rejected scan included.
    gaps : gaps within events; a continuous archive is one event.
    pauses : gaps between events (`squall.pipeline.status.events`).
    worst_days : the days with the smallest shares of good scans, pauses not counted.
    rejected, rejections : files and scans that cannot be used; some of them have no time step.
    redundant : number of files that are not needed, because another file has their scans; by rule.
    size_bytes, snapshots : None if there are too many objects or snapshots to count.
    """

    address: str
    name: str
    title: str
    snapshot: str
    first: str | None
    last: str | None
    step_minutes: float
    height: int
    width: int
    pixel_size_m: float
    projection: str
    present: int
    missing: int
    rejected: int
    size_bytes: int | None
    size_uncompressed_bytes: int
    events: Events
    gaps: list[Gap]
    pauses: list[Gap]
    days: Coverage
    worst_days: list[WorstDay]
    rejections: list[Rejection]
    rejected_by_rule: dict[str, int]
    redundant: dict[str, int]
    snapshots: int | None
    tags: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        days = self.days
        dates = np.datetime_as_string(days.starts, unit="D").tolist()
        counts = zip(dates, days.expected, days.present, days.rejected, strict=True)
        return {field.name: getattr(self, field.name) for field in fields(self)} | {
            "events": dict(vars(self.events)),
            "gaps": [dict(vars(gap)) for gap in self.gaps],
            "pauses": [dict(vars(gap)) for gap in self.pauses],
            "worst_days": [dict(vars(day)) for day in self.worst_days],
            "days": [
                {
                    "date": date,
                    "expected": int(expected),
                    "present": int(present),
                    "rejected": int(rejected),
                }
                for date, expected, present, rejected in counts
            ],
            "rejections": [
                {
                    "file": r.file,
                    "rule": r.rule,
                    "reason": r.reason,
                    "time": r.time.isoformat() if r.time else None,
                }
                for r in self.rejections
            ],
        }

    def __str__(self) -> str:
        period = f"{self.first} to {self.last} UTC" if self.first else "no scan yet"
        expected = self.present + self.missing
        share = f", {_percent(self.present, expected)} of {expected}" if expected else ""
        snapshots = f"more than {COUNTED_SNAPSHOTS}" if self.snapshots is None else self.snapshots
        size = "not counted" if self.size_bytes is None else _size(self.size_bytes)
        tags = ", ".join(self.tags) or "none"
        lines = [
            f"{self.title} ({self.name})",
            f"  archive    {self.address}, snapshot {self.snapshot}",
            f"  period     {period}",
            f"  step       {self.step_minutes:g} min",
            f"  grid       {self.height} × {self.width} pixels of "
            f"{self.pixel_size_m / 1000:.3g} km, {self.projection}",
            f"  scans      {self.present} present, {self.missing} missing{share}",
            f"  size       {size} on disk, {_size(self.size_uncompressed_bytes)} uncompressed",
            f"  snapshots  {snapshots}, tags: {tags}",
            *_entry("events", self._event_lines()),
            *_entry("gaps", self._gap_lines()),
            *_entry("worst days", self._day_lines()),
            *_entry("rejected", self._rejection_lines()),
            *_entry("not needed", [_counts(self.redundant)] if self.redundant else []),
        ]
        return "\n".join(lines)

    def _event_lines(self) -> list[str]:
        if not self.pauses:
            return []
        events = self.events
        return [
            f"{events.periods}, with {_percent(events.present, events.expected)} of their "
            f"{events.expected} scans; {len(self.pauses)} pauses between them are no gaps"
        ]

    def _gap_lines(self) -> list[str]:
        if not self.gaps:
            return []
        lines = [f"{len(self.gaps)}, the longest:"] if len(self.gaps) > SHOWN_GAPS else []
        for gap in self.gaps[:SHOWN_GAPS]:
            last = "" if gap.scans == 1 else f" to {gap.last}"
            lines.append(f"{gap.first}{last}  {gap.scans} scan{'s' * (gap.scans > 1)}")
        return lines

    def _day_lines(self) -> list[str]:
        if self.days.starts.size < 2:
            return []
        return [
            f"{day.date}  {_percent(day.present, day.expected)} of {day.expected}"
            for day in self.worst_days
        ]

    def _rejection_lines(self) -> list[str]:
        if not self.rejections:
            return []
        lines = [f"{r.file}: {r.reason}" for r in self.rejections[:SHOWN_FILES]]
        if len(self.rejections) > SHOWN_FILES:
            lines.append(f"… and {len(self.rejections) - SHOWN_FILES} more (--json lists all)")
        return [f"{self.rejected}: {_counts(self.rejected_by_rule)}", *lines]


def status(address: Path | str) -> ArchiveStatus:
    """Summarise an archive; ``missing`` counts time steps between the first and the last scan.

    Raises
    ------
    EmptyArchiveError
        If nothing has been ingested yet.
    DataError
        If there is no archive at the address.
    """
    archive = open_archive(address)
    flags, start = known_period(archive)
    good = np.flatnonzero(flags == OK)
    is_pause = pauses_of(flags, archive.step)
    height, width = archive.grid.shape
    rejections = archive.rejections
    errors = [r for r in rejections if r.rule not in REDUNDANT]
    snapshots, tags = _snapshots(archive.address)

    def time_of(index: int) -> str:
        return f"{start + int(index) * archive.step:%Y-%m-%d %H:%M}"

    return ArchiveStatus(
        address=archive.address,
        name=archive.name,
        title=archive.title,
        snapshot=archive.snapshot,
        first=time_of(good[0]) if good.size else None,
        last=time_of(good[-1]) if good.size else None,
        step_minutes=archive.step.total_seconds() / 60,
        height=height,
        width=width,
        pixel_size_m=archive.grid.pixel_size_m,
        projection=archive.grid.projection_name,
        present=good.size,
        missing=int((flags != OK).sum()),
        rejected=len(errors),
        size_bytes=archive.bytes_on_disk(),
        size_uncompressed_bytes=good.size * height * width,
        events=events_of(flags, archive.step),
        gaps=gaps_of((flags != OK) & ~is_pause, start, archive.step),
        pauses=gaps_of(is_pause, start, archive.step),
        days=coverage(flags, start, archive.step, "D"),
        worst_days=_worst_days(coverage(flags, start, archive.step, "D", is_pause)),
        rejections=errors,
        rejected_by_rule=_by_rule(errors),
        redundant=_by_rule(r for r in rejections if r.rule in REDUNDANT),
        snapshots=snapshots,
        tags=tags,
    )


def _snapshots(address: str) -> tuple[int | None, dict[str, str]]:
    """Number of snapshots, or None above `COUNTED_SNAPSHOTS`, and tags; a plain Zarr has none."""
    if protocol_of(address) in HTTP or not repository_exists(address):
        return 0, {}
    return snapshot_count(address, COUNTED_SNAPSHOTS), tags_of(open_repository(address))


def known_period(archive: ScanStore) -> tuple[npt.NDArray[np.uint8], pd.Timestamp]:
    """Status (time,) from the first to the last good or rejected scan; time of the first."""
    known = np.flatnonzero(archive.status != MISSING)
    if not known.size:
        return archive.status[:0], archive.start
    return archive.status[known[0] : known[-1] + 1], archive.start + int(known[0]) * archive.step


def gaps_of(
    is_missing: npt.NDArray[np.bool_], start: pd.Timestamp, step: pd.Timedelta
) -> list[Gap]:
    """Times without a good scan, the longest first.

    Parameters
    ----------
    is_missing : (time,) one for each ``step`` from ``start``.
    """
    gaps = np.array(runs(is_missing), dtype=np.int64).reshape(-1, 2)
    if not gaps.size:
        return []
    lengths = gaps[:, 1] - gaps[:, 0]
    order = np.argsort(-lengths, kind="stable")
    firsts, lasts = (
        np.char.replace(np.datetime_as_string(_seconds(rows, start, step), unit="m"), "T", " ")
        for rows in (gaps[order, 0], gaps[order, 1] - 1)
    )
    triples = zip(firsts.tolist(), lasts.tolist(), lengths[order].tolist(), strict=True)
    return [Gap(*triple) for triple in triples]


def coverage(
    flags: npt.NDArray[np.uint8],
    start: pd.Timestamp,
    step: pd.Timedelta,
    unit: str,
    is_pause: npt.NDArray[np.bool_] | None = None,
) -> Coverage:
    """Count the scans of each day (``D``) or hour (``h``) of valid time.

    Parameters
    ----------
    flags : (time,) status, one for each ``step`` from ``start``.
    is_pause : (time,) the time steps at which no scan is expected. None: none.
    """
    if not flags.size:
        nothing = np.zeros(0, dtype=np.int64)
        return Coverage(np.zeros(0, dtype="datetime64[s]"), nothing, nothing, nothing)
    periods = _seconds(np.arange(flags.size), start, step).astype(f"datetime64[{unit}]")
    index = (periods - periods[0]).astype(np.int64)
    length = int(index[-1]) + 1
    expected = slice(None) if is_pause is None else ~is_pause
    starts = (periods[0] + np.arange(length)).astype("datetime64[s]")
    counts = (
        np.bincount(index[chosen], minlength=length)
        for chosen in (expected, flags == OK, flags == REJECTED)  # in the order of Coverage
    )
    return Coverage(starts, *counts)


def _worst_days(days: Coverage) -> list[WorstDay]:
    """Days with missing scans, the smallest share first.

    A day without any good scan is no worse day, but a part of a gap, which is listed there.
    """
    is_listed = (days.present < days.expected) & (days.present > 0)
    share = np.where(is_listed, days.present / np.maximum(days.expected, 1), np.inf)
    worst = np.argsort(share, kind="stable")[: min(SHOWN_DAYS, int(is_listed.sum()))]
    dates = np.datetime_as_string(days.starts[worst], unit="D").tolist()
    return [
        WorstDay(date, int(days.present[i]), int(days.expected[i]))
        for date, i in zip(dates, worst, strict=True)
    ]


def _seconds(
    rows: npt.NDArray[np.int64], start: pd.Timestamp, step: pd.Timedelta
) -> npt.NDArray[np.datetime64]:
    """Times of time steps, datetime64[s]; fast for millions of them."""
    seconds = int(start.timestamp()) + rows * int(step.total_seconds())
    return seconds.astype("datetime64[s]")


def _by_rule(rejections: Iterable[Rejection]) -> dict[str, int]:
    return dict(Counter(rejection.rule for rejection in rejections).most_common())


def _counts(by_rule: dict[str, int]) -> str:
    return ", ".join(f"{count} {rule}" for rule, count in by_rule.items())


def _entry(label: str, lines: list[str]) -> list[str]:
    """Lines with a label before the first; nothing if there are no lines."""
    return [f"  {label if i == 0 else '':<10} {line}" for i, line in enumerate(lines)]


def _percent(share: float, whole: float) -> str:
    """Percentage, rounded down, so that 100 % means every scan."""
    return f"{int(1000 * share / whole) / 10:g} %"


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
