"""Writing an archive: atomic commits of scans and of what was set aside.

Owns what a commit does; the arrays are `datasets.archive.layout`, reading is
`datasets.archive.archive`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.layout import (
    LOG,
    TIME_CHUNK,
    initialise,
    manifest_splitting,
    put_rows,
    reserve,
    start_of,
)
from squall.datasets.archive.records import (
    NO_TIME,
    OK,
    REDUNDANT,
    REJECTED,
    EmptyArchiveError,
    Rejection,
    check_format,
)
from squall.datasets.archive.repository import (
    BRANCH,
    INITIAL_SNAPSHOT,
    create_repository,
    open_repository,
    unwritable,
)
from squall.datasets.errors import BusyError, DataError
from squall.datasets.grid import Grid, grid_from_attributes
from squall.datasets.measures import BLOCK_STATISTICS, ScanMeasures, measure


@dataclass(frozen=True, eq=False)
class StoredScan:
    """One scan on its way into the archive.

    Parameters
    ----------
    codes : (y, x); None where another process holds them and writes them.
    source, digest : address and content digest (hexadecimal) of the file that it came from.
    file_mark : `records.file_mark` of that file.
    held_as : by what name another process holds the codes.
    measures : computed from the codes where they are not given.
    """

    time: pd.Timestamp
    codes: npt.NDArray[np.uint8] | None
    source: str
    digest: str
    file_mark: int = 0
    measures: ScanMeasures | None = None
    held_as: Any = None


# how far rejected scans lengthen the time axis: a wrong year in a name must not
REJECTED_MARGIN = pd.Timedelta("1D")

# puts the codes of scans, by row, into the array of a session that has to have so many rows
WriteCodes = Callable[[icechunk.Session, Mapping[int, StoredScan], int], None]


class ArchiveWriter:
    """Puts scans into an archive, one commit per call; the caller holds `write_lock`.

    Parameters
    ----------
    address : the archive; made by the first `commit` if there is none.
    step : spacing of the time axis.
    attributes : name, title and the like; plain JSON values.
    """

    def __init__(self, address: str | Path, step: pd.Timedelta, attributes: dict[str, Any]) -> None:
        self.address, self.step, self.attributes = os.fspath(address), step, attributes
        exists = Archive.exists(self.address)
        self._repository = open_repository(self.address) if exists else None
        self._looked_at: str | None = None

    def archive(self) -> Archive | None:
        """The archive as of the last commit; None before the first.

        The next `commit` rests on it: it fails if others commit meanwhile.
        """
        if self._repository is None:
            return None
        session = self._repository.readonly_session(branch=BRANCH)
        self._looked_at = session.snapshot_id
        try:
            return Archive(self.address, session)
        except EmptyArchiveError:
            return None

    def commit(
        self,
        grid: Grid,
        scans: Sequence[StoredScan],
        rejections: Sequence[Rejection],
        message: str,
        *,
        write_elsewhere: WriteCodes | None = None,
        keeps: Callable[[str, int], bool] = lambda file, file_mark: False,
    ) -> str:
        """Write scans and rejections in one atomic commit; returns the new snapshot.

        Scans replace what their time held. A rejection with a time marks a slot without a good
        scan; it is settled when its file or another one fills the slot after all. Times must lie
        on the step. A ``write_elsewhere`` gets a session that can be forked and must merge what
        its workers wrote before it returns. A file that gives anything settles what the log has
        of it, but for entries that ``keeps`` (file, mark) says are of another part of the file.

        Raises
        ------
        DataError
            If the archive is there already and of another grid, step or format, or the address is
            no place for one.
        BusyError
            If another process committed meanwhile; nothing of this batch was kept.
        """
        try:
            return self._commit_batch(grid, scans, rejections, message, write_elsewhere, keeps)
        except icechunk.IcechunkError as error:
            raise unwritable(self.address, error) from error

    def _commit_batch(
        self,
        grid: Grid,
        scans: Sequence[StoredScan],
        rejections: Sequence[Rejection],
        message: str,
        write_elsewhere: WriteCodes | None,
        keeps: Callable[[str, int], bool],
    ) -> str:
        if self._repository is None:
            self._repository = create_repository(self.address, manifest_splitting(grid))
        times = [s.time for s in scans]
        session = self._repository.writable_session(BRANCH)
        if self._looked_at not in (None, session.snapshot_id):
            raise self._conflict()
        self._looked_at = None
        group = self._group(session, grid, min(times, default=None))
        times += _near(group, self.step, times, rejections)
        if write_elsewhere is not None and scans:
            empty = group["time"].shape[0] == 0  # type: ignore[union-attr]
            if session.has_uncommitted_changes or empty or min(times) < start_of(group):
                # a session forks only while it is clean, and rows must not move meanwhile
                reserve(group, min(times), min(times))
                self._commit(session, f"time axis from {min(times):%Y-%m-%dT%H:%M}")
                session = self._repository.writable_session(BRANCH)
                group = zarr.open_group(session.store, mode="r+")
            by_row = self._by_row(group, scans)
            write_elsewhere(session, by_row, max(group["time"].shape[0], max(by_row) + 1))  # type: ignore[union-attr]
            group = zarr.open_group(session.store, mode="r+")
        if times:
            reserve(group, min(times), max(times))
        by_row = self._by_row(group, scans)
        if write_elsewhere is None:
            write_codes(group["rain_rate_code"], {row: s.codes for row, s in by_row.items()})
        described = json.dumps(self.attributes)
        if group.attrs["archive"] != described:
            group.attrs["archive"] = described
        _write_records(group, by_row)
        _write_log(group, self.step, scans, rejections, keeps)
        return self._commit(session, message)

    def _by_row(self, group: zarr.Group, scans: Sequence[StoredScan]) -> dict[int, StoredScan]:
        start = start_of(group)
        return {_row(s.time, start, self.step): s for s in sorted(scans, key=_time_of)}

    def _commit(self, session: icechunk.Session, message: str) -> str:
        if not session.has_uncommitted_changes:
            return str(session.snapshot_id)
        try:
            return session.commit(message)
        except icechunk.ConflictError as error:
            raise self._conflict() from error

    def _conflict(self) -> BusyError:
        return BusyError(
            f"{self.address}: another ingestion committed at the same moment; this batch was left "
            "out, run again"
        )

    def _group(
        self, session: icechunk.Session, grid: Grid, first: pd.Timestamp | None
    ) -> zarr.Group:
        try:
            group = zarr.open_group(session.store, mode="r+")
        except FileNotFoundError as error:
            if session.snapshot_id != INITIAL_SNAPSHOT:  # never begin anew over a damaged archive
                raise DataError(
                    f"{self.address}: its newest snapshot cannot be read; see what is damaged "
                    "with `squall archive check`"
                ) from error
            start = pd.Timestamp(0) if first is None else first
            return initialise(session, grid, self.step, start, self.attributes)
        check_format(self.address, group.attrs)
        step = pd.Timedelta(seconds=int(group.attrs["step_s"]))  # type: ignore[arg-type]
        if step != self.step:
            raise DataError(f"{self.address}: has a step of {step}, not {self.step}")
        here: Any = group
        there = grid_from_attributes(here["x"][:], here["y"][:], str(group.attrs["crs_wkt"]))
        difference = there.difference(grid)
        if difference is not None:
            raise DataError(f"{self.address}: is on another grid: {difference}")
        return group


def _near(
    group: zarr.Group,
    step: pd.Timedelta,
    times: Sequence[pd.Timestamp],
    rejections: Sequence[Rejection],
) -> list[pd.Timestamp]:
    """Times of rejections that lie on the time axis, once it holds ``times``, or close to it."""
    held = list(times)
    length = group["time"].shape[0]  # type: ignore[union-attr]
    if length:
        held += [start_of(group), start_of(group) + (length - 1) * step]
    if not held:
        return []
    first, last = min(held) - REJECTED_MARGIN, max(held) + REJECTED_MARGIN
    return [r.time for r in rejections if r.time is not None and first <= r.time <= last]


def _time_of(scan: StoredScan) -> pd.Timestamp:
    return scan.time


def _row(time: pd.Timestamp, start: pd.Timestamp, step: pd.Timedelta) -> int:
    row, rest = divmod(time - start, step)
    assert rest == pd.Timedelta(0), f"{time} is not on the step of {step} from {start}"
    return int(row)


def write_codes(array: Any, codes: Mapping[int, npt.NDArray[np.uint8] | None]) -> None:
    """Write scans at ascending rows of the code array, every chunk along time once."""
    rows = np.array(list(codes), dtype=np.int64)
    for chunk in np.unique(rows // TIME_CHUNK):
        part = rows[rows // TIME_CHUNK == chunk]
        put_rows(array, part, np.stack([np.asarray(codes[row]) for row in part.tolist()]))


def _write_records(group: zarr.Group, scans: Mapping[int, StoredScan]) -> None:
    if not scans:
        return
    arrays: dict[str, Any] = dict(group.arrays())
    rows = np.array(list(scans), dtype=np.int64)
    values = list(scans.values())
    measures = [s.measures if s.measures is not None else _measured(s) for s in values]
    for i, name in enumerate(BLOCK_STATISTICS):
        put_rows(arrays[f"block_{name}"], rows, np.stack([m.blocks[i] for m in measures]))
    put_rows(arrays["status"], rows, np.full(rows.size, OK, dtype=np.uint8))
    put_rows(arrays["checksum"], rows, np.array([m.checksum for m in measures], dtype=np.uint64))
    put_rows(arrays["seen"], rows, np.array([s.file_mark for s in values], dtype=np.uint64))
    digests = np.frombuffer(bytes.fromhex("".join(s.digest for s in values)), dtype=np.uint8)
    put_rows(arrays["digest"], rows, digests.reshape(rows.size, -1))
    put_rows(arrays["source"], rows, np.array([s.source for s in values], dtype="T"))


def _measured(scan: StoredScan) -> ScanMeasures:
    assert scan.codes is not None
    return measure(scan.codes)


def _write_log(
    group: zarr.Group,
    step: pd.Timedelta,
    scans: Sequence[StoredScan],
    rejections: Sequence[Rejection],
    keeps: Callable[[str, int], bool],
) -> None:
    """Mark rejected slots, settle what was made good, add what was set aside."""
    start = start_of(group)
    bad = {
        _row(r.time, start, step): r.checksum
        for r in rejections
        if r.time is not None and r.rule not in REDUNDANT
    }
    status: Any = group["status"]
    rows = np.array(sorted(row for row in bad if 0 <= row < status.shape[0]), dtype=np.int64)
    if rows.size:
        rows = rows[np.asarray(status.oindex[rows]) != OK]
        put_rows(status, rows, np.full(rows.size, REJECTED, dtype=np.uint8))
        checksums = np.array([bad[row] for row in rows.tolist()], dtype=np.uint64)
        put_rows(group["checksum"], rows, checksums)
    log: dict[str, Any] = dict(group[LOG].arrays())  # type: ignore[union-attr]
    settled = np.asarray(log["settled"][:])
    open_before = ~settled
    if open_before.any():
        files = np.asarray(log["file"][:]).astype(object)
        rules = np.asarray(log["rule"][:]).astype(object)
        again = {s.source for s in scans} | {r.file for r in rejections}
        filled = [_seconds(s.time) for s in scans]
        anew = {(r.file, _seconds(r.time)) for r in rejections if r.time is not None}
        times, seen = log["time"][:].tolist(), log["seen"][:].tolist()
        for i in np.flatnonzero(open_before).tolist():
            same = (files[i], times[i]) in anew
            settled[i] = same or (files[i] in again and not keeps(files[i], seen[i]))
        settled |= np.isin(log["time"][:], filled) & np.array(
            [rule not in REDUNDANT for rule in rules]
        )
    free = np.flatnonzero(settled)[: len(rejections)]
    rows = np.concatenate([free, settled.size + np.arange(len(rejections) - free.size)])
    if rejections:
        if rows[-1] >= settled.size:
            settled = np.concatenate([settled, np.ones(rows[-1] + 1 - settled.size, dtype=bool)])
            for array in log.values():
                array.resize((settled.size,))
        for name in ("file", "digest", "reason", "rule"):
            put_rows(log[name], rows, np.array([getattr(r, name) for r in rejections], dtype="T"))
        times = [NO_TIME if r.time is None else _seconds(r.time) for r in rejections]
        put_rows(log["time"], rows, np.array(times, dtype=np.int64))
        put_rows(log["seen"], rows, np.array([r.file_mark for r in rejections], dtype=np.uint64))
        settled[rows] = False
    if rejections or (open_before & settled).any():
        log["settled"][:] = settled


def _seconds(time: pd.Timestamp) -> int:
    return int(time.timestamp())
