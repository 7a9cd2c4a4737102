"""The log of rejected files and scans, and the states of a time slot."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.layout import LOG
from squall.datasets.archive.records import MISSING, OK, REDUNDANT, REJECTED, Rejection
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


def test_a_good_scan_fills_a_rejected_slot(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    scans = scans_of(rain_codes(3), NOON)
    broken = Rejection(scans[1].source, "b" * 32, "is cut off", scans[1].time)
    store.commit([scans[0], scans[2]], [broken])
    archive = store.open()
    assert archive.status.tolist() == [OK, REJECTED, OK]
    assert archive.rejections == [broken]
    assert_holds(archive, [scans[0], scans[2]])

    store.commit([scans[1]])
    archive = store.open()
    assert archive.rejections == []
    assert_holds(archive, scans)


def test_a_rejection_does_not_change_a_stored_scan(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    scans = scans_of(rain_codes(2), NOON)
    store.commit(scans)
    store.commit([], [Rejection("late.nc", "b" * 32, "is cut off", scans[1].time)])
    archive = store.open()
    assert_holds(archive, scans)
    assert [r.file for r in archive.rejections] == ["late.nc"]


def test_rejections_without_a_time_and_repeated_ones(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    store.commit(scans_of(rain_codes(1), NOON), [Rejection("a.nc", "1", "empty")])
    store.commit([], [Rejection("a.nc", "2", "still empty"), Rejection("b.nc", "3", "no map")])
    archive = store.open()
    assert [(r.file, r.reason, r.time) for r in archive.rejections] == [
        ("a.nc", "still empty", None),
        ("b.nc", "no map", None),
    ]
    assert archive.codes.shape[0] == 1


def test_a_rejection_can_extend_the_axis(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    scans = scans_of(rain_codes(1), NOON)
    store.commit(scans)
    store.commit([], [Rejection("a.nc", "1", "empty", NOON + 3 * STEP)])
    archive = store.open()
    assert archive.status.tolist() == [OK, MISSING, MISSING, REJECTED]
    assert_regular(archive)


def log_length(archive: Archive) -> int:
    lengths = {array.shape[0] for _, array in archive._group[LOG].arrays()}
    (length,) = lengths
    return length


def test_a_file_that_is_rejected_repeatedly_has_one_entry(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    store.commit(scans_of(rain_codes(2), NOON))
    for attempt in range(5):
        broken = Rejection(
            "a.nc", str(attempt), f"attempt {attempt}", NOON + 3 * STEP, file_mark=attempt
        )
        unnamed = Rejection("b.nc", str(attempt), f"attempt {attempt}", file_mark=attempt)
        store.commit([], [broken, unnamed])
        archive = store.open()
        assert sorted(archive.rejections, key=lambda r: r.file) == [broken, unnamed]
        assert log_length(archive) <= 4


def test_rows_of_settled_entries_are_used_again(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    scans = scans_of(rain_codes(6), NOON)
    store.commit(scans[:1], [Rejection(s.source, "b" * 32, "cut", s.time) for s in scans[1:]])
    store.commit(scans[1:])
    assert store.open().rejections == []
    assert log_length(store.open()) == 5
    store.commit([], [Rejection(f"z{i}.nc", "1", "broken") for i in range(7)])
    assert log_length(store.open()) == 7
    assert [r.file for r in store.open().rejections] == [f"z{i}.nc" for i in range(7)]


def test_another_file_that_fills_the_slot_settles_the_entry(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    scans = scans_of(rain_codes(2), NOON)
    store.commit(scans[:1], [Rejection("first.nc", "1", "is cut off", scans[1].time)])
    store.commit(scans[1:])
    assert store.open().rejections == []


@pytest.mark.parametrize("rule", REDUNDANT)
def test_a_redundant_file_stays_in_the_log_and_does_not_mark_the_slot(
    store: Store, rain_codes: Codes, scans_of: Scans, rule: str
) -> None:
    scans = scans_of(rain_codes(2), NOON)
    redundant = Rejection(
        "double.nc", "1", "the same as file1.nc", scans[1].time, rule, file_mark=9
    )
    store.commit(scans[:1], [redundant])
    assert store.open().status.tolist() == [OK, MISSING]
    store.commit(scans[1:])
    assert store.open().rejections == [redundant]


def test_later_parts_of_a_file_keep_the_entries_of_the_first(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    scans = [replace(s, source="month.nc") for s in scans_of(rain_codes(4), NOON)]
    early = Rejection("month.nc", "1", "negative", scans[1].time, file_mark=5)
    off = Rejection("month.nc", "1", "91 s off the step", rule="off the step", file_mark=5)
    store.commit(scans[:1], [early, off])
    later = Rejection("month.nc", "1", "7 s off the step", rule="off the step", file_mark=5)
    store.commit(scans[2:3], [later], keeps=lambda file, mark: (file, mark) == ("month.nc", 5))
    assert store.open().rejections == [early, off, later]
    store.commit(scans[3:])  # a new version of the file settles all its entries
    assert store.open().rejections == []


def test_a_rejected_scan_keeps_its_checksum(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    """A radar that repeats one scan is recognised by the scan before, even if that was rejected."""
    scans = scans_of(rain_codes(2), NOON)
    stuck = Rejection("a.nc", "1", "equals", NOON + 2 * STEP, "identical scans", checksum=12345)
    of_stored_time = Rejection("b.nc", "1", "equals", NOON, "identical scans", checksum=99)
    store.commit(scans, [stuck, of_stored_time])
    checksums = store.open().checksums
    assert checksums[2] == 12345
    assert checksums[0] == measure(scans[0].codes).checksum


def test_many_rejections_in_one_commit(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    scans = scans_of(rain_codes(2), NOON)
    broken = [Rejection(f"{i}.nc", "1", "cut", NOON + (2 + i) * STEP) for i in range(200)]
    store.commit(scans, broken[::-1])
    archive = store.open()
    assert archive.status.tolist() == [OK, OK] + [REJECTED] * 200
    assert archive.rejections == broken[::-1]


@pytest.mark.parametrize("year", [1976, 2090])
def test_a_wrong_year_of_a_rejected_file_does_not_lengthen_the_axis(
    store: Store, rain_codes: Codes, scans_of: Scans, year: int
) -> None:
    far = Rejection("a.nc", "1", "cut", pd.Timestamp(f"{year}-01-01"))
    store.commit(scans_of(rain_codes(2), NOON), [far])
    assert store.open().codes.shape[0] == 2
    assert store.open().rejections == [far]
