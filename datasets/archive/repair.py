"""Putting a damaged archive right: what does not read is given up, so that it can come again.

Public: `repair`. What is damaged, `squall.datasets.archive.check` finds.

An ingestion leaves files alone that the archive names as read, and writing one scan first reads the
chunk that it belongs to. A damaged chunk therefore has to be let go and its scans forgotten before
their files can bring them back. Nothing else is touched, and what follows from the scans (block
statistics, checksums, status, time) is computed again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import numpy.typing as npt
import zarr
from zarr.core.sync import sync

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.check import CODES, Progress, check
from squall.datasets.archive.check_report import CheckReport, Damage
from squall.datasets.archive.layout import LOG, put_rows
from squall.datasets.archive.records import MISSING, OK, REJECTED
from squall.datasets.archive.repository import BRANCH, open_repository, write_lock
from squall.datasets.errors import DataError
from squall.datasets.measures import BLOCK_STATISTICS, measure
from squall.datasets.runs import Bools


@dataclass(frozen=True)
class RepairReport:
    """What was found, how many scans were given up and the snapshot without the damage."""

    found: CheckReport
    given_up: int
    snapshot: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self.found.as_dict() | {"given_up": self.given_up, "repaired": self.snapshot}

    def __str__(self) -> str:
        if self.found.sound:
            return str(self.found)
        files = len(self.found.files)
        return f"{self.found.listing()}\nrepaired: {self.given_up} scans given up" + (
            f"; run `squall ingest` to bring them back ({files} of the files):\n"
            f"{self.found.file_listing()}"
            if files
            else ""
        )


def repair(
    address: str | Path, *, progress: Progress | None = None, lock_timeout_s: float = 60.0
) -> RepairReport:
    """Check an archive and commit one snapshot without what is damaged.

    Raises
    ------
    DataError
        If there is no archive, another process keeps writing it, or the damage is in what tells
        where everything lies.
    """
    address = os.fspath(address)
    with write_lock(address, lock_timeout_s):
        found = check(address, progress=progress)
        if found.sound:
            return RepairReport(found, 0, found.snapshot)
        session = open_repository(address).writable_session(BRANCH)
        work = _Repair(Archive(address, session), session, found.damage)
        given_up = work.run()
        snapshot = session.commit(f"repair: {given_up} damaged scans given up")
    return RepairReport(found, given_up, snapshot)


class _Repair:
    """Changes in one session, which the caller commits."""

    def __init__(
        self, archive: Archive, session: icechunk.Session, damage: Iterable[Damage]
    ) -> None:
        self._archive, self._damage = archive, tuple(damage)
        self._store = session.store
        self._group: Any = zarr.open_group(session.store, mode="r+")

    def run(self) -> int:
        """Let damaged chunks go, give scans up, compute again; returns the scans given up."""
        for damage in self._damage:
            self._let_go(damage)
        damaged = {damage.array for damage in self._damage}
        if any(name.startswith(f"{LOG}/") for name in damaged):
            for _, array in self._group[LOG].arrays():
                array.resize((0,))
        arrays = self._group
        named = (arrays["source"][:] != "") & arrays["digest"][:].any(axis=1)
        status = np.asarray(arrays["status"][:])
        present = status == OK
        lost = self._lost_rows(present | named)
        keep = named & ~lost
        if "status" not in damaged:
            keep &= present
        gone = (present | named | lost) & ~keep
        status = np.where(status == REJECTED, REJECTED, MISSING).astype(np.uint8)
        status[keep] = OK
        arrays["status"][:] = status
        if "time" in damaged:
            step = int(self._archive.step.total_seconds())
            first = int(self._archive.start.timestamp())
            arrays["time"][:] = first + step * np.arange(status.size)
        self._forget(np.flatnonzero(gone))
        for damage in self._damage:
            if damage.array == "checksum" or damage.array.startswith("block_"):
                self._measure(self._rows(damage), keep)
        return int(gone.sum())

    def _let_go(self, damage: Damage) -> None:
        array = None if damage.chunk is None else self._group[damage.array]
        if array is None or damage.array in ("x", "y"):
            raise DataError(
                f"{self._archive.address}: {damage}; this cannot be repaired: bring the folder's "
                "'manifests' and 'chunks' back from a copy, or ingest into a new archive"
            )
        if damage.unreadable:
            key = array.metadata.encode_chunk_key(damage.chunk)
            sync(self._store.delete(f"{damage.array}/{key}"))

    def _lost_rows(self, there: Bools) -> Bools:
        """Rows whose pixels, or the name and digest of whose file, are lost."""
        lost = np.zeros(there.size, dtype=bool)
        for damage in self._damage:
            if damage.array in (CODES, "source", "digest"):
                lost[self._rows(damage)] = True
        return lost & there

    def _rows(self, damage: Damage) -> npt.NDArray[np.int64]:
        assert damage.first is not None
        assert damage.last is not None
        index = self._archive.index_of
        return np.arange(index(damage.first), index(damage.last) + 1)

    def _forget(self, rows: npt.NDArray[np.int64]) -> None:
        """Make rows as if their scans had never come."""
        for name in ("source", "digest", "checksum", "seen", *self._block_arrays(), CODES):
            array = self._group[name]
            for index in np.unique(rows // array.chunks[0]).tolist():
                part = rows[rows // array.chunks[0] == index]
                values = array[part[0] : part[-1] + 1]
                values[part - part[0]] = array.fill_value
                array[part[0] : part[-1] + 1] = values

    def _measure(self, rows: npt.NDArray[np.int64], keep: Bools) -> None:
        """Checksums and block statistics of scans, from their pixels."""
        length = self._group[CODES].chunks[0]
        rows = rows[keep[rows]]
        for index in np.unique(rows // length).tolist():
            part = rows[rows // length == index]
            codes = self._group[CODES][part[0] : part[-1] + 1]
            measures = [measure(codes[row - part[0]]) for row in part]
            checksums = np.array([m.checksum for m in measures], dtype=np.uint64)
            put_rows(self._group["checksum"], part, checksums)
            for i, name in enumerate(self._block_arrays()):
                put_rows(self._group[name], part, np.stack([m.blocks[i] for m in measures]))

    def _block_arrays(self) -> list[str]:
        return [f"block_{name}" for name in BLOCK_STATISTICS]
