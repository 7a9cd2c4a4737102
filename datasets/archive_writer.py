"""Writing an archive: its layout, the lock, and atomic commits of scans and rejections.

Owns everything that changes an archive; reading is `datasets.archive`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import icechunk
import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr
from zarr.codecs import BloscCodec

from datasets.archive import (
    BRANCH,
    FORMAT,
    MISSING,
    OK,
    REJECTED,
    Archive,
    EmptyArchiveError,
    Rejection,
    StoredScan,
    open_repository,
    storage_of,
)
from datasets.coding import RAIN_CODE
from datasets.errors import DataError
from datasets.grid import (
    GRID_MAPPING,
    Grid,
    grid_from_attributes,
    grid_mapping_attributes,
)

TIME_CHUNK = 24  # scans; with the tile below 1.5 MiB a chunk before compression
TILE = 256  # pixels
RECORD_CHUNK = 8192  # time steps of the one-dimensional arrays
BLOCK = 32  # pixels of a side of the blocks that rain statistics are kept for


@contextmanager
def write_lock(path: Path, timeout_s: float = 60.0) -> Iterator[None]:
    """Hold the archive's file lock: on a local disk Icechunk allows one committer at a time.

    Raises
    ------
    DataError
        If another process keeps the lock longer than the time-out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(lock_path(path), timeout=timeout_s)
    try:
        with lock:
            yield
    except filelock.Timeout as error:
        raise DataError(
            f"{path}: another ingestion has been writing for {timeout_s:g} s "
            f"(lock {lock_path(path)}); try again when it is done"
        ) from error


def lock_path(path: Path) -> Path:
    """Where the file lock of an archive lies: beside it, for Icechunk wants its folder alone."""
    return path.with_name(path.name + ".lock")


class ArchiveWriter:
    """Puts scans into an archive, one commit per call; the caller holds `write_lock`.

    Parameters
    ----------
    path : the archive; made by the first `commit` if there is none.
    step : spacing of the time axis.
    attributes : name, title and the like; plain JSON values.
    """

    def __init__(self, path: Path, step: pd.Timedelta, attributes: dict[str, Any]) -> None:
        self.path, self.step, self.attributes = path, step, attributes
        self._repository = open_repository(path) if Archive.exists(path) else None

    def archive(self) -> Archive | None:
        """The archive as of the last commit; None before the first."""
        if self._repository is None:
            return None
        try:
            return Archive(self.path, self._repository.readonly_session(branch=BRANCH))
        except EmptyArchiveError:
            return None

    def commit(
        self, grid: Grid, scans: Sequence[StoredScan], rejections: Sequence[Rejection], message: str
    ) -> str:
        """Write scans and rejections in one atomic commit; returns the new snapshot.

        Scans replace what their time held. A rejection with a time marks a slot without a good
        scan; it is forgotten when its file is ingested after all. Times must lie on the step.

        Raises
        ------
        DataError
            If the archive is there already and on another grid, or the path is no place for one.
        """
        assert all(scan.codes.shape == grid.shape for scan in scans)
        if self._repository is None:
            self._repository = _create_repository(self.path)
        session = self._repository.writable_session(BRANCH)
        times = [s.time for s in scans] + [r.time for r in rejections if r.time is not None]
        group = self._group(session, grid, min(times, default=None))
        if times:
            _reserve(group, min(times), max(times))
        start = _start(group)
        _write_scans(group, {int((s.time - start) / self.step): s for s in scans})
        _write_rejections(group, self.step, scans, rejections)
        return session.commit(message)

    def _group(
        self, session: icechunk.Session, grid: Grid, first: pd.Timestamp | None
    ) -> zarr.Group:
        try:
            group = zarr.open_group(session.store, mode="r+")
        except FileNotFoundError:
            start = pd.Timestamp(0) if first is None else first
            return _initialise(session, grid, self.step, start, self.attributes)
        here: Any = group
        there = grid_from_attributes(here["x"][:], here["y"][:], str(group.attrs["crs_wkt"]))
        difference = there.difference(grid)
        if difference is not None:
            raise DataError(f"{self.path}: is on another grid: {difference}")
        group.attrs["archive"] = json.dumps(self.attributes)
        return group


def _create_repository(path: Path) -> icechunk.Repository:
    try:
        return icechunk.Repository.create(storage_of(path))
    except icechunk.IcechunkError as error:
        raise DataError(
            f"{path}: an archive needs a folder of its own, and this one is not empty"
        ) from error


def _start(group: zarr.Group) -> pd.Timestamp:
    return pd.Timestamp(int(group.attrs["start_s"]), unit="s")  # type: ignore[arg-type]


def _initialise(
    session: icechunk.Session,
    grid: Grid,
    step: pd.Timedelta,
    start: pd.Timestamp,
    attributes: dict[str, Any],
) -> zarr.Group:
    group = zarr.create_group(
        session.store,
        attributes={
            "Conventions": "CF-1.11",
            "squall_format": FORMAT,
            "step_s": int(step.total_seconds()),
            "start_s": int(start.timestamp()),
            "crs_wkt": grid.crs_wkt,
            "block_px": BLOCK,
            "archive": json.dumps(attributes),
            "rejections": "[]",
        },
    )
    compressed = BloscCodec(cname="zstd", clevel=5, shuffle="noshuffle")
    height, width = grid.shape
    group.create_array(
        "rain_rate_code",
        shape=(0, height, width),
        chunks=(TIME_CHUNK, min(TILE, height), min(TILE, width)),
        dtype="uint8",
        fill_value=RAIN_CODE.NOT_OBSERVED,
        compressors=compressed,
        dimension_names=("time", "y", "x"),
        attributes={
            "long_name": "rain rate, logarithmic code",
            "units_of_decoded": "mm h-1",
            "lowest_mm_h": RAIN_CODE.lowest_mm_h,
            "highest_mm_h": RAIN_CODE.highest_mm_h,
            "comment": "0 dry; 1..254 = lowest*(highest/lowest)**((code-1)/253); 255 not observed",
            "grid_mapping": GRID_MAPPING,
        },
    )
    blocks = (-(-height // BLOCK), -(-width // BLOCK))
    for name in ("rain_rate", "wet_share", "observed_share"):
        group.create_array(
            f"block_{name}",
            shape=(0, *blocks),
            chunks=(256, *blocks),
            dtype="float32",
            fill_value=0.0,
            compressors=compressed,
            dimension_names=("time", "block_y", "block_x"),
        )
    record: dict[str, Any] = {
        "shape": (0,),
        "chunks": (RECORD_CHUNK,),
        "dimension_names": ("time",),
    }
    flags: dict[str, Any] = {
        "flag_values": [MISSING, OK, REJECTED],
        "flag_meanings": "missing ok rejected",
    }
    group.create_array("status", dtype="uint8", fill_value=MISSING, attributes=flags, **record)
    group.create_array("source", dtype=str, fill_value="", **record)
    group.create_array("digest", dtype=str, fill_value="", **record)
    time_attributes: dict[str, Any] = {
        "standard_name": "time",
        "units": "seconds since 1970-01-01 00:00:00",
        "calendar": "standard",
    }
    group.create_array("time", dtype="int64", attributes=time_attributes, **record)
    coords = grid.coords()
    for name in ("y", "x"):
        _, values, described = coords[name]
        axis = group.create_array(name, data=values, dimension_names=(name,), attributes=described)
        assert axis.shape == values.shape
    group.create_array(
        GRID_MAPPING, shape=(), dtype="int32", attributes=grid_mapping_attributes(grid.crs)
    )
    return group


def _time_arrays(group: zarr.Group) -> list[zarr.Array[Any]]:
    return [array for name, array in group.arrays() if name not in ("y", "x", GRID_MAPPING)]


def _reserve(group: zarr.Group, first: pd.Timestamp, last: pd.Timestamp) -> None:
    """Extend the time axis to hold both times.

    Earlier times come in whole chunks, and what is there moves back: rare, and paid once.
    """
    step_s = int(group.attrs["step_s"])  # type: ignore[arg-type]
    start_s = int(group.attrs["start_s"])  # type: ignore[arg-type]
    length = group["time"].shape[0]  # type: ignore[union-attr]
    if length == 0:  # the first commit may have known no times
        start_s = int(first.timestamp())
    before = -(-max(0, start_s - int(first.timestamp())) // step_s)
    before = -(-before // TIME_CHUNK) * TIME_CHUNK
    start_s -= before * step_s
    new_length = max(length + before, (int(last.timestamp()) - start_s) // step_s + 1)
    if new_length == length:
        return
    for array in _time_arrays(group):
        array.resize((new_length, *array.shape[1:]))
        if before:
            _move_back(array, length, before)
    group.attrs["start_s"] = start_s
    changed = slice(0 if before else length, new_length)
    group["time"][changed] = start_s + step_s * np.arange(changed.start, new_length)  # type: ignore[index]


def _move_back(array: zarr.Array[Any], length: int, by: int) -> None:
    """Move the first ``length`` entries along time, the last chunks first so that none is lost."""
    span = TIME_CHUNK if array.ndim > 1 and array.chunks[0] == TIME_CHUNK else RECORD_CHUNK
    for low in reversed(range(0, length, span)):
        high = min(low + span, length)
        array[low + by : high + by] = array[low:high]
    vacated = min(by, length)
    for low in range(0, vacated, span):
        high = min(low + span, vacated)
        array[low:high] = np.full(
            (high - low, *array.shape[1:]), array.fill_value, dtype=array.dtype
        )


def _write_scans(group: zarr.Group, scans: dict[int, StoredScan]) -> None:
    """Write scans at their indices, every chunk along time once."""
    if not scans:
        return
    arrays: dict[str, Any] = dict(group.arrays())
    rows = sorted(scans)
    for chunk in sorted({row // TIME_CHUNK for row in rows}):
        low = chunk * TIME_CHUNK
        part = [row for row in rows if low <= row < low + TIME_CHUNK]
        first, end = part[0], part[-1] + 1
        codes = arrays["rain_rate_code"][first:end]
        for row in part:
            codes[row - first] = scans[row].codes
        arrays["rain_rate_code"][first:end] = codes
    statistics = [block_statistics(scans[row].codes) for row in rows]
    for name in ("rain_rate", "wet_share", "observed_share"):
        values = np.stack([s[name] for s in statistics])
        arrays[f"block_{name}"].oindex[rows, :, :] = values
    arrays["status"].oindex[rows] = np.full(len(rows), OK, dtype=np.uint8)
    arrays["source"].oindex[rows] = np.array([scans[row].source for row in rows], dtype="T")
    arrays["digest"].oindex[rows] = np.array([scans[row].digest for row in rows], dtype="T")


def _write_rejections(
    group: zarr.Group,
    step: pd.Timedelta,
    scans: Sequence[StoredScan],
    rejections: Sequence[Rejection],
) -> None:
    status: Any = group["status"]
    start = _start(group)
    for rejection in rejections:
        if rejection.time is not None:
            row = int((rejection.time - start) / step)
            if status[row] != OK:
                status[row] = REJECTED
    before = json.loads(str(group.attrs["rejections"]))
    replaced = {scan.source for scan in scans} | {r.file for r in rejections}
    filled = {scan.time.isoformat() for scan in scans}
    kept = [r for r in before if r["file"] not in replaced and r["time"] not in filled]
    new = [
        {
            "file": r.file,
            "digest": r.digest,
            "reason": r.reason,
            "time": None if r.time is None else r.time.isoformat(),
        }
        for r in rejections
    ]
    if new or len(kept) != len(before):
        group.attrs["rejections"] = json.dumps(kept + new)


def block_statistics(codes: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
    """Mean rain rate (mm/h, over observed pixels), wet and observed share of each block."""
    height, width = codes.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    padded = np.full((rows * BLOCK, columns * BLOCK), RAIN_CODE.NOT_OBSERVED, dtype=np.uint8)
    padded[:height, :width] = codes
    blocks = padded.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(rows, columns, -1)
    observed = (blocks != RAIN_CODE.NOT_OBSERVED).sum(axis=-1)
    wet = ((blocks != RAIN_CODE.DRY) & (blocks != RAIN_CODE.NOT_OBSERVED)).sum(axis=-1)
    rain = np.nan_to_num(RAIN_CODE.table)[blocks].sum(axis=-1)
    count = np.maximum(observed, 1)
    pixels = np.minimum(BLOCK, height - np.arange(rows) * BLOCK)[:, None] * np.minimum(
        BLOCK, width - np.arange(columns) * BLOCK
    )
    return {
        "rain_rate": (rain / count).astype(np.float32),
        "wet_share": (wet / count).astype(np.float32),
        "observed_share": (observed / pixels).astype(np.float32),
    }
