"""Plain Zarr stores of the MLCast source-data convention, read as archives.

Owns what such a store says about its variable, grid and times, and codes made on the fly. Writing
one is `squall.datasets.mlcast.writer`.

The convention (``mlcast-dataset-validator`` 0.4.0, radar precipitation 0.3.0) keeps floating point
numbers in chunks of one time step, and leaves missing times out of the time axis. An archive has a
regular axis of codes, so times are mapped onto the step and each read is coded as it comes.
"""

from __future__ import annotations

import json
import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from squall.datasets.addresses import unreachable
from squall.datasets.archive.records import DIGEST_BYTES, MISSING, OK, Rejection
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import DataError
from squall.datasets.measures import BLOCK, BLOCK_STATISTICS, measure
from squall.datasets.mlcast.field import CodesView, Field, store_at, unobserved_rows
from squall.datasets.mlcast.times import TimeAxis, time_axis
from squall.datasets.radar.coordinates import crs_of, harmonised_grid
from squall.datasets.radar.units import Quantity, parse_unit
from squall.datasets.runs import Bools

log = logging.getLogger("squall")

ROOT_KEYS = ("zarr.json", ".zmetadata", ".zgroup", ".zattrs")
NAME_ATTRIBUTE = "id"  # ACDD; `squall export` writes the archive's name there
# global attributes that describe the store and not the data
_OF_THE_STORE = re.compile(
    r"mlcast_|time_coverage_|(id|title|Conventions|history|consistent_timestep_start)$"
)
_DIM_NAMES = {
    "Y": ("projection_y_coordinate", "latitude", "y", "lat", "northing"),
    "X": ("projection_x_coordinate", "longitude", "x", "lon", "easting"),
}
_PREFERRED: tuple[Quantity, ...] = ("rate", "accumulation", "reflectivity")
_BATCH = 256  # scans that wait for a thread at once


def is_plain_zarr(address: str) -> bool:
    """Whether a plain Zarr store, version 2 or 3, lies at a local or remote address.

    Raises
    ------
    DataError
        If the object store cannot be reached.
    """
    try:
        return bool(_stored(address, ROOT_KEYS[:3]))
    except ImportError:  # Icechunk may know an object store that fsspec needs a package for
        return False


class MlcastStore(ScanStore):
    """One store of the convention, read only.

    Opening reads metadata and coordinates. `status` lists the chunks, to find scans without any
    observed pixel. Block statistics are not stored: the first use reads every scan once, with as
    many threads as there are cores, and the instance keeps them. A pickled instance opens the
    store anew and refuses one that has changed.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        root = _stored(address, ROOT_KEYS)
        if not root.keys() & set(ROOT_KEYS[:3]):
            raise DataError(f"{address}: there is no Zarr store")
        try:
            dataset = xr.open_dataset(
                store_at(address, read_only=True),  # type: ignore[arg-type]
                engine="zarr",
                consolidated=_is_consolidated(root),
                cache=False,
                decode_timedelta=False,
            )
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{address}: cannot be opened as a Zarr dataset: {error}") from error
        try:
            self._read_metadata(dataset)
        except DataError as error:
            raise DataError(f"{address}: does not follow the MLCast convention: {error}") from error
        self._snapshot = self._digest(root)

    @classmethod
    def open(cls, address: Path | str, snapshot: str | None = None) -> MlcastStore:
        """Open for reading; a named snapshot must be what the store still holds.

        Raises
        ------
        DataError
            If there is no store, it does not follow the convention, or it has changed since the
            snapshot.
        """
        archive = cls(os.fspath(address))
        if snapshot not in (None, archive.snapshot):
            raise DataError(
                f"{address}: has no snapshot {snapshot!r}: a plain Zarr store keeps its newest "
                f"state alone, which is {archive.snapshot}"
            )
        return archive

    def __reduce__(self) -> tuple[Any, ...]:
        return MlcastStore.open, (self.address, self.snapshot)

    def _read_metadata(self, dataset: xr.Dataset) -> None:
        variable = _rain_variable(dataset)
        time, y, x = _dimensions(dataset, variable)
        crs = crs_of(dataset, variable, dataset[x], dataset[y])
        self.grid, flip_rows, flip_columns = harmonised_grid(dataset[x], dataset[y], crs)
        quantity, _ = parse_unit(variable.attrs["units"])
        self._axis: TimeAxis = time_axis(dataset, time, accumulated=quantity == "accumulation")
        self.step, self.start = self._axis.step, self._axis.start
        self._field = Field(
            address=self.address,
            name=str(variable.name),
            units=variable.attrs["units"],
            values=variable.variable,
            flip=(flip_rows, flip_columns),
            times=self._axis.valid_times,
            intervals=self._axis.intervals,
        )
        self.attributes = {
            "name": _name(dataset.attrs, self.address),
            "title": str(dataset.attrs.get("title", "")),
        } | {
            key: value
            for key, value in dataset.attrs.items()
            if isinstance(value, str) and not _OF_THE_STORE.match(key)
        }

    def _digest(self, root: dict[str, bytes]) -> str:
        name = self._field.name
        keys = [f"{name}/{key}" for key in ("zarr.json", ".zarray", ".zattrs")]
        stored = root | _stored(self.address, keys)
        digest = blake2b(digest_size=16)
        for key in sorted(stored):
            digest.update(f"{key} {len(stored[key])} ".encode() + stored[key])
        digest.update(self._axis.valid_times.tobytes())
        return digest.hexdigest()

    @property
    def snapshot(self) -> str:
        """Digest of the store's metadata and times.

        Pixels that someone rewrites in place, under the same metadata, do not change it.
        """
        return self._snapshot

    @property
    def block_px(self) -> int:
        return BLOCK

    @cached_property
    def codes(self) -> CodesView:
        return CodesView(self._field, self._axis.rows, self.grid.shape)

    @cached_property
    def status(self) -> npt.NDArray[np.uint8]:
        """(time,) 0 missing, 1 ok; a scan without any observed pixel is missing."""
        rows = self._axis.rows
        unobserved = unobserved_rows(self._field)
        status = np.where(rows >= 0, OK, MISSING).astype(np.uint8)
        status[(rows >= 0) & unobserved[rows]] = MISSING
        status.setflags(write=False)
        return status

    @property
    def checksums(self) -> npt.NDArray[np.uint64]:
        return self._on_axis(self._measures[0], None)

    @property
    def rejections(self) -> list[Rejection]:
        """Times of the store that have no place on the regular axis, one entry a reason."""
        return [
            Rejection(self.address, "", reason, time, rule="time")
            for time, reason in self._axis.left_out
        ]

    def marks(self, since: pd.Timestamp | None = None) -> npt.NDArray[np.uint64]:
        """None: nothing is ever ingested into such a store."""
        return np.empty(0, dtype=np.uint64)

    def records(self, rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """``status``, ``source`` and ``checksum`` of ascending rows; no digests of files (0)."""
        return {
            "status": self.status[rows],
            "source": np.where(self.status[rows] == OK, self.address, ""),
            "digest": np.zeros((rows.size, DIGEST_BYTES), dtype=np.uint8),
            "checksum": self.checksums[rows],
        }

    def block_statistics(self, name: str, where: Bools | None = None) -> npt.NDArray[np.float32]:
        """(time, block_y, block_x); the first call reads every scan of the store."""
        return self._on_axis(self._measures[1][:, BLOCK_STATISTICS.index(name)], where)

    def bytes_on_disk(self) -> int:
        filesystem, root = fsspec.core.url_to_fs(self.address)
        return int(filesystem.du(root))

    @cached_property
    def _measures(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]:
        """Checksums (scan,) and block statistics (scan, name, block_y, block_x) of good scans."""
        good = np.flatnonzero(self.status == OK)
        height, width = self.grid.shape
        blocks = (len(BLOCK_STATISTICS), -(-height // BLOCK), -(-width // BLOCK))
        checksums = np.empty(good.size, dtype=np.uint64)
        statistics = np.empty((good.size, *blocks), dtype=np.float32)
        log.info("%s: reading %d scans for their rain statistics", self.address, good.size)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for low in range(0, good.size, _BATCH):
                batch = good[low : low + _BATCH].tolist()
                measured = pool.map(lambda index: measure(self.codes[index]), batch)
                for scan, result in enumerate(measured, start=low):
                    checksums[scan], statistics[scan] = result.checksum, result.blocks
        return checksums, statistics

    def _on_axis(self, of_good: npt.NDArray[Any], where: Bools | None) -> npt.NDArray[Any]:
        """What is known of good scans, on the times where a mask holds; 0 for the others."""
        good = self.status == OK
        where = np.ones_like(good) if where is None else where
        values = np.zeros((int(where.sum()), *of_good.shape[1:]), dtype=of_good.dtype)
        values[good[where]] = of_good[where[good]]
        return values


def _stored(address: str, keys: tuple[str, ...] | list[str]) -> dict[str, bytes]:
    """What lies under the keys of a store that are there."""
    filesystem, root = fsspec.core.url_to_fs(address)
    paths = {f"{root.rstrip('/')}/{key}": key for key in keys}
    try:
        found = filesystem.cat(list(paths), on_error="return")
    except FileNotFoundError:
        return {}
    stored = {}
    for path, content in found.items():
        if isinstance(content, bytes):
            stored[paths[path]] = content
        elif not isinstance(content, (FileNotFoundError, NotADirectoryError, IsADirectoryError)):
            raise unreachable(address, content) from content
    return stored


def _is_consolidated(root: dict[str, bytes]) -> bool:
    if ".zmetadata" in root:
        return True
    try:
        return json.loads(root.get("zarr.json", b"{}")).get("consolidated_metadata") is not None
    except ValueError:
        return False  # opening it says what is wrong


def _name(attributes: dict[str, Any], address: str) -> str:
    name = attributes.get(NAME_ATTRIBUTE) or attributes.get("mlcast_dataset_identifier")
    name = str(name or Path(address.rstrip("/")).stem)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)


def _rain_variable(dataset: xr.Dataset) -> xr.DataArray:
    """The one variable in three dimensions with a unit of rain; rates are preferred."""
    found: dict[Quantity, list[str]] = {}
    for name, variable in dataset.data_vars.items():
        try:
            quantity, _ = parse_unit(str(variable.attrs.get("units", "")))
        except DataError:
            continue
        if variable.ndim == 3:
            found.setdefault(quantity, []).append(str(name))
    for quantity in _PREFERRED:
        names = found.get(quantity, [])
        if len(names) > 1:
            raise DataError(
                f"variables {', '.join(names)} all hold a {quantity}; a store has one of them"
            )
        if names:
            return dataset[names[0]]
    there = ", ".join(str(name) for name in dataset.data_vars) or "none at all"
    raise DataError(
        "no variable (time, y, x) has units of rain rate, accumulation or reflectivity, such as "
        f"kg m-2 h-1, mm or dBZ; the variables are {there}"
    )


def _dimensions(dataset: xr.Dataset, variable: xr.DataArray) -> tuple[str, str, str]:
    """Names of the dimensions time, y, x, which must come in this order."""
    time, *across = (str(dim) for dim in variable.dims)
    if time not in dataset.coords or not np.issubdtype(dataset[time].dtype, np.datetime64):
        raise DataError(
            f"'{variable.name}' has dimensions {variable.dims}; the first one must be time with a "
            "CF time coordinate of the standard calendar"
        )
    for dim, axis in zip(across, ("Y", "X"), strict=True):
        described = dataset[dim].attrs if dim in dataset.coords else {}
        names = {described.get("standard_name"), dim.lower()}
        if not described or not (described.get("axis") == axis or names & set(_DIM_NAMES[axis])):
            raise DataError(
                f"'{variable.name}' has dimensions {variable.dims}; '{dim}' is no {axis.lower()} "
                "coordinate with CF attributes, expected the order time, y, x"
            )
    return time, across[0], across[1]
