"""Writing an archive: commits, codes written by other processes, and what is refused."""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pytest
import zarr

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.layout import TIME_CHUNK
from squall.datasets.archive.records import MISSING, REJECTED, Rejection
from squall.datasets.archive.repository import open_repository
from squall.datasets.archive.writer import ArchiveWriter, StoredScan, write_codes
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import BusyError, DataError
from squall.datasets.grid import Grid
from squall.datasets.measures import measure
from tests.datasets.archive.archive_store import (
    NOON,
    STEP,
    Codes,
    Scans,
    Store,
    assert_holds,
    assert_regular,
)


@pytest.fixture
def store(tmp_path: Path, grid: Grid) -> Store:
    return Store(tmp_path / "radar.icechunk", grid)


def test_the_first_commit_creates_the_archive(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    assert not Archive.exists(store.path)
    scans = scans_of(rain_codes(3), NOON)
    snapshot = store.commit(scans)
    archive = store.open()
    assert archive.snapshot == snapshot
    assert (archive.name, archive.title) == ("radar", "The radar")
    assert (archive.start, archive.step) == (NOON, STEP)
    assert archive.grid.difference(store.grid) is None
    assert archive.codes.shape == (3, 48, 64)
    assert_holds(archive, scans)
    assert_regular(archive)
    assert archive.bytes_on_disk() > 0


def test_appending(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    scans = scans_of(rain_codes(60), NOON)
    for low, high in ((0, 5), (5, 6), (6, 50), (50, 60)):  # across chunks of 24
        store.commit(scans[low:high])
    assert_holds(store.open(), scans)
    assert_regular(store.open())


def test_out_of_order_and_gaps(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    scans = scans_of(rain_codes(60), NOON)
    order = [50, 3, 31, 4, 59, 30]
    for index in order:
        store.commit([scans[index]])
    archive = store.open()
    assert archive.times[-1] == scans[59].time
    assert_holds(archive, [scans[i] for i in order])
    assert_regular(archive)
    assert archive.status[archive.index_of(scans[10].time)] == MISSING
    assert np.isnan(archive.read(archive.index_of(scans[10].time), 3)).all()


def test_one_commit_takes_scans_in_any_order(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    scans = scans_of(rain_codes(30), NOON)
    store.commit(scans[::-1])
    assert_holds(store.open(), scans)


@pytest.mark.parametrize("earlier", [1, 24, 25, 100])
def test_scans_from_before_the_start(
    store: Store, rain_codes: Codes, scans_of: Scans, earlier: int
) -> None:
    later = scans_of(rain_codes(30), NOON)
    before = scans_of(rain_codes(2, seed=1), NOON - earlier * STEP, source="early")
    before = before[: min(2, earlier)]
    rejection = Rejection("bad.nc", "e" * 32, "broken", later[-1].time + STEP)
    store.commit(later, [rejection])
    store.commit(before)
    archive = store.open()
    assert archive.start <= before[0].time
    assert (later[0].time - archive.start) // STEP % TIME_CHUNK == 0
    assert_holds(archive, before + later)
    assert_regular(archive)
    assert archive.status[archive.index_of(later[-1].time + STEP)] == REJECTED
    assert (archive.status == REJECTED).sum() == 1
    # scans can still be added at the end
    more = scans_of(rain_codes(1, seed=2), archive.times[-1] + STEP, source="more")
    store.commit(more)
    assert_holds(store.open(), before + later + more)


def test_a_reissued_scan_replaces_the_stored_one(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    scans = scans_of(rain_codes(5), NOON)
    store.commit(scans)
    again = replace(scans[2], codes=rain_codes(1, seed=9)[0], digest="c" * 32)
    store.commit([again])
    archive = store.open()
    assert_holds(archive, [*scans[:2], again, *scans[3:]])


def test_all_dry_and_all_missing_scans(store: Store) -> None:
    dry = np.zeros((48, 64), dtype=np.uint8)
    missing = np.full((48, 64), RAIN_CODE.NOT_OBSERVED, dtype=np.uint8)
    scans = [
        StoredScan(NOON, dry, "dry.nc", "1" * 32),
        StoredScan(NOON + STEP, missing, "no.nc", "2" * 32),
    ]
    store.commit(scans)
    archive = store.open()
    assert_holds(archive, scans)
    assert (archive.read(0, 1) == 0).all()
    assert np.isnan(archive.read(1, 1)).all()
    assert (archive.block_statistics("observed_share")[:, 0, 0] == [1, 0]).all()
    assert not archive.block_statistics("rain_rate").any()


def test_a_first_commit_without_a_time(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    store.commit([], [Rejection("a.nc", "1", "time is 91 s off the step")])
    assert store.open().codes.shape[0] == 0
    scans = scans_of(rain_codes(2), NOON)
    store.commit(scans)
    archive = store.open()
    assert archive.start == NOON
    assert archive.codes.shape[0] == 2
    assert_holds(archive, scans)


def test_a_writer_before_and_after_its_first_commit(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    writer = ArchiveWriter(store.path, STEP, {"name": "radar"})
    assert writer.archive() is None
    assert not store.path.exists()
    snapshot = writer.commit(store.grid, scans_of(rain_codes(1), NOON), [], "first")
    archive = writer.archive()
    assert archive is not None
    assert archive.snapshot == snapshot


def test_another_grid_is_refused(
    tmp_path: Path, grid: Grid, scans_of: Callable[..., list[StoredScan]], rain_codes: Any
) -> None:
    writer = ArchiveWriter(tmp_path / "a.icechunk", STEP, {"name": "rain"})
    writer.commit(grid, scans_of(rain_codes(1), "2024-06-01"), [], "first")
    shifted = Grid(x=grid.x + 500, y=grid.y, crs_wkt=grid.crs_wkt)
    with pytest.raises(DataError, match="is on another grid: x coordinates differ"):
        writer.commit(shifted, scans_of(rain_codes(1), "2024-06-02"), [], "second")


# --- codes written by other processes -------------------------------------------------------------


def in_forks(session: icechunk.Session, scans: Mapping[int, StoredScan], length: int) -> None:
    """Write codes as ingestion does: one fork for each chunk along time."""
    forks = []
    for chunk in sorted({row // TIME_CHUNK for row in scans}):
        fork = pickle.loads(pickle.dumps(session.fork()))
        array: Any = zarr.open_group(fork.store, mode="r+")["rain_rate_code"]
        if array.shape[0] < length:
            array.resize((length, *array.shape[1:]))
        write_codes(array, {r: s.codes for r, s in scans.items() if r // TIME_CHUNK == chunk})
        forks.append(fork)
    session.merge(*forks)


def without_codes(scans: list[StoredScan]) -> list[StoredScan]:
    """Scans whose codes another process holds."""
    return [replace(s, codes=None, measures=measure(s.codes)) for s in scans if s.codes is not None]


def elsewhere(scans: list[StoredScan]) -> Callable[..., None]:
    """Function that writes the codes that `without_codes` removed."""
    codes = {scan.time: scan.codes for scan in scans}

    def write(session: icechunk.Session, by_row: Mapping[int, StoredScan], length: int) -> None:
        assert all(scan.codes is None for scan in by_row.values())
        complete = {row: replace(scan, codes=codes[scan.time]) for row, scan in by_row.items()}
        in_forks(session, complete, length)

    return write


@pytest.mark.parametrize(
    "batches",
    [
        [(0, 60)],
        [(0, 5), (5, 6), (6, 50), (50, 60)],
        [(30, 40), (0, 3), (50, 52), (3, 30)],
        [(59, 60), (0, 1), (23, 25)],
    ],
)
def test_codes_written_in_forks_are_stored_as_by_the_writer(
    store: Store, rain_codes: Codes, scans_of: Scans, batches: list[tuple[int, int]]
) -> None:
    scans = scans_of(rain_codes(60), NOON)
    committed = []
    for low, high in batches:
        batch = scans[low:high]
        committed += batch
        store.commit(without_codes(batch), write_elsewhere=elsewhere(batch))
        assert_holds(store.open(), committed)
        assert_regular(store.open())


def test_forks_after_a_first_commit_without_a_time(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    """Row 0 is that of the first scan; the start of the empty archive does not matter."""
    store.commit([], [Rejection("a.nc", "1", "time is 91 s off the step")])
    scans = scans_of(rain_codes(3), NOON)
    store.commit(without_codes(scans), write_elsewhere=elsewhere(scans))
    assert store.open().start == NOON
    assert_holds(store.open(), scans)


def test_forks_that_replace_and_a_rejection_beside_them(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    scans = scans_of(rain_codes(30), NOON)
    store.commit(scans)
    again = [
        replace(s, codes=c, file_mark=7)
        for s, c in zip(scans[20:28], rain_codes(8, 9), strict=True)
    ]
    late = Rejection("late.nc", "b" * 32, "is cut off", scans[-1].time + 5 * STEP)
    store.commit(without_codes(again), [late], write_elsewhere=elsewhere(again))
    assert_holds(store.open(), scans[:20] + again + scans[28:])
    assert_regular(store.open())
    assert store.open().status[-1] == REJECTED


def test_workers_that_fail_leave_the_archive_as_it_was(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    scans = scans_of(rain_codes(3), NOON)
    snapshot = store.commit(scans)

    def fails(session: icechunk.Session, by_row: Mapping[int, StoredScan], length: int) -> None:
        in_forks(session, by_row, length)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.commit(scans_of(rain_codes(3, 1), NOON + STEP), write_elsewhere=fails)
    assert store.open().snapshot == snapshot
    assert_holds(store.open(), scans)


# --- what a writer refuses ---------------------------------------------------------------------


def test_two_writers_at_once(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    """Without the lock, as on object storage: the first commit is kept, the second fails."""
    scans = scans_of(rain_codes(5), NOON)
    store.commit(scans[:3])
    writer = ArchiveWriter(store.path, STEP, {"name": "radar", "title": "The radar"})

    def overtaken(session: icechunk.Session, by_row: Mapping[int, StoredScan], n: int) -> None:
        store.commit(scans[3:4])
        in_forks(session, by_row, n)

    with pytest.raises(BusyError, match="another ingestion committed at the same moment"):
        writer.commit(store.grid, scans[4:], [], "late", write_elsewhere=overtaken)
    assert_holds(store.open(), scans[:4])
    writer.commit(store.grid, scans[4:], [], "again")
    assert_holds(store.open(), scans)


def test_another_step_is_refused(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    scans = scans_of(rain_codes(2), NOON)
    store.commit(scans)
    other = ArchiveWriter(store.path, 2 * STEP, {"name": "radar"})
    with pytest.raises(DataError, match=r"has a step of 0 days 00:05:00, not 0 days 00:10:00"):
        other.commit(store.grid, scans_of(rain_codes(1), NOON + 4 * STEP), [], "other")
    assert_holds(store.open(), scans)


def test_an_older_format_is_neither_read_nor_written(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    store.commit(scans_of(rain_codes(1), NOON))
    session = open_repository(str(store.path)).writable_session("main")
    zarr.open_group(session.store, mode="r+").attrs["squall_format"] = 1
    snapshot = session.commit("as an older release wrote it")
    message = (
        r"radar.icechunk: holds no Squall archive of format 2 \(found 1\); ingest its files again"
    )
    writer = ArchiveWriter(store.path, STEP, {"name": "radar"})
    with pytest.raises(DataError, match=message):
        store.open()
    with pytest.raises(DataError, match=message):
        writer.archive()
    with pytest.raises(DataError, match=message):
        writer.commit(store.grid, scans_of(rain_codes(1), NOON + STEP), [], "never")
    newest = open_repository(str(store.path)).lookup_branch("main")
    assert newest == snapshot


def test_a_commit_of_nothing_makes_no_snapshot(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    snapshot = store.commit(scans_of(rain_codes(1), NOON))
    assert store.commit([]) == snapshot


def test_new_attributes_replace_the_old(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    store.commit(scans_of(rain_codes(1), NOON))
    writer = ArchiveWriter(store.path, STEP, {"name": "radar", "license": "CC0-1.0"})
    writer.commit(store.grid, scans_of(rain_codes(1), NOON + STEP), [], "licensed")
    assert store.open().attributes == {"name": "radar", "license": "CC0-1.0"}
    assert store.open().title == "radar"
