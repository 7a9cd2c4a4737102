"""Ways to read the archive's chunks: libraries, block sizes, threads.

Those that cannot open an Icechunk repository read the same chunks from a plain Zarr array.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
from loader_data import plain_copy
from zarr.core.buffer import default_buffer_prototype

from squall.datasets.archive.archive import Archive, RowsFrom

SCANS = 1920  # most scans of an archive to copy and read
PLACES = {1: 40, 2: 8}  # number of blocks to read, by their side in chunks
ROUNDS = 5

Chunk = tuple[int, int, int]
Box = tuple[slice, slice, slice]


def reads(archives: list[Archive]) -> list[dict[str, Any]]:
    """One row for each way to read: ms per chunk, by archive and by chunks read at a time."""
    best: dict[str, dict[str, float]] = {}
    for archive in archives:
        plain = plain_copy(archive, min(SCANS, archive.codes.shape[0]))
        ways = _ways(archive, plain)
        boxes = {side: _places(archive, side) for side in PLACES}
        for _ in range(ROUNDS):
            for (name, read), side in product(ways.items(), PLACES):
                column = f"{archive.name}, {side**3} at a time"
                row = best.setdefault(name, {})
                row[column] = min(row.get(column, float("inf")), _ms(read, boxes[side], side))
    return [{"way to read": name} | row for name, row in best.items()]


def _places(archive: Archive, side: int) -> list[Chunk]:
    """First chunks of blocks that lie completely in the copied scans."""
    rng = np.random.default_rng(0)
    scans = min(SCANS, archive.codes.shape[0])
    whole = [
        length // chunk
        for length, chunk in zip((scans, *archive.grid.shape), archive.codes.chunks, strict=True)
    ]
    corners = rng.integers([n - side + 1 for n in whole], size=(PLACES[side], 3))
    return [(int(t), int(y), int(x)) for t, y, x in corners]


def _ms(read: Callable[[list[Chunk]], Any], places: list[Chunk], side: int) -> float:
    blocks = [
        [(t + i, y + j, x + k) for i, j, k in product(range(side), repeat=3)] for t, y, x in places
    ]
    began = time.perf_counter()
    for block in blocks:
        read(block)
    return 1e3 * (time.perf_counter() - began) / len(places) / side**3


def _ways(archive: Archive, plain: Path) -> dict[str, Callable[[list[Chunk]], Any]]:
    sizes = archive.codes.chunks
    cores = os.cpu_count() or 1

    def of_array(array: Any) -> Callable[[list[Chunk]], Any]:
        return lambda block: array[_box(block, sizes)]

    def of_store(path: Path, threads: int) -> Callable[[list[Chunk]], Any]:
        store = _tensorstore(path, threads)
        return lambda block: store[_box(block, sizes)].read().result()

    ways: dict[str, Callable[[list[Chunk]], Any]] = {
        "zarr-python over Icechunk": of_array(archive.codes),
        "zarr-python over files": of_array(zarr.open_array(str(plain), mode="r")),
    }
    if find_spec("zarrs") is not None:  # cannot read Icechunk
        for threads in sorted({1, cores}):
            settings = {
                "codec_pipeline.path": "zarrs.ZarrsCodecPipeline",
                "threading.max_workers": threads,
            }
            with zarr.config.set(settings):
                array = zarr.open_array(str(plain), mode="r")
            ways[f"zarrs over files, {threads} threads"] = of_array(array)
    if find_spec("tensorstore") is not None:
        for threads in sorted({1, cores}):
            ways[f"tensorstore over files, {threads} threads"] = of_store(plain, threads)
    room = np.empty(sizes, dtype=np.uint8)
    codec = numcodecs.Zstd(checksum=True)
    ways["Icechunk's bytes, numcodecs"] = lambda block: [
        codec.decode(data, out=room) for data in _stored(archive.codes, block)
    ]
    ways["files' bytes, numcodecs"] = lambda block: [
        codec.decode(plain.joinpath("c", *map(str, chunk)).read_bytes(), out=room)
        for chunk in block
    ]
    pool = ThreadPoolExecutor(cores)
    ways[f"Icechunk's bytes, numcodecs, {cores} threads"] = lambda block: list(
        pool.map(numcodecs.Zstd(checksum=True).decode, _stored(archive.codes, block))
    )
    ways["memory copy"] = lambda block: [room.copy() for _ in block]
    return ways


def _tensorstore(plain: Path, threads: int) -> Any:
    import tensorstore

    limit = {"limit": threads}
    opened = tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(plain)},
            "context": {"data_copy_concurrency": limit, "file_io_concurrency": limit},
        }
    )
    return opened.result()


def _box(block: list[Chunk], sizes: tuple[int, ...]) -> Box:
    first, last = block[0], block[-1]
    t, y, x = (
        slice(low * size, (high + 1) * size)
        for low, high, size in zip(first, last, sizes, strict=True)
    )
    return t, y, x


def _stored(codes: RowsFrom, block: list[Chunk]) -> list[Any]:
    """Compressed bytes of several chunks, requested together."""
    store, metadata = codes.array.store_path, codes.array.metadata
    first = codes.first // codes.chunks[0]

    async def all_of() -> list[Any]:
        prototype = default_buffer_prototype()
        keys = [(store / metadata.encode_chunk_key((first + t, y, x))) for t, y, x in block]
        return await asyncio.gather(*(key.get(prototype) for key in keys))

    return [buffer.as_numpy_array() for buffer in asyncio.run(all_of())]
