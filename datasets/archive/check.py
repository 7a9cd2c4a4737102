"""Verifying an archive: every chunk reads, every scan is the one that was stored.

Public: `check`. Reads only; `squall.datasets.archive.check_report` holds what it tells, and
`squall.datasets.archive.repair` puts right what is found here.

Icechunk keeps no checksum of a chunk, and Zstandard notices most but not all flipped bytes. Scans
are therefore compared with the checksums recorded when they were stored; the other arrays must
decode and agree with each other.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import numpy.typing as npt
import zarr

from squall.datasets.addresses import is_remote, unreachable
from squall.datasets.archive.archive import Archive
from squall.datasets.archive.check_report import CheckReport, Damage
from squall.datasets.archive.records import MISSING, OK, REJECTED, EmptyArchiveError
from squall.datasets.archive.repository import BRANCH, open_repository
from squall.datasets.errors import DataError
from squall.datasets.measures import codes_checksum
from squall.datasets.runs import Bools, runs

CODES = "rain_rate_code"
RECORDS = ("status", "time", "source", "digest", "checksum", "seen")
MOST_BYTES = 2**29  # of codes in memory at once, over all threads

# what object stores say of a chunk that is missing or cut short
GONE = ("not found", "nosuchkey", "no such key", "requested range")

Progress = Callable[[int, int], None]  # done and total, in pieces of work


def check(
    address: str | Path, *, threads: int | None = None, progress: Progress | None = None
) -> CheckReport:
    """Read and decode every chunk of the newest snapshot and compare scans with their checksums.

    Memory is bounded by `MOST_BYTES` and the records (some 100 bytes a time step).

    Parameters
    ----------
    threads : that read at once; as many as cores, and four at least for object storage, if None.
    progress : called with the pieces of work done and their number.

    Raises
    ------
    EmptyArchiveError
        If nothing has been ingested yet.
    DataError
        If there is no archive, its newest snapshot cannot be opened at all, or an object store
        does not answer.
    """
    began = time.monotonic()
    archive, session = _open(os.fspath(address))
    look = _Look(archive, session)
    records = look.records()
    look.consistency(records)
    pieces = [*look.pieces()]
    workers = threads or max(4, os.cpu_count() or 1)
    rows = look.group[CODES].chunks[0]
    slab_bytes = max(1, rows * int(np.prod(archive.grid.shape)))
    workers = max(1, min(workers, MOST_BYTES // slab_bytes))
    with ThreadPoolExecutor(workers) as pool:
        for done, damages in enumerate(pool.map(lambda piece: piece(), pieces), 1):
            look.damage += damages
            if progress is not None:
                progress(done, len(pieces))
    return CheckReport(
        address=archive.address,
        snapshot=archive.snapshot,
        scans=int((records["status"] == OK).sum()),
        chunks=look.chunks,
        seconds=time.monotonic() - began,
        damage=tuple(look.damage),
    )


def _open(address: str) -> tuple[Archive, icechunk.Session]:
    repository = open_repository(address)
    try:
        session = repository.readonly_session(branch=BRANCH)
        return Archive(address, session), session
    except EmptyArchiveError as error:
        # Zarr takes a snapshot that cannot be read for one without a group.
        try:
            newest = repository.lookup_snapshot(repository.lookup_branch(BRANCH))
        except icechunk.IcechunkError:
            newest = None
        if newest is not None and newest.parent_id is None:
            raise
        raise _unopenable(address, repository, error) from error
    except DataError:
        raise
    except Exception as error:  # whatever a decoder makes of damaged coordinates
        raise _unopenable(address, repository, error) from error


def _unopenable(address: str, repository: icechunk.Repository, error: Exception) -> DataError:
    return DataError(
        f"{address}: the newest snapshot {repository.lookup_branch(BRANCH)} cannot be opened "
        f"({_first_line(error)}); bring the folder's 'snapshots', 'manifests' and 'chunks' back "
        "from a copy, or ingest into a new archive"
    )


class _Look:
    """One check: what it reads and the damage that it found so far."""

    def __init__(self, archive: Archive, session: icechunk.Session) -> None:
        self.archive = archive
        self.times = archive.times
        self.group: Any = zarr.open_group(session.store, mode="r")
        self.damage: list[Damage] = []
        self.chunks = 0
        self._session = session
        self._doubtful = np.zeros(self.times.size, dtype=bool)  # rows whose records are lost

    def records(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of `RECORDS`; chunks that do not read hold the fill value."""
        found, failed = {}, []
        for name in RECORDS:
            array = self.group[name]
            values = np.full(array.shape, array.fill_value, dtype=array.dtype)
            for chunk in _grid_of(array):
                part = _region(array, chunk)
                try:
                    values[part] = array[part]
                except Exception as error:
                    failed.append((name, chunk, error))
                    self._doubtful[part[0]] = True
            found[name] = values
        self._status, self._sources, self._checksums = (
            found[name] for name in ("status", "source", "checksum")
        )
        for name, chunk, cause in failed:
            part = _region(self.group[name], chunk)
            self._add(name, chunk, self.problem(cause), np.arange(part[0].start, part[0].stop))
        return found

    def consistency(self, records: dict[str, npt.NDArray[Any]]) -> None:
        """Time axis regular; a scan is there if and only if its file is named."""
        step = int(self.archive.step.total_seconds())
        regular = int(self.archive.start.timestamp()) + step * np.arange(self.times.size)
        named = (records["source"] != "") & records["digest"].any(axis=1)
        present = records["status"] == OK
        known = np.isin(records["status"], (MISSING, OK, REJECTED))
        for name, wrong, problem in (
            ("time", records["time"] != regular, "the time axis is not regular"),
            ("status", ~known, "values other than missing, ok and rejected"),
            ("status", present & ~named, "scans without a name and digest of their file"),
            ("status", known & ~present & named, "files named without a scan"),
        ):
            array = self.group[name]
            wrong &= ~self._doubtful
            for index in np.unique(np.flatnonzero(wrong) // array.chunks[0]).tolist():
                low = index * array.chunks[0]
                rows = low + np.flatnonzero(wrong[low : low + array.chunks[0]])
                told = f"{problem}, at {rows.size} times"
                self.damage.append(self.found(name, (index,), told, rows, unreadable=False))

    def pieces(self) -> Iterator[Callable[[], list[Damage]]]:
        """What is left to read, in pieces that may run at once."""
        arrays = [(name, array) for name, array in self.group.members(max_depth=None)]
        for name, array in sorted(arrays, key=lambda member: member[0]):
            if not isinstance(array, zarr.Array):
                continue
            try:
                there = asyncio.run(_coordinates(self._session, f"/{name}"))
            except Exception as error:
                self._add(name, None, f"its manifest does not read: {self.problem(error)}")
                continue
            self.chunks += len(there)
            if name == CODES:
                of_slab: dict[int, list[tuple[int, ...]]] = {}
                for chunk in there:
                    of_slab.setdefault(chunk[0], []).append(chunk)
                present = np.flatnonzero((self._status == OK) & ~self._doubtful)
                slabs = np.unique(present // array.chunks[0]).tolist()
                for slab in sorted({*of_slab, *slabs}):
                    yield _Slab(self, array, slab, of_slab.get(slab, []))
            elif name not in RECORDS:
                for chunk in there:
                    yield _Chunk(self, name, array, chunk)

    def found(
        self,
        array: str,
        chunk: tuple[int, ...] | None,
        problem: str,
        rows: npt.NDArray[np.int64],
        *,
        unreadable: bool = True,
    ) -> Damage:
        """Damage that concerns rows of the time axis; those without a scan need no file."""
        files = self._sources[rows][self._status[rows] == OK] if rows.size else []
        return Damage(
            array=array,
            chunk=chunk,
            problem=problem,
            first=self.times[rows[0]] if rows.size else None,
            last=self.times[rows[-1]] if rows.size else None,
            files=tuple(dict.fromkeys(str(file) for file in files if file)),
            unreadable=unreadable,
        )

    def problem(self, error: Exception) -> str:
        """What is wrong with a chunk that does not read; see `problem_of`."""
        return problem_of(error, self.archive.address)

    def mismatches(self, first: int, codes: npt.NDArray[np.uint8]) -> Bools:
        """(scan,) whether stored codes differ from their checksum, from a row on."""
        rows = slice(first, first + codes.shape[0])
        there = (self._status[rows] == OK) & ~self._doubtful[rows]
        wrong = np.zeros(codes.shape[0], dtype=bool)
        for i in np.flatnonzero(there):
            wrong[i] = codes_checksum(codes[i]) != int(self._checksums[first + i])
        return wrong

    def _add(
        self,
        array: str,
        chunk: tuple[int, ...] | None,
        problem: str,
        rows: npt.NDArray[np.int64] | None = None,
    ) -> None:
        nothing = np.zeros(0, dtype=np.int64)
        self.damage.append(self.found(array, chunk, problem, nothing if rows is None else rows))


@dataclass(frozen=True)
class _Slab:
    """All tiles of one chunk of codes along time: they read, and the scans are what they were."""

    look: _Look
    array: Any
    index: int
    tiles: list[tuple[int, ...]]

    def __call__(self) -> list[Damage]:
        length = self.array.chunks[0]
        first, end = self.index * length, min((self.index + 1) * length, self.array.shape[0])
        try:
            codes = self.array[first:end]
        except Exception:
            broken = [self._tile(tile, np.arange(first, end)) for tile in self.tiles]
            return [damage for damage in broken if damage is not None]
        return [
            self.look.found(
                CODES,
                (self.index,),
                "the pixels are not those that were stored (checksum)",
                np.arange(first + low, first + high),
                unreadable=False,
            )
            for low, high in runs(self.look.mismatches(first, codes))
        ]

    def _tile(self, tile: tuple[int, ...], rows: npt.NDArray[np.int64]) -> Damage | None:
        try:
            self.array[_region(self.array, tile)]
        except Exception as error:
            return self.look.found(CODES, tile, self.look.problem(error), rows)
        return None


@dataclass(frozen=True)
class _Chunk:
    """One chunk of an array beside codes and records: it reads."""

    look: _Look
    name: str
    array: Any
    chunk: tuple[int, ...]

    def __call__(self) -> list[Damage]:
        part = _region(self.array, self.chunk)
        try:
            self.array[part]
        except Exception as error:
            rows = np.zeros(0, dtype=np.int64)
            if self.array.metadata.dimension_names[:1] == ("time",):
                rows = np.arange(part[0].start, part[0].stop)
            return [self.look.found(self.name, self.chunk, self.look.problem(error), rows)]
        return []


def problem_of(error: Exception, address: str) -> str:
    """What an error of reading says about a chunk.

    Raises
    ------
    DataError
        If it says nothing about the chunk, as when an object store does not answer: nobody shall
        give scans up for that.
    """
    if isinstance(error, icechunk.IcechunkError):
        text = str(error).lower()
        if is_remote(address) and not any(sign in text for sign in GONE):
            raise unreachable(address, error) from error
        if "permission denied" in text:
            raise DataError(f"{address}: may not be read: {_first_line(error)}") from error
    return _first_line(error)


def _grid_of(array: Any) -> Iterator[tuple[int, ...]]:
    counts = [-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True)]
    return itertools.product(*map(range, counts))


def _region(array: Any, chunk: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(i * length, min((i + 1) * length, size))
        for i, length, size in zip(chunk, array.chunks, array.shape, strict=True)
    )


async def _coordinates(session: icechunk.Session, path: str) -> list[tuple[int, ...]]:
    return sorted([chunk async for chunk in session.chunk_coordinates(path)])


def _first_line(error: Exception) -> str:
    """What an error says, without the call stack that Icechunk adds."""
    lines = [line.strip(" x|`->") for line in str(error).splitlines()]
    said = " ".join(itertools.takewhile(lambda line: not line.startswith("context"), lines))
    return " ".join(said.split())[:200] or type(error).__name__
