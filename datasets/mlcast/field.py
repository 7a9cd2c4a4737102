"""Pixels of an MLCast store, encoded as an archive's codes when they are read.

Owns which chunks are read, and finding scans without any observed pixel.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
import zarr
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from zarr.storage import FsspecStore, LocalStore, MemoryStore

from squall.datasets.addresses import is_remote
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.radar.plausibility import rain_rate
from squall.datasets.radar.units import ZRRelation
from squall.datasets.runs import Bools

log = logging.getLogger("squall")
READ_BYTES = 2**26  # of decoded floats in memory at once
_CHUNK_KEY = re.compile(r"(?:c[./])?(\d+)[./]0[./]0")


def store_at(address: str, *, read_only: bool) -> LocalStore | FsspecStore:
    """The Zarr store at a folder or an fsspec address; credentials come from the environment."""
    if not is_remote(address):
        return LocalStore(address, read_only=read_only)
    filesystem, root = fsspec.core.url_to_fs(address)
    # Zarr never closes the connections of an asynchronous file system, so a synchronous one is
    # wrapped.
    wrapped = AsyncFileSystemWrapper(filesystem, asynchronous=True)
    return FsspecStore(wrapped, path=root.rstrip("/"), read_only=read_only)


@dataclass(frozen=True, eq=False)
class Field:
    """The rain variable of a store.

    Parameters
    ----------
    values : (row, y, x) as stored, lazily read and decoded by xarray, NaN = not observed.
    flip : whether the order of rows and of columns is the reverse of the archive's grid.
    times, intervals : (row,) valid times and the time spans of accumulations.
    """

    address: str
    name: str
    units: str
    values: xr.Variable
    flip: tuple[bool, bool]
    times: npt.NDArray[np.datetime64]
    intervals: npt.NDArray[np.timedelta64]

    def codes(
        self, rows: npt.NDArray[np.int64], pixels: tuple[slice, slice]
    ) -> npt.NDArray[np.uint8]:
        """(row, y, x) codes of a part of the grid, north up.

        Raises
        ------
        DataError
            If a scan holds values that cannot be rain.
        """
        stored = tuple(
            _mirrored(stretch, size) if flipped else stretch
            for stretch, size, flipped in zip(pixels, self.values.shape[1:], self.flip, strict=True)
        )
        order = tuple(slice(None, None, -1 if flipped else 1) for flipped in self.flip)
        is_contiguous = bool((np.diff(rows) == 1).all())
        time: Any = slice(int(rows[0]), int(rows[-1]) + 1) if is_contiguous else rows
        values = self.values[time, stored[0], stored[1]].values[:, order[0], order[1]]
        codes = np.empty(values.shape, dtype=np.uint8)
        for i, row in enumerate(rows.tolist()):
            try:
                rate, hidden_px = rain_rate(
                    values[i],
                    self.units,
                    interval=pd.Timedelta(self.intervals[row]),
                    zr=ZRRelation(),
                )
            except DataError as error:
                raise DataError(
                    f"{self.address}: '{self.name}' of {self.times[row]} cannot be used: {error}"
                ) from error
            if hidden_px:
                _warn_of_hidden_pixels(self.address, self.name)
            codes[i] = RAIN_CODE.encode(rate)
        return codes


@lru_cache(maxsize=64)  # once for each store: scans are read again and again
def _warn_of_hidden_pixels(address: str, name: str) -> None:
    log.warning("%s: impossible values of '%s' in some pixels count as not observed", address, name)


def _mirrored(stretch: slice, size: int) -> slice:
    """The same pixels on an axis of the reverse order."""
    first, end, _ = stretch.indices(size)
    return slice(size - end, size - first)


class CodesView:
    """(time, y, x) uint8, indexed like a Zarr array; pixels are encoded when they are read.

    The index along time may be a slice, a number or an array of numbers; along y and x it is a
    slice without a step. Only the chunks of those times are read, and at most `READ_BYTES` at once.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, field: Field, rows: npt.NDArray[np.int64], shape: tuple[int, int]) -> None:
        self._field, self._rows = field, rows
        self.shape = (rows.size, *shape)
        self.chunks = (1, *shape)

    def __getitem__(self, key: Any) -> npt.NDArray[np.uint8]:
        time, *pixels = key if isinstance(key, tuple) else (key,)
        stretches = [slice(*p.indices(n)) for p, n in zip(pixels, self.shape[1:], strict=False)]
        assert all(stretch.step == 1 for stretch in stretches)
        y, x = (stretches + [slice(0, n) for n in self.shape[1:]][len(stretches) :])[:2]
        rows = np.atleast_1d(self._rows[time])
        size = (max(0, y.stop - y.start), max(0, x.stop - x.start))
        codes = np.full((rows.size, *size), RAIN_CODE.NOT_OBSERVED, dtype=np.uint8)
        present = np.flatnonzero(rows >= 0)
        batch_size = max(1, READ_BYTES // (8 * max(1, size[0] * size[1])))
        for low in range(0, present.size if codes.size else 0, batch_size):
            batch = present[low : low + batch_size]
            codes[batch] = self._field.codes(rows[batch], (y, x))
        return codes[0] if np.ndim(self._rows[time]) == 0 else codes


def unobserved_rows(field: Field) -> Bools:
    """(row,) which scans have no observed pixel.

    If a chunk is one scan, a listing of the store gives the sizes, and only chunks about as small
    as a scan full of NaN are read. Otherwise all chunks are read.
    """
    count = field.values.shape[0]
    candidates = np.arange(count)
    sizes = _chunk_sizes(field)
    if sizes is not None:
        candidates = np.flatnonzero(sizes <= 2 * _size_of_empty(field) + 64)
    unobserved = np.zeros(count, dtype=bool)
    for row in candidates.tolist():
        unobserved[row] = bool(np.isnan(field.values[row].values).all())
    return unobserved


def _array(field: Field) -> zarr.Array[Any]:
    array = zarr.open_group(store_at(field.address, read_only=True), mode="r")[field.name]
    assert isinstance(array, zarr.Array)
    return array


def _chunk_sizes(field: Field) -> npt.NDArray[np.int64] | None:
    """(row,) size of each scan's chunk, bytes, 0 if absent; None if unknown or not one scan."""
    array = _array(field)
    if (array.shards or array.chunks) != (1, *array.shape[1:]):
        return None
    filesystem, root = fsspec.core.url_to_fs(field.address)
    folder = f"{root.rstrip('/')}/{field.name}/"
    sizes = np.zeros(array.shape[0], dtype=np.int64)
    for path, described in filesystem.find(folder, detail=True).items():
        key = _CHUNK_KEY.fullmatch(path.split(f"/{field.name}/")[-1])
        if key and int(key[1]) < sizes.size:
            if described["size"] is None:  # a web server lists names only
                return None
            sizes[int(key[1])] = described["size"]
    return sizes


def _size_of_empty(field: Field) -> int:
    """Size of a scan without observed pixels, encoded with the store's codecs, bytes."""
    array = _array(field)
    stored: dict[str, Any] = {}
    with zarr.config.set({"array.write_empty_chunks": True}):
        probe = zarr.from_array(MemoryStore(stored), data=array, write_data=False)
        probe[0] = np.nan if np.issubdtype(array.dtype, np.floating) else array.fill_value
    return max(len(value) for key, value in stored.items() if _CHUNK_KEY.fullmatch(key))
