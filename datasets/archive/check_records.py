"""Checking the records of an archive: status, times, sources, digests, checksums, file marks.

Owns which records cannot be read and which contradict each other. The pixels are checked by
`squall.datasets.archive.check`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import icechunk
import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.addresses import is_remote, unreachable
from squall.datasets.archive.archive import Archive
from squall.datasets.archive.check_report import Damage
from squall.datasets.archive.icechunk_errors import (
    is_object_missing,
    is_permission_denied,
    message_of,
)
from squall.datasets.archive.layout import start_of
from squall.datasets.archive.records import MISSING, OK, REJECTED
from squall.datasets.errors import DataError
from squall.datasets.measures import codes_checksum
from squall.datasets.runs import Bools

RECORDS = ("status", "time", "source", "digest", "checksum", "seen")

Chunk = tuple[int, ...]  # coordinates of a chunk
Rows = npt.NDArray[np.int64]
NO_ROWS: Rows = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Records:
    """The records of all time steps.

    Parameters
    ----------
    times : (time,) valid time of each row, also of the empty ones before the first scan.
    arrays : (time, …) the arrays of `RECORDS`; the fill value where a chunk cannot be read.
    is_lost : (time,) whether any record of a time step cannot be read.
    """

    archive: Archive
    times: pd.DatetimeIndex
    arrays: dict[str, npt.NDArray[Any]]
    is_lost: Bools

    @property
    def is_ok(self) -> Bools:
        """(time,) whether a scan is stored and its records are readable."""
        return (self.arrays["status"] == OK) & ~self.is_lost

    def damage(
        self,
        array: str,
        chunk: Chunk | None,
        problem: str,
        rows: Rows = NO_ROWS,
        *,
        unreadable: bool = True,
    ) -> Damage:
        """Describe damage to rows of the time axis, with the files that restore their scans."""
        times = self.times
        rows = rows[rows >= self.archive.first_row]  # the rows before it are always empty
        stored = rows[self.arrays["status"][rows] == OK]
        sources = self.arrays["source"][stored].tolist()
        return Damage(
            array=array,
            chunk=chunk,
            problem=problem,
            first=times[rows[0]] if rows.size else None,
            last=times[rows[-1]] if rows.size else None,
            files=tuple(dict.fromkeys(str(source) for source in sources if source)),
            unreadable=unreadable,
        )

    def problem(self, error: Exception) -> str:
        """What is wrong with a chunk that cannot be read; see `problem_of`."""
        return problem_of(error, self.archive.address)

    def differs_from_checksum(self, first: int, codes: npt.NDArray[np.uint8]) -> Bools:
        """(scan,) whether codes, from row ``first`` on, differ from their stored checksum."""
        differs = np.zeros(codes.shape[0], dtype=bool)
        for i in np.flatnonzero(self.is_ok[first : first + codes.shape[0]]):
            differs[i] = codes_checksum(codes[i]) != int(self.arrays["checksum"][first + i])
        return differs


def read_records(archive: Archive, group: Any) -> tuple[Records, list[Damage]]:
    """Read all records chunk by chunk; chunks that cannot be read are damage."""
    arrays, failures = {}, []
    length = archive.first_row + archive.codes.shape[0]
    times = pd.date_range(start_of(group), periods=length, freq=archive.step)
    is_lost = np.zeros(length, dtype=bool)
    for name in RECORDS:
        array = group[name]
        values = np.full(array.shape, array.fill_value, dtype=array.dtype)
        for chunk in _all_chunks(array, 0 if name == "time" else archive.first_row):
            region = region_of(array, chunk)
            try:
                values[region] = array[region]
            except Exception as error:  # each codec has errors of its own
                failures.append((name, chunk, error))
                is_lost[region[0]] = True
        arrays[name] = values
    records = Records(archive, times, arrays, is_lost)
    return records, [
        records.damage(name, chunk, records.problem(error), rows_of(group[name], chunk))
        for name, chunk, error in failures
    ]


def contradictions(records: Records, group: Any) -> list[Damage]:
    """Damage where records are readable but cannot be right.

    The time axis must be regular, and a scan is stored if and only if its file is named.
    """
    arrays = records.arrays
    regular = records.times.to_numpy().astype("datetime64[s]").astype(np.int64)
    is_named = (arrays["source"] != "") & arrays["digest"].any(axis=1)
    is_stored = arrays["status"] == OK
    is_known = np.isin(arrays["status"], (MISSING, OK, REJECTED))
    damage = []
    for name, wrong, problem in (
        ("time", arrays["time"] != regular, "the time axis is not regular"),
        ("status", ~is_known, "values other than missing, ok and rejected"),
        ("status", is_stored & ~is_named, "scans without a name and digest of their file"),
        ("status", is_known & ~is_stored & is_named, "files named without a scan"),
    ):
        length = group[name].chunks[0]
        wrong_rows = np.flatnonzero(wrong & ~records.is_lost)
        for index in np.unique(wrong_rows // length).tolist():
            rows = wrong_rows[wrong_rows // length == index]
            text = f"{problem}, at {rows.size} times"
            damage.append(records.damage(name, (index,), text, rows, unreadable=False))
    return damage


def problem_of(error: Exception, address: str) -> str:
    """What an error of reading says about a chunk.

    Raises
    ------
    DataError
        If it says nothing about the chunk, for example because an object store does not answer.
        Such a chunk is not damaged, and its scans must not be given up.
    """
    if isinstance(error, icechunk.IcechunkError):
        if is_remote(address) and not is_object_missing(error):
            raise unreachable(address, error) from error
        if is_permission_denied(error):
            raise DataError(f"{address}: may not be read: {message_of(error)}") from error
    return message_of(error)


def _all_chunks(array: Any, first_row: int) -> Iterator[Chunk]:
    """Chunks from a row on; the rows before the first scan hold nothing but their times."""
    counts = [-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True)]
    first = first_row // array.chunks[0]
    return itertools.product(range(first, counts[0]), *map(range, counts[1:]))


def region_of(array: Any, chunk: Chunk) -> tuple[slice, ...]:
    """The part of an array that a chunk covers."""
    return tuple(
        slice(i * length, min((i + 1) * length, size))
        for i, length, size in zip(chunk, array.chunks, array.shape, strict=True)
    )


def rows_of(array: Any, chunk: Chunk) -> Rows:
    """Rows along the first dimension that a chunk covers."""
    first = region_of(array, chunk)[0]
    return np.arange(first.start, first.stop)
