"""The archive's arrays: the time axis, writing rows, the cost of an append."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.layout import TIME_CHUNK, manifest_splitting, put_rows
from squall.datasets.archive.records import OK
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.grid import Grid
from tests.datasets.archive.archive_store import NOON, STEP, Codes, Scans


def test_a_much_older_scan_needs_no_memory_for_the_gap(
    tmp_path: Path, grid: Grid, scans_of: Callable[..., list[StoredScan]], rain_codes: Any
) -> None:
    """A year of 5-minute scans on this grid would be 323 MB."""
    path = tmp_path / "a.icechunk"
    writer = ArchiveWriter(path, STEP, {"name": "rain"})
    codes = rain_codes(2)
    writer.commit(grid, scans_of(codes[:1], "2024-06-01"), [], "late")
    tracemalloc.start()
    writer.commit(grid, scans_of(codes[1:], "2023-06-01"), [], "early")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6
    archive = Archive.open(path)
    for index, time in enumerate(("2024-06-01", "2023-06-01")):
        row = archive.index_of(pd.Timestamp(time))
        assert np.array_equal(archive.codes[row], codes[index])
    assert (archive.status == OK).sum() == 2


@pytest.mark.parametrize(
    ("shape", "step", "expected"),
    [
        ((256, 256), "5min", 2048),
        ((257, 256), "5min", 1024),
        ((765, 700), "5min", 227),
        ((1226, 760), "5min", 176),
        ((3500, 7000), "2min", 439),
        ((20_000, 20_000), "1h", 15),
    ],
)
def test_manifests_of_codes_are_not_large_and_20_years_have_few(
    shape: tuple[int, int], step: str, expected: int
) -> None:
    """One manifest has up to 2048 chunks, or a five-hundredth of 20 years if that is more."""
    grid: Any = SimpleNamespace(shape=shape)
    splitting = manifest_splitting(grid, pd.Timedelta(step))
    (_, [(_, spans)]), (_, [(_, others)]) = splitting.split_sizes
    assert (spans, others) == (expected, 2048)
    assert pd.Timedelta("7305D") / (spans * TIME_CHUNK * pd.Timedelta(step)) <= 500


@pytest.mark.parametrize("chunk", [1, 4, 7])
@given(rows=st.sets(st.integers(0, 40), min_size=1), seed=st.integers(0, 9))
@settings(max_examples=40)
def test_values_are_written_at_their_rows(chunk: int, rows: set[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 9, (41, 3))
    array = zarr.create_array(store={}, data=before, chunks=(chunk, 3))
    index = np.array(sorted(rows))
    values = rng.integers(10, 99, (index.size, 3))
    put_rows(array, index, values)
    before[index] = values
    np.testing.assert_array_equal(array[:], before)


def touched(path: Path, what: str, before: set[str]) -> int:
    return len({file.name for file in (path / what).iterdir()} - before)


def test_an_append_to_a_long_archive_writes_few_manifests(
    tmp_path: Path, grid: Grid, rain_codes: Codes, scans_of: Scans
) -> None:
    """20,000 time steps have 834 chunks of codes in several manifests; one of them is rewritten."""
    path = tmp_path / "long.icechunk"
    writer = ArchiveWriter(path, STEP, {"name": "radar"})
    first, last = scans_of(rain_codes(1), "2024-06-01"), NOON + 20_000 * STEP
    writer.commit(grid, first, [], "first")
    writer.commit(grid, scans_of(rain_codes(1), last), [], "far")
    counts = []
    for i in range(1, 4):
        before = {file.name for file in (path / "manifests").iterdir()}
        writer.commit(grid, scans_of(rain_codes(1, i), last + i * STEP), [], "append")
        counts.append(touched(path, "manifests", before))
    arrays_written = 10  # codes, three statistics, status, time, seen, checksum, digest, source
    assert max(counts) <= arrays_written, counts
    size = max(f.stat().st_size for f in (path / "manifests").iterdir())
    assert size < 200_000


def test_a_manifest_holds_a_bounded_number_of_chunks(
    tmp_path: Path, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With manifests of 4 chunks, a write in one span of time rewrites only that span's."""
    monkeypatch.setattr("squall.datasets.archive.layout.MANIFEST_REFS", 4)
    monkeypatch.setattr("squall.datasets.archive.layout.LONG", pd.Timedelta(0))
    path = tmp_path / "split.icechunk"
    writer = ArchiveWriter(path, STEP, {"name": "radar"})
    codes = np.random.default_rng(0).integers(1, 200, (40, *grid.shape)).astype(np.uint8)
    scans = [
        StoredScan(NOON + i * TIME_CHUNK * STEP, scan, f"{i}.nc", f"{i:032x}")
        for i, scan in enumerate(codes)
    ]
    writer.commit(grid, scans, [], "40 chunks along time")
    assert -(-Archive.open(path).codes.shape[0] // TIME_CHUNK) == 40
    before = {file.name for file in (path / "manifests").iterdir()}
    assert len(before) >= 10
    writer.commit(grid, [replace(scans[-1], file_mark=5)], [], "the last again")
    assert touched(path, "manifests", before) <= 10
