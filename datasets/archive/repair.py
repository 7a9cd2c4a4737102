"""Repairing a damaged archive: damaged scans are given up, so that they can be ingested again.

Public: `repair`; `squall.datasets.archive.check` finds the damage.

Ingestion skips files that the archive names as stored, and writing a scan first reads the chunk
that it belongs to. So a damaged chunk has to be deleted and the records of its scans cleared before
their files can be ingested again. Nothing else changes, and what follows from the scans (block
statistics, checksums, status, time) is computed again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pandas as pd
import zarr
from zarr.core.sync import sync

from squall.datasets.addresses import archive_address
from squall.datasets.archive.archive import Archive
from squall.datasets.archive.check import Progress, check
from squall.datasets.archive.check_records import Rows
from squall.datasets.archive.check_report import CheckReport, Damage
from squall.datasets.archive.icechunk_errors import unwritable
from squall.datasets.archive.layout import LOG, NOT_NEEDED, put_rows, row_of, start_of
from squall.datasets.archive.records import CODES, MISSING, OK, REJECTED
from squall.datasets.archive.repository import BRANCH, open_repository, write_lock
from squall.datasets.errors import BusyError, DataError
from squall.datasets.measures import BLOCK_STATISTICS, measure
from squall.datasets.runs import Bools

BLOCK_ARRAYS = tuple(f"block_{name}" for name in BLOCK_STATISTICS)


@dataclass(frozen=True)
class RepairReport:
    """The check before the repair, the number of scans given up, and the repaired snapshot."""

    check: CheckReport
    given_up: int
    snapshot: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self.check.as_dict() | {"given_up": self.given_up, "repaired": self.snapshot}

    def __str__(self) -> str:
        if self.check.sound:
            return str(self.check)
        files = len(self.check.files)
        return f"{self.check.listing()}\nrepaired: {self.given_up} scans given up" + (
            f"; run `squall ingest` to bring them back ({files} of the files):\n"
            f"{self.check.file_listing()}"
            if files
            else ""
        )


def repair(
    address: str | Path, *, progress: Progress | None = None, lock_timeout_s: float = 60.0
) -> RepairReport:
    """Check an archive and commit one snapshot without the damage.

    Raises
    ------
    DataError
        If there is no archive, another process keeps writing it, or the damage is in manifests or
        coordinates, which cannot be computed again.
    BusyError
        If an ingestion commits at the same time to object storage.
    """
    address = archive_address(address)
    with write_lock(address, lock_timeout_s):
        report = check(address, progress=progress)
        if report.sound:
            return RepairReport(report, 0, report.snapshot)
        session = open_repository(address).writable_session(BRANCH)
        if session.snapshot_id != report.snapshot:
            raise _changed_meanwhile(address)
        given_up = _Repair(Archive(address, session), session, report.damage).run()
        try:
            snapshot = session.commit(f"repair: {given_up} damaged scans given up")
        except icechunk.ConflictError as error:
            raise _changed_meanwhile(address) from error
        except icechunk.IcechunkError as error:
            raise unwritable(address, error) from error
    return RepairReport(report, given_up, snapshot)


def _changed_meanwhile(address: str) -> BusyError:
    """On object storage no lock keeps writers out; what they stored was not checked."""
    return BusyError(
        f"{address}: an ingestion committed during the check; nothing was repaired, run again"
    )


class _Repair:
    """The changes of one repair, in a session that the caller commits."""

    def __init__(
        self, archive: Archive, session: icechunk.Session, damage: Iterable[Damage]
    ) -> None:
        self._archive, self._damage = archive, tuple(damage)
        self._store = session.store
        self._group: Any = zarr.open_group(session.store, mode="r+")

    def run(self) -> int:
        """Delete damaged chunks, give up their scans, compute records again.

        Returns
        -------
        Number of scans given up.
        """
        for damage in self._damage:
            self._delete_chunk(damage)
        damaged = {damage.array for damage in self._damage}
        if any(name.startswith(f"{LOG}/") for name in damaged):
            for _, array in self._group[LOG].arrays():
                array.resize((0,))
        kept, given_up = self._divide_scans("status" in damaged)
        self._write_status(kept)
        if "time" in damaged:
            self._write_times(kept.size)
        self._clear(np.flatnonzero(given_up))
        for damage in self._damage:
            if damage.array in ("checksum", *BLOCK_ARRAYS):
                self._measure(self._rows(damage), kept)
        return int(given_up.sum())

    def _delete_chunk(self, damage: Damage) -> None:
        array = None if damage.chunk is None else self._group[damage.array]
        if array is None or damage.array in ("x", "y"):
            raise DataError(
                f"{self._archive.address}: {damage}; this cannot be repaired: restore the "
                "folder's 'manifests' and 'chunks' from a copy, or ingest into a new archive"
            )
        if damage.unreadable:
            key = array.metadata.encode_chunk_key(damage.chunk)
            sync(self._store.delete(f"{damage.array}/{key}"))

    def _divide_scans(self, status_is_damaged: bool) -> tuple[Bools, Bools]:
        """(time,) which scans are kept and which are given up.

        A scan is kept if its file is named, its pixels, source and digest are intact and, unless
        the status itself is damaged, its status is ok.
        """
        is_named = (self._group["source"][:] != "") & self._group["digest"][:].any(axis=1)
        is_ok = np.asarray(self._group["status"][:]) == OK
        is_lost = np.zeros(is_ok.size, dtype=bool)
        for damage in self._damage:
            if damage.array in (CODES, "source", "digest"):
                is_lost[self._rows(damage)] = True
        kept = is_named & ~is_lost
        if not status_is_damaged:
            kept &= is_ok
        return kept, (is_ok | is_named) & ~kept

    def _write_status(self, kept: Bools) -> None:
        status = np.asarray(self._group["status"][:])
        status = np.where(status == REJECTED, REJECTED, MISSING).astype(np.uint8)
        status[kept] = OK
        self._group["status"][:] = status

    def _write_times(self, length: int) -> None:
        step_s = int(self._archive.step.total_seconds())
        first_s = int(start_of(self._group).timestamp())
        self._group["time"][:] = first_s + step_s * np.arange(length)

    def _rows(self, damage: Damage) -> Rows:
        assert damage.first is not None
        assert damage.last is not None
        first, last = (self._row_of(time) for time in (damage.first, damage.last))
        return np.arange(first, last + 1)

    def _row_of(self, time: pd.Timestamp) -> int:
        return row_of(time, start_of(self._group), self._archive.step)

    def _clear(self, rows: Rows) -> None:
        """Set everything that is stored of scans to the fill value, as if they were missing."""
        names = ("source", "digest", "checksum", "seen", NOT_NEEDED, *BLOCK_ARRAYS, CODES)
        for array in (self._group[name] for name in names if name in self._group):
            for chunk_rows in _by_chunk(rows, array.chunks[0]):
                stretch = slice(chunk_rows[0], chunk_rows[-1] + 1)
                values = array[stretch]
                values[chunk_rows - chunk_rows[0]] = array.fill_value
                array[stretch] = values

    def _measure(self, rows: Rows, kept: Bools) -> None:
        """Compute checksums and block statistics of scans from their pixels."""
        for chunk_rows in _by_chunk(rows[kept[rows]], self._group[CODES].chunks[0]):
            codes = self._group[CODES][chunk_rows[0] : chunk_rows[-1] + 1]
            measures = [measure(codes[row - chunk_rows[0]]) for row in chunk_rows]
            checksums = np.array([m.checksum for m in measures], dtype=np.uint64)
            put_rows(self._group["checksum"], chunk_rows, checksums)
            for i, name in enumerate(BLOCK_ARRAYS):
                put_rows(self._group[name], chunk_rows, np.stack([m.blocks[i] for m in measures]))


def _by_chunk(rows: Rows, length: int) -> list[Rows]:
    """Ascending rows, one array for each chunk along the first dimension."""
    indices = rows // length
    return [rows[indices == index] for index in np.unique(indices).tolist()]
