"""Checking an archive: every chunk can be read, and every scan is the one that was stored.

Public: `check`. It only reads; `squall.datasets.archive.check_report` describes the damage,
`squall.datasets.archive.repair` repairs it.

Icechunk keeps no checksum of a chunk, and Zstandard detects most flipped bytes but not all. Scans
are therefore compared with the checksums that were stored with them. The other arrays must decode
and must not contradict each other.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import zarr

from squall.datasets.addresses import archive_address
from squall.datasets.archive.archive import Archive
from squall.datasets.archive.check_records import (
    NO_ROWS,
    RECORDS,
    Chunk,
    Records,
    Rows,
    contradictions,
    read_records,
    region_of,
    rows_of,
)
from squall.datasets.archive.check_report import CheckReport, Damage
from squall.datasets.archive.icechunk_errors import message_of
from squall.datasets.archive.records import CODES, OK, EmptyArchiveError
from squall.datasets.archive.repository import BRANCH, open_repository
from squall.datasets.errors import DataError
from squall.datasets.runs import runs

MOST_BYTES = 2**29  # of codes in memory at once, over all threads

Progress = Callable[[int, int], None]  # done and total, in pieces of work


def check(
    address: str | Path, *, threads: int | None = None, progress: Progress | None = None
) -> CheckReport:
    """Read and decode every chunk of the newest snapshot and compare scans with their checksums.

    Memory is bounded by `MOST_BYTES` and the records (some 100 bytes a time step).

    Parameters
    ----------
    threads : number of reading threads; None for one a core, and at least four.
    progress : called with the number of pieces of work that are done, and of all pieces.

    Raises
    ------
    EmptyArchiveError
        If nothing has been ingested yet.
    DataError
        If there is no archive, its newest snapshot cannot be opened at all, or an object store
        does not answer.
    """
    began = time.monotonic()
    archive, session = _open(archive_address(address))
    group: Any = zarr.open_group(session.store, mode="r")
    records, damage = read_records(archive, group)
    damage += contradictions(records, group)
    work = _work(records, session, group)
    damage += work.damage
    slab_bytes = max(1, group[CODES].chunks[0] * int(np.prod(archive.grid.shape)))
    workers = threads or max(4, os.cpu_count() or 1)
    workers = max(1, min(workers, MOST_BYTES // slab_bytes))
    with ThreadPoolExecutor(workers) as pool:
        for done, further in enumerate(pool.map(lambda piece: piece(), work.pieces), 1):
            damage += further
            if progress is not None:
                progress(done, len(work.pieces))
    return CheckReport(
        address=archive.address,
        snapshot=archive.snapshot,
        scans=int((records.arrays["status"] == OK).sum()),
        chunks=work.chunks,
        seconds=time.monotonic() - began,
        damage=tuple(damage),
    )


def _open(address: str) -> tuple[Archive, icechunk.Session]:
    repository = open_repository(address)
    try:
        session = repository.readonly_session(branch=BRANCH)
        return Archive(address, session), session
    except EmptyArchiveError as error:
        # To Zarr, a snapshot that cannot be read looks like one without a group.
        try:
            newest = repository.lookup_snapshot(repository.lookup_branch(BRANCH))
        except icechunk.IcechunkError:
            newest = None
        if newest is not None and newest.parent_id is None:
            raise
        raise _cannot_be_opened(address, repository, error) from error
    except DataError:
        raise
    except Exception as error:  # a decoder may raise anything on damaged coordinates
        raise _cannot_be_opened(address, repository, error) from error


def _cannot_be_opened(address: str, repository: icechunk.Repository, error: Exception) -> DataError:
    return DataError(
        f"{address}: the newest snapshot {repository.lookup_branch(BRANCH)} cannot be opened "
        f"({message_of(error)}); restore the folder's 'snapshots', 'manifests' and 'chunks' "
        "from a copy, or ingest into a new archive"
    )


@dataclass
class _Work:
    """Pieces of a check that may run at the same time, and the damage found while listing them."""

    pieces: list[Callable[[], list[Damage]]] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    chunks: int = 0


def _work(records: Records, session: icechunk.Session, group: Any) -> _Work:
    """List the chunks of every array; records were read before and need no piece."""
    work = _Work()
    members = sorted(group.members(max_depth=None), key=lambda member: member[0])
    for name, array in members:
        if not isinstance(array, zarr.Array):
            continue
        try:
            chunks = asyncio.run(_stored_chunks(session, f"/{name}"))
        except Exception as error:
            problem = f"its manifest cannot be read: {records.problem(error)}"
            work.damage.append(records.damage(name, None, problem))
            continue
        work.chunks += len(chunks)
        if name == CODES:
            work.pieces += _slabs(records, array, chunks)
        elif name not in RECORDS:
            work.pieces += [_ChunkCheck(records, name, array, chunk) for chunk in chunks]
    return work


def _slabs(records: Records, array: Any, chunks: list[Chunk]) -> list[Callable[[], list[Damage]]]:
    """One piece for each chunk along time that has stored tiles or should have some."""
    tiles: dict[int, list[Chunk]] = {}
    for chunk in chunks:
        tiles.setdefault(chunk[0], []).append(chunk)
    expected = np.unique(np.flatnonzero(records.is_ok) // array.chunks[0]).tolist()
    indices = sorted({*tiles, *expected})
    return [_SlabCheck(records, array, index, tiles.get(index, [])) for index in indices]


async def _stored_chunks(session: icechunk.Session, path: str) -> list[Chunk]:
    return sorted([chunk async for chunk in session.chunk_coordinates(path)])


@dataclass(frozen=True)
class _SlabCheck:
    """One chunk of codes along time: all its tiles can be read and agree with the checksums."""

    records: Records
    array: Any
    index: int
    tiles: list[Chunk]

    def __call__(self) -> list[Damage]:
        length = self.array.chunks[0]
        first, end = self.index * length, min((self.index + 1) * length, self.array.shape[0])
        try:
            codes = self.array[first:end]
        except Exception:
            rows = np.arange(first, end)
            return [damage for tile in self.tiles for damage in self._unreadable(tile, rows)]
        return [
            self.records.damage(
                CODES,
                (self.index,),
                "the pixels are not those that were stored (checksum)",
                np.arange(first + low, first + high),
                unreadable=False,
            )
            for low, high in runs(self.records.differs_from_checksum(first, codes))
        ]

    def _unreadable(self, tile: Chunk, rows: Rows) -> list[Damage]:
        try:
            self.array[region_of(self.array, tile)]
        except Exception as error:
            return [self.records.damage(CODES, tile, self.records.problem(error), rows)]
        return []


@dataclass(frozen=True)
class _ChunkCheck:
    """One chunk of an array that is neither codes nor a record: it can be read."""

    records: Records
    name: str
    array: Any
    chunk: Chunk

    def __call__(self) -> list[Damage]:
        try:
            self.array[region_of(self.array, self.chunk)]
        except Exception as error:
            has_time = self.array.metadata.dimension_names[:1] == ("time",)
            rows = rows_of(self.array, self.chunk) if has_time else NO_ROWS
            return [self.records.damage(self.name, self.chunk, self.records.problem(error), rows)]
        return []
