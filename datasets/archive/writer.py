"""Writing an archive: each commit stores scans and rejections, all of them or none.

Owns what a commit does and the records of stored scans. The arrays are made by
`squall.datasets.archive.layout`, rejections are written by `squall.datasets.archive.log`; the lock
is the caller's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr

from squall.datasets.addresses import archive_address
from squall.datasets.archive.archive import Archive
from squall.datasets.archive.icechunk_errors import unwritable
from squall.datasets.archive.layout import (
    TIME_CHUNK,
    first_row_of,
    initialise,
    manifest_splitting,
    put_rows,
    reserve,
    row_of,
    start_of,
)
from squall.datasets.archive.log import KeepsEntry, write_log
from squall.datasets.archive.records import CODES, OK, EmptyArchiveError, Rejection, check_format
from squall.datasets.archive.repository import (
    BRANCH,
    INITIAL_SNAPSHOT,
    create_repository,
    open_repository,
)
from squall.datasets.errors import BusyError, DataError
from squall.datasets.grid import Grid, grid_from_attributes
from squall.datasets.measures import BLOCK_STATISTICS, ScanMeasures, measure


@dataclass(frozen=True, eq=False)
class StoredScan:
    """One scan to be stored.

    Parameters
    ----------
    codes : (y, x); None if another process holds the codes and writes them.
    source, digest : address and content digest (hexadecimal) of the file that it came from.
    file_mark : `records.file_mark` of that file.
    measures : computed from the codes if None.
    codes_key : by which `write_elsewhere` finds codes that another process holds.
    """

    time: pd.Timestamp
    codes: npt.NDArray[np.uint8] | None
    source: str
    digest: str
    file_mark: int = 0
    measures: ScanMeasures | None = None
    codes_key: Any = None


# Branches of a repository that begin so hold an archive that is being filled again.
NEW_BRANCH = "reread"

# A rejected scan lengthens the time axis by this much at most: a wrong year in a file's name would
# lengthen it by decades.
REJECTED_MARGIN = pd.Timedelta("1D")

# Writes the codes of scans, given by row, into a session whose arrays must get the given length.
WriteCodes = Callable[[icechunk.Session, Mapping[int, StoredScan], int], None]


def _keeps_nothing(file: str, mark: int) -> bool:
    return False


class ArchiveWriter:
    """Writes scans into an archive, one commit per call; the caller holds `write_lock`.

    Parameters
    ----------
    address : the archive; the first `commit` creates it if there is none.
    step : spacing of the time axis.
    attributes : name, title and the like; plain JSON values.
    """

    def __init__(self, address: str | Path, step: pd.Timedelta, attributes: dict[str, Any]) -> None:
        self.address, self.step, self.attributes = archive_address(address), step, attributes
        exists = Archive.exists(self.address)
        self._repository = open_repository(self.address) if exists else None
        self._expected_snapshot: str | None = None
        self._branch, self._is_emptied = BRANCH, False

    def start_again(self, key: str) -> str:
        """Let the next commits fill a new, empty archive beside the present one.

        Readers see the present archive until `put_in_place`. An interrupted attempt goes on if it
        had the same key and began at the same snapshot; `archive` then gives what it has filled.
        All other attempts are removed.

        Parameters
        ----------
        key : what decides the new archive: the files and how they are read.

        Returns
        -------
        The newest snapshot of the present archive.
        """
        assert self._repository is not None
        present = self._repository.lookup_branch(BRANCH)
        digest = blake2b(f"{present} {key}".encode(), digest_size=8).hexdigest()
        self._branch = f"{NEW_BRANCH}-{digest}"
        self.remove_unfinished(but=self._branch)
        if self._branch not in self._repository.list_branches():
            self._repository.create_branch(self._branch, present)
        self._is_emptied = self._repository.lookup_branch(self._branch) == present
        self._expected_snapshot = None
        return present

    def put_in_place(self, present: str) -> None:
        """Let the archive that `start_again` began take the place of the present one, atomically.

        The history goes on: all snapshots of the archive before can still be read.

        Raises
        ------
        BusyError
            If another process committed to the present archive meanwhile; it stays as it is.
        """
        assert self._repository is not None
        newest = self._repository.lookup_branch(self._branch)
        try:
            self._repository.reset_branch(BRANCH, newest, from_snapshot_id=present)
        except icechunk.IcechunkError as error:
            if self._repository.lookup_branch(BRANCH) != present:
                raise self._conflict() from error
            raise unwritable(self.address, error) from error
        self.remove_unfinished()
        self._branch = BRANCH

    def remove_unfinished(self, *, but: str = "") -> None:
        """Remove the archives that `start_again` began and that were not put in place.

        Parameters
        ----------
        but : branch to keep.
        """
        if self._repository is None:
            return
        for branch in self._repository.list_branches():
            if branch.startswith(NEW_BRANCH) and branch != but:
                self._repository.delete_branch(branch)

    def archive(self) -> Archive | None:
        """The archive as of the last commit; None before the first.

        The next `commit` fails if another process commits between this call and that one.
        """
        if self._repository is None or self._is_emptied:
            return None
        session = self._repository.readonly_session(branch=self._branch)
        self._expected_snapshot = session.snapshot_id
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
        keeps: KeepsEntry = _keeps_nothing,
    ) -> str:
        """Write scans and rejections in one atomic commit; returns the new snapshot.

        A scan replaces the scan that was stored for its time. `squall.datasets.archive.log` says
        what a rejection does. All times must lie on the step.

        Parameters
        ----------
        message : of the commit.
        write_elsewhere : writes the codes in other processes. It gets a session that can be forked
            and must merge the forks before it returns.
        keeps : whether a log entry with a file mark stays open when the file is read again.

        Raises
        ------
        DataError
            If the archive has another grid, step or format, or no archive can lie at the address.
        BusyError
            If another process committed meanwhile; nothing of this commit is stored.
        """
        try:
            return self._write_and_commit(grid, scans, rejections, message, write_elsewhere, keeps)
        except icechunk.IcechunkError as error:
            raise unwritable(self.address, error) from error

    def _write_and_commit(
        self,
        grid: Grid,
        scans: Sequence[StoredScan],
        rejections: Sequence[Rejection],
        message: str,
        write_elsewhere: WriteCodes | None,
        keeps: KeepsEntry,
    ) -> str:
        if self._repository is None:
            self._repository = create_repository(self.address, manifest_splitting(grid, self.step))
            self._expected_snapshot = INITIAL_SNAPSHOT
        session = self._repository.writable_session(self._branch)
        if self._expected_snapshot not in (None, session.snapshot_id):
            raise self._conflict()
        self._expected_snapshot = None
        times = [scan.time for scan in scans]
        group = self._open_or_initialise(session, grid, min(times, default=None))
        times += _rejected_times_near_axis(group, self.step, times, rejections)
        if write_elsewhere is not None and scans:
            session = self._write_elsewhere(session, group, scans, write_elsewhere)
            group = zarr.open_group(session.store, mode="r+")
        if times:
            reserve(group, min(times), max(times))
        by_row = self._by_row(group, scans)
        if write_elsewhere is None:
            write_codes(group[CODES], {row: s.codes for row, s in by_row.items()})
        attributes = json.dumps(self.attributes)
        if group.attrs["archive"] != attributes:
            group.attrs["archive"] = attributes
        _write_records(group, by_row)
        sources, filled = {scan.source for scan in scans}, {scan.time for scan in scans}
        write_log(group, self.step, rejections, sources=sources, filled=filled, keeps=keeps)
        return self._commit(session, message)

    def _write_elsewhere(
        self,
        session: icechunk.Session,
        group: zarr.Group,
        scans: Sequence[StoredScan],
        write_codes: WriteCodes,
    ) -> icechunk.Session:
        """Let other processes write the codes; returns the session that holds them."""
        assert self._repository is not None
        first = min(scan.time for scan in scans)
        is_empty = _length(group) == 0
        if session.has_uncommitted_changes or is_empty or first < start_of(group):
            # Only a clean session can be forked, and rows must not move while the forks write.
            reserve(group, first, first)
            committed = self._commit(session, f"time axis from {first:%Y-%m-%dT%H:%M}")
            session = self._repository.writable_session(self._branch)
            if session.snapshot_id != committed:
                # another ingestion may have stored scans that the caller did not know of
                raise self._conflict()
            group = zarr.open_group(session.store, mode="r+")
        by_row = self._by_row(group, scans)
        write_codes(session, by_row, max(_length(group), max(by_row) + 1))
        return session

    def _by_row(self, group: zarr.Group, scans: Sequence[StoredScan]) -> dict[int, StoredScan]:
        """Scans by ascending row."""
        start = start_of(group)
        ascending = sorted(scans, key=lambda scan: scan.time)
        return {row_of(scan.time, start, self.step): scan for scan in ascending}

    def _commit(self, session: icechunk.Session, message: str) -> str:
        if not session.has_uncommitted_changes:
            return str(session.snapshot_id)
        try:
            snapshot = session.commit(message)
        except icechunk.ConflictError as error:
            raise self._conflict() from error
        self._is_emptied = False
        return snapshot

    def _conflict(self) -> BusyError:
        return BusyError(
            f"{self.address}: another ingestion committed at the same moment; nothing of this "
            "commit was stored, run again"
        )

    def _open_or_initialise(
        self, session: icechunk.Session, grid: Grid, first: pd.Timestamp | None
    ) -> zarr.Group:
        """The archive's group, after a check of format, step and grid."""
        start = pd.Timestamp(0) if first is None else first
        if self._is_emptied:
            return initialise(session, grid, self.step, start, self.attributes)
        try:
            group = zarr.open_group(session.store, mode="r+")
        except FileNotFoundError as error:
            # A damaged archive looks empty, too; it must not be overwritten.
            if session.snapshot_id != INITIAL_SNAPSHOT:
                raise DataError(
                    f"{self.address}: its newest snapshot cannot be read; see what is damaged "
                    "with `squall archive check`"
                ) from error
            return initialise(session, grid, self.step, start, self.attributes)
        check_format(self.address, group.attrs)
        step = pd.Timedelta(seconds=int(group.attrs["step_s"]))  # type: ignore[arg-type]
        if step != self.step:
            raise DataError(f"{self.address}: has a step of {step}, not {self.step}")
        arrays: Any = group
        stored = grid_from_attributes(arrays["x"][:], arrays["y"][:], str(group.attrs["crs_wkt"]))
        difference = stored.difference(grid)
        if difference is not None:
            raise DataError(f"{self.address}: is on another grid: {difference}")
        return group


def _length(group: zarr.Group) -> int:
    """Number of time steps."""
    return int(group["time"].shape[0])  # type: ignore[union-attr]


def _rejected_times_near_axis(
    group: zarr.Group,
    step: pd.Timedelta,
    times: Sequence[pd.Timestamp],
    rejections: Sequence[Rejection],
) -> list[pd.Timestamp]:
    """Times of rejections on the time axis, extended to ``times``, or within `REJECTED_MARGIN`."""
    limits = list(times)
    if _length(group):
        rows = (first_row_of(group), _length(group) - 1)
        limits += [start_of(group) + row * step for row in rows]
    if not limits:
        return []
    first, last = min(limits) - REJECTED_MARGIN, max(limits) + REJECTED_MARGIN
    return [r.time for r in rejections if r.time is not None and first <= r.time <= last]


def write_codes(array: Any, codes: Mapping[int, npt.NDArray[np.uint8] | None]) -> None:
    """Write scans at ascending rows of the code array, one write for each chunk along time."""
    rows = np.array(list(codes), dtype=np.int64)
    for chunk in np.unique(rows // TIME_CHUNK):
        rows_of_chunk = rows[rows // TIME_CHUNK == chunk]
        values = np.stack([np.asarray(codes[row]) for row in rows_of_chunk.tolist()])
        put_rows(array, rows_of_chunk, values)


def _write_records(group: zarr.Group, by_row: Mapping[int, StoredScan]) -> None:
    """Write everything that is stored of scans beside their codes."""
    if not by_row:
        return
    arrays: dict[str, Any] = dict(group.arrays())
    rows = np.array(list(by_row), dtype=np.int64)
    scans = list(by_row.values())
    measures = [_measures_of(scan) for scan in scans]
    for i, name in enumerate(BLOCK_STATISTICS):
        put_rows(arrays[f"block_{name}"], rows, np.stack([m.blocks[i] for m in measures]))
    put_rows(arrays["status"], rows, np.full(rows.size, OK, dtype=np.uint8))
    put_rows(arrays["checksum"], rows, np.array([m.checksum for m in measures], dtype=np.uint64))
    put_rows(arrays["seen"], rows, np.array([s.file_mark for s in scans], dtype=np.uint64))
    digests = np.frombuffer(bytes.fromhex("".join(s.digest for s in scans)), dtype=np.uint8)
    put_rows(arrays["digest"], rows, digests.reshape(rows.size, -1))
    put_rows(arrays["source"], rows, np.array([s.source for s in scans], dtype="T"))


def _measures_of(scan: StoredScan) -> ScanMeasures:
    if scan.measures is not None:
        return scan.measures
    assert scan.codes is not None
    return measure(scan.codes)
