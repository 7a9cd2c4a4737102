"""The archive's arrays: measures of scans, the time axis, the cost of an append."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.layout import TIME_CHUNK, put_rows
from squall.datasets.archive.records import OK
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.coding import RAIN_CODE
from squall.datasets.grid import Grid
from squall.datasets.measures import BLOCK, BLOCK_STATISTICS, measure
from tests.datasets.archive.archive_store import NOON, STEP, Codes, Scans


def plain_statistics(codes: np.ndarray) -> dict[str, np.ndarray]:
    """Block by block, pixel by pixel."""
    height, width = codes.shape
    found: dict[str, Any] = {"rain_rate": [], "wet_share": [], "observed_share": []}
    for top in range(0, height, BLOCK):
        row: dict[str, list[float]] = {name: [] for name in found}
        for left in range(0, width, BLOCK):
            rates = [
                float(RAIN_CODE.table[code])
                for code in codes[top : top + BLOCK, left : left + BLOCK].ravel()
            ]
            observed = [rate for rate in rates if rate == rate]
            wet = [rate for rate in observed if rate > 0]
            row["rain_rate"].append(sum(observed) / len(observed) if observed else 0.0)
            row["wet_share"].append(len(wet) / len(observed) if observed else 0.0)
            row["observed_share"].append(len(observed) / len(rates))
        for name, values in row.items():
            found[name].append(values)
    return {name: np.array(values) for name, values in found.items()}


@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 70), st.integers(1, 70)),
        elements=st.sampled_from([0, 0, 1, 100, 254, 255]),
        fill=st.sampled_from([0, 255]),
    )
)
@settings(max_examples=30, deadline=None)
def test_block_statistics_against_a_plain_loop(codes: np.ndarray) -> None:
    found = dict(zip(BLOCK_STATISTICS, measure(codes).blocks, strict=True))
    for name, values in plain_statistics(codes).items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], values, rtol=1e-5, err_msg=name)


def test_block_statistics_by_hand() -> None:
    # 40 x 32: a whole block above an 8 x 32 rest
    codes = np.zeros((40, 32), dtype=np.uint8)
    codes[:16] = RAIN_CODE.NOT_OBSERVED  # half of the upper block
    codes[16:24] = RAIN_CODE.WETTEST  # half of its observed pixels: 205 mm/h
    found = dict(zip(BLOCK_STATISTICS, measure(codes).blocks, strict=True))
    np.testing.assert_allclose(found["observed_share"], [[0.5], [1.0]])
    np.testing.assert_allclose(found["wet_share"], [[0.5], [0.0]])
    np.testing.assert_allclose(found["rain_rate"], [[102.5], [0.0]], rtol=1e-6)


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


@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 4), st.integers(1, 3)).map(lambda n: (n[0] * 37, n[1] * 53)),
        elements=st.sampled_from([0, 254, 255]),
        fill=st.just(254),
    )
)
@settings(max_examples=10)
def test_a_full_block_of_the_heaviest_rain_does_not_overflow(codes: np.ndarray) -> None:
    found = dict(zip(BLOCK_STATISTICS, measure(codes).blocks, strict=True))
    for name, values in plain_statistics(codes).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, err_msg=name)


def test_equal_pixels_have_equal_checksums() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (50, 70)).astype(np.uint8)
    same = [codes, np.asfortranarray(codes), np.repeat(codes, 2, axis=1)[:, ::2]]
    assert len({measure(scan).checksum for scan in same}) == 1
    other = codes.copy()
    other[7, 9] += 1
    assert measure(other).checksum != measure(codes).checksum


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
    path = tmp_path / "split.icechunk"
    writer = ArchiveWriter(path, STEP, {"name": "radar"})
    codes = np.random.default_rng(0).integers(1, 200, (40, *grid.shape)).astype(np.uint8)
    scans = [
        StoredScan(NOON + i * TIME_CHUNK * STEP, scan, f"{i}.nc", f"{i:032x}")
        for i, scan in enumerate(codes)
    ]
    writer.commit(grid, scans, [], "40 chunks along time")
    group = zarr.open_group(writer._repository.readonly_session("main").store, mode="r")
    assert group["rain_rate_code"].nchunks == 40
    before = {file.name for file in (path / "manifests").iterdir()}
    assert len(before) >= 10
    writer.commit(grid, [replace(scans[-1], file_mark=5)], [], "the last again")
    assert touched(path, "manifests", before) <= 10
