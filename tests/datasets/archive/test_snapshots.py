"""History, tags and expiry: protected snapshots stay, unused chunks are deleted."""

import shutil
import time
from datetime import timedelta
from pathlib import Path

import icechunk
import numpy as np
import pandas as pd
import pytest
import zarr

from squall.datasets.archive import snapshots as snapshots_module
from squall.datasets.archive.archive import Archive
from squall.datasets.archive.check import check
from squall.datasets.archive.records import Rejection
from squall.datasets.archive.repository import BRANCH, open_repository, storage_of, write_lock
from squall.datasets.archive.snapshots import delete_tag, expire, history, tag
from squall.datasets.archive.writer import ArchiveWriter
from squall.datasets.errors import BusyError, ConfigError, DataError

STEP = pd.Timedelta("5min")
NOW = timedelta(0)


@pytest.fixture(scope="module")
def original(tmp_path_factory, grid, rain_codes, scans_of):
    """An archive of six scans in six commits, with little room before them. Read only."""
    path = tmp_path_factory.mktemp("archives") / "a.icechunk"
    scans = scans_of(rain_codes(6), "2024-06-01")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("squall.datasets.archive.layout.ROOM", 24 * STEP)
        writer = ArchiveWriter(path, STEP, {"name": "rain"})
        return path, [writer.commit(grid, [s], [], f"scan {i}") for i, s in enumerate(scans)]


@pytest.fixture
def grown(tmp_path, original):
    """Address of a copy of that archive, and its snapshots, oldest first."""
    path, snapshots = original
    return str(shutil.copytree(path, tmp_path / path.name)), snapshots


def files_and_bytes(address):
    sizes = [f.stat().st_size for f in Path(address).rglob("*") if f.is_file()]
    return len(sizes), sum(sizes)


def contents(address, snapshot):
    """Every array of a snapshot as bytes."""
    group = zarr.open_group(
        open_repository(address).readonly_session(snapshot_id=snapshot).store, mode="r"
    )
    arrays = {}
    for name, array in group.members(max_depth=None):
        if isinstance(array, zarr.Array):
            values = np.asarray(array[...])
            text = values.dtype.kind == "T"
            arrays[name] = "\0".join(values.tolist()).encode() if text else values.tobytes()
    assert len(arrays) > 10
    return arrays


def test_history_is_newest_first_with_its_tags(grown):
    address, snapshots = grown
    tag(address, "first", snapshots[0])
    tag(address, "also-first", snapshots[0])
    commits = history(address)
    assert [c.snapshot for c in commits] == snapshots[::-1]
    assert [c.message for c in commits] == [f"scan {i}" for i in range(5, -1, -1)]
    assert commits[-1].tags == ("also-first", "first")
    assert not any(c.tags for c in commits[:-1])
    now = pd.Timestamp.now("UTC").tz_convert(None)
    assert all(now - pd.Timedelta("5min") < c.time <= now for c in commits)
    assert [c.snapshot for c in history(address, limit=2)] == snapshots[:3:-1]
    as_dict = commits[-1].as_dict()
    assert as_dict["tags"] == ["also-first", "first"]
    assert as_dict["time"].endswith("Z")
    assert "scan 0  [also-first, first]" in str(commits[-1])


def test_an_archive_without_a_first_commit_has_no_history(tmp_path):
    address = str(tmp_path / "empty.icechunk")
    icechunk.Repository.create(storage_of(address))
    assert history(address) == []
    with pytest.raises(ConfigError, match="nothing to tag, because nothing has been ingested"):
        tag(address, "a")
    report = expire(address, NOW)
    assert (report.expired, report.kept) == (0, 0)
    with pytest.raises(DataError, match="there is no archive; make one"):
        history(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", "é", "a\nb", "-a", "x" * 101])
def test_a_tag_has_a_name_that_can_be_listed(grown, name):
    with pytest.raises(ConfigError, match="is no name for a tag"):
        tag(grown[0], name)
    assert not open_repository(grown[0]).list_tags()


def test_tags_do_not_move_and_names_are_not_used_twice(grown):
    address, snapshots = grown
    assert tag(address, "run-7") == snapshots[-1]
    with pytest.raises(ConfigError, match=f"snapshot {snapshots[-1]} has a tag 'run-7' already"):
        tag(address, "run-7", snapshots[0])
    assert delete_tag(address, "run-7") == snapshots[-1]
    with pytest.raises(ConfigError, match=r"deleted tag had the name 'run-7'.*choose another"):
        tag(address, "run-7")
    tag(address, "other")
    with pytest.raises(ConfigError, match="has no tag 'run-7'; its tags: other"):
        delete_tag(address, "run-7")


@pytest.mark.parametrize("snapshot", ["nonsense", "5QT25KQBVWPK8SKA17A0"])
def test_only_a_snapshot_of_the_history_is_tagged(grown, snapshot):
    with pytest.raises(ConfigError, match=f"has no snapshot '{snapshot}'; .*history"):
        tag(grown[0], "a", snapshot)


def test_expiry_keeps_the_newest_and_tagged_snapshots_byte_for_byte(grown):
    address, snapshots = grown
    tag(address, "keep", snapshots[2])
    before = {s: contents(address, s) for s in (snapshots[2], snapshots[-1])}
    assert before[snapshots[2]]["rain_rate_code"] != before[snapshots[-1]]["rain_rate_code"]
    size = files_and_bytes(address)
    report = expire(address, NOW)
    assert (report.expired, report.kept, report.kept_by_tags) == (4, 2, ("keep",))
    after = files_and_bytes(address)
    assert size[0] - after[0] == report.files_deleted > 4
    # the two kept snapshots are rewritten, because their parent changes
    assert size[1] - after[1] == pytest.approx(report.bytes_freed, rel=0.01)
    for snapshot, arrays in before.items():
        assert contents(address, snapshot) == arrays
    for expired in (0, 1, 3, 4):
        with pytest.raises(DataError, match="has no snapshot"):
            Archive.open(address, snapshots[expired])
    assert [c.snapshot for c in history(address)] == [snapshots[-1], snapshots[2]]
    again = expire(address, NOW)
    assert (again.expired, again.bytes_freed) == (0, 0)
    delete_tag(address, "keep")
    assert expire(address, NOW).bytes_freed > 1000
    assert [c.snapshot for c in history(address)] == [snapshots[-1]]
    assert check(address).sound


def test_an_expired_archive_grows_on(grown, grid, rain_codes, scans_of):
    address, _ = grown
    expire(address, NOW)
    late = scans_of(rain_codes(8), "2024-06-01")[6:]
    ArchiveWriter(address, STEP, {"name": "rain"}).commit(grid, late, [], "more")
    archive = Archive.open(address)
    np.testing.assert_array_equal(archive.codes[6:], rain_codes(8)[6:])
    assert len(history(address)) == 2


def test_only_snapshots_older_than_the_age_go(grown, grid):
    address, snapshots = grown
    assert expire(address, timedelta(days=1)).expired == 0
    time.sleep(0.6)
    newer = ArchiveWriter(address, STEP, {"name": "rain"}).commit(
        grid, [], [Rejection("b.nc", "0" * 32, "is cut off")], "rejected"
    )
    dry = expire(address, timedelta(seconds=0.5), dry_run=True)
    assert "nothing was changed" in str(dry)
    assert len(history(address)) == 7
    report = expire(address, timedelta(seconds=0.5))
    assert dry.expired == report.expired == 6
    assert [c.snapshot for c in history(address)] == [newer]
    assert "6 snapshots" in str(report)
    assert report.as_dict()["cut_off"].endswith("Z")
    assert snapshots[-1] != newer


@pytest.mark.parametrize("age", [timedelta(seconds=-1), timedelta(days=10**6)])
def test_an_impossible_age_is_refused(grown, age):
    with pytest.raises(ConfigError, match="give an age like 30D"):
        expire(grown[0], age)


def uncommitted_chunks(address):
    """Leave chunks behind, as an ingestion does that is killed before its commit."""
    before = set(Path(address, "chunks").iterdir())
    session = open_repository(address).writable_session(BRANCH)
    array = zarr.open_group(session.store, mode="r+")["rain_rate_code"]
    array[:] = np.random.default_rng(0).integers(0, 255, array.shape, dtype=np.uint8)
    return set(Path(address, "chunks").iterdir()) - before


def test_chunks_of_a_killed_ingestion_are_deleted_on_a_disk(grown):
    left = uncommitted_chunks(grown[0])
    assert left
    report = expire(grown[0], timedelta(days=30))
    assert (report.expired, report.kept) == (0, 6)
    assert report.files_deleted == len(left)
    assert not any(path.exists() for path in left)


def test_on_object_storage_young_objects_stay_because_an_ingestion_may_be_writing_them(
    grown, monkeypatch
):
    monkeypatch.setattr(snapshots_module, "is_remote", lambda address: True)
    left = uncommitted_chunks(grown[0])
    report = expire(grown[0], NOW)
    assert (report.expired, report.files_deleted) == (5, 0)
    assert all(path.exists() for path in left)
    assert len(history(grown[0])) == 1


def test_nothing_expires_while_another_process_writes(grown):
    address, snapshots = grown
    with write_lock(address), pytest.raises(BusyError, match="another process has been writing"):
        expire(address, NOW, lock_timeout_s=0.05)
    assert len(history(address)) == len(snapshots)


@pytest.mark.slow
def test_single_appends_cost_no_more_than_one_bulk_write_once_expired(
    tmp_path, grid, rain_codes, scans_of, monkeypatch
):
    monkeypatch.setattr("squall.datasets.archive.layout.ROOM", 24 * STEP)
    scans = scans_of(rain_codes(30), "2024-06-01")
    bulk, single = tmp_path / "bulk.icechunk", tmp_path / "single.icechunk"
    ArchiveWriter(bulk, STEP, {"name": "rain"}).commit(grid, scans, [], "all")
    writer = ArchiveWriter(single, STEP, {"name": "rain"})
    for scan in scans:
        writer.commit(grid, [scan], [], f"{scan.time}")
    (bulk_files, bulk_bytes), (many_files, many_bytes) = map(files_and_bytes, (bulk, single))
    assert many_bytes > 3 * bulk_bytes
    assert many_files > 10 * bulk_files
    expire(single, NOW)
    files, size = files_and_bytes(single)
    assert size <= 1.2 * bulk_bytes
    assert files <= 1.2 * bulk_files
