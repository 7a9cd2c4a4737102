"""Reading an archive: one radar network's scans as a transactional Zarr group (Icechunk).

Owns the reading of what the table lists; writing is `squall.datasets.archive.writer`. Knows nothing
of the conventions of radar files or of training windows.

Layout (Zarr v3; the first dimension of every array is time):

===================== =================== ==================================================
array                 dims                what
===================== =================== ==================================================
rain_rate_code        time, y, x          one logarithmic byte a pixel (`RainCode`)
status                time                0 missing, 1 ok, 2 rejected
source                time                address of the file that the scan came from
digest                time, byte          digest of that file's content
seen                  time                `file_mark` of the file's address and version
checksum              time                `codes_checksum` of the scan, also of a rejected one
block_rain_rate       time, block_y/x     mean rain rate of a block's observed pixels, mm/h
block_wet_share       time, block_y/x     share of observed pixels that are wet
block_observed_share  time, block_y/x     share of pixels that are observed
time, y, x            CF coordinates      valid time; pixel centres, north up
not_needed            time                superseded and duplicate files of a time, see `log`
set_aside/…           entry               log of rejected files and scans, see `log`
===================== =================== ==================================================

The time axis is regular, so a scan's index follows from its time. The chunks of missing scans are
not written and read as not observed. The attribute ``first_row`` names the first row that can hold
a scan; the rows before it are empty, which makes room for earlier scans (`layout.reserve`). Index 0
of an `Archive` is that row. The names ``seen`` and ``set_aside`` are older than the words
*file mark* and *log* that the code uses; they stay, so that existing archives can be read.
"""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr

from squall.datasets.addresses import archive_address, is_remote
from squall.datasets.archive.layout import first_row_of, start_of
from squall.datasets.archive.log import read_log, read_not_needed
from squall.datasets.archive.records import CODES, EmptyArchiveError, Rejection, check_format
from squall.datasets.archive.repository import (
    BRANCH,
    INITIAL_SNAPSHOT,
    listed_sizes,
    open_repository,
    repository_exists,
)
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import DataError
from squall.datasets.grid import grid_from_attributes
from squall.datasets.runs import Bools

MOST_COUNTED = 1_000_000  # files whose sizes are added, which takes some seconds


class Archive(ScanStore):
    """One radar network's scans at one snapshot.

    Open with `Archive.open`. An instance reads the same snapshot even if others commit meanwhile.
    It pickles as its address and snapshot, so it can be sent to worker processes.

    Attributes
    ----------
    address : where the repository lies: a folder, ``s3://bucket/prefix`` or ``gs://…``.
    grid : pixel centres and projection.
    step : spacing of the time axis.
    start : valid time of index 0, UTC.
    first_row : row of index 0 in the stored arrays.
    attributes : name, title, institution, license and the like.
    """

    def __init__(self, address: str, session: icechunk.Session) -> None:
        self.address = address
        self._session = session
        try:
            self._group = zarr.open_group(session.store, mode="r")
        except FileNotFoundError as error:
            if session.snapshot_id != INITIAL_SNAPSHOT:
                raise DataError(
                    f"{address}: snapshot {session.snapshot_id} cannot be read; see what is "
                    "damaged with `squall archive check`"
                ) from error
            raise EmptyArchiveError(
                f"{address}: nothing has been ingested yet; run `squall ingest` first"
            ) from error
        attributes = dict(self._group.attrs)
        check_format(address, attributes)
        self.step = pd.Timedelta(seconds=int(attributes["step_s"]))  # type: ignore[arg-type]
        self.first_row = first_row_of(self._group)
        self.start = start_of(self._group) + self.first_row * self.step
        self.attributes: dict[str, Any] = json.loads(str(attributes["archive"]))
        self.grid = grid_from_attributes(
            self._array("x")[:], self._array("y")[:], str(attributes["crs_wkt"])
        )

    @classmethod
    def open(cls, address: Path | str, snapshot: str | None = None) -> Archive:
        """Open the newest snapshot, or a given one, for reading.

        Raises
        ------
        DataError
            If there is no archive at the address, or no such snapshot in it.
        """
        address = archive_address(address)
        repository = open_repository(address)
        try:
            if snapshot is None:
                session = repository.readonly_session(branch=BRANCH)
            else:
                session = repository.readonly_session(snapshot_id=snapshot)
        except icechunk.IcechunkError as error:
            raise DataError(f"{address}: has no snapshot {snapshot!r}") from error
        return cls(address, session)

    @staticmethod
    def exists(address: Path | str) -> bool:
        """Whether an Icechunk repository lies at the address."""
        return repository_exists(archive_address(address))

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.address, self.snapshot)

    @property
    def snapshot(self) -> str:
        """Identifier of the snapshot that is read."""
        return str(self._session.snapshot_id)

    @property
    def block_px(self) -> int:
        """Side of the blocks that rain statistics are kept for, pixels."""
        return int(self._group.attrs["block_px"])  # type: ignore[arg-type]

    @cached_property
    def codes(self) -> RowsFrom:
        """(time, y, x) uint8, lazily read; see `RainCode`."""
        return RowsFrom(self._array(CODES), self.first_row)

    @cached_property
    def status(self) -> npt.NDArray[np.uint8]:
        """(time,) 0 missing, 1 ok, 2 rejected; read once, because a snapshot never changes."""
        status = np.array(self._array("status")[self.first_row :])
        status.setflags(write=False)
        return status

    @property
    def checksums(self) -> npt.NDArray[np.uint64]:
        """(time,) `codes_checksum` of each scan, also of rejected ones; 0 where missing."""
        return np.asarray(self._array("checksum")[self.first_row :])

    @property
    def rejections(self) -> list[Rejection]:
        """Open entries of the log: files and scans that are not in the archive, with reasons."""
        return self.refusals + self.redundant()

    @cached_property
    def refusals(self) -> list[Rejection]:
        """Open entries about files and scans that cannot be used."""
        return read_log(self._group)

    def redundant(self, since: pd.Timestamp | None = None) -> list[Rejection]:
        """Superseded and duplicate files whose first scan has a valid time from ``since`` on."""
        return read_not_needed(self._group, self.step, self._row_of(since))

    def marks(self, since: pd.Timestamp | None = None) -> npt.NDArray[np.uint64]:
        """`file_mark` of the files of stored scans, from a valid time on; not unique, 0: none."""
        return np.asarray(self._array("seen")[self._row_of(since) :])

    def records(self, rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """``status``, ``source``, ``digest`` (row, byte), ``checksum`` of ascending indices."""
        names = ("status", "source", "digest", "checksum")
        return {name: np.asarray(self._array(name).oindex[rows + self.first_row]) for name in names}

    def block_statistics(self, name: str, where: Bools | None = None) -> npt.NDArray[np.float32]:
        """(time, block_y, block_x): ``rain_rate``, ``wet_share`` or ``observed_share``.

        With a mask over the time axis, only the times where the mask holds are read.
        """
        array = self._array(f"block_{name}")
        if where is None:
            return np.asarray(array[self.first_row :])
        # One read for each chunk with a time that is wanted; a read for each run of such times
        # would decompress the same chunk again and again.
        span = array.chunks[0]
        wanted = np.concatenate([np.zeros(self.first_row, dtype=bool), where])
        chosen = [
            np.asarray(array[first : first + span])[wanted[first : first + span]]
            for first in range(self.first_row // span * span, wanted.size, span)
            if wanted[first : first + span].any()
        ]
        return np.concatenate([np.empty((0, *array.shape[1:]), array.dtype), *chosen])

    @property
    def block_chunk(self) -> int:
        """Time steps of a chunk of the block statistics."""
        return int(self._array("block_rain_rate").chunks[0])

    def block_rows(self, name: str, first: int, end: int) -> npt.NDArray[np.float32]:
        """(time, block_y, block_x): a block statistic of the time steps from first to end."""
        rows = slice(first + self.first_row, end + self.first_row)
        return np.asarray(self._array(f"block_{name}")[rows])

    def bytes_on_disk(self) -> int | None:
        """Size of all snapshots, bytes; None if listing their files takes too long."""
        if is_remote(self.address):
            sizes = listed_sizes(self.address)
            return None if sizes is None else sum(sizes)
        size = 0
        for count, file in enumerate(_files_below(self.address)):
            if count == MOST_COUNTED:
                return None
            size += file.stat(follow_symlinks=False).st_size
        return size

    def _row_of(self, since: pd.Timestamp | None) -> int:
        """Row of a time in the stored arrays, or of index 0 if it is earlier."""
        index = 0 if since is None else max(0, (since - self.start) // self.step)
        return self.first_row + index

    def _array(self, name: str) -> zarr.Array[Any]:
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        return array


class RowsFrom:
    """An array from one of its rows on, lazily read: row 0 of the view is that row.

    Parameters
    ----------
    array : the whole array.
    first : a multiple of the array's chunk length, so that chunks begin at the same rows.
    """

    def __init__(self, array: zarr.Array[Any], first: int) -> None:
        self.array, self.first = array, first
        self.shape = (array.shape[0] - first, *array.shape[1:])
        self.chunks, self.dtype, self.ndim = array.chunks, array.dtype, array.ndim

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> Any:
        """Read with slices and whole numbers; the first of them is along the rows."""
        along_rows, *others = key if isinstance(key, tuple) else (key,)
        if isinstance(along_rows, slice):
            first, end, step = along_rows.indices(len(self))
            end = max(first, end)
            return self.array[(slice(first + self.first, end + self.first, step), *others)]
        row = operator.index(along_rows)
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self.array[(self.first + row % len(self), *others)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)


def _files_below(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(entry.path)
            else:
                yield entry


def _reopen(address: str, snapshot: str) -> Archive:
    return Archive.open(address, snapshot)
