"""A small archive in a temporary folder, and checks of its contents."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK, Rejection
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.coding import RAIN_CODE
from squall.datasets.grid import Grid
from squall.datasets.measures import BLOCK_STATISTICS, measure

STEP = pd.Timedelta("5min")
NOON = pd.Timestamp("2024-06-01T12:00")

Codes = Callable[..., np.ndarray]
Scans = Callable[..., list[StoredScan]]


class Store:
    """An archive in a temporary folder, with a short call to commit to it."""

    def __init__(self, path: Path, grid: Grid) -> None:
        self.path, self.grid = path, grid

    def commit(
        self, scans: list[StoredScan], rejections: list[Rejection] | None = None, **options: Any
    ) -> str:
        writer = ArchiveWriter(self.path, STEP, {"name": "radar", "title": "The radar"})
        return writer.commit(self.grid, scans, rejections or [], "test", **options)

    def open(self, snapshot: str | None = None) -> Archive:
        return Archive.open(self.path, snapshot)


def assert_holds(archive: Archive, scans: list[StoredScan]) -> None:
    """The archive holds exactly these scans."""
    status, codes = archive.status, archive.codes[:]
    marks, checksums = archive.marks(), archive.checksums
    records = archive.records(np.arange(status.size))
    sources, digests = records["source"], records["digest"]
    statistics = {name: archive.block_statistics(name) for name in BLOCK_STATISTICS}
    assert (status == OK).sum() == len(scans)
    for scan in scans:
        assert scan.codes is not None
        index = archive.index_of(scan.time)
        assert archive.times[index] == scan.time
        assert status[index] == OK
        np.testing.assert_array_equal(codes[index], scan.codes)
        assert sources[index] == scan.source
        assert digests[index].tobytes().hex() == scan.digest
        assert marks[index] == scan.file_mark
        measures = measure(scan.codes)
        assert checksums[index] == measures.checksum
        for name, values in zip(BLOCK_STATISTICS, measures.blocks, strict=True):
            np.testing.assert_array_equal(statistics[name][index], values)
    empty = status != OK
    assert (codes[empty] == RAIN_CODE.NOT_OBSERVED).all()
    assert (sources[empty] == "").all()
    assert not digests[empty].any()
    assert not marks[empty].any()
    assert not statistics["observed_share"][empty].any()


def assert_regular(archive: Archive) -> None:
    """The stored time axis agrees with start, step and length."""
    with xr.open_zarr(archive._session.store, consolidated=False) as data:
        times = data["time"].values
        np.testing.assert_array_equal(times[archive.first_row :], archive.times.values)
        assert (np.diff(times) == archive.step).all()
        lengths = {
            name: array.shape[0]
            for name, array in archive._group.arrays()
            if array.ndim and name not in ("x", "y")
        }
    assert set(lengths.values()) == {archive.first_row + archive.times.size}, lengths
