"""Writing a store of the MLCast convention; an interrupted store never looks finished.

The caller passes the metadata (`squall.datasets.mlcast.metadata`) and the scans to write. On disk
the store is built beside its final place and moved there at the end. On all storage the root keys
are written last, because readers recognise a store by them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import zarr

from squall.datasets.addresses import is_remote, unreachable
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError
from squall.datasets.mlcast.field import store_at
from squall.datasets.mlcast.metadata import VARIABLE

ROOT_LAST = (".zattrs", ".zgroup", ".zmetadata")
_SCAN_KEY = re.compile(rf"{VARIABLE}/\d+(\.\d+)*")  # of one chunk in Zarr version 2
SPAN_BYTES = 2**28  # of codes that all threads hold together

Rows = npt.NDArray[np.int64]
Progress = Callable[[Iterable[int], int], Iterable[int]]  # rows as they are written, their number


def refuse_existing(out: str) -> None:
    """Raise if anything lies at the address to write to; an empty folder is allowed.

    Raises
    ------
    ConfigError
        If there is a file, or a folder that is not empty.
    DataError
        If the object store cannot be reached.
    """
    filesystem, root = fsspec.core.url_to_fs(out)
    filesystem.invalidate_cache()
    try:
        taken = filesystem.isfile(root) or (filesystem.isdir(root) and bool(filesystem.ls(root)))
    except Exception as error:  # each object store has errors of its own
        if is_remote(out):
            raise unreachable(out, error) from error
        raise
    if taken:
        raise ConfigError(
            f"{out}: exists already and is not empty; an export overwrites nothing: remove it "
            "(an export that was killed leaves an unusable rest) or choose another place"
        )


def write_store(
    out: str,
    metadata: Mapping[str, bytes],
    archive: ScanStore,
    indices: Rows,
    *,
    threads: int,
    progress: Progress = lambda rows, count: rows,
) -> None:
    """Write a whole store: metadata, scans, and the root keys last.

    If the block is interrupted, what was written is removed.

    Parameters
    ----------
    metadata : every key of the store except those of the scans; see `metadata.store_metadata`.
    indices : (row,) ascending indices of the archive's time axis, one for each row of the store.
    threads : how many threads read and write, fewer if the scans are large.
    progress : receives the rows as they are written and their number, and passes them through.
    """
    with _target(out, metadata) as place:
        filesystem, root = _writable(place)
        filesystem.pipe({f"{root}/{k}": v for k, v in metadata.items() if k not in ROOT_LAST})
        array: Any = zarr.open_array(store_at(place, read_only=False), path=VARIABLE, mode="r+")
        for _ in progress(_write_scans(archive, indices, array, threads), indices.size):
            pass
        for key in ROOT_LAST:
            filesystem.pipe_file(f"{root}/{key}", metadata[key])


def _write_scans(archive: ScanStore, indices: Rows, array: Any, threads: int) -> Iterator[int]:
    """Write scans and yield their rows.

    Each thread takes a span of the archive's time axis that covers whole chunks, so that every
    chunk is read once.
    """
    scan_bytes = int(np.prod(archive.grid.shape))
    chunk = archive.codes.chunks[0]
    span = chunk * max(1, 8 // chunk)
    threads = max(1, min(threads, SPAN_BYTES // (span * scan_bytes)))
    edges = np.flatnonzero(np.diff(indices // span)) + 1
    spans = np.split(np.arange(indices.size), edges)

    def write(rows: Rows) -> Rows:
        first = int(indices[rows[0]])
        codes = np.asarray(archive.codes[first : int(indices[rows[-1]]) + 1])
        for row in rows.tolist():
            array[row] = RAIN_CODE.decode(codes[indices[row] - first])
        return rows

    for rows in _in_threads(write, spans, threads):
        yield from rows.tolist()


def _in_threads(
    write: Callable[[Rows], Rows], spans: Sequence[Rows], threads: int
) -> Iterator[Rows]:
    """Yield the rows of each span once it is written; at most one span waits for each thread."""
    with ThreadPoolExecutor(threads) as pool:
        under_way: set[Future[Rows]] = set()
        for rows in spans:
            if len(under_way) == threads:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
            under_way.add(pool.submit(write, rows))
        yield from (future.result() for future in under_way)


@contextmanager
def _target(out: str, metadata: Collection[str]) -> Iterator[str]:
    """Address to write to; an unfinished store is removed again, and nothing else."""
    if is_remote(out):
        try:
            yield out
        except BaseException:
            filesystem, root = _writable(out)
            filesystem.invalidate_cache()
            written = [
                path
                for path in filesystem.find(root)
                if path.removeprefix(f"{root}/") in metadata
                or _SCAN_KEY.fullmatch(path.removeprefix(f"{root}/"))
            ]
            if written:
                filesystem.rm(written)
            raise
        return
    final = Path(out).absolute()
    unfinished = final.with_name(f".{final.name}.{os.getpid()}.part")
    unfinished.mkdir(parents=True)
    try:
        yield str(unfinished)
        unfinished.replace(final)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _writable(address: str) -> tuple[Any, str]:
    """File system that makes the folders it needs, and the path of the address in it."""
    if not is_remote(address):
        return fsspec.filesystem("file", auto_mkdir=True), address
    filesystem, root = fsspec.core.url_to_fs(address)
    return filesystem, root.rstrip("/")
