"""Reading plain Zarr stores of the MLCast source-data convention as archives.

Owns what a store says about its variable, grid and times. `field` reads its pixels, `times` maps
its times; `squall.datasets.mlcast.writer` writes a store.

The convention (``mlcast-dataset-validator`` 0.4.0, radar precipitation 0.3.0) stores floating point
numbers in chunks of one time step and leaves missing times out of the time axis. An archive has a
regular axis of codes, so times are mapped onto that axis and pixels are encoded at each read.
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
from squall.datasets.names import safe_name
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
_BATCH = 256  # scans that are queued for the threads at once


def is_plain_zarr(address: str) -> bool:
    """Whether a plain Zarr store, version 2 or 3, lies at a local or remote address.

    Raises
    ------
    DataError
        If the object store cannot be reached.
    """
    try:
        return bool(_stored(address, ROOT_KEYS[:3]))
    except ImportError:  # fsspec needs a package for some object stores that Icechunk knows
        return False


class MlcastStore(ScanStore):
    """One store of the convention, read only.

    Opening reads metadata and coordinates. `status` lists the chunks to find scans without any
    observed pixel. Checksums and block statistics are not stored: their first use reads every scan
    once, with one thread a core, and the instance keeps them. A pickled instance opens the store
    again and refuses it if it has changed.
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
        """Open for reading; a given snapshot must be the present state of the store.

        Raises
        ------
        DataError
            If there is no store, it does not follow the convention, or it has changed since the
            snapshot.
        """
        store = cls(os.fspath(address))
        if snapshot not in (None, store.snapshot):
            raise DataError(
                f"{address}: has no snapshot {snapshot!r}: a plain Zarr store keeps only its "
                f"present state, which is {store.snapshot}"
            )
        return store

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

        It does not change if pixels are overwritten and the metadata stay the same.
        """
        return self._snapshot

    @property
    def block_px(self) -> int:
        """Side of the blocks of the rain statistics, pixels."""
        return BLOCK

    @cached_property
    def codes(self) -> CodesView:
        """(time, y, x) uint8, encoded at each read; see `RainCode`."""
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
        """(time,) `codes_checksum` of each scan, 0 if missing; the first call reads all scans."""
        return self._on_axis(self._measures[0], None)

    @property
    def rejections(self) -> list[Rejection]:
        """Times of the store that do not fit on the regular axis, one entry for each reason."""
        return [
            Rejection(self.address, "", reason, time, rule="time")
            for time, reason in self._axis.left_out
        ]

    def marks(self, since: pd.Timestamp | None = None) -> npt.NDArray[np.uint64]:
        """An empty array: nothing is ingested into such a store."""
        return np.empty(0, dtype=np.uint64)

    def records(self, rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """``status``, ``source`` (the store's address), ``digest`` (0), ``checksum`` of indices."""
        return {
            "status": self.status[rows],
            "source": np.where(self.status[rows] == OK, self.address, ""),
            "digest": np.zeros((rows.size, DIGEST_BYTES), dtype=np.uint8),
            "checksum": self.checksums[rows],
        }

    def block_statistics(self, name: str, where: Bools | None = None) -> npt.NDArray[np.float32]:
        """(time, block_y, block_x); with a mask, of the times where it holds.

        The first call reads every scan of the store.
        """
        return self._on_axis(self._measures[1][:, BLOCK_STATISTICS.index(name)], where)

    @property
    def block_chunk(self) -> int:
        """Time steps that are read together; the statistics are in memory."""
        return _BATCH

    def block_rows(self, name: str, first: int, end: int) -> npt.NDArray[np.float32]:
        """(time, block_y, block_x) of the time steps from first to end."""
        is_ok = self.status == OK
        statistics = self._measures[1][:, BLOCK_STATISTICS.index(name)]
        values = np.zeros((is_ok[first:end].size, *statistics.shape[1:]), dtype=statistics.dtype)
        before = int(np.count_nonzero(is_ok[:first]))
        ok = is_ok[first:end]
        values[ok] = statistics[before : before + int(np.count_nonzero(ok))]
        return values

    def bytes_on_disk(self) -> int:
        """Size of all files or objects of the store, bytes."""
        filesystem, root = fsspec.core.url_to_fs(self.address)
        return int(filesystem.du(root))

    @cached_property
    def _measures(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]:
        """Checksums (scan,) and block statistics (scan, name, block_y, block_x) of ok scans."""
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

    def _on_axis(self, measures: npt.NDArray[Any], where: Bools | None) -> npt.NDArray[Any]:
        """Values of ok scans (scan, …) on the times where a mask holds; 0 for missing times."""
        is_ok = self.status == OK
        where = np.ones_like(is_ok) if where is None else where
        values = np.zeros((int(where.sum()), *measures.shape[1:]), dtype=measures.dtype)
        values[is_ok[where]] = measures[where[is_ok]]
        return values


def _stored(address: str, keys: tuple[str, ...] | list[str]) -> dict[str, bytes]:
    """Contents of those keys of a store that exist."""
    filesystem, root = fsspec.core.url_to_fs(address)
    paths = {f"{root.rstrip('/')}/{key}": key for key in keys}
    try:
        contents = filesystem.cat(list(paths), on_error="return")
    except FileNotFoundError:
        return {}
    stored = {}
    for path, content in contents.items():
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
        return False  # opening the store raises an error that says what is wrong


def _name(attributes: dict[str, Any], address: str) -> str:
    name = attributes.get(NAME_ATTRIBUTE) or attributes.get("mlcast_dataset_identifier")
    name = str(name or Path(address.rstrip("/")).stem)
    return safe_name(name)


def _rain_variable(dataset: xr.Dataset) -> xr.DataArray:
    """The only three-dimensional variable with a unit of rain; rates are preferred."""
    candidates: dict[Quantity, list[str]] = {}
    for name, variable in dataset.data_vars.items():
        try:
            quantity, _ = parse_unit(str(variable.attrs.get("units", "")))
        except DataError:
            continue
        if variable.ndim == 3:
            candidates.setdefault(quantity, []).append(str(name))
    for quantity in _PREFERRED:
        names = candidates.get(quantity, [])
        if len(names) > 1:
            raise DataError(
                f"variables {', '.join(names)} all hold a {quantity}; a store must have only one"
            )
        if names:
            return dataset[names[0]]
    variables = ", ".join(str(name) for name in dataset.data_vars) or "none"
    raise DataError(
        "no variable (time, y, x) has units of rain rate, accumulation or reflectivity, such as "
        f"kg m-2 h-1, mm or dBZ; the variables are {variables}"
    )


def _dimensions(dataset: xr.Dataset, variable: xr.DataArray) -> tuple[str, str, str]:
    """Names of the dimensions, which must be time, y, x in this order."""
    time, *horizontal = (str(dim) for dim in variable.dims)
    if time not in dataset.coords or not np.issubdtype(dataset[time].dtype, np.datetime64):
        raise DataError(
            f"'{variable.name}' has dimensions {variable.dims}; the first one must be time with a "
            "CF time coordinate of the standard calendar"
        )
    for dim, axis in zip(horizontal, ("Y", "X"), strict=True):
        attributes = dataset[dim].attrs if dim in dataset.coords else {}
        names = {attributes.get("standard_name"), dim.lower()}
        if not attributes or not (attributes.get("axis") == axis or names & set(_DIM_NAMES[axis])):
            raise DataError(
                f"'{variable.name}' has dimensions {variable.dims}; '{dim}' is no {axis.lower()} "
                "coordinate with CF attributes, expected the order time, y, x"
            )
    return time, horizontal[0], horizontal[1]
