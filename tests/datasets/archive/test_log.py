"""The log of rejected files and scans, and the states of a time slot."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pandas as pd
import pytest
import zarr

from squall.datasets.archive import log
from squall.datasets.archive.archive import Archive
from squall.datasets.archive.layout import LOG, NOT_NEEDED
from squall.datasets.archive.log import _add_entries
from squall.datasets.archive.records import MISSING, OK, REDUNDANT, REJECTED, Rejection
from squall.datasets.archive.repository import BRANCH, open_repository
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
    assert log_length(store.open()) == 0
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


def test_a_commit_resolves_no_address_of_open_entries_that_it_does_not_touch(
    store: Store, rain_codes: Codes, scans_of: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 100,000 open entries, resolving them all took 2 s a commit."""
    store.commit(scans_of(rain_codes(1), NOON))
    broken = [Rejection(f"s3://radar/{i}.nc", "1", "cut", file_mark=1) for i in range(500)]
    store.commit([], broken)
    resolved: list[str] = []
    resolve = log.canonical_address
    monkeypatch.setattr(
        log, "canonical_address", lambda file: resolved.append(file) or resolve(file)
    )
    again = Rejection("s3://radar/7.nc", "2", "cut", file_mark=2)
    store.commit([], [again])
    assert len(resolved) <= 1
    assert again in store.open().rejections
    assert len(store.open().rejections) == 500


@pytest.mark.parametrize("year", [1976, 2090])
def test_a_wrong_year_of_a_rejected_file_does_not_lengthen_the_axis(
    store: Store, rain_codes: Codes, scans_of: Scans, year: int
) -> None:
    far = Rejection("a.nc", "1", "cut", pd.Timestamp(f"{year}-01-01"))
    store.commit(scans_of(rain_codes(2), NOON), [far])
    assert store.open().codes.shape[0] == 2
    assert store.open().rejections == [far]


def test_a_settled_row_before_an_open_entry_is_used_again(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    scans = scans_of(rain_codes(4), NOON)
    store.commit(scans[:1], [Rejection(s.source, "b" * 32, "cut", s.time) for s in scans[1:]])
    store.commit(scans[1:3])
    assert log_length(store.open()) == 3
    store.commit([], [Rejection("z.nc", "1", "broken")])
    assert log_length(store.open()) == 3
    assert [r.file for r in store.open().rejections] == ["z.nc", scans[3].source]


# -- files that are not needed ---------------------------------------------------------------------


def not_needed(count: int, *, first: int = 0, mark: int = 1) -> list[Rejection]:
    """Log entries of duplicate files, one for each time step."""
    return [
        Rejection(f"double{i}.nc", "1" * 32, "the same as x.nc", NOON + i * STEP, "duplicate", mark)
        for i in range(first, first + count)
    ]


class Requests:
    """Counts the chunks of an archive that are read and written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for name in ("get", "set"):
            self._watch(monkeypatch, name)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        inner = getattr(icechunk.IcechunkStore, name)

        async def counted(store: Any, key: str, *arguments: Any, **options: Any) -> Any:
            self.count += "/c/" in f"/{key}"
            return await inner(store, key, *arguments, **options)

        monkeypatch.setattr(icechunk.IcechunkStore, name, counted)

    def of(self, action: Callable[[], object]) -> int:
        self.count = 0
        action()
        return self.count


def test_files_that_are_not_needed_cost_nothing_later(
    store: Store, rain_codes: Codes, scans_of: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next commit and the next look read as many chunks after 12,000 entries as after 12."""
    requests = Requests(monkeypatch)
    scans = scans_of(rain_codes(3), NOON + 20_000 * STEP)
    store.commit(scans_of(rain_codes(1), NOON))
    store.commit(scans[:1], not_needed(12))
    counts = []
    for i, more in enumerate((12, 12_000)):
        store.commit([], not_needed(more))
        archive = store.open()
        looked = requests.of(lambda a=archive: (a.refusals, a.redundant(scans[0].time)))  # type: ignore[misc]
        appended = requests.of(lambda i=i: store.commit([scans[1 + i]]))  # type: ignore[misc]
        counts.append((looked, appended))
        assert log_length(store.open()) == 0
        assert len(store.open().rejections) == more
    assert counts[0] == counts[1]
    assert max(counts[0]) < 40, counts


def test_a_file_that_is_not_needed_again_replaces_its_entry(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    store.commit(scans_of(rain_codes(1), NOON), not_needed(3))
    (again,) = not_needed(1, first=1, mark=2)
    beside = replace(again, file="another.nc")
    store.commit([], [again, beside])
    first, _, last = not_needed(3)
    assert store.open().redundant() == [first, again, beside, last]
    assert store.open().redundant(NOON + STEP) == [again, beside, last]
    used = replace(scans_of(rain_codes(1), NOON + STEP)[0], source="double1.nc")
    store.commit([used])
    assert store.open().redundant() == [first, beside, last]


def test_entries_of_an_older_release_move_to_their_slots(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    """An older release kept files that are not needed in the log."""
    broken = Rejection("broken.nc", "2" * 32, "is cut off", NOON + 7 * STEP)
    store.commit(scans_of(rain_codes(8), NOON)[:7], [broken])
    session = open_repository(str(store.path)).writable_session(BRANCH)
    group = zarr.open_group(session.store, mode="r+")
    log: Any = dict(group[LOG].arrays())  # type: ignore[union-attr]
    _add_entries(log, np.zeros(1, dtype=bool), not_needed(5))
    log["settled"][:] = False
    del group[NOT_NEEDED]
    session.commit("as an older release wrote it")
    assert store.open().refusals == [broken, *not_needed(5)]

    store.commit([], [Rejection("b.nc", "3", "no map")])
    assert [r.file for r in store.open().refusals] == ["broken.nc", "b.nc"]
    assert store.open().redundant() == not_needed(5)
    assert_regular(store.open())


def test_a_rejected_time_in_the_room_before_the_first_scan_marks_nothing(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    far = Rejection("a.nc", "1", "cut", NOON - 100_000 * STEP)
    store.commit(scans_of(rain_codes(2), NOON), [far])
    archive = store.open()
    assert archive.start == NOON
    assert not (archive._group["status"][:] == REJECTED).any()  # type: ignore[operator,index]
    assert archive.rejections == [far]


@pytest.mark.parametrize(("off", "rows"), [("0s", 1), ("5min", 0)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_margin_of_rejected_times(
    store: Store, rain_codes: Codes, scans_of: Scans, off: str, rows: int, sign: int
) -> None:
    """A day beyond the first or last scan is on the axis, one step more is not."""
    store.commit(scans_of(rain_codes(1), NOON))
    time = NOON + sign * (pd.Timedelta("1D") + pd.Timedelta(off))
    store.commit([], [Rejection("a.nc", "1", "cut", time)])
    archive = store.open()
    assert (archive.status == REJECTED).sum() == rows
    index = archive.index_of(time)
    assert (0 <= index < archive.status.size) == bool(rows)
    if rows:
        assert archive.status[index] == REJECTED
    store.commit([], [Rejection("b.nc", "1", "cut", NOON + sign * STEP)])
    assert (store.open().status == REJECTED).sum() == rows + 1
