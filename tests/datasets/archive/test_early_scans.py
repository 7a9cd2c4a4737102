"""Scans earlier than all others: they cost the same however long the archive is."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.layout import ROOM
from squall.datasets.archive.repository import BRANCH, open_repository
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.grid import Grid
from tests.datasets.archive.archive_store import (
    NOON,
    STEP,
    Codes,
    Scans,
    assert_holds,
    assert_regular,
)


def writer_of(path: Path) -> ArchiveWriter:
    return ArchiveWriter(path, STEP, {"name": "radar", "title": "The radar"})


def written(path: Path) -> tuple[int, int]:
    """Number and bytes of the chunks that the archive's folder has."""
    sizes = [file.stat().st_size for file in (path / "chunks").iterdir()]
    return len(sizes), sum(sizes)


@pytest.fixture(scope="module")
def small_grid(grid: Grid) -> Grid:
    """24 × 32 pixels, so that the codes of two years fit into 160 MB."""
    return Grid(x=grid.x[:32], y=grid.y[:24], crs_wkt=grid.crs_wkt)


def noise(count: int, grid: Grid) -> np.ndarray:
    """Codes that no codec packs: smaller chunks than 512 bytes would have no file."""
    return np.random.default_rng(count).integers(0, 255, (count, *grid.shape), dtype=np.uint8)


@pytest.fixture(scope="module")
def late_scans(
    tmp_path_factory: pytest.TempPathFactory, small_grid: Grid, scans_of: Scans
) -> dict[Path, list[StoredScan]]:
    """Archives of 30 and of 600 scans from noon on, and their scans. Read only."""
    archives = {}
    for length in (30, 600):
        path = tmp_path_factory.mktemp("archives") / f"{length}.icechunk"
        archives[path] = scans_of(noise(length, small_grid), NOON)
        writer_of(path).commit(small_grid, archives[path], [], "late")
    return archives


@pytest.mark.parametrize("earlier", ["5min", "1h", "366D", "730D"])
def test_an_early_scan_writes_as_much_into_a_long_archive_as_into_a_short_one(
    tmp_path: Path,
    small_grid: Grid,
    late_scans: dict[Path, list[StoredScan]],
    scans_of: Scans,
    earlier: str,
) -> None:
    costs = []
    early = scans_of(noise(1, small_grid), NOON - pd.Timedelta(earlier), source="early")
    for original, scans in late_scans.items():
        path = shutil.copytree(original, tmp_path / original.name)
        count, size = written(path)
        writer_of(path).commit(small_grid, early, [], "early")
        after_count, after_size = written(path)
        costs.append((after_count - count, after_size - size))
        assert Archive.open(path).start <= early[0].time
        assert_holds(Archive.open(path), early + scans)
        assert_regular(Archive.open(path))
    # the chunks of codes, three statistics and seven records that the scan belongs to
    assert max(count for count, _ in costs) <= 11, costs
    assert min(count for count, _ in costs) > 0
    assert max(size for _, size in costs) < 60_000, costs


def test_an_archive_that_grows_backwards_moves_a_scan_a_few_times(
    tmp_path: Path, grid: Grid, scans_of: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With almost no room, the bytes that are written stay in proportion to the scans."""
    monkeypatch.setattr("squall.datasets.archive.layout.ROOM", 24 * STEP)
    path, count = tmp_path / "a.icechunk", 20
    stored = []
    codes = np.random.default_rng(0).integers(0, 255, (24 * count, *grid.shape), dtype=np.uint8)
    for i in range(count):
        day = scans_of(codes[24 * i : 24 * i + 24], NOON - 24 * i * STEP, source=f"day{i}-")
        stored = day + stored
        writer_of(path).commit(grid, day, [], "a day earlier")
    assert_holds(Archive.open(path), stored)
    assert_regular(Archive.open(path))
    at_once = tmp_path / "b.icechunk"
    writer_of(at_once).commit(grid, stored, [], "at once")
    moved_codes = [f for f in (path / "chunks").iterdir() if f.stat().st_size > 10_000]
    codes_once = [f for f in (at_once / "chunks").iterdir() if f.stat().st_size > 10_000]
    assert len(codes_once) >= count
    assert len(moved_codes) < 4 * len(codes_once)  # every scan would move 10 times without room


def test_an_archive_without_room(
    tmp_path: Path, grid: Grid, rain_codes: Codes, scans_of: Scans
) -> None:
    """Older releases began the axis at the first scan; such an archive is read and extended."""
    path = tmp_path / "old.icechunk"
    scans = scans_of(rain_codes(30), NOON)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("squall.datasets.archive.layout.ROOM", pd.Timedelta(0))
        writer_of(path).commit(grid, scans, [], "as an older release wrote it")
    session = open_repository(str(path)).writable_session(BRANCH)
    group = zarr.open_group(session.store, mode="r+")
    del group.attrs["first_row"], group["not_needed"]
    session.commit("without what is new")
    assert Archive.open(path).first_row == 0
    assert_holds(Archive.open(path), scans)
    more = scans_of(rain_codes(1, 4), NOON + 30 * STEP, source="more")
    writer_of(path).commit(grid, more, [], "append")
    early = scans_of(rain_codes(2, 5), NOON - 50 * STEP, source="early")
    writer_of(path).commit(grid, early, [], "early")
    assert_holds(Archive.open(path), early + scans + more)
    assert_regular(Archive.open(path))
    assert Archive.open(path).first_row * STEP >= ROOM
    _, size = written(path)
    earlier = scans_of(rain_codes(1, 6), NOON - pd.Timedelta("700D"), source="earlier")
    writer_of(path).commit(grid, earlier, [], "now there is room")
    assert written(path)[1] < size + 30_000
    assert_holds(Archive.open(path), earlier + early + scans + more)
