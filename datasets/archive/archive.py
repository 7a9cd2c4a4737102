"""The archive: one radar network's scans as a transactional Zarr group (Icechunk).

Owns the layout and reading it; writing is `datasets.archive.writer`. Knows nothing of radar files'
conventions nor of training windows.

Layout (Zarr v3, all arrays lead with time):

===================== =================== ==================================================
array                 dims                what
===================== =================== ==================================================
rain_rate_code        time, y, x          one logarithmic byte a pixel (`RainCode`)
status                time                0 missing, 1 ok, 2 rejected
source                time                address of the file that the scan came from
digest                time, byte          digest of that file's content
seen                  time                mark of the file's address and version (`file_mark`)
checksum              time                `codes_checksum` of the scan
block_rain_rate       time, block_y/x     mean rain rate of a block's observed pixels, mm/h
block_wet_share       time, block_y/x     share of observed pixels that are wet
block_observed_share  time, block_y/x     share of pixels that are observed
time, y, x            CF coordinates      valid time; pixel centres, north up
set_aside/…           entry               log of the files and scans that are not in the archive
===================== =================== ==================================================

The time axis is regular, so a scan's index follows from its time; what never came is never
written and reads as not observed.
"""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr

from squall.datasets.addresses import archive_address, is_remote
from squall.datasets.archive.records import NO_TIME, EmptyArchiveError, Rejection, check_format
from squall.datasets.archive.repository import (
    BRANCH,
    INITIAL_SNAPSHOT,
    open_repository,
    repository_exists,
)
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import DataError
from squall.datasets.grid import grid_from_attributes
from squall.datasets.runs import Bools, runs


class Archive(ScanStore):
    """One radar network's scans at one snapshot.

    Open with `Archive.open`; an instance keeps reading the same snapshot whatever is committed
    meanwhile. It pickles as its path and snapshot, and so may go to worker processes.

    Attributes
    ----------
    address : where the repository lies: a folder, ``s3://bucket/prefix`` or ``gs://…``.
    grid : pixel centres and projection.
    step : spacing of the time axis.
    start : valid time of index 0, UTC.
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
        self.start = pd.Timestamp(int(attributes["start_s"]), unit="s")  # type: ignore[arg-type]
        self.attributes: dict[str, Any] = json.loads(str(attributes["archive"]))
        self.grid = grid_from_attributes(
            self._array("x")[:], self._array("y")[:], str(attributes["crs_wkt"])
        )

    @classmethod
    def open(cls, address: Path | str, snapshot: str | None = None) -> Archive:
        """Open for reading, the newest snapshot or the one named.

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
        return repository_exists(os.fspath(address))

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
    def codes(self) -> zarr.Array[Any]:
        """(time, y, x) uint8, lazily read; see `RainCode`."""
        return self._array("rain_rate_code")

    @cached_property
    def status(self) -> npt.NDArray[np.uint8]:
        """(time,) 0 missing, 1 ok, 2 rejected; read once, for the snapshot never changes."""
        status = np.array(self._array("status")[:])
        status.setflags(write=False)
        return status

    @property
    def checksums(self) -> npt.NDArray[np.uint64]:
        """(time,) `codes_checksum` of each scan that came, rejected ones too; 0 elsewhere."""
        return np.asarray(self._array("checksum")[:])

    @property
    def rejections(self) -> list[Rejection]:
        """Files and scans set aside and not replaced since, with their reasons."""
        log = {name: np.asarray(array[:]) for name, array in self._log().arrays()}
        return [
            Rejection(
                file=str(log["file"][i]),
                digest=str(log["digest"][i]),
                reason=str(log["reason"][i]),
                time=None if log["time"][i] == NO_TIME else pd.Timestamp(log["time"][i], unit="s"),
                rule=str(log["rule"][i]),
                file_mark=int(log["seen"][i]),
            )
            for i in np.flatnonzero(~log["settled"])
        ]

    def marks(self, since: pd.Timestamp | None = None) -> npt.NDArray[np.uint64]:
        """`file_mark` of the files whose scans are there, from a valid time on; not unique."""
        first = 0 if since is None else max(0, (since - self.start) // self.step)
        return np.asarray(self._array("seen")[first:])

    def records(self, rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """``status``, ``source``, ``digest`` (rows, byte) and ``checksum`` of ascending rows."""
        names = ("status", "source", "digest", "checksum")
        return {name: np.asarray(self._array(name).oindex[rows]) for name in names}

    def block_statistics(self, name: str, where: Bools | None = None) -> npt.NDArray[np.float32]:
        """(time, block_y, block_x): ``rain_rate``, ``wet_share`` or ``observed_share``.

        With a mask over the time axis, of those times alone.
        """
        return _taken(self._array(f"block_{name}"), where)

    def bytes_on_disk(self) -> int:
        """Size of the repository, all snapshots, bytes; on object storage that of its chunks."""
        if is_remote(self.address):
            stored = open_repository(self.address).chunk_storage_stats()
            return int(stored.native_bytes) + int(stored.inlined_bytes)
        files = Path(self.address).rglob("*")
        return sum(file.stat().st_size for file in files if file.is_file())

    def _log(self) -> zarr.Group:
        log = self._group["set_aside"]
        assert isinstance(log, zarr.Group)
        return log

    def _array(self, name: str) -> zarr.Array[Any]:
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        return array


def _taken(array: zarr.Array[Any], where: Bools | None) -> npt.NDArray[Any]:
    """What an array holds where a mask along time does, without reading the gaps."""
    if where is None:
        return np.asarray(array[:])
    parts = [np.asarray(array[first:end]) for first, end in runs(where)]
    return np.concatenate([np.empty((0, *array.shape[1:]), array.dtype), *parts])


def _reopen(address: str, snapshot: str) -> Archive:
    return Archive.open(address, snapshot)
