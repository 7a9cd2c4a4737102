"""Full disks, no permission, missing sources: a clear message, and the next run continues."""

import shutil
import subprocess
import threading
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK
from squall.datasets.archive.repository import lock_path, write_lock
from squall.datasets.errors import BusyError, DataError
from squall.datasets.sources.access import SourceUnavailable
from squall.pipeline.ingest import reading
from tests.pipeline.tiny_radar import (
    FIRST,
    SIZE,
    STEP,
    assert_same,
    contents,
    path_of,
    run,
    write_scans,
)

COUNT = 30


@pytest.fixture
def radar(tmp_path):
    folder = tmp_path / "radar"
    write_scans(folder, COUNT)
    return folder


def mount(*arguments):
    mounting = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if mounting.returncode:
        pytest.skip(f"mounting is not permitted: {mounting.stderr.strip()}")


@contextmanager
def mounted(folder, *arguments):
    mount(*arguments, folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def read_only(folder):
    with mounted(folder, "--bind", folder):
        mount("-o", "remount,bind,ro", folder)
        yield


# -- the archive -----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ingested_before", [0, 24])
def test_a_full_disk_keeps_what_was_committed(
    radar, tmp_path, monkeypatch, ingested_before, workers
):
    monkeypatch.setattr("squall.pipeline.ingest.batches.TASK_PIXELS", 6 * SIZE * SIZE)
    monkeypatch.setattr("squall.pipeline.ingest.batches.BATCH_PIXELS", 1)
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "-t", "tmpfs", "-o", "size=20m", "tmpfs"):
        archive, filler = disk / "a.icechunk", disk / "filler"
        if ingested_before:
            run(archive, *sorted(radar.glob("*.nc"))[:ingested_before])
        before = contents(archive) if ingested_before else None
        free = shutil.disk_usage(disk).free
        filler.write_bytes(b"x" * (free - 4096))
        with pytest.raises(DataError, match=r"a\.icechunk: the disk is full; everything committed"):
            run(archive, radar / "*.nc", workers=workers)
        if ingested_before:
            assert_same(contents(archive), before)
        filler.unlink()
        report = run(archive, radar / "*.nc", workers=workers)
        assert (report.ingested, report.unchanged) == (COUNT - ingested_before, ingested_before)
        run(tmp_path / "whole", radar / "*.nc")
        assert_same(contents(archive), contents(tmp_path / "whole"))


def test_a_read_only_archive_is_an_error(radar, tmp_path):
    archive = tmp_path / "archives" / "a.icechunk"
    run(archive, *sorted(radar.glob("*.nc"))[:5])
    before = contents(archive)
    with read_only(archive.parent):
        with pytest.raises(DataError, match=r"a\.icechunk: may not be written: .*Read-only"):
            run(archive, radar / "*.nc")
        assert run(archive, radar / "*.nc", dry_run=True).new_files == COUNT - 5
    with read_only(archive), pytest.raises(DataError, match=r"may not be written \(read-only file"):
        run(archive, radar / "*.nc")
    assert_same(contents(archive), before)
    assert run(archive, radar / "*.nc").ingested == COUNT - 5


# -- the source ------------------------------------------------------------------------------------


def test_a_file_that_vanishes_between_listing_and_reading(radar, tmp_path, monkeypatch):
    archive, vanished = tmp_path / "a.icechunk", path_of(radar, FIRST + 7 * STEP)
    content = vanished.read_bytes()
    original = reading.local_copy

    def vanishing(file, options):
        if file.address.endswith("T0000.nc"):
            vanished.unlink()
        return original(file, options)

    with monkeypatch.context() as patched:
        patched.setattr(reading, "local_copy", vanishing)
        report = run(archive, radar / "*.nc")
    assert (report.ingested, report.rejected) == (COUNT - 1, [])
    ((file, reason),) = report.unavailable
    assert file == str(vanished)
    assert "was listed but no longer exists" in reason
    assert not report.complete
    vanished.write_bytes(content)
    second = run(archive, radar / "*.nc")
    assert (second.ingested, second.unchanged, second.complete) == (1, COUNT - 1, True)


def test_a_folder_that_is_unmounted_during_the_run(radar, tmp_path):
    """The remaining files are unavailable; none is recorded as broken."""
    archive, elsewhere = tmp_path / "a.icechunk", tmp_path / "elsewhere"
    original = reading.read_file

    def unmounting(path, config, **options):
        if path.endswith("T0100.nc"):
            radar.rename(elsewhere)
        return original(path, config, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "read_file", unmounting)
        report = run(archive, radar / "*.nc")
    assert report.ingested == 12
    assert len(report.unavailable) == COUNT - 12
    assert report.rejected == []
    with pytest.raises(SourceUnavailable, match="radar/: cannot be listed"):
        run(archive, radar / "*.nc")
    elsewhere.rename(radar)
    assert run(archive, radar / "*.nc").ingested == COUNT - 12
    assert (Archive.open(archive).status == OK).all()


def test_a_file_without_read_permission_is_read_by_the_next_run(radar, tmp_path, monkeypatch):
    original = reading.read_file

    def denied(path, config, **options):
        if path.endswith("T0010.nc"):
            raise PermissionError(13, "Permission denied", path)
        return original(path, config, **options)

    with monkeypatch.context() as patched:
        patched.setattr(reading, "read_file", denied)
        report = run(tmp_path / "a.icechunk", radar / "*.nc")
    ((file, reason),) = report.unavailable
    assert reason == f"{file}: Permission denied"
    assert run(tmp_path / "a.icechunk", radar / "*.nc").ingested == 1


def test_a_broken_zip_file_does_not_stop_the_others(radar, tmp_path):
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as whole:
        for path in sorted(radar.glob("*.nc"))[:10]:
            whole.write(path, path.name)
            path.unlink()
    content = (tmp_path / "whole.zip").read_bytes()
    (tmp_path / "broken.zip").write_bytes(content[: len(content) // 2])
    report = run(tmp_path / "a.icechunk", f"zip://*.nc::{tmp_path}/*.zip", radar / "*.nc")
    assert report.ingested == COUNT
    ((file, reason),) = report.unavailable
    assert "broken.zip" in file
    assert "the zip file is broken" in reason


# -- two ingestions at the same time ---------------------------------------------------------------


def test_a_second_ingestion_waits_for_the_first(radar, tmp_path, monkeypatch):
    archive = tmp_path / "a.icechunk"
    monkeypatch.setattr("squall.pipeline.ingest.batches.TASK_PIXELS", 4 * SIZE * SIZE)
    monkeypatch.setattr("squall.pipeline.ingest.batches.BATCH_PIXELS", 1)
    reports = []
    threads = [
        threading.Thread(target=lambda: reports.append(run(archive, radar / "*.nc")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.ingested for report in reports) == [0, COUNT]
    assert sorted(report.unchanged for report in reports) == [0, COUNT]
    run(tmp_path / "whole", radar / "*.nc")
    assert_same(contents(archive), contents(tmp_path / "whole"))


def test_a_second_ingestion_gives_up_after_the_lock_timeout(radar, tmp_path):
    archive = tmp_path / "a.icechunk"
    busy = r"a\.icechunk: another process has been writing for 0.1 s .lock .*a\.icechunk\.lock"
    with write_lock(archive), pytest.raises(BusyError, match=busy):
        run(archive, radar / "*.nc", lock_timeout_s=0.1)
    assert not archive.exists()
    assert lock_path(archive).parent == archive.parent
    assert run(archive, radar / "*.nc").ingested == COUNT


def test_a_reader_keeps_its_snapshot_while_the_archive_grows(radar, tmp_path):
    archive = tmp_path / "a.icechunk"
    files = sorted(radar.glob("*.nc"))
    run(archive, *files[:20])
    reader = Archive.open(archive)
    before = reader.codes[:]
    run(archive, radar / "*.nc")
    assert np.array_equal(reader.codes[:], before)
    assert np.array_equal(Archive.open(archive, reader.snapshot).codes[:], before)
    assert Archive.open(archive).status.size == COUNT


def test_a_dry_run_changes_nothing_and_needs_no_lock(radar, tmp_path):
    archive = tmp_path / "deep" / "a.icechunk"
    report = run(archive, radar / "*.nc", dry_run=True)
    assert (report.found, report.new_files, report.commits) == (COUNT, COUNT, 0)
    assert str(report) == f"{COUNT} files found, {COUNT} to read (dry run, nothing was read)"
    assert not archive.parent.exists()
    run(archive, *sorted(radar.glob("*.nc"))[:8])
    before = sorted((path, path.stat().st_mtime_ns) for path in archive.parent.rglob("*"))
    with write_lock(archive):
        assert run(archive, radar / "*.nc", dry_run=True).new_files == COUNT - 8
    assert sorted((path, path.stat().st_mtime_ns) for path in archive.parent.rglob("*")) == before
    assert {path.name for path in archive.parent.iterdir()} == {"a.icechunk", "a.icechunk.lock"}
