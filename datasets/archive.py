"""The archive: one radar network's scans as a transactional Zarr group (Icechunk).

Owns the layout on disk, commits and reading back. Knows nothing of radar files' conventions nor
of training windows.

Layout (Zarr v3, all arrays lead with time):

===================== =================== ==================================================
array                 dims                what
===================== =================== ==================================================
rain_rate_code        time, y, x          one logarithmic byte a pixel (`RainCode`)
status                time                0 missing, 1 ok, 2 rejected
source, digest        time                name and content digest of the file it came from
block_rain_rate       time, block_y/x     mean rain rate of a block's observed pixels, mm/h
block_wet_share       time, block_y/x     share of observed pixels that are wet
block_observed_share  time, block_y/x     share of pixels that are observed
time, y, x            CF coordinates      valid time; pixel centres, north up
===================== =================== ==================================================

The time axis is regular, so a scan's index follows from its time; what never came is never
written and reads as not observed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
import zarr

from datasets.coding import RAIN_CODE
from datasets.errors import DataError
from datasets.grid import GRID_MAPPING, grid_from_attributes
from datasets.windows import Bools, runs

MISSING, OK, REJECTED = 0, 1, 2

BRANCH = "main"
FORMAT = 1

# Icechunk warns of concurrent local commits each time; the file lock below prevents them.
icechunk.set_logs_filter("error")


class EmptyArchiveError(DataError):
    """An archive without a first commit: its first ingestion was cut off."""


@dataclass(frozen=True)
class Rejection:
    """A scan that could not be used, and why."""

    file: str  # path as ingestion was given it
    digest: str
    reason: str
    time: pd.Timestamp | None = None


@dataclass(frozen=True)
class StoredScan:
    """One scan on its way into the archive."""

    time: pd.Timestamp
    codes: npt.NDArray[np.uint8]
    source: str
    digest: str


class Archive:
    """One radar network's scans at one snapshot.

    Open with `Archive.open`; an instance keeps reading the same snapshot whatever is committed
    meanwhile. It pickles as its path and snapshot, and so may go to worker processes.

    Attributes
    ----------
    path : where the repository lies.
    grid : pixel centres and projection.
    step : spacing of the time axis.
    start : valid time of index 0, UTC.
    attributes : name, title, institution, license and the like.
    """

    def __init__(self, path: Path, session: icechunk.Session) -> None:
        self.path = path
        self._session = session
        try:
            self._group = zarr.open_group(session.store, mode="r")
        except FileNotFoundError as error:
            raise EmptyArchiveError(
                f"{path}: nothing has been ingested yet; run `squall ingest` first"
            ) from error
        attributes = dict(self._group.attrs)
        if attributes.get("squall_format") != FORMAT:
            raise DataError(
                f"{path}: holds no Squall archive of format {FORMAT} "
                f"(found {attributes.get('squall_format')!r}); ingest it anew"
            )
        self.step = pd.Timedelta(seconds=int(attributes["step_s"]))  # type: ignore[arg-type]
        self.start = pd.Timestamp(int(attributes["start_s"]), unit="s")  # type: ignore[arg-type]
        self.attributes: dict[str, Any] = json.loads(str(attributes["archive"]))
        self.grid = grid_from_attributes(
            self._array("x")[:], self._array("y")[:], str(attributes["crs_wkt"])
        )

    @classmethod
    def open(cls, path: Path | str, snapshot: str | None = None) -> Archive:
        """Open for reading, the newest snapshot or the one named.

        Raises
        ------
        DataError
            If there is no archive at the path, or no such snapshot in it.
        """
        path = Path(path)
        repository = open_repository(path)
        try:
            if snapshot is None:
                session = repository.readonly_session(branch=BRANCH)
            else:
                session = repository.readonly_session(snapshot_id=snapshot)
        except icechunk.IcechunkError as error:
            raise DataError(f"{path}: has no snapshot {snapshot!r}") from error
        return cls(path, session)

    @staticmethod
    def exists(path: Path | str) -> bool:
        """Whether an Icechunk repository lies at the path."""
        path = Path(path)
        return path.is_dir() and icechunk.Repository.exists(storage_of(path))

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path), self.snapshot)

    @property
    def snapshot(self) -> str:
        """Identifier of the snapshot that is read."""
        return str(self._session.snapshot_id)

    @property
    def name(self) -> str:
        """Short name of the radar network."""
        return str(self.attributes["name"])

    @property
    def title(self) -> str:
        """Name of the radar network for people."""
        return str(self.attributes.get("title") or self.name)

    @property
    def block_px(self) -> int:
        """Side of the blocks that rain statistics are kept for, pixels."""
        return int(self._group.attrs["block_px"])  # type: ignore[arg-type]

    @cached_property
    def codes(self) -> zarr.Array[Any]:
        """(time, y, x) uint8, lazily read; see `RainCode`."""
        return self._array("rain_rate_code")

    @property
    def times(self) -> pd.DatetimeIndex:
        """Valid time of every index, those without a scan too, UTC."""
        return pd.date_range(self.start, periods=self.codes.shape[0], freq=self.step)

    @cached_property
    def status(self) -> npt.NDArray[np.uint8]:
        """(time,) 0 missing, 1 ok, 2 rejected; read once, for the snapshot never changes."""
        status = np.array(self._array("status")[:])
        status.setflags(write=False)
        return status

    @property
    def rejections(self) -> list[Rejection]:
        """Files and scans set aside and not replaced since, with their reasons."""
        return [
            Rejection(**entry | {"time": pd.Timestamp(entry["time"]) if entry["time"] else None})
            for entry in json.loads(str(self._group.attrs["rejections"]))
        ]

    def index_of(self, time: pd.Timestamp) -> int:
        """Index of a valid time on the regular axis, inside the archive or not.

        Raises
        ------
        DataError
            If the time does not lie on the step.
        """
        index, rest = divmod(time - self.start, self.step)
        if rest != pd.Timedelta(0):
            raise DataError(
                f"{self.path}: {time:%Y-%m-%d %H:%M:%S} is not on the archive's step: there is one "
                f"scan every {self.step.total_seconds() / 60:g} min, as at {self.start:%H:%M:%S}"
            )
        return int(index)

    def read(self, first: int, count: int) -> xr.DataArray:
        """Rain rate of consecutive scans; what lies outside the archive is not observed.

        Returns
        -------
        (time, y, x) float32, mm/h, NaN = not observed, with the grid's coordinates.
        """
        codes = np.full((count, *self.grid.shape), RAIN_CODE.NOT_OBSERVED, dtype=np.uint8)
        low, high = max(first, 0), min(first + count, self.codes.shape[0])
        if low < high:
            codes[low - first : high - first] = self.codes[low:high]
        times = pd.date_range(self.start + first * self.step, periods=count, freq=self.step)
        return xr.DataArray(
            RAIN_CODE.decode(codes),
            dims=("time", "y", "x"),
            coords={"time": times, **self.grid.coords()},
            name="rain_rate",
            attrs={
                "standard_name": "rainfall_rate",
                "long_name": "rain rate",
                "units": "mm h-1",
                "grid_mapping": GRID_MAPPING,
            },
        )

    def block_statistics(self, name: str, where: Bools | None = None) -> npt.NDArray[np.float32]:
        """(time, block_y, block_x): ``rain_rate``, ``wet_share`` or ``observed_share``.

        With a mask over the time axis, of those times alone.
        """
        return _taken(self._array(f"block_{name}"), where)

    def codes_where(self, where: Bools) -> npt.NDArray[np.uint8]:
        """(scan, y, x): the codes of the times where a mask over the time axis holds."""
        return _taken(self.codes, where)

    def sources(self) -> dict[str, list[int]]:
        """Digest of each ingested file and the indices that it fills."""
        filled: dict[str, list[int]] = {}
        digests = np.asarray(self._array("digest")[:])
        for index in np.flatnonzero(self.status == OK).tolist():
            filled.setdefault(str(digests[index]), []).append(index)
        return filled

    def source_names(self) -> npt.NDArray[Any]:
        """(time,) path of the file that each scan came from, empty where missing."""
        return np.asarray(self._array("source")[:])

    def bytes_on_disk(self) -> int:
        """Size of the whole repository, all snapshots, bytes."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

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


def _reopen(path: str, snapshot: str) -> Archive:
    return Archive.open(path, snapshot)


def storage_of(path: Path) -> icechunk.Storage:
    return icechunk.local_filesystem_storage(os.fspath(path))


def open_repository(path: Path) -> icechunk.Repository:
    if not Archive.exists(path):
        raise DataError(f"{path}: there is no archive; make one with `squall ingest`")
    try:
        return icechunk.Repository.open(storage_of(path))
    except icechunk.IcechunkError as error:
        raise DataError(f"{path}: cannot be opened as an archive: {error}") from error
