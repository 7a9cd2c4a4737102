"""What may differ in netCDF-4 files with the same header, and where it lies.

Owns the places of times and of a scan's chunk in a file that the libraries have read.
`squall.datasets.radar.known_headers` compares files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from squall.datasets.radar.known_headers import KnownHeader, Superblock, keep
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Product
from squall.datasets.radar.readers.cf_layout import Layout
from squall.datasets.radar.readers.cf_times import StoredTimes, scan_times
from squall.datasets.radar.readers.chunks import (
    DEFLATE,
    FLETCHER32,
    SHUFFLE,
    filters_of,
    unpacked_chunk,
)

MAX_HEADER_BYTES = 2**20
MOST_EXPANDED = 1.01  # noise that cannot be deflated becomes larger, but by much less


def keep_header(
    path: str,
    dataset: h5py.Dataset,
    times: Iterable[StoredTimes],
    layout: Layout,
    config: RadarNetworkConfig,
) -> None:
    """Keep the header of an open file of one scan, if all that may differ in it has its place.

    Parameters
    ----------
    dataset : with the scan, (…, y, x) of the layout.
    times : the variables with times that the layout names, as the netCDF library reads them.
    """
    file_bytes = Path(path).stat().st_size
    chunk = _last_chunk(dataset, file_bytes)
    if chunk is None or chunk[0] > MAX_HEADER_BYTES:
        return
    chunk_at, entry = chunk
    with Path(path).open("rb") as stream:
        start = stream.read(chunk_at)
    superblock = Superblock.of(start, file_bytes)
    stored_at = {stored.name: _stored_at(dataset.file, stored) for stored in times}
    if superblock is None or start.count(entry) != 1 or None in stored_at.values():
        return
    times_at = {name: at for name, at in stored_at.items() if at is not None}
    scan = _Scan(times_at, layout, config, tuple(filters_of(dataset)), dataset.dtype, dataset.shape)
    header = KnownHeader(
        config.reading_key,
        start,
        superblock,
        start.index(entry),
        tuple(at.place for at in times_at.values()),
        1000 + int(MOST_EXPANDED * prod(dataset.shape) * dataset.dtype.itemsize),
        scan.product,
    )
    keep(replace(header, content=header.masked(start)))


@dataclass(frozen=True)
class _TimesAt:
    """A variable with times, and where its numbers lie."""

    attributes: dict[str, Any]
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def place(self) -> slice:
        return slice(self.offset, self.offset + prod(self.shape) * self.dtype.itemsize)

    def read(self, start: bytes) -> npt.NDArray[Any]:
        numbers = np.frombuffer(start[self.place], self.dtype).reshape(self.shape)
        return np.atleast_1d(numbers.astype(self.dtype.newbyteorder("=")))


@dataclass(frozen=True)
class _Scan:
    """How times and scan are read; ``filters``, ``dtype`` and ``shape`` are those of the chunk."""

    times: dict[str, _TimesAt]
    layout: Layout
    config: RadarNetworkConfig
    filters: tuple[int, ...]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def product(self, start: bytes, chunk: bytes) -> Product:
        """The scan of a file with the same header; see `KnownHeader`."""

        def read_times(name: str, bounded: str | None = None, /) -> StoredTimes:
            return StoredTimes(name, self.times[name].attributes, self.times[name].read(start))

        def read_stored(_: int) -> npt.NDArray[Any]:
            numbers = unpacked_chunk(chunk, self.filters, self.dtype, self.shape)
            return self.layout.on_grid(numbers.reshape(self.shape[-2:]))

        times, intervals = scan_times(read_times, self.layout, self.config, 1)
        layout = self.layout
        return Product(layout.grid, tuple(times), tuple(intervals), layout.packing, read_stored)


def _last_chunk(dataset: h5py.Dataset, file_bytes: int) -> tuple[int, bytes] | None:
    """Place of a dataset's only chunk, which ends the file, and its entry in the B-tree of chunks.

    None if the dataset is stored in another way, or `unpacked_chunk` does not unpack it.
    """
    filters = filters_of(dataset)
    if DEFLATE not in filters or not set(filters) <= {DEFLATE, SHUFFLE, FLETCHER32}:
        return None
    if dataset.chunks != dataset.shape or dataset.dtype.kind not in "iuf":
        return None
    origin = (0,) * len(dataset.shape)
    chunk = dataset.id.get_chunk_info_by_coord(origin)
    if chunk.byte_offset is None or chunk.filter_mask:
        return None
    if chunk.byte_offset + chunk.size != file_bytes:
        return None
    # size, skipped filters, place in the array, place in an element, place in the file
    entry = struct.pack(
        f"<II{len(origin)}QQQ", chunk.size, chunk.filter_mask, *origin, 0, chunk.byte_offset
    )
    return chunk.byte_offset, entry


def _times_match(numbers: npt.NDArray[Any], stored: StoredTimes) -> bool:
    native = np.atleast_1d(numbers.astype(numbers.dtype.newbyteorder("=")))
    return native.dtype == stored.numbers.dtype and bool(
        native.shape == stored.numbers.shape and native.tobytes() == stored.numbers.tobytes()
    )


def _stored_at(file: h5py.File, stored: StoredTimes) -> _TimesAt | None:
    """Where the numbers of a variable lie; None if they are packed, or netCDF reads others.

    The netCDF library reads fill values where a variable is shorter than its dimension.
    """
    dataset = file[stored.name]
    offset, shape = dataset.id.get_offset(), dataset.shape
    chunks = dataset.chunks
    if chunks is not None and not filters_of(dataset):  # as along unlimited dimensions
        if chunks[0] < shape[0] or chunks[1:] != shape[1:]:
            return None
        offset = dataset.id.get_chunk_info_by_coord((0,) * len(shape)).byte_offset
    if offset is None or dataset.dtype.kind not in "iuf":
        return None
    if not _times_match(np.asarray(dataset[()]), stored):
        return None
    return _TimesAt(dict(stored.attributes), offset, dataset.dtype, shape)
